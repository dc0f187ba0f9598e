//! What stands before the relay and has its key, as whoever runs a relay has: it can sign what it likes.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::op::Segment;
use nodespace_protocol::view::encoding::PACKET_LIMITS;
use nodespace_protocol::view::{Checkpoint, Cursor, Encoding, RunningHash, SyncPacket, SyncResponse};

use crate::stage::Relay;

/// Makes a lie of the relay's answer to a packet, signed with its key. Given is also the last word that the device was told.
pub(crate) type Lie = fn(&KeyPair, &Checkpoint, SyncResponse) -> SyncResponse;

/// Another log, as long as the one that was signed.
pub(crate) fn fork(key: &KeyPair, last: &Checkpoint, answer: SyncResponse) -> SyncResponse {
    let checkpoint = Checkpoint::sign(key, last.workspace_id, answer.cursor(), RunningHash([7; 32]));
    SyncResponse { checkpoint: Some(checkpoint), ..answer }
}

/// A shorter log than the one that was signed.
pub(crate) fn set_back(key: &KeyPair, last: &Checkpoint, answer: SyncResponse) -> SyncResponse {
    let at = Cursor { version: answer.latest_version - 1, ..answer.cursor() };
    let checkpoint = Checkpoint::sign(key, last.workspace_id, at, RunningHash([7; 32]));
    SyncResponse { checkpoint: Some(checkpoint), ..SyncResponse::nothing_new(at) }
}

/// The same operations in another order than all others are told, and signed in that order. By itself nothing is wrong with it.
pub(crate) fn retell(key: &KeyPair, last: &Checkpoint, mut answer: SyncResponse) -> SyncResponse {
    assert!(answer.pushed.is_empty(), "the victim has nothing of its own among them");
    answer.segments.reverse();
    tell_on(key, last, answer)
}

/// The first of what is new twice, as one does whose log must be long enough without something that was dropped.
pub(crate) fn repeat(key: &KeyPair, last: &Checkpoint, mut answer: SyncResponse) -> SyncResponse {
    let Some(first) = answer.segments.first().filter(|_| answer.pushed.is_empty()).cloned() else { return answer };
    answer.segments.insert(0, first);
    tell_on(key, last, answer)
}

/// An answer that goes on from the last word with its segments, and is signed so.
fn tell_on(key: &KeyPair, last: &Checkpoint, answer: SyncResponse) -> SyncResponse {
    let (mut running, mut at) = (RunningHash(last.running_hash.as_slice().try_into().unwrap()), last.cursor());
    for packed in &answer.segments {
        let segment = Segment::decode(&packed.bytes).unwrap();
        let ops = segment.verify(&last.workspace_id, packed.previous, &|_: &_| None).unwrap();
        running = running.after(ops.iter().map(|op| &op.hash));
        at.version += ops.len() as u64;
    }
    let checkpoint = Checkpoint::sign(key, last.workspace_id, at, running);
    SyncResponse { latest_version: at.version, checkpoint: Some(checkpoint), ..answer }
}

/// The log ends where it ended: what others wrote since is left out, and what the device brings is acknowledged and left out as well.
pub(crate) fn omit(_: &KeyPair, last: &Checkpoint, answer: SyncResponse) -> SyncResponse {
    let ended = SyncResponse::nothing_new(last.cursor());
    SyncResponse { checkpoint: Some(last.clone()), applied_operations: answer.applied_operations, ..ended }
}

/// Makes something else of the relay's answer to any other question. Given are the first line of the request and the body of the answer.
pub(crate) type Twist = fn(&str, Vec<u8>) -> Vec<u8>;

/// What is said, and was.
#[derive(Default)]
struct Told {
    lie: Option<Lie>,
    twist: Option<Twist>,
    /// Nothing is answered.
    is_away: bool,
    /// By device: the last word that it was given.
    last: BTreeMap<DeviceId, Checkpoint>,
}

/// The proxy. It goes on until the test's process ends.
pub(crate) struct Liar {
    pub(crate) url: String,
    told: Arc<Mutex<Told>>,
}

impl Liar {
    /// Opens one before a relay.
    pub(crate) fn before(relay: &Relay) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let told: Arc<Mutex<Told>> = Arc::default();
        let (to, key, shared) = (relay.address().to_owned(), relay.key(), Arc::clone(&told));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (to, key, told) = (to.clone(), key.clone(), Arc::clone(&shared));
                // What fails here is told to the device by the broken connection.
                std::thread::spawn(move || answer(stream, &to, &key, &told).ok());
            }
        });
        Self { url, told }
    }

    /// Lies from now on, or not any more.
    pub(crate) fn tell(&self, lie: Option<Lie>) {
        self.told.lock().unwrap().lie = lie;
    }

    /// Twists other answers from now on, or not any more.
    pub(crate) fn twist(&self, twist: Option<Twist>) {
        self.told.lock().unwrap().twist = twist;
    }

    /// Cannot be reached from now on, or again.
    pub(crate) fn be_away(&self, is_away: bool) {
        self.told.lock().unwrap().is_away = is_away;
    }
}

impl Told {
    /// What is said instead of an answer.
    fn consider(&mut self, key: &KeyPair, packet: &[u8], answer: &[u8]) -> Vec<u8> {
        let device = SyncPacket::from_bytes(packet, PACKET_LIMITS).unwrap().0.device_id;
        let mut answer = SyncResponse::from_bytes(answer, PACKET_LIMITS).unwrap().0;
        if let (Some(lie), Some(last)) = (self.lie, self.last.get(&device)) {
            answer = lie(key, last, answer);
        }
        self.last.extend(answer.checkpoint.clone().map(|word| (device, word)));
        answer.to_bytes(Encoding::Cbor).unwrap()
    }
}

/// Hands one request on, and its answer back; then the connection ends.
fn answer(mut stream: TcpStream, to: &str, key: &KeyPair, told: &Mutex<Told>) -> io::Result<()> {
    if told.lock().unwrap().is_away {
        return Ok(());
    }
    let (head, body) = request(&mut BufReader::new(stream.try_clone()?))?;
    let mut relay = TcpStream::connect(to)?;
    relay.write_all(head.as_bytes())?;
    relay.write_all(&body)?;
    let mut whole = Vec::new();
    relay.read_to_end(&mut whole)?;
    let end = whole.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = String::from_utf8_lossy(&whole[..end]).lines().next().unwrap_or_default().to_owned();
    let mut said = whole.split_off(end + 4);
    if status.contains(" 200 ") {
        let mut told = told.lock().unwrap();
        let twist = told.twist;
        said = match twist {
            _ if head.starts_with("POST /v1/sync") => told.consider(key, &body, &said),
            Some(twist) => twist(head.lines().next().unwrap_or_default(), said),
            None => said,
        };
    }
    write!(stream, "{status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", said.len())?;
    stream.write_all(&said)
}

/// A request's head, for a connection that ends after it, and its body.
fn request(from: &mut impl io::BufRead) -> io::Result<(String, Vec<u8>)> {
    let (mut head, mut length, mut line) = (String::new(), 0, String::new());
    while from.read_line(&mut line)? > 0 && line != "\r\n" {
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
        line.clear();
    }
    head.push_str("connection: close\r\n\r\n");
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((head, body))
}
