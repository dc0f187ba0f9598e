//! The secret that a program must know to use the API: a file that only the user can read.
//!
//! Whoever can read the file is the user, and may do what the user may. A password would have to be typed, a socket's peer credentials
//! are not there on every platform; a file in the home folder is what a local program can read and a web page cannot.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq as _;

/// The file's name in the home folder.
pub const TOKEN_FILE: &str = "api-token";

/// How many random bytes a token has: nobody guesses 256 bits.
const TOKEN_BYTES: usize = 32;

/// What a token's file holds at most: its digits and an end of line.
const FILE_BYTES_MAX: u64 = 2 * TOKEN_BYTES as u64 + 2;

/// The secret, as hexadecimal digits. Neither `Debug` nor an error shows it.
#[derive(Clone)]
pub struct Token(String);

/// A token that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Others can read the file, so others may know the secret.
    #[error(
        "{} can be read by others (mode {mode:o}): run `chmod 600 {}`, or delete the file to get a new token", .path.display(), .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file holds something else.
    #[error("{} does not hold a token (64 hexadecimal digits): delete it, and a new one is made", .0.display())]
    Malformed(PathBuf),
    /// The file cannot be read or made.
    #[error("cannot use the token file {}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The system has no randomness to give.
    #[error("the system gave no random bytes for a token: {0}")]
    Random(getrandom::Error),
}

impl Token {
    /// Reads the token of a home folder, or makes one when there is none. Only for whoever holds the folder's lock.
    ///
    /// # Errors
    /// When others can read the file, it holds no token, or the folder cannot be written.
    pub fn open(home: &Path) -> Result<Self, TokenError> {
        match Self::read(home) {
            Err(TokenError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::make(home),
            other => other,
        }
    }

    /// Reads the token of a home folder.
    ///
    /// # Errors
    /// When there is none, others can read the file, or it holds no token.
    pub fn read(home: &Path) -> Result<Self, TokenError> {
        let path = home.join(TOKEN_FILE);
        let failed = |source| TokenError::Io { path: path.clone(), source };
        let file = File::open(&path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Exposed { path, mode });
        }
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
        let text = bytes.trim_ascii();
        if text.len() != 2 * TOKEN_BYTES || !text.iter().all(u8::is_ascii_hexdigit) {
            return Err(TokenError::Malformed(path));
        }
        Ok(Self(text.iter().copied().map(char::from).collect()))
    }

    /// A new secret that no file holds: for a process that serves itself.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, TokenError> {
        let mut bytes = [0; TOKEN_BYTES];
        getrandom::fill(&mut bytes).map_err(TokenError::Random)?;
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    fn make(home: &Path) -> Result<Self, TokenError> {
        let token = Self::random()?;
        write_private(home, TOKEN_FILE, &format!("{}\n", token.0))
            .map_err(|source| TokenError::Io { path: home.join(TOKEN_FILE), source })?;
        Ok(token)
    }

    /// The secret itself, for the header of a request.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Whether somebody knows the secret, in a time that does not tell how much of it.
    pub(super) fn is(&self, claim: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(claim).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Writes a small file that only the user can read, whole or not at all: under another name first, then renamed.
pub(super) fn write_private(home: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = home.join(format!("{name}.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, home.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_is_private() {
        let home = tempfile::tempdir().unwrap();
        let made = Token::open(home.path()).unwrap();
        assert_eq!(made.secret().len(), 64);
        assert_eq!(fs::metadata(home.path().join(TOKEN_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Token::open(home.path()).unwrap().secret(), made.secret());
        assert_eq!(Token::read(home.path()).unwrap().secret(), made.secret());
        assert_ne!(Token::random().unwrap().secret(), made.secret());
        assert!(!format!("{made:?}").contains(made.secret()));
    }

    #[test]
    fn a_token_others_can_read_is_refused_with_the_remedy() {
        let home = tempfile::tempdir().unwrap();
        Token::open(home.path()).unwrap();
        let path = home.path().join(TOKEN_FILE);
        for mode in [0o644, 0o640, 0o604, 0o660, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = Token::open(home.path()).unwrap_err();
            assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        Token::open(home.path()).unwrap();
    }

    #[test]
    fn a_file_that_holds_something_else_is_refused_and_kept() {
        let home = tempfile::tempdir().unwrap();
        for text in ["", "secret", &"g".repeat(64), &"a".repeat(63), &"a".repeat(1000)] {
            write_private(home.path(), TOKEN_FILE, text).unwrap();
            assert!(matches!(Token::open(home.path()), Err(TokenError::Malformed(_))), "{text}");
            assert_eq!(fs::read_to_string(home.path().join(TOKEN_FILE)).unwrap(), text);
        }
    }

    #[test]
    fn only_the_whole_secret_is_it() {
        let token = Token::random().unwrap();
        assert!(token.is(token.secret().as_bytes()));
        assert!(!token.is(&token.secret().as_bytes()[..63]));
        assert!(!token.is(format!("{}0", token.secret()).as_bytes()));
        assert!(!token.is(token.secret().to_uppercase().replace(|c: char| c.is_ascii_digit(), "x").as_bytes()));
        assert!(!token.is(b""));
    }
}
