//! Fuzzing on stable Rust: `smoke --seconds N [--target NAME] [--seed S]`.
//!
//! Every target gets its share of the time. A failure is printed with the target, the seed and the input in hex, which
//! `smoke --target NAME --input HEX` runs again; the exit code is 1 then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nodespace_protocol::ids::{hex, unhex};
use nodespace_protocol_fuzz::allocation::{Counting, peak_of};
use nodespace_protocol_fuzz::mutate::{Dice, mutate};
use nodespace_protocol_fuzz::{TARGETS, Target};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The longest input: longer ones find little more and take long.
const INPUT_BYTES_MAX: usize = 256 * 1024;
/// Inputs kept as starting points beside the seeds; they took the most memory so far.
const KEPT_MAX: usize = 64;

struct Arguments {
    seconds: u64,
    target: Option<String>,
    seed: u64,
    input: Option<Vec<u8>>,
}

fn main() -> ExitCode {
    let arguments = match arguments(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(why) => {
            eprintln!("{why}\nusage: smoke [--seconds N] [--target NAME] [--seed S] [--input HEX]");
            return ExitCode::from(2);
        }
    };
    let named = |target: &&Target| arguments.target.as_ref().is_none_or(|name| *name == target.name);
    let targets: Vec<&Target> = TARGETS.iter().filter(named).collect();
    if targets.is_empty() {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("no such target; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    std::panic::set_hook(Box::new(|info| eprintln!("{info}")));
    let share = Duration::from_millis(arguments.seconds * 1_000 / targets.len() as u64);
    for target in targets {
        let done = match &arguments.input {
            Some(input) => once(target, input)
                .map(|peak| format!("came back; peak allocation {peak} bytes of {}", (target.allocation_max)(input.len()))),
            None => smoke(target, share, arguments.seed),
        };
        match done {
            Ok(line) => println!("{:<12} {line}", target.name),
            Err(why) => {
                eprintln!("{why}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { seconds: 60, target: None, seed: 1, input: None };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--seconds" => arguments.seconds = value.parse().map_err(|_| format!("`{value}` is no number of seconds"))?,
            "--target" => arguments.target = Some(value),
            "--seed" => arguments.seed = value.parse().map_err(|_| format!("`{value}` is no seed"))?,
            "--input" => arguments.input = Some(unhex(&value).ok_or("the input is not hex")?),
            _ => return Err(format!("unknown option {word}")),
        }
    }
    Ok(arguments)
}

/// Runs a target on the seeds and then on what becomes of them, until its time is over.
fn smoke(target: &Target, share: Duration, seed: u64) -> Result<String, String> {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    let mut dice = Dice(seed);
    let start = Instant::now();
    let (mut executions, mut greatest, mut slowest) = (0_u64, 0.0_f64, Duration::ZERO);
    let mut kept: Vec<(usize, Vec<u8>)> = Vec::new();
    for input in &seeds {
        once(target, input).map_err(|why| format!("{why} (a seed)"))?;
        executions += 1;
    }
    while start.elapsed() < share {
        let input = next_input(&seeds, &kept, &mut dice);
        let begun = Instant::now();
        let peak = once(target, &input).map_err(|why| format!("{why} SEED={seed}"))?;
        slowest = slowest.max(begun.elapsed());
        greatest = greatest.max(peak as f64 / (target.allocation_max)(input.len()) as f64);
        executions += 1;
        keep(&mut kept, peak, input);
    }
    let slowest = slowest.as_secs_f64() * 1e3;
    Ok(format!("{executions:>9} executions; allocation at most {:.0} % of its bound; slowest {slowest:.1} ms", greatest * 100.0))
}

fn next_input(seeds: &[Vec<u8>], kept: &[(usize, Vec<u8>)], dice: &mut Dice) -> Vec<u8> {
    let from_kept = !kept.is_empty() && dice.below(3) == 0;
    let mut input = if from_kept { kept[dice.below(kept.len())].1.clone() } else { seeds[dice.below(seeds.len())].clone() };
    let other = &seeds[dice.below(seeds.len())];
    mutate(&mut input, other, INPUT_BYTES_MAX, dice);
    input
}

fn keep(kept: &mut Vec<(usize, Vec<u8>)>, peak: usize, input: Vec<u8>) {
    let worst = kept.iter().enumerate().min_by_key(|(_, (peak, _))| *peak).map(|(at, (peak, _))| (at, *peak));
    match worst {
        Some((at, least)) if kept.len() == KEPT_MAX => {
            if peak > least {
                kept[at] = (peak, input);
            }
        }
        _ => kept.push((peak, input)),
    }
}

/// Runs a target once; answers the peak of its memory, or what was wrong.
fn once(target: &Target, input: &[u8]) -> Result<usize, String> {
    let (result, peak) = peak_of(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let max = (target.allocation_max)(input.len());
    let why = match result {
        Err(_) => "it panicked".to_owned(),
        Ok(()) if peak > max => format!("it allocated {peak} bytes at once, at most {max} are allowed for {} bytes", input.len()),
        Ok(()) => return Ok(peak),
    };
    Err(format!("FAILED target {}: {why}\n  replay: smoke --target {} --input {}\n ", target.name, target.name, hex(input)))
}
