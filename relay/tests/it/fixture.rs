//! A packet as a device would send it.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::membership::Certificate;
use nodespace_protocol::replica::{Author, Founding, LogRange, NewNode, Replica};
use nodespace_protocol::store::MemoryStore;
use nodespace_protocol::view::{Cursor, Sender, SyncPacket};

/// A workspace with some nodes, all of it in one packet.
pub(crate) fn packet(nodes: usize) -> SyncPacket {
    let at = |ms: usize| Timestamp::from_ms(1_700_000_000_000 + ms as u64);
    let (user, key) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]));
    let founding = Founding { name: "fixture".into(), policy: Policy::default(), secret: [3; 32] };
    let certificate = Certificate::issue(&user, key.device());
    let author = Author { key, epoch: 4 };
    let log = author.log();
    let mut device = Replica::found(MemoryStore::new(), author, certificate, founding, at(0)).unwrap();
    for number in 0..nodes {
        let id = NodeId::parse(&format!("node-{number}")).unwrap();
        device.create(at(number), NewNode::text(id.clone(), None, format!("node number {number} of {nodes}"))).unwrap();
        device.set_text(at(number), &id, &format!("node number {number} of {nodes}, edited once")).unwrap();
    }
    device.commit().unwrap();
    let sender = Sender { workspace: device.workspace(), user: user.user(), device: log.device };
    let mut packet = SyncPacket::pull(sender, Cursor { epoch: 5, version: 6 }, at(nodes));
    let mut range = LogRange { log, branch: 0, after: 0, through: device.logs().get(&log).unwrap().last_seq() };
    while let Some(reached) = packet.push(&device, &range).unwrap() {
        range.after = reached;
    }
    packet
}
