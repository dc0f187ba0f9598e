//! Embeddings on the way: whether one is worth sending, and in how few bytes.
//!
//! An embedding points somewhere; how long it is hardly matters. So a new one is sent only if it points elsewhere than the old:
//! their cosine is below a threshold. And each component is sent in 8 bits, with one scale for the whole vector, chosen so that
//! its greatest component becomes 127. That is a quarter of the bytes and leaves search results as they were.
//!
//! ```text
//! bytes   scale: f32 little-endian | values: i8, one a dimension
//!         4                        | n
//! ```
//!
//! The encoding is strict, so that the same vector always has the same bytes and the hash in an operation's header means
//! something: the scale is 0 or a normal positive number of which 127 times is finite, no value is -128, a scale of 0 goes with
//! zeros only, any other with at least one value of 127 or -127.
//!
//! Document section "Vector Embedding Synchronization" (`VectorSyncOptimizer`); its slips are mended: no NaN on zero vectors, no
//! wrapping of components outside [-1, 1]. Uploading a batch is not this crate's matter: it does no IO.

use std::collections::BTreeMap;

#[cfg(test)]
mod tests;

/// The most dimensions an embedding may have; longer ones are refused. Keeps an attachment below 64 KiB with room to spare;
/// models in use have 384 to 4,096.
pub const DIMENSIONS_MAX: usize = 16_384;

/// The cosine from which on an embedding counts as unchanged: the document's.
pub const SIMILARITY_THRESHOLD: f32 = 0.95;

/// How many components are worked on side by side. A fixed number of partial sums lets the compiler use vector instructions, and
/// gives the same sum on every machine.
const LANES: usize = 8;

/// The number of quantisation steps on either side of zero.
const STEPS: f32 = 127.0;

/// The greatest scale: 127 times the next one is infinite. Reached only by a vector whose greatest component is about the
/// greatest float.
const SCALE_MAX: f32 = (f32::MAX / STEPS).next_down();

/// Why an embedding was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// A component is infinite or no number: the model failed.
    #[error("component {index} of the embedding is not finite")]
    NotFinite {
        /// Which one, from 0.
        index: usize,
    },
    /// More than [`DIMENSIONS_MAX`].
    #[error("an embedding has at most {DIMENSIONS_MAX} dimensions, this one has {0}")]
    TooManyDimensions(usize),
    /// Too few bytes for a scale.
    #[error("a quantised embedding has at least 4 bytes, this one has {0}")]
    Truncated(usize),
    /// Bytes that no embedding is encoded to.
    #[error("not the encoding of any embedding")]
    NotCanonical,
}

/// Decides which embeddings travel, and makes them small.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VectorSyncOptimizer {
    /// Embeddings whose cosine is at least this are the same for our purposes.
    pub similarity_threshold: f32,
}

impl Default for VectorSyncOptimizer {
    fn default() -> Self {
        Self { similarity_threshold: SIMILARITY_THRESHOLD }
    }
}

impl VectorSyncOptimizer {
    /// Whether the new embedding must be sent to those who hold the old one.
    ///
    /// Yes when it points elsewhere, when it has another number of dimensions (another model), when only one of the two is zero,
    /// and when the old one holds something not finite. No when both are zero or empty. A longer or shorter vector of the same
    /// direction is not sent.
    ///
    /// # Errors
    /// When the new embedding is not one: not finite, or too long. Sending that would only spread it.
    pub fn should_sync_embedding(&self, old: &[f32], new: &[f32]) -> Result<bool, VectorError> {
        let new_greatest = greatest(new)?;
        if old.len() != new.len() {
            return Ok(true);
        }
        let Ok(old_greatest) = greatest(old) else { return Ok(true) };
        if new_greatest == 0.0 || old_greatest == 0.0 {
            return Ok(new_greatest != old_greatest);
        }
        Ok(cosine_similarity(old, new).is_none_or(|cosine| cosine < self.similarity_threshold))
    }

    /// The embedding in 8 bits a dimension.
    ///
    /// # Errors
    /// When a component is not finite, or there are too many.
    pub fn compress_embedding(&self, embedding: &[f32]) -> Result<QuantisedVector, VectorError> {
        QuantisedVector::quantise(embedding)
    }

    /// Many embeddings, by whatever names them. One that is refused does not keep back the others.
    pub fn compress_embedding_batch<K: Ord>(&self, embeddings: BTreeMap<K, Vec<f32>>) -> BTreeMap<K, Result<QuantisedVector, VectorError>> {
        embeddings.into_iter().map(|(name, embedding)| (name, self.compress_embedding(&embedding))).collect()
    }
}

/// The cosine of the angle between two vectors, from -1 to 1.
///
/// `None` where there is no angle: vectors of different lengths, empty or zero ones, and such that hold infinities or NaN.
#[must_use]
pub fn cosine_similarity(left: &[f32], right: &[f32]) -> Option<f32> {
    if left.len() != right.len() {
        return None;
    }
    // In 64 bits neither the squares of the greatest nor those of the smallest 32-bit floats leave the range.
    let norms = dot(left, left).sqrt() * dot(right, right).sqrt();
    let cosine = dot(left, right) / norms;
    (norms > 0.0 && cosine.is_finite()).then_some(cosine.clamp(-1.0, 1.0) as f32)
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    let product = |(a, b): (&f32, &f32)| f64::from(*a) * f64::from(*b);
    let (left_lanes, left_rest) = left.as_chunks::<LANES>();
    let (right_lanes, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left_lanes.iter().zip(right_lanes) {
        for lane in 0..LANES {
            sums[lane] += product((&left[lane], &right[lane]));
        }
    }
    sums.iter().sum::<f64>() + left_rest.iter().zip(right_rest).map(product).sum::<f64>()
}

/// The greatest absolute component; 0 for an empty vector.
fn greatest(vector: &[f32]) -> Result<f32, VectorError> {
    if vector.len() > DIMENSIONS_MAX {
        return Err(VectorError::TooManyDimensions(vector.len()));
    }
    // Without their sign, floats order as their bits do, and what is not finite comes last: one pass finds both.
    let magnitude = |value: &f32| value.to_bits() & 0x7fff_ffff;
    let (lanes, rest) = vector.as_chunks::<LANES>();
    let mut greatest = [0; LANES];
    for values in lanes {
        for lane in 0..LANES {
            greatest[lane] = greatest[lane].max(magnitude(&values[lane]));
        }
    }
    let greatest = rest.iter().map(magnitude).chain(greatest).fold(0, u32::max);
    if f32::from_bits(greatest).is_finite() {
        return Ok(f32::from_bits(greatest));
    }
    let index = vector.iter().position(|value| !value.is_finite()).expect("the greatest magnitude is one of the vector's");
    Err(VectorError::NotFinite { index })
}

/// An embedding in 8 bits a dimension.
///
/// Each component is off by at most half a step (`scale / 2`, plus a ten-thousandth of that for the arithmetic). A vector whose
/// greatest component is below 127 times the smallest normal float (1.5e-36) becomes zero.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantisedVector {
    scale: f32,
    values: Vec<i8>,
}

impl QuantisedVector {
    /// Quantises a vector; see [`VectorSyncOptimizer::compress_embedding`].
    ///
    /// # Errors
    /// When a component is not finite, or there are too many.
    pub fn quantise(vector: &[f32]) -> Result<Self, VectorError> {
        let scale = (greatest(vector)? / STEPS).min(SCALE_MAX);
        if scale < f32::MIN_POSITIVE {
            return Ok(Self { scale: 0.0, values: vec![0; vector.len()] });
        }
        let inverse = 1.0 / scale;
        Ok(Self { scale, values: vector.iter().map(|value| step(value * inverse)).collect() })
    }

    /// What one step is worth.
    pub const fn scale(&self) -> f32 {
        self.scale
    }

    /// How many steps each component has.
    pub fn values(&self) -> &[i8] {
        &self.values
    }

    /// The vector, near enough.
    #[must_use]
    pub fn dequantise(&self) -> Vec<f32> {
        self.values.iter().map(|&value| f32::from(value) * self.scale).collect()
    }

    /// The encoding; see the module's head.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size_of::<f32>() + self.values.len());
        bytes.extend_from_slice(&self.scale.to_le_bytes());
        bytes.extend(self.values.iter().map(|value| value.cast_unsigned()));
        bytes
    }

    /// Decodes what [`QuantisedVector::to_bytes`] wrote, and nothing else.
    ///
    /// # Errors
    /// When the bytes are too few, too many, or no encoding of any vector.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, VectorError> {
        let (scale, values) = bytes.split_first_chunk().ok_or(VectorError::Truncated(bytes.len()))?;
        if values.len() > DIMENSIONS_MAX {
            return Err(VectorError::TooManyDimensions(values.len()));
        }
        let scale = f32::from_le_bytes(*scale);
        let values: Vec<i8> = values.iter().map(|value| value.cast_signed()).collect();
        let greatest = values.iter().map(|value| value.unsigned_abs()).max().unwrap_or(0);
        // Compared by bits, since -0 is not the 0 that is written.
        let canonical = match greatest {
            0 => scale.to_bits() == 0,
            127 => (f32::MIN_POSITIVE..=SCALE_MAX).contains(&scale),
            _ => false,
        };
        if canonical { Ok(Self { scale, values }) } else { Err(VectorError::NotCanonical) }
    }
}

/// The nearest whole number (the even one of two) to a value in -127.01 ..= 127.01.
///
/// Adding 1.5 * 2^23 leaves a float no bits for a fraction: the sum's lowest byte is the rounded value in two's complement. Every
/// machine has this addition in vector form, which it does not have for `round`.
fn step(value: f32) -> i8 {
    const ROUNDER: f32 = 12_582_912.0;
    let [lowest, ..] = (value + ROUNDER).to_bits().to_le_bytes();
    lowest.cast_signed()
}
