//! `nodespace cli-docs`: the reference page, made from the commands themselves.
//!
//! `docs/CLI.md` is this command's output; a test holds the page to it, so that the two cannot part.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::{Arg, ArgAction, Command, CommandFactory as _};

use super::Arguments;
use super::exit::Exit;
use super::output::Output;

/// What stands before the commands.
const INTRODUCTION: &str = include_str!("reference/introduction.md");

/// What stands behind them.
const END: &str = include_str!("reference/end.md");

/// Prints the page.
pub(crate) fn run(out: &mut Output) -> anyhow::Result<Exit> {
    out.write_all(page().as_bytes())?;
    Ok(Exit::Done)
}

fn page() -> String {
    let mut program = Arguments::command();
    program.build();
    let mut text = INTRODUCTION.to_owned();
    text.push_str("\n## Exit codes\n\n| Code | Meaning |\n|---|---|\n");
    for (exit, meaning) in Exit::ALL {
        line(&mut text, &format!("| {} | {meaning} |", exit as u8));
    }
    text.push_str("\n## Options of every command\n\n");
    for argument in program.get_arguments().filter(|argument| argument.is_global_set()) {
        option(&mut text, argument);
    }
    for command in shown(&program) {
        describe(&mut text, command, "nodespace", 2);
    }
    text.push('\n');
    text.push_str(END);
    text
}

fn line(text: &mut String, line: &str) {
    // Writing to a text does not fail.
    writeln!(text, "{line}").ok();
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help")
}

fn describe(text: &mut String, command: &Command, above: &str, level: usize) {
    let name = format!("{above} {}", command.get_name());
    line(text, &format!("\n{} {name}\n", "#".repeat(level)));
    if let Some(about) = command.get_about() {
        line(text, &sentence(&about.to_string()));
    }
    if !command.is_subcommand_required_set() {
        describe_arguments(text, command, &name);
    }
    for inner in shown(command) {
        describe(text, inner, &name, level + 1);
    }
}

fn describe_arguments(text: &mut String, command: &Command, name: &str) {
    let own = || command.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help");
    line(text, &format!("\n```text\n{}\n```", usage(command, name)));
    if own().next().is_some() {
        text.push('\n');
    }
    own().filter(|argument| argument.is_positional()).for_each(|argument| option(text, argument));
    own().filter(|argument| !argument.is_positional()).for_each(|argument| option(text, argument));
}

/// How it is called. The options that every command has are left out.
fn usage(command: &Command, name: &str) -> String {
    let own = || command.get_arguments().filter(|argument| !argument.is_global_set() && argument.get_id() != "help");
    let mut usage = name.to_owned();
    if own().any(|argument| !argument.is_positional()) {
        usage.push_str(" [OPTIONS]");
    }
    for argument in own().filter(|argument| argument.is_positional()) {
        let repeated = if matches!(argument.get_action(), ArgAction::Append) { "..." } else { "" };
        let name = value_name(argument);
        let name = if argument.is_required_set() { format!("<{name}>{repeated}") } else { format!("[{name}]{repeated}") };
        usage = format!("{usage} {name}");
    }
    usage
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.first().map_or_else(|| argument.get_id().as_str().to_uppercase(), ToString::to_string)
}

fn option(text: &mut String, argument: &Arg) {
    let help = argument.get_help().map(|help| sentence(&help.to_string())).unwrap_or_default();
    let possible: Vec<String> = argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let choices = if argument.get_action().takes_values() && !possible.is_empty() {
        format!(" One of {}.", possible.join(", "))
    } else {
        String::new()
    };
    line(text, &format!("- `{}`: {help}{choices}", spelled(argument)));
}

fn spelled(argument: &Arg) -> String {
    match argument.get_long() {
        None => value_name(argument),
        Some(long) if argument.get_action().takes_values() => format!("--{long} <{}>", value_name(argument)),
        Some(long) => format!("--{long}"),
    }
}

fn sentence(text: &str) -> String {
    if text.ends_with(['.', '!', '?']) { text.to_owned() } else { format!("{text}.") }
}
