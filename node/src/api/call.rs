//! What requests have in common: a workspace or the device, the name of the client, parameters, ids in the path.

use axum::extract::path::{ErrorKind, FailedToDeserializePathParams};
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::header::{HeaderMap, HeaderName};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::parameters::{FromParameters, Parameters};
use super::refusal::invalid;
use super::state::ApiState;
use crate::engine::{Device, Workspace};
use crate::model::ServiceError;

/// The header by which a client names itself, to know its own changes in the stream by.
pub const CLIENT_HEADER: HeaderName = HeaderName::from_static("x-nodespace-client");

/// The longest name of a client; a longer one is refused.
pub const CLIENT_NAME_BYTES_MAX: usize = 64;

/// A request to a workspace.
#[derive(Debug)]
pub(super) struct Call<Q = ()> {
    /// The one that `?workspace=` names, or the home's default.
    pub(super) workspace: Workspace,
    /// Who asks, as it calls itself.
    pub(super) client: Option<String>,
    /// What the route takes behind the `?`.
    pub(super) query: Q,
}

impl<Q: FromParameters> FromRequestParts<ApiState> for Call<Q> {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ServiceError> {
        let mut parameters = Parameters::parse(parts.uri.query())?;
        let query = Q::take(&mut parameters)?;
        let workspace = parameters.text("workspace")?;
        parameters.finish()?;
        let client = client(&parts.headers)?;
        Ok(Self { workspace: state.device.workspace(workspace.as_deref())?, client, query })
    }
}

/// A request to the device as a whole: it takes no `?workspace=`.
#[derive(Debug)]
pub(super) struct DeviceCall<Q = ()> {
    /// The device.
    pub(super) device: Device,
    /// Who asks, as it calls itself.
    pub(super) client: Option<String>,
    /// What the route takes behind the `?`.
    pub(super) query: Q,
}

impl<Q: FromParameters> FromRequestParts<ApiState> for DeviceCall<Q> {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ServiceError> {
        let mut parameters = Parameters::parse(parts.uri.query())?;
        let query = Q::take(&mut parameters)?;
        parameters.finish()?;
        Ok(Self { device: state.device.clone(), client: client(&parts.headers)?, query })
    }
}

fn client(headers: &HeaderMap) -> Result<Option<String>, ServiceError> {
    let mut values = headers.get_all(CLIENT_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let name = value.to_str().ok().filter(|name| !name.is_empty() && name.len() <= CLIENT_NAME_BYTES_MAX);
    match name {
        Some(name) if values.next().is_none() => Ok(Some(name.to_owned())),
        _ => Err(invalid(format!("`X-NodeSpace-Client` is given once, as 1 to {CLIENT_NAME_BYTES_MAX} visible ASCII characters"))),
    }
}

/// The ids in a path, decoded.
#[derive(Debug)]
pub(super) struct Segments<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<ApiState> for Segments<T> {
    type Rejection = ServiceError;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, ServiceError> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(ids)) => Ok(Self(ids)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => Err(invalid(path_message(&error))),
            Err(error) => Err(invalid(error.body_text())),
        }
    }
}

fn path_message(error: &FailedToDeserializePathParams) -> String {
    match error.kind() {
        ErrorKind::InvalidUtf8InPathParam { key } => format!("`{key}` in the path is not UTF-8: encode its UTF-8 bytes as %XX"),
        other => format!("the path is not understood: {other}"),
    }
}
