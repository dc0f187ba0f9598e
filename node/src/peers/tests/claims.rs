//! A member that may only read says that a device has lost operations of its own. Whoever believed it would write nothing any more.

use nodespace_protocol::crypto::{KeyPair, Purpose};
use nodespace_protocol::ids::LogId;
use nodespace_protocol::log::Log;
use nodespace_protocol::membership::{Role, Ticket};
use nodespace_protocol::replica::LogClaim;
use nodespace_protocol::session::Message;
use nodespace_protocol::store::Store as _;

use super::company::{Somebody, agree, company};
use super::hostile::hello;
use crate::engine::DeviceReplica;
use crate::net::SYNC_PROTOCOL;
use crate::net::frames::{read_frame, write_frame};

/// The largest answer to a lie: a hello, a summary or a goodbye.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

async fn invite_to_read(owner: &Somebody) -> Ticket {
    let key = KeyPair::from_seed(&[77; 32]);
    let mut ticket = owner
        .workspace()
        .write(None, move |replica, now| Ok(replica.invite(now, &key, Role::Viewer, now.plus_ms(3_600_000), 1)?))
        .await
        .unwrap();
    ticket.addresses = owner.device.ticket_addresses().addresses;
    ticket
}

/// The last operation of a device's log, moved to position 2^63 and signed by whoever says so.
fn claim(replica: &DeviceReplica, log: LogId, liar: &KeyPair) -> LogClaim {
    let entry = replica.logs().get(&log).unwrap();
    let op = replica.store().op(entry.only(entry.last_seq()).unwrap()).unwrap();
    let mut header = op.header.clone();
    (header.seq, header.previous) = (1 << 63, Some(op.hash));
    let workspace = replica.workspace();
    let hash = header.hash(&workspace, &mut Vec::new());
    LogClaim { workspace, signature: liar.sign(Purpose::Operation, &[&hash.0]), header }
}

/// Says hello and tells the lie, until it has been refused: the liar's honest half opens streams as well, and of two the newer one counts.
async fn tell(liar: &Somebody, victim: &Somebody, lie: &Message) {
    let telling = async {
        while !victim.has_refused("false_claim").await {
            let Ok(mut stream) = liar.peers.net().open(victim.id(), SYNC_PROTOCOL).await else {
                // It was disconnected, and connects anew.
                tokio::task::yield_now().await;
                continue;
            };
            for frame in [hello(liar, victim).await, lie.encode()] {
                // A stream that is gone says so when it is read.
                write_frame(&mut stream, &frame).await.ok();
            }
            while let Ok(frame) = read_frame(&mut stream, ANSWER_BYTES_MAX).await {
                if matches!(Message::decode(&frame), Ok(Message::Bye { .. })) {
                    break;
                }
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), telling).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_claims_what_it_cannot_prove_is_refused_and_stops_nobody_from_writing() {
    let mut all = company(1).await;
    let liar = Somebody::empty().await;
    liar.join(&invite_to_read(&all[0]).await).await.unwrap();
    all.push(liar);
    agree(&all).await;
    let log = all[0].workspace().read(|replica: &DeviceReplica| replica.own_log().unwrap()).await.unwrap();
    let key = all[2].device.key().clone();
    let lie = all[2].workspace().read(move |replica: &DeviceReplica| claim(replica, log, &key)).await.unwrap();
    let lie = Message::Claims(vec![lie]);
    tell(&all[2], &all[0], &lie).await;
    all[0].write("after", "written all the same").await;
    all[1].sees("after", "written all the same").await;
    let (behind, held) = all[0]
        .workspace()
        .read(move |replica: &DeviceReplica| (replica.is_own_log_behind(), replica.logs().get(&log).map_or(0, Log::last_seq)))
        .await
        .unwrap();
    assert!(!behind && held < 1 << 63);
}
