//! Answers of a relay.

use super::*;
use crate::view::encoding::PACKET_LIMITS;

#[test]
fn an_answer_comes_back_equal() {
    let (mut first, mut second) = two_devices();
    write_everything(&mut first);
    give(&mut first, &mut second);
    first.set_text(at(50), &id("b"), "left").unwrap();
    second.set_text(at(51), &id("b"), "right").unwrap();
    give(&mut second, &mut first);
    let packet = packet_of(&first);
    let conflicts = first.conflicts().unwrap();
    assert!(!conflicts.is_empty());
    let full = SyncResponse {
        applied_operations: packet.operations.iter().map(|view| view.id).collect(),
        conflicts: conflicts.iter().map(|found| conflict_context(&first, found, None).unwrap()).collect(),
        new_operations: packet.operations,
        segments: packet.segments,
        checkpoint: Some(Checkpoint {
            workspace_id: first.workspace(),
            epoch: u64::MAX,
            version: u64::MAX,
            running_hash: vec![1; 32],
            signature: vec![2; 64],
        }),
        more: true,
        pushed: vec![PushedRun { before_segment: 0, operations: 3, last: first.membership().heads()[0] }],
        left_out: vec![LeftOut { segment: 1, code: "missing_previous".into(), message: "x".into(), waits: true }],
        ..SyncResponse::nothing_new(Cursor { epoch: u64::MAX, version: u64::MAX })
    };
    for response in [SyncResponse::nothing_new(Cursor::default()), full] {
        let (read, _) = SyncResponse::from_bytes(&response.to_bytes(Encoding::Cbor).unwrap(), PACKET_LIMITS).unwrap();
        assert_eq!(read, response);
        let (read, framing) = SyncResponse::from_bytes(&response.to_bytes(Encoding::Json).unwrap(), PACKET_LIMITS).unwrap();
        assert_eq!(framing.encoding, Encoding::Json);
        let verified = read.verify_consistency(&first.workspace(), &|_: &_| None).unwrap();
        assert_eq!(verified.iter().map(|segment| segment.ops.len()).sum::<usize>(), response.new_operations.len());
        let mut lying = read.clone();
        if let Some(last) = lying.new_operations.last_mut() {
            last.version += 1;
            assert_eq!(lying.verify_consistency(&first.workspace(), &|_: &_| None).unwrap_err().code(), "lying_view");
        }
        assert_eq!((read.cursor(), read.segments, read.checkpoint), (response.cursor(), response.segments, response.checkpoint));
    }
}
