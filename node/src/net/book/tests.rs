use super::entry::{ADDRESSES_A_DIAL_MAX, BY_HAND_MAX};
use super::*;

fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

fn address(number: u16) -> Multiaddr {
    format!("/ip4/192.0.2.1/tcp/{number}").parse().unwrap()
}

fn book(wanted: &[u8]) -> PeerBook {
    let mut book = PeerBook::new(1, false);
    book.set_wanted(wanted.iter().map(|number| device(*number)).collect(), 0);
    book
}

/// Waits for the next dial, which fails. Answers where it went.
fn dial_in_vain(book: &mut PeerBook, now: &mut u64) -> Vec<Multiaddr> {
    *now = book.next_timeout().unwrap().max(*now);
    let dial = book.poll_dial(*now).unwrap();
    book.failed(&dial.device, *now);
    dial.addresses
}

#[test]
fn only_who_is_wanted_is_dialled() {
    let mut book = book(&[1]);
    assert!(book.learn(device(1), &address(1), Source::Multicast, false, 0));
    assert!(book.learn(device(2), &address(2), Source::Multicast, false, 0));
    let later = DIAL_RETRY_MS;
    assert_eq!(book.poll_dial(later), Some(Dial { device: device(1), addresses: vec![address(1)] }));
    assert_eq!(book.poll_dial(later), None);
    book.set_wanted([device(1), device(2)].into(), later);
    assert_eq!(book.poll_dial(later).map(|dial| dial.device), Some(device(2)), "what was learnt before is of use");
}

#[test]
fn what_is_set_by_hand_comes_first_then_what_worked() {
    let mut book = book(&[1]);
    for (port, source) in [(1, Source::Multicast), (2, Source::Identify), (3, Source::Explicit), (4, Source::Member)] {
        book.learn(device(1), &address(port), source, false, 0);
    }
    book.connected(device(1), Some(&address(4)), 0, 1_000);
    assert_eq!(book.addresses(&device(1)), [3, 4, 2, 1].map(address));
}

#[test]
fn failures_wait_longer_and_longer_and_a_success_ends_that() {
    let mut book = book(&[1]);
    book.learn(device(1), &address(1), Source::Explicit, false, 0);
    let mut now = 0;
    for factor in [1, 2, 2, 2, 2, 2, 2, 2, 2, 4, 8, 16, 16] {
        assert!(book.poll_dial(now).is_some());
        book.failed(&device(1), now);
        let wait = book.next_timeout().unwrap() - now;
        let least = DIAL_RETRY_MS * factor;
        assert!((least..=least + least / 4).contains(&wait), "{factor}: {wait}");
        assert_eq!(book.poll_dial(now + wait - 1), None);
        now += wait;
    }
    assert!(book.poll_dial(now).is_some());
    book.connected(device(1), Some(&address(1)), now, 5);
    assert_eq!(book.next_timeout(), None);
    now += 60_000;
    book.disconnected(&device(1), now);
    assert!(book.next_timeout().unwrap() - now <= DIAL_RETRY_MS, "after a connection it begins anew");
}

#[test]
fn a_peer_that_closes_every_connection_at_once_is_left_in_peace() {
    let mut book = book(&[1]);
    book.learn(device(1), &address(1), Source::Explicit, false, 0);
    let mut now = 0;
    for least in [DIAL_RETRY_MS / 8, DIAL_RETRY_MS, 2 * DIAL_RETRY_MS, 2 * DIAL_RETRY_MS] {
        assert!(book.poll_dial(now).is_some());
        book.connected(device(1), Some(&address(1)), now, 5);
        now += 10;
        book.disconnected(&device(1), now);
        let wait = book.next_timeout().unwrap() - now;
        assert!((least..=least + least / 4).contains(&wait), "{least}: {wait}");
        now += wait;
    }
    // Somebody asks: at once.
    book.request(&device(1), now);
    assert!(book.poll_dial(now).is_some());
}

#[test]
fn a_line_that_breaks_again_and_again_while_operations_go_over_it_is_made_again_at_once() {
    let mut book = book(&[1]);
    book.learn(device(1), &address(1), Source::Explicit, false, 0);
    let mut now = 0;
    for _ in 0..10 {
        assert!(book.poll_dial(now).is_some());
        book.connected(device(1), Some(&address(1)), now, 5);
        book.useful(&device(1));
        now += 400;
        book.disconnected(&device(1), now);
        let wait = book.next_timeout().unwrap() - now;
        assert!(wait <= DIAL_RETRY_MS / 4, "{wait}");
        now += wait;
    }
}

#[test]
fn nobody_has_us_dial_several_times_a_second_for_ever_by_taking_an_operation_each_time() {
    let mut book = book(&[1]);
    book.learn(device(1), &address(1), Source::Explicit, false, 0);
    let (mut now, mut dials) = (0, 0);
    while now < 100 * DIAL_RETRY_MS {
        assert!(book.poll_dial(now).is_some());
        dials += 1;
        book.connected(device(1), Some(&address(1)), now, 5);
        book.useful(&device(1));
        now += 10;
        book.disconnected(&device(1), now);
        now = book.next_timeout().unwrap();
    }
    assert!(dials < 80, "{dials}");
}

#[test]
fn a_changed_network_has_everybody_dialled_soon() {
    let mut book = book(&[1, 2]);
    for number in [1, 2] {
        book.learn(device(number), &address(number.into()), Source::Explicit, false, 0);
    }
    let mut now = 0;
    for _ in 0..5 {
        while book.poll_dial(now).is_some() {}
        book.failed(&device(1), now);
        book.failed(&device(2), now);
        now = book.next_timeout().unwrap().max(now + DIAL_RETRY_MS * 20);
    }
    while book.poll_dial(now).is_some() {}
    book.failed(&device(1), now);
    book.failed(&device(2), now);
    book.network_changed(now);
    assert!(book.poll_dial(now + CHANGE_SPREAD_MS).is_some());
    assert!(book.poll_dial(now + CHANGE_SPREAD_MS).is_some());
}

#[test]
fn dials_at_one_time_are_bounded() {
    let numbers: Vec<u8> = (0..u8::try_from(DIALS_AT_ONCE_MAX).unwrap() + 3).collect();
    let mut book = book(&numbers);
    for number in &numbers {
        book.learn(device(*number), &address(1), Source::Explicit, false, 0);
    }
    let mut dialled = Vec::new();
    while let Some(dial) = book.poll_dial(0) {
        dialled.push(dial.device);
    }
    assert_eq!(dialled.len(), DIALS_AT_ONCE_MAX);
    book.failed(&dialled[0], 0);
    assert!(book.poll_dial(0).is_some_and(|dial| !dialled.contains(&dial.device)));
}

#[test]
fn a_peer_cannot_fill_the_book() {
    let mut book = book(&[1]);
    book.learn(device(1), &address(9_000), Source::Explicit, false, 0);
    for port in 1..200 {
        book.learn(device(1), &address(port), Source::Identify, false, 0);
    }
    let addresses = book.addresses(&device(1));
    assert_eq!(addresses.len(), ADDRESSES_OF_ONE_MAX);
    assert_eq!(addresses[0], address(9_000));
    for number in 0..DEVICES_MAX + 10 {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&(number as u64).to_le_bytes());
        book.learn(DeviceId(key), &address(1), Source::Multicast, false, 0);
    }
    assert_eq!(book.entries.len(), DEVICES_MAX);
    assert!(book.entries.contains_key(&device(1)), "who is wanted is not forgotten for strangers");
}

#[test]
fn a_new_address_from_a_peer_cannot_make_us_dial_at_once() {
    let mut book = book(&[1]);
    book.learn(device(1), &address(1), Source::Explicit, false, 0);
    for _ in 0..4 {
        let now = book.next_timeout().unwrap();
        book.poll_dial(now);
        book.failed(&device(1), now);
    }
    let now = book.next_timeout().unwrap() - DIAL_RETRY_MS * 3 / 2;
    book.learn(device(1), &address(2), Source::Multicast, false, now);
    assert_eq!(book.next_timeout(), Some(now + DIAL_RETRY_MS));
}

#[test]
fn explicit_only_takes_nothing_from_elsewhere() {
    let mut book = PeerBook::new(1, true);
    book.set_wanted([device(1)].into(), 0);
    for source in [Source::LastGood, Source::Identify, Source::Member, Source::Multicast] {
        assert!(!book.learn(device(1), &address(1), source, true, 0), "{source:?}");
    }
    assert!(book.learn(device(1), &address(1), Source::Explicit, false, 0));
}

#[test]
fn what_worked_is_there_after_a_restart() {
    let mut before = book(&[1, 2]);
    before.learn(device(1), &address(1), Source::Identify, false, 0);
    before.learn(device(1), &address(2), Source::Identify, false, 0);
    before.learn(device(2), &address(3), Source::Identify, false, 0);
    before.connected(device(1), Some(&address(2)), 0, 77);
    let saved = before.saved();
    assert_eq!(saved.peers, [SavedPeer { device: device(1), addresses: vec![address(2)], last_success_ms: 77 }]);
    let json = serde_json::to_string(&saved).unwrap();
    let mut after = book(&[1, 2]);
    after.restore(&serde_json::from_str(&json).unwrap(), 0);
    assert_eq!(after.poll_dial(DIAL_RETRY_MS).map(|dial| dial.addresses), Some(vec![address(2)]));
}

#[test]
fn an_address_taken_back_is_not_dialled_again() {
    let mut book = book(&[1]);
    book.learn(device(1), &address(1), Source::Explicit, false, 0);
    assert!(book.forget(&device(1), &address(1)));
    assert!(!book.forget(&device(1), &address(1)));
    assert_eq!(book.poll_dial(10), None);
}

#[test]
fn a_peer_that_roams_is_found_at_its_newest_address() {
    let mut book = book(&[1]);
    book.learn(device(1), &address(9_000), Source::Identify, false, 0);
    book.connected(device(1), Some(&address(9_000)), 0, 5);
    let mut now = 60_000;
    book.disconnected(&device(1), now);
    for port in 1..=30 {
        now += 60_000;
        assert!(book.learn(device(1), &address(port), Source::Multicast, false, now), "{port}");
        assert!(dial_in_vain(&mut book, &mut now).contains(&address(port)), "{port}");
    }
    let known = book.addresses(&device(1));
    assert_eq!(known.len(), ADDRESSES_OF_ONE_MAX);
    assert_eq!(known[0], address(9_000), "what worked is not forgotten for it");
    book.connected(device(1), Some(&address(30)), now, 6);
    assert_eq!(book.addresses(&device(1))[..2], [30, 9_000].map(address));
}

#[test]
fn of_one_source_the_freshest_are_kept_and_come_first() {
    let mut book = book(&[1]);
    for port in 1..=30 {
        book.learn(device(1), &address(port), Source::Multicast, false, port.into());
    }
    assert!(!book.learn(device(1), &address(20), Source::Multicast, false, 40));
    let freshest = [20, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 19, 18, 17, 16, 15];
    assert_eq!(book.addresses(&device(1)), freshest.map(address));
}

#[test]
fn every_known_address_has_its_turn_within_a_few_dials() {
    let mut book = book(&[1]);
    let sources = [Source::Identify, Source::Member, Source::Multicast];
    for port in 1..=u16::try_from(ADDRESSES_OF_ONE_MAX).unwrap() {
        book.learn(device(1), &address(port), sources[usize::from(port) % sources.len()], false, 0);
    }
    let known = book.addresses(&device(1));
    let mut now = 0;
    let mut tried = BTreeSet::new();
    for _ in 0..4 {
        let dialled = dial_in_vain(&mut book, &mut now);
        assert_eq!(dialled.len(), ADDRESSES_A_DIAL_MAX);
        assert_eq!(dialled[0], known[0], "the best one always");
        tried.extend(dialled);
    }
    assert!(known.iter().all(|address| tried.contains(address)), "{tried:?}");
}

#[test]
fn addresses_that_worked_long_ago_make_room_too() {
    let mut book = book(&[1]);
    let many = u16::try_from(ADDRESSES_OF_ONE_MAX).unwrap();
    for port in 1..=many {
        book.learn(device(1), &address(port), Source::Identify, false, port.into());
        book.connected(device(1), Some(&address(port)), port.into(), port.into());
    }
    let mut now = 60_000;
    book.disconnected(&device(1), now);
    assert!(book.learn(device(1), &address(100), Source::Multicast, false, now));
    assert!(dial_in_vain(&mut book, &mut now).contains(&address(100)));
    let known = book.addresses(&device(1));
    assert_eq!(known[0], address(many));
    assert!(!known.contains(&address(1)), "the stalest");
}

#[test]
fn a_flood_from_one_source_neither_drives_out_nor_delays_what_another_said() {
    let mut book = book(&[1]);
    let said = [Source::Identify, Source::Identify, Source::Identify, Source::Member, Source::Member, Source::Member];
    for (port, source) in (1..).zip(said) {
        book.learn(device(1), &address(port), source, false, 0);
    }
    let mut now = 0;
    dial_in_vain(&mut book, &mut now);
    let mut tried = BTreeSet::new();
    for port in 100..400 {
        book.learn(device(1), &address(port), Source::Multicast, false, now);
        if port % 50 == 0 {
            tried.extend(dial_in_vain(&mut book, &mut now));
        }
    }
    let known = book.addresses(&device(1));
    for port in 1..=6 {
        assert!(known.contains(&address(port)) && tried.contains(&address(port)), "{port}");
    }
}

#[test]
fn what_was_set_by_hand_stays_and_leaves_room_for_what_is_heard() {
    let mut book = book(&[1]);
    let mut now = 0;
    for port in 1..=20 {
        assert!(book.learn(device(1), &address(port), Source::Explicit, false, now));
    }
    for port in 100..130 {
        now += 60_000;
        assert!(book.learn(device(1), &address(port), Source::Multicast, false, now), "{port}");
        assert!(dial_in_vain(&mut book, &mut now).contains(&address(port)), "{port}");
    }
    let known = book.addresses(&device(1));
    assert_eq!(known.len(), 21);
    assert!((1..=20).all(|port| known.contains(&address(port))));
    for port in 200..300 {
        book.learn(device(1), &address(port), Source::Explicit, false, now);
    }
    assert_eq!(book.addresses(&device(1)).len(), BY_HAND_MAX, "patience ends somewhere");
}

#[test]
fn who_says_something_new_again_and_again_does_not_keep_us_dialling() {
    let mut book = book(&[1]);
    book.learn(device(1), &address(1), Source::Explicit, false, 0);
    let mut dials = 0;
    for tenth in 0..6_000 {
        let now = u64::from(tenth) * 100;
        book.learn(device(1), &address(10 + tenth), Source::Multicast, false, now);
        if book.poll_dial(now).is_some() {
            dials += 1;
            book.failed(&device(1), now);
        }
    }
    assert!(dials < 60, "{dials} in ten minutes");
}
