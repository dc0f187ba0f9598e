//! How text looks: colours on a terminal only, and nothing that could drive the terminal.

use std::borrow::Cow;

/// How wide a line is taken to be when nobody says.
pub(crate) const WIDTH_DEFAULT: usize = 100;

/// How many characters of a node's text are shown on a line.
pub(crate) const PREVIEW_CHARACTERS_MAX: usize = 72;

/// How many characters a shortened id has at least.
const SHORT_ID_LENGTH: usize = 8;

/// A way to stress a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Less important.
    Dim,
    /// Well.
    Green,
    /// To be looked at.
    Yellow,
    /// Wrong.
    Red,
}

/// How text looks here.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    /// Whether a person looks at it.
    pub(crate) is_terminal: bool,
    /// Whether it may be coloured (<https://no-color.org>).
    pub(crate) colours: bool,
}

impl Style {
    pub(crate) fn new(is_terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self { is_terminal, colours: is_terminal && !refused && !dumb }
    }

    /// A text in a tone.
    pub(crate) fn paint<'a>(&self, tone: Tone, text: &'a str) -> Cow<'a, str> {
        let code = match tone {
            Tone::Plain => return Cow::Borrowed(text),
            Tone::Bold => 1,
            Tone::Dim => 2,
            Tone::Green => 32,
            Tone::Yellow => 33,
            Tone::Red => 31,
        };
        if self.colours && !text.is_empty() { Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m")) } else { Cow::Borrowed(text) }
    }

    /// A whole text: on a terminal without the characters that could drive it, elsewhere exactly as it is.
    pub(crate) fn text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let drives = |character: char| character.is_control() && character != '\n' && character != '\t';
        if self.is_terminal && text.contains(drives) { Cow::Owned(text.replace(drives, "\u{fffd}")) } else { Cow::Borrowed(text) }
    }

    /// Ids as they are shown: on a terminal the beginning that tells each from the others shown, elsewhere whole.
    pub(crate) fn ids<'a>(&self, ids: impl IntoIterator<Item = &'a str>) -> Ids {
        let mut all: Vec<String> = if self.is_terminal { ids.into_iter().map(str::to_owned).collect() } else { Vec::new() };
        all.sort_unstable();
        all.dedup();
        Ids(all)
    }
}

/// Ids that are shown together.
#[derive(Clone, Debug)]
pub(crate) struct Ids(Vec<String>);

impl Ids {
    /// As much of an id as tells it from the others; an id that is not random to look at stays whole.
    pub(crate) fn short<'a>(&self, id: &'a str) -> &'a str {
        let is_random = id.len() >= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        let Ok(index) = self.0.binary_search_by(|known| known.as_str().cmp(id)) else { return id };
        if !is_random {
            return id;
        }
        let neighbours = [index.checked_sub(1).and_then(|before| self.0.get(before)), self.0.get(index + 1)];
        let shared = |other: &String| id.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
        let needed = neighbours.into_iter().flatten().map(|other| shared(other) + 1).max().unwrap_or(0);
        id.get(..needed.max(SHORT_ID_LENGTH)).unwrap_or(id)
    }
}

/// The first line of a text, cut where it gets long. Control characters could drive the terminal, so they are shown as spaces.
pub(crate) fn preview(text: &str, characters_max: usize) -> String {
    let line = text.lines().next().unwrap_or_default();
    let shown = line.chars().take(characters_max).map(|character| if character.is_control() { ' ' } else { character });
    let is_cut = line.chars().nth(characters_max).is_some() || text.contains('\n');
    shown.chain(is_cut.then_some('…')).collect()
}

/// A number with its thousands set apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the unit that fits it.
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let unit = (number.max(1).ilog2() / 10).min(4);
    let tenths = u128::from(number) * 10 / (1 << (10 * unit));
    let name = UNITS.get(unit as usize).copied().unwrap_or_default();
    if unit == 0 { format!("{number} B") } else { format!("{}.{} {name}", tenths / 10, tenths % 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_only_as_far_as_they_differ() {
        let style = Style { is_terminal: true, colours: false };
        let one = "0190f0aa-0000-7000-8000-000000000001";
        let two = "0190f0aa-0000-7000-8000-100000000002";
        let far = "7190f0aa-0000-7000-8000-100000000002";
        let ids = style.ids([one, two, far, "2025-08-30"]);
        assert_eq!(ids.short(one), "0190f0aa-0000-7000-8000-0");
        assert_eq!(ids.short(far), "7190f0aa");
        assert_eq!(ids.short("2025-08-30"), "2025-08-30");
        let piped = Style { is_terminal: false, colours: false }.ids([one, far]);
        assert_eq!(piped.short(far), far);
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([grouped(7), grouped(1_000), grouped(1_234_567)], ["7", "1,000", "1,234,567"]);
        assert_eq!([bytes(0), bytes(1023), bytes(1024), bytes(1_600_000)], ["0 B", "1023 B", "1.0 KiB", "1.5 MiB"]);
        assert!(bytes(u64::MAX).ends_with("TiB"));
    }

    #[test]
    fn nothing_drives_the_terminal() {
        let style = Style { is_terminal: true, colours: false };
        assert_eq!(style.text("a\x1b[2Jb\n\tc"), "a\u{fffd}[2Jb\n\tc");
        assert_eq!(preview("a\x07b\nsecond", 72), "a b…");
        assert_eq!(preview("abcdef", 3), "abc…");
    }

    #[test]
    fn colours_are_left_out_where_nobody_sees_them() {
        let paint = |colours| Style { is_terminal: true, colours }.paint(Tone::Red, "x").into_owned();
        assert_eq!([paint(false), paint(true)], ["x", "\x1b[31mx\x1b[0m"]);
    }
}
