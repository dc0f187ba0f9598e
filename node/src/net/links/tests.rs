use super::*;

const LOW: DeviceId = DeviceId([1; 32]);
const HIGH: DeviceId = DeviceId([2; 32]);

fn link(device: DeviceId, dialled: bool) -> Link {
    Link { device, dialled, relayed: false, guest: false, carrier: false, address: Multiaddr::empty() }
}

fn closings(links: &mut Links<u64>) -> Vec<(u64, Closing)> {
    std::iter::from_fn(|| links.poll_closing()).collect()
}

/// Both ends of two connections, as each sees them.
fn both_ends(second_after_ms: u64, low_dialled_first: bool) -> [Vec<(u64, Closing)>; 2] {
    [(LOW, HIGH), (HIGH, LOW)].map(|(own, other)| {
        let mut links = Links::new(own);
        let low_dialled_it = own == LOW;
        links.opened(1_u64, link(other, low_dialled_first == low_dialled_it), 0);
        links.opened(2_u64, link(other, low_dialled_first != low_dialled_it), second_after_ms);
        closings(&mut links)
    })
}

#[test]
fn when_both_dialled_both_keep_the_connection_of_the_lower() {
    for low_dialled_first in [true, false] {
        let goes = if low_dialled_first { 2_u64 } else { 1_u64 };
        for closed in both_ends(100, low_dialled_first) {
            assert_eq!(closed, [(goes, Closing::Duplicate)], "low dialled first: {low_dialled_first}");
        }
    }
}

#[test]
fn a_connection_that_comes_later_shows_that_the_first_is_dead() {
    for low_dialled_first in [true, false] {
        for closed in both_ends(SIMULTANEOUS_MS, low_dialled_first) {
            assert_eq!(closed, [(1_u64, Closing::Superseded), (2_u64, Closing::Superseded)]);
        }
    }
}

#[test]
fn who_dials_again_has_lost_the_first_however_soon() {
    for dialled in [true, false] {
        let mut links = Links::new(LOW);
        links.opened(1_u64, link(HIGH, dialled), 0);
        links.opened(2_u64, link(HIGH, dialled), 100);
        assert_eq!(closings(&mut links), [(1_u64, Closing::Superseded), (2_u64, Closing::Superseded)]);
        links.closed(1_u64);
        links.closed(2_u64);
        assert!(links.opened(3_u64, link(HIGH, dialled), 200), "a first one, at which gossipsub tells its topics");
        assert!(!links.overlapped(&HIGH));
    }
}

#[test]
fn a_relayed_connection_goes_when_the_direct_one_is_stable() {
    let mut links = Links::new(LOW);
    assert!(links.opened(1_u64, Link { relayed: true, ..link(HIGH, true) }, 0));
    assert_eq!(links.next_timeout(), None);
    assert!(!links.opened(2_u64, link(HIGH, true), 20_000));
    assert_eq!(links.best(&HIGH), Some(2_u64));
    assert!(links.overlapped(&HIGH));
    assert_eq!(links.next_timeout(), Some(20_000 + STABLE_MS));
    links.handle_timeout(20_000 + STABLE_MS - 1);
    assert_eq!(closings(&mut links), []);
    links.handle_timeout(20_000 + STABLE_MS);
    assert_eq!(closings(&mut links), [(1_u64, Closing::Duplicate)]);
    assert_eq!(links.closed(1_u64), Some((HIGH, false)));
    assert_eq!(links.next_timeout(), None);
}

#[test]
fn a_direct_connection_that_fails_soon_leaves_the_relayed_one() {
    let mut links = Links::new(LOW);
    links.opened(1_u64, Link { relayed: true, ..link(HIGH, true) }, 0);
    links.opened(2_u64, link(HIGH, true), 1_000);
    links.closed(2_u64);
    assert!(!links.overlapped(&HIGH));
    links.handle_timeout(100_000);
    assert_eq!(closings(&mut links), []);
    assert_eq!(links.best(&HIGH), Some(1_u64));
}

#[test]
fn a_connection_that_answers_no_ping_is_closed_once() {
    let mut links = Links::new(LOW);
    links.opened(1_u64, link(HIGH, true), 0);
    for _ in 1..PING_FAILURES_MAX {
        links.ping_failed(1_u64, 0);
    }
    links.pinged(1_u64, 7);
    assert_eq!(links.measures(1_u64), Some((0, Some(7))));
    for _ in 1..PING_FAILURES_MAX {
        links.ping_failed(1_u64, 0);
    }
    assert_eq!(closings(&mut links), []);
    links.ping_failed(1_u64, 0);
    links.ping_failed(1_u64, 0);
    assert_eq!(closings(&mut links), [(1_u64, Closing::Unresponsive)]);
    assert_eq!(links.best(&HIGH), None, "what is being closed is not used");
    assert_eq!(links.closed(1_u64), Some((HIGH, true)));
}

#[test]
fn a_connection_that_does_not_close_in_time_counts_as_gone() {
    let mut links = Links::new(LOW);
    for id in [1_u64, 2_u64] {
        links.opened(id, Link { guest: true, ..link(HIGH, false) }, 0);
    }
    assert_eq!(closings(&mut links), [(1_u64, Closing::Superseded), (2_u64, Closing::Superseded)]);
    assert_eq!(links.next_timeout(), Some(CLOSE_MS_MAX));
    assert_eq!(links.overdue(CLOSE_MS_MAX - 1), None);
    assert_eq!(links.closed(1_u64), Some((HIGH, false)), "this one did");
    assert_eq!(links.overdue(CLOSE_MS_MAX), Some(2_u64));
    assert_eq!(links.closed(2_u64), Some((HIGH, true)));
    assert_eq!((links.overdue(CLOSE_MS_MAX), links.next_timeout()), (None, None));
}

#[test]
fn who_is_said_goodbye_to_counts_no_more_and_is_gone_in_time() {
    let mut links = Links::new(LOW);
    links.opened(1_u64, Link { relayed: true, ..link(HIGH, true) }, 0);
    links.opened(2_u64, link(HIGH, true), 1_000);
    links.opened(3_u64, link(DeviceId([3; 32]), true), 1_000);
    links.dismiss(&HIGH, 2_000);
    assert_eq!(links.best(&HIGH), None);
    assert_eq!(closings(&mut links), [], "whoever says goodbye closes them");
    links.dismiss(&HIGH, 4_000);
    assert_eq!(links.next_timeout(), Some(2_000 + CLOSE_MS_MAX), "saying it again wins no time");
    assert_eq!(links.closed(1_u64), Some((HIGH, false)), "this one did close");
    assert_eq!(links.overdue(2_000 + CLOSE_MS_MAX - 1), None);
    assert_eq!(links.overdue(2_000 + CLOSE_MS_MAX), Some(2_u64));
    assert_eq!(links.closed(2_u64), Some((HIGH, true)));
    assert_eq!((links.overdue(u64::MAX), links.best(&DeviceId([3; 32]))), (None, Some(3_u64)), "others stay");
}

#[test]
fn a_device_that_was_started_anew_behind_our_back_is_noticed() {
    let mut links = Links::new(LOW);
    assert!(!links.booted(&HIGH, 1), "it is not connected");
    links.opened(1_u64, Link { relayed: true, ..link(HIGH, true) }, 0);
    assert!(!links.booted(&HIGH, 2), "it tells one for the first time");
    links.opened(2_u64, link(HIGH, false), 60_000);
    assert!(!links.booted(&HIGH, 2), "it is the same as before");
    links.closed(1_u64);
    assert!(links.booted(&HIGH, 3), "what it told over the old one counts");
    assert!(!links.booted(&HIGH, 3), "once");
    links.closed(2_u64);
    links.opened(3_u64, Link { relayed: true, ..link(HIGH, true) }, 70_000);
    links.opened(4_u64, link(HIGH, false), 80_000);
    assert!(!links.booted(&HIGH, 4), "all of that was forgotten with its last connection");
}

#[test]
fn a_guest_has_its_time_and_no_more() {
    let mut links = Links::new(LOW);
    links.opened(1_u64, Link { guest: true, ..link(HIGH, false) }, 10);
    assert_eq!(links.next_timeout(), Some(10 + GUEST_MS_MAX));
    links.handle_timeout(10 + GUEST_MS_MAX);
    assert_eq!(closings(&mut links), [(1_u64, Closing::GuestTooSlow)]);
    links.handle_timeout(10 + 2 * GUEST_MS_MAX);
    assert_eq!(closings(&mut links), []);
}

#[test]
fn a_circuit_relay_may_connect_back() {
    let mut links = Links::new(LOW);
    links.opened(1_u64, Link { carrier: true, ..link(HIGH, true) }, 0);
    links.opened(2_u64, Link { carrier: true, ..link(HIGH, false) }, 60_000);
    assert_eq!(closings(&mut links), []);
}

#[test]
fn connections_that_are_not_known_change_nothing() {
    let mut links = Links::new(LOW);
    links.ping_failed(9_u64, 0);
    links.pinged(9_u64, 1);
    assert_eq!(links.closed(9_u64), None);
    assert!(links.is_empty());
}
