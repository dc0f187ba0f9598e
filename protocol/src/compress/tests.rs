//! Properties of compression:
//!
//! 1. Round trip, for every type.
//! 2. No panic on any bytes; what decodes never exceeds the limits.
//! 3. Truncation anywhere is an error, and so are trailing bytes and a second frame.
//! 4. A bomb is stopped at its bound, having cost about that much memory.
//! 5. The limits are exact: one byte less is refused, for every type.

use proptest::prelude::*;

use super::*;

const ALL: [CompressionType; 3] = [CompressionType::None, CompressionType::Gzip, CompressionType::Zstd];
const PACKED: [CompressionType; 2] = [CompressionType::Gzip, CompressionType::Zstd];
const WIDE: Limits = Limits { encoded_max: 16 << 20, decoded_max: 16 << 20, ratio_max: 100_000 };

fn packed(bytes: &[u8], compression: CompressionType) -> Vec<u8> {
    compress(bytes, compression).unwrap()
}

fn repetitive() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<u8>(), 0..40), 0usize..5_000).prop_map(|(part, times)| part.repeat(times))
}

proptest! {
    #[test]
    fn bytes_round_trip(bytes in prop_oneof![repetitive(), prop::collection::vec(any::<u8>(), 0..3_000)]) {
        for compression in ALL {
            prop_assert_eq!(decompress(&packed(&bytes, compression), compression, WIDE).unwrap(), &bytes[..]);
        }
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..200), zstd in any::<bool>()) {
        let limits = Limits { encoded_max: 150, decoded_max: 1_000, ratio_max: 10 };
        let mut framed = if zstd { ZSTD_MAGIC.to_vec() } else { vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255] };
        framed.extend_from_slice(&bytes);
        for compression in ALL {
            for bytes in [&bytes, &framed] {
                if let Ok(decoded) = decompress(bytes, compression, limits) {
                    prop_assert!(decoded.len() <= limits.decoded_max && bytes.len() <= limits.encoded_max);
                }
            }
        }
    }

    #[test]
    fn a_cut_or_damaged_frame_is_never_more_than_an_error(bytes in repetitive(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        for compression in PACKED {
            let mut frame = packed(&bytes, compression);
            let cut = at.index(frame.len());
            prop_assert!(matches!(decompress(&frame[..cut], compression, WIDE), Err(DecompressError::Truncated)), "cut at {}", cut);
            frame[cut] ^= 1_u8 << bit;
            if let Ok(decoded) = decompress(&frame, compression, WIDE) {
                prop_assert!(decoded.len() <= WIDE.decoded_max);
            }
        }
    }

    #[test]
    fn limits_are_exact(bytes in prop::collection::vec(any::<u8>(), 70_000..70_100)) {
        for compression in ALL {
            let frame = packed(&bytes, compression);
            let fits = Limits { encoded_max: frame.len(), decoded_max: bytes.len(), ratio_max: 2 };
            prop_assert!(decompress(&frame, compression, fits).is_ok());
            let encoded = Limits { encoded_max: frame.len() - 1, ..fits };
            let refused = decompress(&frame, compression, encoded);
            prop_assert!(matches!(refused, Err(DecompressError::EncodedTooLarge { .. })), "{:?}", refused);
            let decoded = Limits { decoded_max: bytes.len() - 1, ..fits };
            let refused = decompress(&frame, compression, decoded);
            prop_assert!(matches!(refused, Err(DecompressError::DecodedTooLarge { .. })), "{:?}", refused);
        }
    }
}

#[test]
fn a_frame_must_be_alone() {
    for compression in PACKED {
        let frame = packed(b"one", compression);
        let twice = [frame.clone(), frame.clone()].concat();
        let refused = decompress(&twice, compression, WIDE);
        assert!(matches!(refused, Err(DecompressError::TrailingBytes(count)) if count == frame.len()), "{refused:?}");
        let refused = decompress(&[&frame[..], b"\0"].concat(), compression, WIDE);
        assert!(matches!(refused, Err(DecompressError::TrailingBytes(1))), "{refused:?}");
    }
}

#[test]
fn an_empty_input_is_no_frame() {
    for compression in PACKED {
        assert!(matches!(decompress(b"", compression, WIDE), Err(DecompressError::Truncated)));
    }
    assert_eq!(decompress(b"", CompressionType::None, WIDE).unwrap(), b"");
}

#[test]
fn garbage_is_named() {
    for compression in PACKED {
        let refused = decompress(b"garbage, certainly", compression, WIDE);
        assert!(matches!(refused, Err(DecompressError::Invalid { compression: of, .. }) if of == compression), "{refused:?}");
    }
    // A skippable frame of four bytes, which holds nothing.
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4];
    assert!(matches!(decompress(&skippable, CompressionType::Zstd, WIDE), Err(DecompressError::Invalid { .. })));
}

/// A gibibyte of zeros in a frame, made without holding it.
fn bomb(compression: CompressionType) -> Vec<u8> {
    let mut zeros = io::repeat(0).take(1 << 30);
    if compression == CompressionType::Gzip {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        io::copy(&mut zeros, &mut encoder).unwrap();
        return encoder.finish().unwrap();
    }
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).unwrap();
    io::copy(&mut zeros, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_bomb_is_stopped_at_its_bound() {
    for compression in PACKED {
        let bomb = bomb(compression);
        assert!(bomb.len() < 8 << 20, "{} bytes", bomb.len());
        let max = 4 << 20;
        let refused = decompress(&bomb, compression, Limits { decoded_max: max, ..WIDE });
        assert!(matches!(refused, Err(DecompressError::DecodedTooLarge { max: at, .. }) if at == max), "{refused:?}");
        let refused = decompress(&bomb, compression, Limits { ratio_max: 10, decoded_max: 1 << 40, ..WIDE });
        let by_ratio = 10 * bomb.len();
        assert!(matches!(refused, Err(DecompressError::DecodedTooLarge { max: at, .. }) if at == by_ratio), "{refused:?}");
    }
}

#[test]
fn memory_stays_within_the_bound() {
    let mut decoded = Decoded { bytes: Vec::new(), encoded: 0, max: 100_000 };
    let mut refused = 0;
    for _ in 0..20 {
        refused += usize::from(decoded.push(&[0; 7_000]).is_err());
        assert!(decoded.bytes.capacity() <= 100_000, "{} bytes reserved", decoded.bytes.capacity());
    }
    assert_eq!(refused, 6, "fourteen chunks fit");
}

#[test]
fn a_frame_says_how_much_it_may_become() {
    let bytes = b"some text that repeats itself, ".repeat(4_000);
    let limits = Limits { encoded_max: 1 << 20, decoded_max: 1 << 20, ratio_max: 10_000 };
    let zstd = packed(&bytes, CompressionType::Zstd);
    let may_become = |bytes: &[u8], compression| limits.decoded_max_of_frame(bytes, compression);
    assert_eq!(may_become(&zstd, CompressionType::Zstd), bytes.len());
    assert_eq!(may_become(&bytes, CompressionType::None), bytes.len());
    // Not more than the limits allow, whatever it says; and that much when it says nothing.
    assert_eq!(Limits { decoded_max: 1_000, ..limits }.decoded_max_of_frame(&zstd, CompressionType::Zstd), 1_000);
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL).unwrap();
    encoder.write_all(&bytes).unwrap();
    for (silent, compression) in [
        (encoder.finish().unwrap(), CompressionType::Zstd),
        (packed(&bytes, CompressionType::Gzip), CompressionType::Gzip),
        (zstd[..5].to_vec(), CompressionType::Zstd),
    ] {
        assert_eq!(may_become(&silent, compression), limits.decoded_max_of(silent.len()), "{compression:?}");
    }
}

#[test]
fn a_declared_size_or_window_reserves_nothing() {
    // A frame header that declares 2^62 bytes in a single segment: its window would be as large.
    let mut frame = ZSTD_MAGIC.to_vec();
    frame.push(0b1110_0000);
    frame.extend_from_slice(&(1_u64 << 62).to_le_bytes());
    frame.extend_from_slice(&[0; 64]);
    let refused = decompress(&frame, CompressionType::Zstd, WIDE);
    assert!(matches!(refused, Err(DecompressError::Invalid { .. })), "{refused:?}");
    // A window of 16 MiB, twice what is allowed.
    let windowed = [&ZSTD_MAGIC[..], &[0, 14 << 3, 1, 0, 0]].concat();
    let refused = decompress(&windowed, CompressionType::Zstd, WIDE);
    assert!(matches!(refused, Err(DecompressError::Invalid { .. })), "{refused:?}");
    // The same empty frame with the largest window allowed.
    let windowed = [&ZSTD_MAGIC[..], &[0, 13 << 3, 1, 0, 0]].concat();
    assert_eq!(decompress(&windowed, CompressionType::Zstd, WIDE).unwrap(), b"");
}

#[test]
fn small_packets_may_shrink_a_lot() {
    let zeros = vec![0; RATIO_FREE_BYTES];
    let limits = Limits { ratio_max: 1, ..WIDE };
    for compression in PACKED {
        assert_eq!(decompress(&packed(&zeros, compression), compression, limits).unwrap(), zeros);
    }
}

#[test]
fn more_than_ten_operations_are_compressed() {
    assert_eq!(CompressionType::for_operations(0), CompressionType::None);
    assert_eq!(CompressionType::for_operations(10), CompressionType::None);
    assert_eq!(CompressionType::for_operations(11), CompressionType::Zstd);
}

#[test]
fn names_are_the_documents() {
    let names = serde_json::to_string(&ALL).unwrap();
    assert_eq!(names, r#"["None","Gzip","Zstd"]"#);
    assert_eq!(serde_json::from_str::<[CompressionType; 3]>(&names).unwrap(), ALL);
}
