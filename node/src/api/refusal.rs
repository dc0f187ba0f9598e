//! Refusals as HTTP answers: one body for all of them, a status that follows from the code.

use axum::Json;
use axum::http::header::{self, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use crate::model::{ErrorCode, ServiceError};

/// The status of a code.
pub(super) const fn status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::InvalidValue => StatusCode::BAD_REQUEST,
        ErrorCode::Unauthorised => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden | ErrorCode::InviteRefused => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        ErrorCode::AlreadyExists | ErrorCode::StaleVersion | ErrorCode::Cycle => StatusCode::CONFLICT,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ErrorCode::StoreFailed | ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::NotWritable | ErrorCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
    }
}

impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        let code = self.code();
        let mut response = (status(code), Json(self.0)).into_response();
        match code {
            ErrorCode::Unauthorised => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"nodespace\""));
            }
            ErrorCode::Unavailable => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

/// The answer for a path that is none of ours.
pub(super) async fn no_such_path(uri: Uri) -> ServiceError {
    // An id with a `/` that was not encoded lands here too.
    let hint = if uri.path().starts_with("/v1/nodes/") { "; in an id, `/` is written %2F" } else { "" };
    ServiceError::new(ErrorCode::NotFound, format!("there is no such path{hint}; GET /openapi.json lists all there are"))
}

/// The answer for a method that a path does not have. The header `Allow` names those it has.
pub(super) async fn no_such_method(method: Method) -> ServiceError {
    ServiceError::new(ErrorCode::MethodNotAllowed, format!("this path does not have {method}; the header `Allow` lists what it has"))
}

/// A request that is not well formed.
pub(super) fn invalid(message: impl Into<String>) -> ServiceError {
    ServiceError::new(ErrorCode::InvalidRequest, message)
}
