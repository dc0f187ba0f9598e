//! Many devices at one place: the worst case of placing an insert among concurrent ones.

use super::super::{EventIndex, TextMerge, TextPatch};
use super::merged;

/// Keys in an order unrelated to arrival.
const fn scatter(number: u32) -> u32 {
    number.wrapping_mul(0x9e37_79b1)
}

#[test]
fn ten_thousand_inserts_at_one_place_lie_in_key_order() {
    const COUNT: u32 = 10_000;
    let mut merge = TextMerge::new(3);
    let mut expected: Vec<(u32, char)> = Vec::new();
    for number in 0..COUNT {
        let c = char::from_u32(0x4e00 + number).unwrap();
        merge.push(&[], scatter(number), &[TextPatch::new(0, 0, c.to_string())]).unwrap();
        expected.push((scatter(number), c));
    }
    expected.sort_unstable();
    let expected: String = expected.iter().map(|(_, c)| *c).chain("end".chars()).collect();
    assert!(merged(&mut merge, "end") == expected);
}

#[test]
fn words_of_a_crowd_do_not_interleave() {
    let mut merge = TextMerge::new(0);
    let mut last: Vec<Option<EventIndex>> = vec![None; 200];
    for letter in ["l", "o", "r", "e", "m", " "] {
        for (device, last) in (0_u32..).zip(&mut last) {
            let position = merge.event_count() / 200;
            let parents: Vec<EventIndex> = last.iter().copied().collect();
            *last = Some(merge.push(&parents, (scatter(device), position), &[TextPatch::new(position, 0, letter)]).unwrap());
        }
    }
    assert_eq!(merged(&mut merge, ""), "lorem ".repeat(200));
}
