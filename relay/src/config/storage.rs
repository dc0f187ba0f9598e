//! Where attachments are kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;

/// Object storage: a folder, or a bucket of anything that speaks the S3 API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// The folder, when no bucket is named; `attachments` in `server.data` when it is not set. All instances must see the same.
    pub folder: Option<PathBuf>,
    /// The bucket; empty = the folder.
    pub bucket: String,
    /// The bucket's region.
    pub region: String,
    /// The service's URL when it is not Amazon's.
    pub endpoint: Option<String>,
    /// Whether the endpoint may be reached without TLS.
    pub allow_http: bool,
    /// Names the key; from the environment's usual `AWS_` variables when it is not set.
    pub access_key_id: Option<String>,
    /// The key.
    pub secret_access_key: Secret,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            folder: None,
            bucket: String::new(),
            region: "us-east-1".into(),
            endpoint: None,
            allow_http: false,
            access_key_id: None,
            secret_access_key: Secret::default(),
        }
    }
}
