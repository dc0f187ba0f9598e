//! The name somebody probably meant.

/// How many letters may differ, a third of the name at most.
const DISTANCE_MAX: usize = 3;

/// The candidate that is nearest to `name`, if one is near enough to be what was meant.
pub(super) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near = |candidate: &&str| distance(name, candidate) <= DISTANCE_MAX.min(1 + candidate.len() / 3);
    candidates.into_iter().filter(near).min_by_key(|candidate| distance(name, candidate))
}

/// How many letters must be put in, taken away or replaced (Levenshtein). Names are short: the bound is the caller's file size.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (line, from) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_the_textbook_ones() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("port", "port"), 0);
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        assert_eq!(nearest("prot", ["address", "port"]), Some("port"));
        assert_eq!(nearest("colour", ["address", "port"]), None);
    }
}
