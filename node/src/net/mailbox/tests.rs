use libp2p::gossipsub::MessageId;

use super::*;
use crate::net::handle::SYNC_PROTOCOL;

fn device(number: u8) -> DeviceId {
    DeviceId([number; 32])
}

fn message(number: u8, bytes: usize) -> GossipMessage {
    GossipMessage { topic: "topic".to_owned(), from: device(number), data: vec![number; bytes], id: MessageId::new(&[number]) }
}

/// All that waits, in a word each.
fn read(waiting: &mut Waiting<u32>) -> Vec<String> {
    let word = |event: NetEvent<u32>| match event {
        NetEvent::Connected { device, .. } => format!("+{}", device.0[0]),
        NetEvent::Disconnected(device) => format!("-{}", device.0[0]),
        NetEvent::Reachable(addresses) => format!("at {}", addresses.len()),
        NetEvent::Changed => "changed".to_owned(),
        NetEvent::Learned => "learned".to_owned(),
        NetEvent::Stream { device, stream, .. } => format!("stream {stream} of {}", device.0[0]),
        NetEvent::Gossip(message) => format!("gossip {}", message.data[0]),
        NetEvent::Restarted => "restarted".to_owned(),
    };
    std::iter::from_fn(|| waiting.pop()).map(word).collect()
}

fn connect(waiting: &mut Waiting<u32>, number: u8) {
    waiting.connected(device(number), Standing::Member);
}

#[test]
fn a_connection_that_nobody_was_told_of_was_never_there() {
    let mut waiting = Waiting::default();
    connect(&mut waiting, 1);
    connect(&mut waiting, 2);
    waiting.disconnected(&device(1));
    assert_eq!(read(&mut waiting), ["+2"]);
    waiting.disconnected(&device(1));
    assert!(read(&mut waiting).is_empty());
}

#[test]
fn a_connection_that_was_lost_and_made_anew_is_told_as_both() {
    let mut waiting = Waiting::default();
    connect(&mut waiting, 1);
    assert_eq!(read(&mut waiting), ["+1"]);
    for _ in 0..1_000 {
        waiting.disconnected(&device(1));
        connect(&mut waiting, 1);
    }
    assert_eq!(read(&mut waiting), ["-1", "+1"], "what came over the first one is over");
    // Made beside another that is being closed: told again, and lost once.
    connect(&mut waiting, 1);
    connect(&mut waiting, 1);
    assert_eq!(read(&mut waiting), ["+1"]);
    connect(&mut waiting, 1);
    waiting.disconnected(&device(1));
    assert_eq!(read(&mut waiting), ["-1"]);
}

#[test]
fn a_fault_takes_the_place_of_what_waited() {
    let mut waiting = Waiting::default();
    connect(&mut waiting, 1);
    assert_eq!(read(&mut waiting), ["+1"]);
    connect(&mut waiting, 2);
    assert!(waiting.stream(device(1), SYNC_PROTOCOL, 7));
    assert!(waiting.gossip(message(1, 10)).is_none());
    waiting.restarted();
    waiting.restarted();
    connect(&mut waiting, 1);
    connect(&mut waiting, 3);
    waiting.disconnected(&device(1));
    assert_eq!(read(&mut waiting), ["restarted", "+3"]);
    assert_eq!((waiting.gossip_bytes, waiting.told.len()), (0, 1));
}

/// Whatever happens, and however seldom it is read: the reader's picture is right when it has read all, and what waits is bounded.
#[test]
fn a_slow_reader_has_the_right_picture_in_the_end() {
    const DEVICES: u8 = 8;
    let (mut waiting, mut dice) = (Waiting::<u32>::default(), 1_u64);
    let (mut real, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut look = |waiting: &mut Waiting<u32>, times: u64| {
        for event in (0..times).map_while(|_| waiting.pop()) {
            match event {
                NetEvent::Connected { device, .. } => {
                    seen.insert(device);
                }
                NetEvent::Disconnected(device) => assert!(seen.remove(&device), "it was never told of"),
                NetEvent::Restarted => seen.clear(),
                _ => {}
            }
        }
        seen.clone()
    };
    for round in 0..20_000 {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let drawn = (dice >> 33) as u8;
        let chosen = device(drawn % DEVICES);
        match drawn / DEVICES {
            0..15 if real.insert(chosen) => waiting.connected(chosen, Standing::Member),
            15..30 if real.remove(&chosen) => waiting.disconnected(&chosen),
            30 => {
                real.clear();
                waiting.restarted();
            }
            31 => drop(look(&mut waiting, 3)),
            _ => {}
        }
        assert!(waiting.links.len() <= 2 * usize::from(DEVICES) + 1, "{:?}", waiting.links);
        if round % 1_000 == 0 {
            assert_eq!(look(&mut waiting, u64::MAX), real);
        }
    }
}

#[test]
fn of_addresses_the_latest_is_told_once() {
    let mut waiting = Waiting::<u32>::default();
    for number in 0..10 {
        waiting.reachable = Some(vec![Multiaddr::empty(); number]);
        (waiting.changed, waiting.learned) = (true, true);
    }
    assert_eq!(read(&mut waiting), ["at 9", "changed", "learned"]);
    assert!(read(&mut waiting).is_empty());
}

#[test]
fn streams_of_one_device_take_no_place_of_another() {
    let mut waiting = Waiting::default();
    for number in 0..STREAMS_OF_ONE_MAX {
        assert!(waiting.stream(device(1), SYNC_PROTOCOL, u32::try_from(number).unwrap()));
    }
    assert!(!waiting.stream(device(1), SYNC_PROTOCOL, 999));
    assert!(waiting.stream(device(2), SYNC_PROTOCOL, 1_000));
    assert!(waiting.stream(device(2), SYNC_PROTOCOL, 1_001));
    let first: Vec<String> = read(&mut waiting).into_iter().take(5).collect();
    assert_eq!(first, ["stream 0 of 1", "stream 1000 of 2", "stream 1 of 1", "stream 1001 of 2", "stream 2 of 1"]);
    assert!(waiting.streams.is_empty());
    assert!(waiting.stream(device(1), SYNC_PROTOCOL, 0), "there is room again");
}

#[test]
fn streams_go_with_the_connection() {
    let mut waiting = Waiting::default();
    connect(&mut waiting, 1);
    assert_eq!(read(&mut waiting), ["+1"]);
    assert!(waiting.stream(device(1), SYNC_PROTOCOL, 7));
    waiting.disconnected(&device(1));
    connect(&mut waiting, 1);
    assert!(waiting.stream(device(1), SYNC_PROTOCOL, 8));
    assert_eq!(read(&mut waiting), ["-1", "+1", "stream 8 of 1"]);
}

#[test]
fn gossip_that_finds_no_room_comes_back() {
    let mut waiting = Waiting::<u32>::default();
    for _ in 0..GOSSIP_WAITING_MAX {
        assert!(waiting.gossip(message(1, 10)).is_none());
    }
    assert_eq!(waiting.gossip(message(2, 10)).map(|message| message.from), Some(device(2)));
    assert_eq!(read(&mut waiting).len(), GOSSIP_WAITING_MAX);
    assert_eq!(waiting.gossip_bytes, 0);
    assert!(waiting.gossip(message(1, GOSSIP_WAITING_BYTES_MAX)).is_none());
    assert!(waiting.gossip(message(2, 1)).is_some(), "they are large");
    assert_eq!(read(&mut waiting), ["gossip 1"]);
    assert!(waiting.gossip(message(3, 1)).is_none());
}

#[tokio::test]
async fn whoever_reads_is_woken_and_told_of_the_end() {
    let (outbox, mut events) = mailbox();
    let reading = tokio::spawn(async move {
        let mut count = 0;
        while events.next().await.is_some() {
            count += 1;
        }
        count
    });
    for number in 0..100 {
        outbox.connected(device(number), Standing::Guest);
        tokio::task::yield_now().await;
    }
    drop(outbox);
    assert_eq!(reading.await.unwrap(), 100, "what was said before the end is told");
}

#[test]
fn what_nobody_reads_is_not_kept() {
    let (outbox, events) = mailbox();
    drop(events);
    outbox.connected(device(1), Standing::Member);
    assert!(outbox.gossip(message(1, 10)).is_none(), "nobody misses it");
    assert!(outbox.shared.upgrade().is_none());
}
