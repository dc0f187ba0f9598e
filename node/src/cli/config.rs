//! `nodespace config`: what is wrong with the configuration, and what is in force.

use nodespace_node::config::{ConfigError, DEFAULT_FILE, KEYS, Loaded, Problem, Value};
use serde::Serialize;

use super::context::Context;
use super::exit::Exit;
use super::output::Output;
use super::style::{Tone, preview};
use super::table::{Cell, Table};

/// What to do with the configuration.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ConfigCommand {
    /// List every mistake with its line.
    Check,
    /// Show every setting, its value and where it comes from.
    Show,
    /// Print the default configuration, with every key explained.
    Default,
}

/// What `config check` found: the form of its JSON output.
#[derive(Debug, Serialize)]
struct Report {
    file: Option<String>,
    problems: Vec<ProblemLine>,
}

#[derive(Debug, Serialize)]
struct ProblemLine {
    place: String,
    line: Option<usize>,
    message: String,
}

/// One setting: the form of the JSON output of `config show`.
#[derive(Debug, Serialize)]
struct Setting {
    key: String,
    value: serde_json::Value,
    source: String,
    variable: String,
}

/// Does what was asked.
pub(crate) fn run(command: &ConfigCommand, context: &mut Context) -> anyhow::Result<Exit> {
    let home = context.home()?;
    match command {
        ConfigCommand::Check => {
            let loaded = context.load(&home);
            check(loaded, &mut context.out)
        }
        ConfigCommand::Show => {
            let loaded = context.load(&home)?;
            show(&loaded, &mut context.out)
        }
        ConfigCommand::Default => {
            context.out.raw(DEFAULT_FILE.as_bytes())?;
            Ok(Exit::Done)
        }
    }
}

fn check(loaded: anyhow::Result<Loaded>, out: &mut Output) -> anyhow::Result<Exit> {
    let (file, problems) = match loaded {
        Ok(loaded) => (loaded.file, Vec::new()),
        Err(error) => match error.downcast::<ConfigError>() {
            Ok(ConfigError(problems)) => (None, problems),
            Err(error) => return Err(error),
        },
    };
    if out.json {
        let line = |Problem { place, line, message }| ProblemLine { place, line, message };
        let exit = if problems.is_empty() { Exit::Done } else { Exit::Usage };
        let file = file.map(|path| path.display().to_string());
        out.value(&Report { file, problems: problems.into_iter().map(line).collect() })?;
        return Ok(exit);
    }
    for problem in &problems {
        out.line(problem)?;
    }
    match (problems.is_empty(), file) {
        (false, _) => return Ok(Exit::Usage),
        (true, Some(path)) => out.line(format_args!("{} is right", path.display()))?,
        (true, None) => out.line("there is no configuration file; the defaults hold")?,
    }
    Ok(Exit::Done)
}

fn show(loaded: &Loaded, out: &mut Output) -> anyhow::Result<Exit> {
    let settings = KEYS.iter().zip(&loaded.sources);
    if out.json {
        let setting = |(key, source): (&nodespace_node::config::Key, &nodespace_node::config::Source)| Setting {
            key: key.path(),
            value: json(key.value(&loaded.config)),
            source: source.to_string(),
            variable: key.variable(),
        };
        out.value(&settings.map(setting).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["setting", "value", "from"]);
    for (key, source) in settings {
        let source = Cell::toned(Tone::Dim, source.to_string());
        table.row([key.path().into(), preview(&key.value(&loaded.config).to_string(), 80).into(), source]);
    }
    out.table(&table)?;
    if let Some(file) = &loaded.file {
        out.line(format_args!("\nthe file is {}", file.display()))?;
    }
    Ok(Exit::Done)
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Switch(value) => value.into(),
        Value::Number(value) => value.into(),
        Value::Text(value) => value.into(),
        Value::List(values) => values.into(),
    }
}
