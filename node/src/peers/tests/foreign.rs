//! A libp2p node of another implementation, js-libp2p: it connects, is identified, says a proper hello, and is turned away for it knows no
//! workspace's secret.
//!
//! `scripts/js-peer.sh` installs it into the folder `NODESPACE_JS`, or `.cache/nodespace/js` in the home folder. Where nobody named a
//! folder and it is not installed, the test says so and passes; `scripts/setup.sh test` has said so before. Whoever names a folder wants
//! it tested: then its absence is a failure.

#![expect(clippy::print_stderr, reason = "whoever reads the test's output has to know whether the other implementation was tested")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use futures::io::Cursor;
use nodespace_protocol::ids::{hex, unhex};
use nodespace_protocol::session::message::{FRAME_BYTES_MAX, VERSIONS};
use nodespace_protocol::session::{ByeCode, Message};

use super::company::{Somebody, agree, company};
use crate::net::frames::{read_frame, write_frame};

/// Dials its first argument, waits for identify, opens a sync stream, sends the bytes of its second, and tells as a line of JSON what it
/// saw and what was answered until it was disconnected.
const SCRIPT: &str = r"
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { identify } from '@libp2p/identify'
import { multiaddr } from '@multiformats/multiaddr'

// What js-libp2p takes from Node.js 22, for those that have 20.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new Promise((yes, no) => { resolve = yes; reject = no })
  return { promise, resolve, reject }
}
setTimeout(() => { console.error('it took too long'); process.exit(3) }, 45000)
const node = await createLibp2p({
  transports: [tcp()], connectionEncrypters: [noise()], streamMuxers: [yamux()], services: { identify: identify() },
})
const identified = new Promise(resolve => node.addEventListener('peer:identify', event => resolve(event.detail), { once: true }))
const connection = await node.dial(multiaddr(process.argv[2]))
const { agentVersion, protocolVersion, protocols } = await identified
const gone = new Promise(resolve => node.addEventListener('peer:disconnect', () => resolve(true), { once: true }))
const stream = await connection.newStream('/nodespace/sync/1')
const answers = []
stream.addEventListener('message', event => answers.push(Buffer.from(event.data.subarray())))
stream.send(Uint8Array.from(Buffer.from(process.argv[3], 'hex')))
await gone
const gossip = protocols.some(name => name.includes('meshsub'))
console.log(JSON.stringify({ agentVersion, protocolVersion, gossip, answer: Buffer.concat(answers).toString('hex') }))
await node.stop()
process.exit(0)
";

/// Where js-libp2p is, if it is installed and there is a program to run it.
fn folder() -> Option<PathBuf> {
    let chosen = std::env::var_os("NODESPACE_JS").map(PathBuf::from);
    let named = chosen.is_some();
    let folder = chosen.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/nodespace/js")))?;
    let runs = || Command::new("node").arg("--version").stdin(Stdio::null()).output().is_ok_and(|output| output.status.success());
    let found = folder.join("node_modules/libp2p/package.json").is_file() && runs();
    assert!(found || !named, "NODESPACE_JS is {}, and there is no js-libp2p, or no Node.js to run it", folder.display());
    found.then_some(folder)
}

/// A hello as devices say it, with its length before it; but of somebody who knows no workspace's secret.
async fn hello() -> Vec<u8> {
    let (mut salt, mut tag) = ([0; 16], [0; 16]);
    getrandom::fill(&mut salt).unwrap();
    getrandom::fill(&mut tag).unwrap();
    let hello = Message::Hello { versions: VERSIONS, attachments: true, boot_nonce: 1, salt, tag };
    let mut framed = Vec::new();
    write_frame(&mut framed, &hello.encode()).await.unwrap();
    framed
}

/// What a script was told, as messages.
async fn messages(framed: Vec<u8>) -> Vec<Message> {
    let end = framed.len() as u64;
    let mut answers = Cursor::new(framed);
    let mut messages = Vec::new();
    while answers.position() < end {
        messages.push(Message::decode(&read_frame(&mut answers, FRAME_BYTES_MAX).await.unwrap()).unwrap());
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_js_libp2p_node_is_identified_and_turned_away() {
    let Some(folder) = folder() else {
        eprintln!("js-libp2p is not installed (scripts/js-peer.sh): nothing was tested");
        return;
    };
    let all: Vec<Somebody> = company(1).await;
    // Packages are found from where the script lies.
    let script = tempfile::Builder::new().prefix("peer-").suffix(".mjs").tempfile_in(&folder).unwrap();
    std::fs::write(script.path(), SCRIPT).unwrap();
    let address = all[0].listening().await.to_string();
    let mut command = Command::new("node");
    command.arg(script.path()).arg(address).arg(hex(&hello().await)).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let seen: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
    assert_eq!(seen["protocolVersion"], "/nodespace/1");
    assert_eq!(seen["agentVersion"], format!("nodespace/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(seen["gossip"], false, "gossip is for members: a stranger is not even told that it is spoken");
    let answers = messages(unhex(seen["answer"].as_str().unwrap()).unwrap()).await;
    assert!(matches!(answers.as_slice(), [Message::Bye { code: ByeCode::Stranger, .. }]), "it is told, and told nothing else: {answers:?}");
    all[0].refused("stranger").await;
    assert!(!all[0].has_refused("malformed_hello").await, "what it said was in order");
    agree(&all).await;
}
