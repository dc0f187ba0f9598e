//! A libp2p node of another implementation, js-libp2p: it connects, is identified, and is turned away for it is no member.
//!
//! `scripts/js-peer.sh` installs it into the folder `NODESPACE_JS`, or `.cache/nodespace/js` in the home folder. Without it the test says so
//! and passes.

#![expect(clippy::print_stderr, reason = "whoever reads the test's output has to know whether the other implementation was tested")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::company::{Somebody, agree, company};

/// Connects, waits for identify, opens a sync stream, says something that is no hello, and tells what it saw as a line of JSON.
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
stream.send(new Uint8Array([0, 0, 0, 5, 104, 101, 108, 108, 111]))
await gone
console.log(JSON.stringify({ agentVersion, protocolVersion, gossip: protocols.some(name => name.includes('meshsub')) }))
await node.stop()
process.exit(0)
";

fn folder() -> Option<PathBuf> {
    let chosen = std::env::var_os("NODESPACE_JS").map(PathBuf::from);
    let folder = chosen.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/nodespace/js")))?;
    folder.join("node_modules/libp2p/package.json").is_file().then_some(folder)
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
    command.arg(script.path()).arg(address).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    let seen: serde_json::Value = serde_json::from_str(told.trim()).unwrap();
    assert_eq!(seen["protocolVersion"], "/nodespace/1");
    assert_eq!(seen["agentVersion"], format!("nodespace/{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(seen["gossip"], false, "gossip is for members: a stranger is not even told that it is spoken");
    all[0].refused("malformed_hello").await;
    agree(&all).await;
}
