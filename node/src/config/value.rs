//! A setting's value between its text and its meaning.

use std::fmt;
use std::ops::RangeInclusive;

/// A value of one of the few kinds that settings have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// On or off.
    Switch(bool),
    /// A whole number.
    Number(i64),
    /// A text.
    Text(String),
    /// Several texts.
    List(Vec<String>),
}

impl Value {
    /// Reads what an environment variable says, as a value of the same kind as `like`. A list's members are separated by commas.
    pub(super) fn from_environment(text: &str, like: &Self) -> Result<Self, String> {
        match like {
            Self::Switch(_) => match text {
                "true" | "1" | "yes" | "on" => Ok(Self::Switch(true)),
                "false" | "0" | "no" | "off" => Ok(Self::Switch(false)),
                other => Err(format!("`{other}` is neither true nor false")),
            },
            Self::Number(_) => text.trim().parse().map(Self::Number).map_err(|_| format!("`{text}` is not a whole number")),
            Self::Text(_) => Ok(Self::Text(text.to_owned())),
            Self::List(_) => {
                let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
                Ok(Self::List(members.map(str::to_owned).collect()))
            }
        }
    }

    /// What kind of value it is, for people.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Switch(_) => "true or false",
            Self::Number(_) => "a whole number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list of texts",
        }
    }

    fn not(&self, wanted: &Self) -> String {
        format!("{self} is {}, and this setting takes {}", self.kind(), wanted.kind())
    }

    /// As a switch.
    pub(super) fn switch(&self) -> Result<bool, String> {
        if let Self::Switch(value) = self { Ok(*value) } else { Err(self.not(&Self::Switch(true))) }
    }

    /// As a number within bounds.
    pub(super) fn number(&self, bounds: RangeInclusive<u32>) -> Result<u32, String> {
        let Self::Number(value) = self else { return Err(self.not(&Self::Number(0))) };
        let found = u32::try_from(*value).ok().filter(|value| bounds.contains(value));
        found.ok_or_else(|| format!("{value} is out of bounds: from {} to {} is allowed", bounds.start(), bounds.end()))
    }

    /// As a number within bounds, which may be negative.
    pub(super) fn signed(&self, bounds: RangeInclusive<i64>) -> Result<i64, String> {
        let Self::Number(value) = self else { return Err(self.not(&Self::Number(0))) };
        let found = Some(*value).filter(|value| bounds.contains(value));
        found.ok_or_else(|| format!("{value} is out of bounds: from {} to {} is allowed", bounds.start(), bounds.end()))
    }

    /// As a text.
    pub(super) fn text(&self) -> Result<&str, String> {
        if let Self::Text(value) = self { Ok(value) } else { Err(self.not(&Self::Text(String::new()))) }
    }

    /// As a text that is not empty, or nothing.
    pub(super) fn optional_text(&self) -> Result<Option<&str>, String> {
        self.text().map(|text| Some(text).filter(|text| !text.is_empty()))
    }

    /// As a list.
    pub(super) fn list(&self) -> Result<Vec<String>, String> {
        if let Self::List(value) = self { Ok(value.clone()) } else { Err(self.not(&Self::List(Vec::new()))) }
    }
}

/// As it would be written in the file.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(value) => value.fmt(formatter),
            Self::Number(value) => value.fmt(formatter),
            Self::Text(value) => toml::Value::from(value.as_str()).fmt(formatter),
            Self::List(values) => toml::Value::from(values.clone()).fmt(formatter),
        }
    }
}
