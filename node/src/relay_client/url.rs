//! A relay's URL, in one form, so that it can be compared and kept by.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest URL that is taken; tickets carry it.
pub(crate) const URL_BYTES_MAX: usize = 256;

/// Where a relay is: `https://host[:port][/path]`, or `http` where nobody else can listen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelayUrl(String);

/// Why a text is no relay's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelayUrlError {
    /// It is none at all, or of another scheme.
    #[error("`{0}` is no relay's URL; write it like https://relay.example.org")]
    NotOne(String),
    /// It says more than where.
    #[error("a relay's URL has no {0}: write it like https://relay.example.org")]
    Part(&'static str),
    /// It is too long.
    #[error("a relay's URL has at most {URL_BYTES_MAX} bytes")]
    TooLong,
}

impl RelayUrl {
    /// Reads a URL. A `/` at the end makes no difference.
    ///
    /// # Errors
    /// When it is none, or says more than where.
    pub fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let text = text.trim();
        if text.len() > URL_BYTES_MAX {
            return Err(RelayUrlError::TooLong);
        }
        let parsed: reqwest::Url = text.parse().map_err(|_| RelayUrlError::NotOne(text.to_owned()))?;
        if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
            return Err(RelayUrlError::NotOne(text.to_owned()));
        }
        let parts = [
            (!parsed.username().is_empty() || parsed.password().is_some(), "user or password"),
            (parsed.query().is_some(), "query"),
            (parsed.fragment().is_some(), "fragment"),
        ];
        match parts.into_iter().find(|(present, _)| *present) {
            Some((_, part)) => Err(RelayUrlError::Part(part)),
            None => Ok(Self(parsed.as_str().trim_end_matches('/').to_owned())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether others on the way can read what is said.
    pub fn is_plain(&self) -> bool {
        self.0.starts_with("http://")
    }

    /// A path of it. Parts are encoded, a `/` within one included.
    pub(crate) fn join(&self, path: &[&str]) -> reqwest::Url {
        let mut url: reqwest::Url = self.0.parse().expect("it was parsed when it was made");
        url.path_segments_mut().expect("http and https have paths").pop_if_empty().extend(path);
        url
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for RelayUrl {
    type Error = RelayUrlError;

    fn try_from(text: String) -> Result<Self, RelayUrlError> {
        Self::parse(&text)
    }
}

impl From<RelayUrl> for String {
    fn from(url: RelayUrl) -> Self {
        url.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_places_have_equal_urls() {
        let url = RelayUrl::parse(" https://Relay.Example.org:443/ ").unwrap();
        assert_eq!(url.as_str(), "https://relay.example.org");
        assert_eq!(RelayUrl::parse("https://relay.example.org").unwrap(), url);
        assert!(!url.is_plain() && RelayUrl::parse("http://127.0.0.1:8470").unwrap().is_plain());
    }

    #[test]
    fn a_path_is_kept_and_parts_are_encoded() {
        let url = RelayUrl::parse("https://example.org/relay/").unwrap();
        assert_eq!(url.join(&["v1", "nodes", "a/b"]).as_str(), "https://example.org/relay/v1/nodes/a%2Fb");
        assert_eq!(RelayUrl::parse("http://[::1]:1").unwrap().join(&["v1"]).as_str(), "http://[::1]:1/v1");
    }

    #[test]
    fn what_is_no_place_is_refused_with_words() {
        for text in ["", "relay.example.org", "ftp://example.org", "https://", "/ip4/127.0.0.1/tcp/1"] {
            assert!(RelayUrl::parse(text).unwrap_err().to_string().contains("https://relay.example.org"), "{text}");
        }
        assert_eq!(RelayUrl::parse("https://me@example.org"), Err(RelayUrlError::Part("user or password")));
        assert_eq!(RelayUrl::parse("https://example.org/?a=b"), Err(RelayUrlError::Part("query")));
        assert_eq!(RelayUrl::parse("https://example.org/#a"), Err(RelayUrlError::Part("fragment")));
        assert_eq!(RelayUrl::parse(&format!("https://example.org/{}", "a".repeat(300))), Err(RelayUrlError::TooLong));
    }
}
