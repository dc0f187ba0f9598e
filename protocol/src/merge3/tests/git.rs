//! A differential test against `git merge-file`, whose verdict and text users know. Skipped, with a word, where git is absent.
//!
//! Two kinds of histories: *realistic* ones edit prose and code-like files of mostly different lines; *repetitive* ones are small
//! files of three or four distinct lines, where several shortest scripts exist and the two tools may choose different ones.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::*;

/// A generator of our own, so that a printed seed replays everywhere (xorshift64*, Vigna 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }
}

struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("nodespace-merge3-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::File::create(self.0.join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Git's verdict, and its text with conflicts decided for `left`. `None` without git.
    fn git(&self, base: &str, left: &str, right: &str) -> Option<(bool, String)> {
        self.write("base", base);
        self.write("left", left);
        self.write("right", right);
        let run = |arguments: &[&str]| Command::new("git").current_dir(&self.0).arg("merge-file").args(arguments).output().ok();
        let plain = run(&["-p", "-q", "left", "base", "right"])?;
        if plain.status.success() {
            return Some((true, String::from_utf8(plain.stdout).unwrap()));
        }
        let ours = run(&["-p", "-q", "--ours", "left", "base", "right"])?;
        Some((false, String::from_utf8(ours.stdout).unwrap()))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        // Left behind in the folder for temporary files at worst.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

/// How many of `count` random histories git judges and merges as we do, per thousand; `None` without git.
fn agreement(name: &str, count: u64, history: fn(&mut Random) -> [String; 3]) -> Option<u64> {
    let files = Files::new(name);
    let (mut agreed, mut clean) = (0, 0);
    for seed in 1..=count {
        let [base, left, right] = history(&mut Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let Some((git_clean, git_text)) = files.git(&base, &left, &right) else {
            report(&format!("skipped {name}: no git here to compare with"));
            return None;
        };
        let merge = merge3(&base, &left, &right, Granularity::Line);
        clean += u64::from(git_clean);
        if merge.is_clean() == git_clean && merge.text_preferring(Side::Left) == git_text {
            agreed += 1;
        } else if std::env::var_os("MERGE3_SHOW").is_some() {
            report(&format!("SEED={seed}\n{base:?}\n{left:?}\n{right:?}\nours {merge:?}\ngit  {git_clean} {git_text:?}"));
        }
    }
    report(&format!("{name}: git agrees on {agreed} of {count} merges ({clean} of them clean)"));
    Some(agreed * 1_000 / count)
}

#[expect(clippy::print_stderr, reason = "what was measured or skipped belongs into the test's output")]
fn report(line: &str) {
    eprintln!("{line}");
}

/// Changes, removes, doubles, moves and adds lines.
fn edit(random: &mut Random, lines: &mut Vec<String>, line: &mut dyn FnMut(&mut Random) -> String) {
    let at = random.below(lines.len() + 1);
    let end = (at + 1 + random.below(3)).min(lines.len());
    match random.below(5) {
        0 => drop(lines.drain(at..end)),
        1 => {
            let block: Vec<String> = lines.drain(at..end).collect();
            let to = random.below(lines.len() + 1);
            lines.splice(to..to, block);
        }
        2 => {
            let block = lines[at..end].to_vec();
            lines.splice(end..end, block);
        }
        3 => lines.insert(at, line(random)),
        _ => {
            if at < lines.len() {
                lines[at] = line(random);
            }
        }
    }
}

fn history(random: &mut Random, length: usize, edits: usize, line: &mut dyn FnMut(&mut Random) -> String) -> [String; 3] {
    let base: Vec<String> = (0..length).map(|_| line(random)).collect();
    let mut sides = [base.clone(), base.clone(), base];
    for side in &mut sides[1..] {
        for _ in 0..1 + random.below(edits) {
            edit(random, side, line);
        }
    }
    sides.map(|lines| lines.concat())
}

/// Files of mostly different lines, with the blank lines, braces and headings that real files repeat.
fn realistic(random: &mut Random) -> [String; 3] {
    let mut serial = 0;
    let length = 20 + random.below(60);
    history(random, length, 5, &mut |random| match random.below(10) {
        0 | 1 => "\n".to_owned(),
        2 => "    }\n".to_owned(),
        3 => "- item\n".to_owned(),
        _ => {
            serial += 1;
            format!("line {serial} with words {}\n", random.below(1_000))
        }
    })
}

/// Small files of few distinct lines.
fn repetitive(random: &mut Random) -> [String; 3] {
    let length = random.below(14);
    let distinct = 3 + random.below(2);
    history(random, length, 3, &mut |random| format!("{}\n", random.below(distinct)))
}

#[test]
fn git_agrees_on_realistic_edits() {
    if let Some(per_thousand) = agreement("realistic", 3_000, realistic) {
        assert!(per_thousand >= 990, "{per_thousand} per thousand");
    }
}

#[test]
fn git_mostly_agrees_on_repeated_lines() {
    if let Some(per_thousand) = agreement("repetitive", 2_000, repetitive) {
        assert!(per_thousand >= 950, "{per_thousand} per thousand");
    }
}
