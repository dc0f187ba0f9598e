//! Watching the change streams: what every device shows is noted the moment it shows it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Cluster;
use super::api::answer::Change;
use super::api::{Api, ApiError};
use super::ledger::Ledger;

/// After a stream ended or failed, the next one is asked for so much later.
const PAUSE: Duration = Duration::from_millis(50);

/// Watchers of all devices; they end when this is dropped.
#[derive(Debug)]
pub struct Watchers {
    _tasks: JoinSet<()>,
}

impl Watchers {
    /// Watches every device from its beginning, and again after each restart.
    pub fn of(cluster: &Cluster, ledger: &Arc<Ledger>) -> Self {
        let mut tasks = JoinSet::new();
        for (number, device) in cluster.devices.iter().enumerate() {
            tasks.spawn(watch_device(number, device.api_updates(), Arc::clone(ledger)));
        }
        Self { _tasks: tasks }
    }
}

async fn watch_device(number: usize, mut apis: watch::Receiver<Option<Api>>, ledger: Arc<Ledger>) {
    let mut cursor = "start".to_owned();
    loop {
        let Ok(api) = apis.wait_for(Option::is_some).await.map(|api| api.clone()) else { return };
        if let Some(api) = api {
            // An outsider has no workspace yet, a killed device no end of its stream: asked again, both go on where they were.
            follow(number, &api, &ledger, &mut cursor).await.ok();
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Follows one stream to its end.
async fn follow(number: usize, api: &Api, ledger: &Ledger, cursor: &mut String) -> Result<(), ApiError> {
    let mut events = api.events(&format!("/v1/changes/stream?cursor={cursor}")).await?;
    while let Some(event) = events.next().await? {
        if event.kind != "change" {
            continue;
        }
        let change: Change = serde_json::from_str(&event.data)
            .map_err(|error| ApiError::NotUnderstood { what: "a change".into(), text: error.to_string() })?;
        if let Some(op) = &change.op {
            let created = change.node_id.as_deref().filter(|_| change.kind == "create");
            ledger.see(number, op, created);
        }
        *cursor = change.cursor;
    }
    Ok(())
}
