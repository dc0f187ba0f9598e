//! Headers in their full form, as they are hashed and as they stand in fork proofs.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::{DeviceId, LogId, NodeId, OpHash, WorkspaceId};
use nodespace_protocol::op::{BlobRef, Header, OpType, ParentRef};

use super::{Case, check};
use crate::world::node;

const WORKSPACE: WorkspaceId = WorkspaceId([0xaa; 32]);

fn plain() -> Header {
    Header {
        log: LogId { device: DeviceId([0xdd; 32]), epoch: 0x0102_0304 },
        seq: 7,
        previous: Some(OpHash([0x11; 32])),
        node: Some(NodeId::Uuid(uuid::Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff))),
        kind: OpType::Update,
        timestamp: Timestamp(1_700_000_000_000 << 16 | 3),
        version: 300,
        parent_version: Some(299),
        parents: [ParentRef::Own(1)].into_iter().collect(),
        cut: None,
        payload: BlobRef { hash: [0x22; 32], len: 60, encryption: 0 },
        attachment: None,
    }
}

fn headers() -> Vec<(&'static str, Header)> {
    let other = |n| ParentRef::Other(OpHash([n; 32]));
    let blob = |len| BlobRef { hash: [0x33; 32], len, encryption: 0 };
    vec![
        ("an update after the operation before", plain()),
        (
            "a genesis, which names no workspace",
            Header {
                seq: 1,
                previous: None,
                node: None,
                kind: OpType::Workspace,
                version: 1,
                parent_version: None,
                parents: [].into_iter().collect(),
                ..plain()
            },
        ),
        ("a workspace operation", Header { node: None, kind: OpType::Workspace, parents: [other(1)].into_iter().collect(), ..plain() }),
        (
            "a creation under a new cut",
            Header {
                node: Some(node("2025-08-30")),
                kind: OpType::Create,
                parent_version: None,
                parents: [].into_iter().collect(),
                cut: Some([OpHash([1; 32]), OpHash([2; 32])].into()),
                ..plain()
            },
        ),
        (
            "sixteen parents, own ones first",
            Header { seq: 100, parents: [1, 23, 24, 99].map(ParentRef::Own).into_iter().chain((0..12).map(other)).collect(), ..plain() },
        ),
        ("a move", Header { kind: OpType::Move, ..plain() }),
        ("a delete", Header { kind: OpType::Delete, ..plain() }),
        ("a change of metadata", Header { kind: OpType::Metadata, ..plain() }),
        ("with an attachment", Header { attachment: Some(blob(388)), ..plain() }),
        ("with an encrypted payload", Header { payload: BlobRef { encryption: 1, ..blob(1 << 20) }, ..plain() }),
        (
            "the greatest numbers",
            Header {
                log: LogId { epoch: u32::MAX, ..plain().log },
                seq: u64::MAX,
                timestamp: Timestamp(u64::MAX),
                version: u64::MAX,
                parent_version: Some(u64::MAX - 1),
                parents: [ParentRef::Own(u64::MAX - 1)].into_iter().collect(),
                ..plain()
            },
        ),
    ]
}

#[test]
fn headers_keep_their_bytes_and_hashes() {
    let case = |(name, header): &(&str, Header)| {
        assert_eq!(header.check(), Ok(()), "{name}");
        let hash = header.hash(&WORKSPACE, &mut Vec::new());
        Case::new(*name, &header.encode(&WORKSPACE)).fact("hash", hash).fact("uuid", hash.uuid())
    };
    let about = "Operation headers; `hash` is the operation's, `uuid` its id in the documented view.";
    check("header", about, headers().iter().map(case).collect(), |case, bytes| {
        let (workspace, header) = Header::decode(bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let expected = if header.is_genesis() { WorkspaceId([0; 32]) } else { WORKSPACE };
        assert_eq!(workspace, expected, "{}", case.name);
        assert_eq!(header.hash(&workspace, &mut Vec::new()).to_string(), case.facts["hash"], "{}", case.name);
        header.encode(&workspace)
    });
}
