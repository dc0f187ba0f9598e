//! Properties of embeddings on the way:
//!
//! 1. Every component is within half a step of its original, and the cosine of both is above 0.999.
//! 2. Bytes round trip, and decoding takes nothing that encoding does not write.
//! 3. No panic on any floats or bytes; what is not finite is refused by index.
//! 4. The gate: whatever has no angle has a documented answer; everything else follows the cosine.
//! 5. The same vector has the same bytes (golden).

use proptest::prelude::*;

use super::*;

fn vector() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(-1.0f32..1.0, 1..600)
}

/// Components of any finite magnitude.
fn wild() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO, 0..40)
}

fn quantised(vector: &[f32]) -> QuantisedVector {
    QuantisedVector::quantise(vector).unwrap()
}

fn check_error_bound(vector: &[f32]) {
    let quantised = quantised(vector);
    let bound = if quantised.scale() == 0.0 { 1.5e-36 } else { f64::from(quantised.scale()) / 2.0 * 1.0001 };
    for (original, near) in vector.iter().zip(quantised.dequantise()) {
        let error = (f64::from(*original) - f64::from(near)).abs();
        assert!(error <= bound, "{original} became {near}, off by {error}, allowed {bound}");
    }
}

proptest! {
    #[test]
    fn components_stay_within_half_a_step(vector in prop_oneof![vector(), wild()]) {
        check_error_bound(&vector);
    }

    #[test]
    fn directions_stay(vector in prop::collection::vec(-1.0f32..1.0, 32..600)) {
        let near = quantised(&vector).dequantise();
        let cosine = cosine_similarity(&vector, &near).unwrap();
        prop_assert!(cosine > 0.999, "{}", cosine);
        prop_assert_eq!(VectorSyncOptimizer::default().should_sync_embedding(&vector, &near), Ok(false));
    }

    #[test]
    fn bytes_round_trip(vector in prop_oneof![vector(), wild()]) {
        let quantised = quantised(&vector);
        let bytes = quantised.to_bytes();
        prop_assert_eq!(bytes.len(), 4 + vector.len());
        prop_assert_eq!(QuantisedVector::from_bytes(&bytes).unwrap(), quantised);
    }

    #[test]
    fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
        if let Ok(quantised) = QuantisedVector::from_bytes(&bytes) {
            prop_assert_eq!(quantised.to_bytes(), bytes);
        }
    }

    #[test]
    fn any_floats_are_judged(
        old in prop::collection::vec(prop::num::f32::ANY, 0..12),
        new in prop::collection::vec(prop::num::f32::ANY, 0..12),
    ) {
        let first = new.iter().position(|value| !value.is_finite());
        let refusal = first.map(|index| VectorError::NotFinite { index });
        prop_assert_eq!(QuantisedVector::quantise(&new).err(), refusal);
        prop_assert_eq!(VectorSyncOptimizer::default().should_sync_embedding(&old, &new).err(), refusal);
        if let Some(cosine) = cosine_similarity(&old, &new) {
            prop_assert!((-1.0..=1.0).contains(&cosine));
        }
    }

    #[test]
    fn length_does_not_matter(vector in vector(), factor in 0.001f32..1000.0) {
        prop_assume!(vector.iter().any(|value| value.abs() > 1e-3));
        let scaled: Vec<f32> = vector.iter().map(|value| value * factor).collect();
        prop_assert!(cosine_similarity(&vector, &scaled).unwrap() > 0.9999);
        let opposite: Vec<f32> = vector.iter().map(|value| -value).collect();
        prop_assert!(cosine_similarity(&vector, &opposite).unwrap() < -0.9999);
    }
}

#[test]
fn the_gate_answers_where_there_is_no_angle() {
    let gate = VectorSyncOptimizer::default();
    let should = |old: &[f32], new: &[f32]| gate.should_sync_embedding(old, new);
    assert_eq!(should(&[0.0, 0.0], &[0.0, -0.0]), Ok(false), "both zero");
    assert_eq!(should(&[0.0, 0.0], &[0.1, 0.0]), Ok(true), "zero to something");
    assert_eq!(should(&[0.1, 0.0], &[0.0, 0.0]), Ok(true), "something to zero");
    assert_eq!(should(&[], &[]), Ok(false), "both empty");
    assert_eq!(should(&[1.0], &[1.0, 0.0]), Ok(true), "another model");
    assert_eq!(should(&[f32::NAN, 1.0], &[1.0, 1.0]), Ok(true), "a broken old one");
    assert_eq!(should(&[1.0, 1.0], &[1.0, f32::INFINITY]), Err(VectorError::NotFinite { index: 1 }));
    assert_eq!(should(&[], &vec![0.0; DIMENSIONS_MAX + 1]), Err(VectorError::TooManyDimensions(DIMENSIONS_MAX + 1)));
    assert_eq!(cosine_similarity(&[], &[]), None);
    assert_eq!(cosine_similarity(&[0.0], &[1.0]), None);
    assert_eq!(cosine_similarity(&[f32::INFINITY], &[1.0]), None);
    assert_eq!(cosine_similarity(&[f32::MAX, f32::MAX], &[f32::MAX, f32::MAX]), Some(1.0), "no overflow");
    assert_eq!(cosine_similarity(&[f32::from_bits(1)], &[f32::from_bits(1)]), Some(1.0), "no underflow");
}

#[test]
fn the_gate_follows_the_threshold() {
    let gate = VectorSyncOptimizer::default();
    // Cosines of 0.96 and 0.94.
    assert_eq!(gate.should_sync_embedding(&[1.0, 0.0], &[0.96, 0.28]), Ok(false));
    assert_eq!(gate.should_sync_embedding(&[1.0, 0.0], &[0.94, 0.341]), Ok(true));
    let never = VectorSyncOptimizer { similarity_threshold: -2.0 };
    assert_eq!(never.should_sync_embedding(&[1.0, 0.0], &[-1.0, 0.0]), Ok(false));
}

#[test]
fn components_outside_one_do_not_wrap() {
    assert_eq!(quantised(&[3.0, -3.0, 1.5, 0.0]).values(), [127, -127, 64, 0]);
    check_error_bound(&[f32::MAX, f32::MIN, 1.0]);
    check_error_bound(&[1.4e-36, -1e-40]);
    let scale = quantised(&[f32::MAX]).scale();
    assert!((STEPS * scale).is_finite() && (STEPS * scale.next_up()).is_infinite());
}

#[test]
fn every_step_rounds_to_itself_and_halves_to_even() {
    for value in -127..=127_i8 {
        assert_eq!(step(f32::from(value)), value);
        assert_eq!(step(f32::from(value) + 0.499), value);
        assert_eq!(step(f32::from(value) - 0.499), value);
    }
    assert_eq!([step(0.5), step(1.5), step(-0.5), step(-1.5)], [0, 2, 0, -2]);
}

#[test]
fn golden_bytes_hold() {
    let bytes = quantised(&[0.5, -0.25, 0.125, 0.0, -0.5]).to_bytes();
    assert_eq!(bytes, [0x04, 0x02, 0x81, 0x3b, 127, 0xc0, 32, 0, 0x81]);
    assert_eq!(quantised(&[0.0, -0.0]).to_bytes(), [0, 0, 0, 0, 0, 0]);
    assert_eq!(quantised(&[]).to_bytes(), [0, 0, 0, 0]);
}

#[test]
fn other_spellings_are_refused() {
    let decode = |scale: f32, values: &[u8]| QuantisedVector::from_bytes(&[&scale.to_le_bytes(), values].concat());
    assert!(decode(0.5, &[127, 3]).is_ok());
    for (scale, values) in [
        (0.5, &[126][..]),
        (0.5, &[127, 128]),
        (0.5, &[0]),
        (0.5, &[]),
        (0.0, &[127]),
        (-0.0, &[0]),
        (-0.5, &[127]),
        (f32::NAN, &[127]),
        (f32::INFINITY, &[127]),
        (SCALE_MAX.next_up(), &[127]),
        (f32::from_bits(1), &[127]),
    ] {
        assert_eq!(decode(scale, values), Err(VectorError::NotCanonical), "{scale} {values:?}");
    }
    assert_eq!(QuantisedVector::from_bytes(&[0, 0, 0]), Err(VectorError::Truncated(3)));
    let long = vec![0; 4 + DIMENSIONS_MAX + 1];
    assert_eq!(QuantisedVector::from_bytes(&long), Err(VectorError::TooManyDimensions(DIMENSIONS_MAX + 1)));
}

#[test]
fn a_batch_keeps_what_is_good() {
    let batch = BTreeMap::from([("bad", vec![f32::NAN]), ("good", vec![1.0, 0.5])]);
    let compressed = VectorSyncOptimizer::default().compress_embedding_batch(batch);
    assert_eq!(compressed["bad"], Err(VectorError::NotFinite { index: 0 }));
    assert_eq!(compressed["good"].as_ref().unwrap().values(), [127, 64]);
}
