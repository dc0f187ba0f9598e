//! Reports: of a sound packet in every form, of bombs, of lies, of garbage.

use nodespace_protocol::compress::{CompressionType, compress};
use nodespace_protocol::op::OpType;
use nodespace_protocol::view::Encoding;
use nodespace_relay::inspection::{Inspection, PacketReport};

use crate::fixture;

fn inspect(bytes: &[u8]) -> PacketReport {
    Inspection::default().inspect(bytes)
}

fn code(bytes: &[u8]) -> Option<&'static str> {
    inspect(bytes).refusal.map(|refusal| refusal.code)
}

#[test]
fn a_sound_packet_is_described_in_every_form() {
    let mut packet = fixture::packet(20);
    for (encoding, name) in [(Encoding::Json, "json"), (Encoding::Cbor, "cbor")] {
        for compression in [CompressionType::None, CompressionType::Gzip, CompressionType::Zstd] {
            packet.compression = compression;
            let bytes = packet.to_bytes(encoding).unwrap();
            let report = inspect(&bytes);
            assert_eq!(report.refusal, None);
            assert_eq!((report.encoding, report.compression, report.encoded_bytes), (Some(name), compression, bytes.len()));
            assert_eq!(report.ratio.unwrap() > 1.0, compression != CompressionType::None);
            let contents = report.contents.unwrap();
            assert_eq!(contents.operations, [(OpType::Create, 20), (OpType::Update, 20), (OpType::Workspace, 1)].into());
            assert_eq!((contents.views, contents.epoch, contents.last_known_version), (41, 5, 6));
            assert_eq!(contents.authors, [packet.device_id].into());
        }
    }
}

#[test]
fn a_lying_view_is_named_and_the_rest_still_described() {
    let mut packet = fixture::packet(3);
    packet.operations[2].version += 1;
    let report = inspect(&packet.to_bytes(Encoding::Json).unwrap());
    let refusal = report.refusal.unwrap();
    assert_eq!(refusal.code, "lying_view");
    assert!(refusal.message.contains("version"), "{}", refusal.message);
    assert_eq!(report.contents.unwrap().views, 7);
}

#[test]
fn a_tampered_segment_is_refused() {
    let mut packet = fixture::packet(3);
    let last = packet.segments.last_mut().unwrap().bytes.last_mut().unwrap();
    *last ^= 1;
    assert_eq!(code(&packet.to_bytes(Encoding::Cbor).unwrap()), Some("bad_signature"));
    packet.segments.last_mut().unwrap().bytes.truncate(30);
    assert_eq!(code(&packet.to_bytes(Encoding::Cbor).unwrap()), Some("malformed_segment"));
}

#[test]
fn bombs_are_refused_before_they_unfold() {
    for compression in [CompressionType::Gzip, CompressionType::Zstd] {
        let report = inspect(&compress(&vec![b'['; 40 << 20], compression).unwrap());
        assert_eq!(report.refusal.unwrap().code, "packet_too_large");
        assert_eq!(report.decoded_bytes, None);
    }
    let nested = [vec![0xa1, 0x61, b'x'], vec![0x81; 100_000], vec![0]].concat();
    assert_eq!(code(&nested), Some("malformed_cbor"));
    assert_eq!(code(format!("{{\"x\":{}", "[".repeat(100_000)).as_bytes()), Some("malformed_json"));
    assert_eq!(code(format!("{{\"x\":[{}0]}}", "0,".repeat(3 << 20)).as_bytes()), Some("too_many_values"));
    assert_eq!(code(&vec![b' '; 9 << 20]), Some("packet_too_large"));
}

#[test]
fn garbage_is_answered() {
    for (bytes, expected) in [
        (&b""[..], "unknown_encoding"),
        (b"hello", "unknown_encoding"),
        (b"{}", "malformed_json"),
        (b"{", "malformed_json"),
        (&[0xa0], "malformed_cbor"),
        (&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "malformed_cbor"),
        (&[0x1f, 0x8b, 8, 0], "malformed_compression"),
        (&[0x28, 0xb5, 0x2f, 0xfd, 0xff], "malformed_compression"),
    ] {
        assert_eq!(code(bytes), Some(expected), "{bytes:?}");
    }
}

#[test]
fn a_reason_quotes_little_and_nothing_that_drives_a_terminal() {
    let mut packet = serde_json::to_value(fixture::packet(1)).unwrap();
    packet["compression"] = format!("\u{1b}[2J{}", "x".repeat(1 << 20)).into();
    let refusal = inspect(packet.to_string().as_bytes()).refusal.unwrap();
    assert_eq!(refusal.code, "malformed_json");
    assert!(refusal.message.chars().count() <= 301 && !refusal.message.chars().any(char::is_control), "{}", refusal.message);
}

#[test]
fn what_is_said_of_the_form_overrides_what_the_bytes_tell() {
    let bytes = fixture::packet(1).to_bytes(Encoding::Cbor).unwrap();
    let as_json = Inspection { encoding: Some(Encoding::Json), ..Inspection::default() };
    assert_eq!(as_json.inspect(&bytes).refusal.unwrap().code, "malformed_json");
    let as_zstd = Inspection { compression: Some(CompressionType::Zstd), ..Inspection::default() };
    assert_eq!(as_zstd.inspect(&bytes).refusal.unwrap().code, "malformed_compression");
}
