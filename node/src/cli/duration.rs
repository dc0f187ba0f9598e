//! Durations as people write them: `45s`, `30m`, `12h`, `7d`, `2w`.

/// A duration in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u64);

/// Reads a whole number and its unit.
pub(crate) fn seconds(text: &str) -> Result<Seconds, String> {
    let wrong = || format!("`{text}` is no duration; write a whole number and s, m, h, d or w, such as 7d");
    let split = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        "w" => 7 * 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(Seconds).ok_or_else(|| format!("`{text}` is longer than can be counted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        let all = ["45s", "30m", "12h", "7d", "2w", "0s"].map(|text| seconds(text).unwrap().0);
        assert_eq!(all, [45, 1_800, 43_200, 604_800, 1_209_600, 0]);
        for bad in ["", "7", "d", "7 d", "-1d", "1.5h", "7days", "99999999999999999999d", "9999999999999999999w"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
