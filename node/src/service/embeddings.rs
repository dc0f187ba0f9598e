//! Vectors: checked against the model's others.

use nodespace_projection::row::DIMENSION_MAX;

use crate::engine::DeviceReplica;
use crate::model::{ErrorCode, ServiceError};

/// Refuses a vector that cannot stand beside the model's others, or is none.
pub(super) fn check(replica: &DeviceReplica, model: &str, vector: &[f32]) -> Result<(), ServiceError> {
    let invalid = |message: String| Err(ServiceError::new(ErrorCode::InvalidValue, message));
    if vector.is_empty() {
        return invalid("an embedding has at least one number".into());
    }
    if vector.len() > DIMENSION_MAX {
        return invalid(format!("an embedding has at most {} numbers, this one has {}", DIMENSION_MAX, vector.len()));
    }
    if let Some(at) = vector.iter().position(|number| !number.is_finite()) {
        return invalid(format!("number {at} of the embedding is {}, which is no finite number", vector[at]));
    }
    match replica.store().dimension(model)? {
        Some(dimension) if dimension != vector.len() => {
            invalid(format!("embeddings of model `{model}` have {dimension} numbers, this one has {}", vector.len()))
        }
        _ => Ok(()),
    }
}
