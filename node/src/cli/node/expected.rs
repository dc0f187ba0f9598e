//! `--expected-heads` and `--expected-version`: only if the node still is as it was read.

/// What a node must be for a write to happen.
#[derive(Debug, clap::Args)]
pub(crate) struct Expected {
    /// Only if the node's history ends with just these operations, given in full, separated by commas: the `heads` that were read.
    #[arg(long, value_name = "OPERATIONS", value_delimiter = ',')]
    pub(crate) expected_heads: Vec<String>,
    /// Only if the node has this version. What arrives from elsewhere with a lesser version is not noticed: heads notice everything.
    #[arg(long, value_name = "VERSION")]
    pub(crate) expected_version: Option<u64>,
}

impl Expected {
    /// The heads, if any were given.
    pub(crate) fn heads(&self) -> Option<Vec<String>> {
        (!self.expected_heads.is_empty()).then(|| self.expected_heads.clone())
    }
}
