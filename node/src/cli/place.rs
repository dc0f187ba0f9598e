//! Where a node is put.

use nodespace_node::client::Client;
use nodespace_node::model::PlaceRequest;

use super::ids;

/// Where among its siblings; last when nothing is said.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(multiple = false)]
pub(crate) struct PlaceArguments {
    /// Before all its siblings.
    #[arg(long)]
    first: bool,
    /// After all its siblings; this is the default.
    #[arg(long)]
    last: bool,
    /// Immediately after this sibling.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<String>,
}

impl PlaceArguments {
    /// The place in the API's words.
    pub(crate) async fn request(&self, client: &Client) -> anyhow::Result<PlaceRequest> {
        Ok(match &self.after {
            Some(sibling) => PlaceRequest::After(ids::node(client, sibling).await?),
            None if self.first => PlaceRequest::First,
            None => PlaceRequest::Last,
        })
    }
}
