//! The parameters behind the `?` of a URL, read strictly: what is unknown, doubled or not a number is refused by name.
//!
//! The form is `application/x-www-form-urlencoded` of the WHATWG URL Standard, but for bytes that are no UTF-8 and broken `%`
//! sequences, which are refused instead of replaced: an id must not quietly become another one.

use std::str::FromStr;

use super::refusal::invalid;
use crate::model::ServiceError;

/// How long all parameters together may be; longer ones are refused.
const QUERY_BYTES_MAX: usize = 16 << 10;

/// The parameters of a request that were not asked for yet.
#[derive(Debug)]
pub(super) struct Parameters {
    left: Vec<(String, String)>,
    asked: Vec<&'static str>,
}

/// What a route takes behind the `?`.
pub(super) trait FromParameters: Sized {
    /// Takes what it knows; what is left over is refused by the caller.
    fn take(parameters: &mut Parameters) -> Result<Self, ServiceError>;
}

impl FromParameters for () {
    fn take(_: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(())
    }
}

impl Parameters {
    /// Reads a query string.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ServiceError> {
        let query = query.unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            return Err(invalid(format!("the parameters are longer than {QUERY_BYTES_MAX} bytes")));
        }
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            decode(name).and_then(|name| Ok((name, decode(value)?)))
        });
        Ok(Self { left: pairs.collect::<Result<_, _>>()?, asked: Vec::new() })
    }

    /// All values of a parameter that may be repeated.
    pub(super) fn texts(&mut self, name: &'static str) -> Vec<String> {
        self.asked.push(name);
        self.left.extract_if(.., |(given, _)| given == name).map(|(_, value)| value).collect()
    }

    /// The value of a parameter.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<String>, ServiceError> {
        let mut values = self.texts(name);
        if values.len() > 1 {
            return Err(invalid(format!("`{name}` is given {} times: give it once", values.len())));
        }
        Ok(values.pop())
    }

    /// The value of a parameter that is a whole number.
    pub(super) fn number<N: FromStr>(&mut self, name: &'static str) -> Result<Option<N>, ServiceError> {
        let read =
            |text: String| text.parse().map_err(|_| invalid(format!("`{name}` is a whole number that is not negative or too great")));
        self.text(name)?.map(read).transpose()
    }

    /// The value of a parameter that is `true` or `false`; absent means `false`.
    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, ServiceError> {
        match self.text(name)?.as_deref() {
            Some("true") => Ok(true),
            None | Some("false") => Ok(false),
            Some(_) => Err(invalid(format!("`{name}` is `true` or `false`"))),
        }
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), ServiceError> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(format!("there is no parameter `{}` here; there are: {}", shown(name), self.asked.join(", ")))),
        }
    }
}

/// The beginning of a name, so that a message does not repeat kilobytes.
fn shown(name: &str) -> String {
    name.chars().take(40).collect()
}

fn decode(text: &str) -> Result<String, ServiceError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => (digit(*high)? << 4 | digit(*low)?, tail),
            (b'%', _) => return Err(broken()),
            (b'+', tail) => (b' ', tail),
            (byte, tail) => (*byte, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| invalid("a parameter is not UTF-8: encode its UTF-8 bytes as %XX"))
}

fn digit(byte: u8) -> Result<u8, ServiceError> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).ok_or_else(broken)
}

fn broken() -> ServiceError {
    invalid("a `%` in the parameters is not followed by two hexadecimal digits: write a `%` itself as %25")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str) -> Parameters {
        Parameters::parse(Some(query)).unwrap()
    }

    #[test]
    fn values_are_decoded() {
        let mut parameters = parse("type=a+b&type=c%2Fd&limit=7&after=%F0%9F%8C%B3&deleted=true&");
        assert_eq!(parameters.texts("type"), ["a b", "c/d"]);
        assert_eq!(parameters.number("limit").unwrap(), Some(7_usize));
        assert_eq!(parameters.text("after").unwrap().as_deref(), Some("🌳"));
        assert!(parameters.flag("deleted").unwrap());
        assert!(!parameters.flag("hard").unwrap());
        parameters.finish().unwrap();
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let message = |error: ServiceError| error.0.message;
        assert!(message(parse("limit=1&limit=2").number::<usize>("limit").unwrap_err()).contains("`limit` is given 2 times"));
        for limit in ["-1", "1.5", "x", "", "99999999999999999999999"] {
            assert!(message(parse(&format!("limit={limit}")).number::<usize>("limit").unwrap_err()).contains("`limit`"));
        }
        assert!(message(parse("deleted=yes").flag("deleted").unwrap_err()).contains("`deleted`"));
        let mut parameters = parse("limt=1");
        assert_eq!(parameters.number::<usize>("limit").unwrap(), None);
        assert_eq!(message(parameters.finish().unwrap_err()), "there is no parameter `limt` here; there are: limit");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_not_replaced() {
        for query in ["after=%ff", "after=%", "after=%4", "after=%zz", "%c3=1", "a=%C3%28"] {
            assert!(Parameters::parse(Some(query)).is_err(), "{query}");
        }
        assert!(Parameters::parse(Some(&"a".repeat(QUERY_BYTES_MAX + 1))).is_err());
        Parameters::parse(None).unwrap().finish().unwrap();
    }
}
