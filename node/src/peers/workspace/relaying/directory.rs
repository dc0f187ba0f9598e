//! Listening to the relay, and finding each other by way of it.

use std::sync::Arc;

use super::super::{Input, WorkspaceSync};
use super::RelayNote;
use crate::net::Multiaddr;
use crate::net::address::Source;
use crate::relay_client::{RelayApi, RelayUrl, listen};

/// How often the directory of addresses is asked and told, in milliseconds.
const DIRECTORY_MS: u64 = 240_000;
/// For how long this device's addresses hold there, in seconds: longer than until they are told again.
const DIRECTORY_S: u32 = 600;
/// Addresses that are told; a relay takes as many.
const ADDRESSES_MAX: usize = 16;

impl WorkspaceSync {
    /// Listens to the relay, and exchanges addresses by way of it.
    pub(super) fn follow_relay(&mut self, url: &RelayUrl) {
        let Some(api) = self.relaying.apis.get(url).cloned() else { return };
        if self.relaying.hints.as_ref().is_none_or(|(other, task)| other != url || task.is_finished()) {
            if let Some((_, task)) = self.relaying.hints.take() {
                task.abort();
            }
            let (inbox, clock, seed) = (self.inbox.clone(), self.setup.clock, self.setup.seed.rotate_left(8));
            let listening =
                listen(Arc::clone(&api), clock, seed, async move |cursor| inbox.send(Input::Relay(RelayNote::Hint(cursor))).await);
            self.relaying.hints = Some((url.clone(), tokio::spawn(listening).abort_handle()));
        }
        self.tell_directory();
    }

    /// Exchanges addresses with the relay that is used, when it is time or this device is reached elsewhere than the directory says: others
    /// find it by way of a circuit relay only once they are told.
    pub(super) fn tell_directory(&mut self) {
        let Some(api) = self.relaying.hints.as_ref().and_then(|(url, _)| self.relaying.apis.get(url)).cloned() else { return };
        let (now, addresses) = (self.now(), self.setup.device.ticket_addresses().addresses);
        let is_due = now >= self.relaying.directory_due || addresses != self.relaying.announced;
        if is_due && !self.setup.explicit_only {
            self.relaying.directory_due = now + DIRECTORY_MS;
            self.relaying.announced.clone_from(&addresses);
            self.exchange_directory(api, addresses);
        }
    }

    /// Tells the relay's directory where this device is, and learns where the others are.
    fn exchange_directory(&self, api: Arc<RelayApi>, addresses: Vec<String>) {
        let (net, carriers, members) = (self.setup.net.clone(), self.setup.carriers.clone(), self.facts.members.clone());
        let (own, workspace) = (self.setup.own, self.id());
        tokio::spawn(async move {
            let addresses: Vec<String> = addresses.into_iter().take(ADDRESSES_MAX).collect();
            let exchanged = async {
                api.announce(&addresses, DIRECTORY_S).await?;
                api.directory().await
            };
            let directory = match exchanged.await {
                Ok(directory) => directory,
                Err(error) => return tracing::debug!(relay = %api.url(), %error, "addresses were not exchanged"),
            };
            let parse = |texts: Vec<String>| texts.iter().filter_map(|text| text.parse().ok()).collect::<Vec<Multiaddr>>();
            for entry in directory.members.into_iter().filter(|entry| entry.device_id != own && members.contains(&entry.device_id)) {
                let addresses = parse(entry.addresses.into_iter().take(ADDRESSES_MAX).collect());
                net.learn(entry.device_id, addresses, Source::Member, false).await;
            }
            carriers.set(&net, workspace, parse(directory.circuit)).await;
        });
    }
}
