//! Where a text comes from: the command line, a file, standard input, or an editor.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::exit::{Exit, Failure};

/// The largest text that is read, in bytes; a larger one is refused before it is read whole. The device has a bound of its own below this.
const TEXT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What stands for standard input.
const STANDARD_INPUT: &str = "-";

/// A text given on the command line; `-` means standard input.
pub(crate) fn given(text: &str) -> anyhow::Result<String> {
    if text == STANDARD_INPUT { read(&mut io::stdin().lock(), "standard input") } else { Ok(text.to_owned()) }
}

/// A file's text; `-` means standard input.
pub(crate) fn file(path: &Path) -> anyhow::Result<String> {
    if path == Path::new(STANDARD_INPUT) {
        return given(STANDARD_INPUT);
    }
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    read(&mut file, &path.display().to_string())
}

fn read(stream: &mut impl Read, name: &str) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    stream.take(TEXT_BYTES_MAX + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    if bytes.len() as u64 > TEXT_BYTES_MAX {
        return Err(Failure::usage(format!("{name} is larger than {TEXT_BYTES_MAX} bytes; split it into several nodes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Failure::usage(format!("{name} is not UTF-8: it is valid up to byte {place}; convert it first, nothing is guessed"))
    })
}

/// Whether somebody can be asked.
pub(crate) fn can_edit() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// A text in a file of its own while somebody edits it.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
}

impl Draft {
    /// Puts a text into a new file that only its owner can read, and lets the person's editor change it.
    pub(crate) fn edit(text: &str) -> anyhow::Result<(Self, String)> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("the system has no random numbers: {error}"))?;
        let name = format!("nodespace-{:016x}.md", u64::from_le_bytes(random));
        let draft = Self { path: std::env::temp_dir().join(name) };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let create = |options: &OpenOptions| options.open(&draft.path)?.write_all(text.as_bytes());
        create(&options).with_context(|| format!("cannot write {}", draft.path.display()))?;
        draft.run_editor()?;
        let mut edited = file(&draft.path)?;
        // Editors end a file with a line's end; a text that had none keeps none.
        if !text.ends_with('\n') && edited.ends_with('\n') {
            edited.pop();
        }
        Ok((draft, edited))
    }

    fn run_editor(&self) -> anyhow::Result<()> {
        let editor = editor();
        // The variable may hold arguments, as in `code --wait`; a shell reads it, as git and others let it.
        let mut line = editor.clone();
        line.push(" \"$@\"");
        let status = Command::new("sh").arg("-c").arg(line).arg("editor").arg(&self.path).status();
        let status = status.with_context(|| format!("cannot start the editor {}", editor.display()))?;
        if status.success() {
            return Ok(());
        }
        let message = format!("the editor {} ended with {status}; the text is in {}", editor.display(), self.path.display());
        Err(Failure::with(Exit::Failed, message))
    }

    /// Where it lies, for whoever could not save it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the file away once the text is saved.
    pub(crate) fn remove(self) {
        // A file that stays in the temporary folder harms nobody.
        std::fs::remove_file(&self.path).ok();
    }
}

fn editor() -> OsString {
    let chosen = ["VISUAL", "EDITOR"].into_iter().filter_map(std::env::var_os).find(|value| !value.is_empty());
    chosen.unwrap_or_else(|| "vi".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_named_with_the_place() {
        let error = read(&mut &b"caf\xe9"[..], "notes.md").unwrap_err().to_string();
        assert!(error.contains("notes.md") && error.contains("byte 3"), "{error}");
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let error = read(&mut io::repeat(b'x'), "endless").unwrap_err().to_string();
        assert!(error.contains("larger than"), "{error}");
    }
}
