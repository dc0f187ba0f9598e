//! Redis: what instances share while it is there, and nothing they cannot do without.
//!
//! Every question has a short time. After one that failed Redis is left alone for a second, so that a server that is away costs a
//! request in a second its time and the others nothing. Whoever asks has an answer for "not there". The connection that only listens asks
//! too, when it has heard nothing for a while: that the other end is gone nobody else would say.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::StreamExt as _;
use nodespace_protocol::ids::RelayId;
use redis::aio::{ConnectionManager, ConnectionManagerConfig, PubSubSink, PubSubStream};
use redis::{Client, FromRedisValue, Msg, RedisError, RedisResult, Script, ScriptInvocation, Value};
use tokio::time::timeout;

use crate::clock::now_ms;
use crate::config::RedisConfig;
use crate::store::Marker;

/// How long a question may take.
const ANSWER_WAIT: Duration = Duration::from_millis(250);
/// How long making a connection that listens may take, and a question on it.
const LISTEN_WAIT: Duration = Duration::from_secs(1);
/// How long such a connection may say nothing before it is asked whether the other end is there.
const QUIET_MAX: Duration = Duration::from_secs(3);
/// How long Redis is left alone after a failure, in milliseconds.
const LEAVE_ALONE_MS: u64 = 1_000;
/// The channel on which instances tell each other which workspaces have grown.
pub(crate) const NOTIFY_CHANNEL: &str = "nodespace:notify";

/// Why Redis cannot be used at all.
#[derive(Debug, thiserror::Error)]
#[error("redis.url is not understood: {0}")]
pub struct RedisUrlError(#[source] RedisError);

/// A Redis that may be away. Clones share its connection.
#[derive(Clone, Debug)]
pub struct Redis {
    client: Option<Client>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    manager: OnceLock<Manager>,
    /// Until when not to ask, in milliseconds since the Unix epoch.
    leave_alone_until: AtomicU64,
    up: AtomicBool,
}

/// A connection that hears what is said on the channel.
pub(crate) struct Listening {
    asking: PubSubSink,
    messages: PubSubStream,
}

impl Listening {
    /// The next message; `None` when the connection has ended, or the other end does not answer on it any more.
    pub(crate) async fn next(&mut self) -> Option<Msg> {
        loop {
            if let Ok(message) = timeout(QUIET_MAX, self.messages.next()).await {
                return message;
            }
            if !matches!(timeout(LISTEN_WAIT, self.asking.ping::<Value>()).await, Ok(Ok(_))) {
                tracing::debug!("Redis is silent on the connection that listens; another is made");
                return None;
            }
        }
    }
}

#[derive(Clone)]
struct Manager(ConnectionManager);

impl std::fmt::Debug for Manager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ConnectionManager")
    }
}

impl Redis {
    /// Prepares connections; none is made yet.
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(config: &RedisConfig) -> Result<Self, RedisUrlError> {
        let url = config.url.as_ref().filter(|url| !url.is_empty());
        let client = url.map(|url| Client::open(url.reveal())).transpose().map_err(RedisUrlError)?;
        Ok(Self { client, shared: Arc::new(Shared::default()) })
    }

    /// Whether it answers; `None` when there is none to ask.
    #[must_use]
    pub fn is_up(&self) -> Option<bool> {
        self.client.as_ref().map(|_| self.shared.up.load(Ordering::Relaxed))
    }

    fn manager(&self) -> Option<ConnectionManager> {
        let client = self.client.clone()?;
        if let Some(manager) = self.shared.manager.get() {
            return Some(manager.0.clone());
        }
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(ANSWER_WAIT))
            .set_response_timeout(Some(ANSWER_WAIT));
        let made = ConnectionManager::new_lazy_with_config(client, config).ok()?;
        Some(self.shared.manager.get_or_init(|| Manager(made)).0.clone())
    }

    /// Asks something, unless Redis was away a moment ago. `None`: do without.
    async fn ask<T>(&self, question: impl AsyncFnOnce(&mut ConnectionManager) -> RedisResult<T>) -> Option<T> {
        let mut manager = self.manager()?;
        if now_ms() < self.shared.leave_alone_until.load(Ordering::Relaxed) {
            return None;
        }
        let answer = timeout(ANSWER_WAIT, question(&mut manager)).await;
        let failure = match answer {
            Ok(Ok(answer)) => {
                if !self.shared.up.swap(true, Ordering::Relaxed) {
                    tracing::info!("Redis answers");
                }
                return Some(answer);
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        self.shared.leave_alone_until.store(now_ms() + LEAVE_ALONE_MS, Ordering::Relaxed);
        if self.shared.up.swap(false, Ordering::Relaxed) {
            tracing::warn!(failure, "Redis does not answer: limits hold for each instance alone, changes show a little later");
        }
        None
    }

    /// Whether it answers now.
    pub async fn ping(&self) -> bool {
        self.ask(async |manager| redis::cmd("PING").query_async::<String>(manager).await).await.is_some()
    }

    /// Tells the other instances that a workspace has grown.
    pub(crate) async fn publish(&self, message: &[u8]) {
        self.ask(async |manager| redis::cmd("PUBLISH").arg(NOTIFY_CHANNEL).arg(message).query_async::<i64>(manager).await).await;
    }

    /// Claims a name for some time: whether nobody has before; `None` when nobody can say.
    pub(crate) async fn claim_once(&self, name: &str, time: Duration) -> Option<bool> {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let answer = self
            .ask(async |manager| {
                redis::cmd("SET").arg(name).arg(1).arg("NX").arg("PX").arg(ms).query_async::<Option<String>>(manager).await
            })
            .await?;
        Some(answer.is_some())
    }

    /// Runs a script.
    pub(crate) async fn script<T: FromRedisValue>(&self, script: &Script, prepare: impl FnOnce(&mut ScriptInvocation<'_>)) -> Option<T> {
        let mut invocation = script.prepare_invoke();
        prepare(&mut invocation);
        self.ask(async |manager| invocation.invoke_async::<T>(manager).await).await
    }

    /// What is remembered of the relay's database.
    pub(crate) async fn marker(&self, relay: RelayId) -> Option<Marker> {
        let text =
            self.ask(async |manager| redis::cmd("GET").arg(marker_name(relay)).query_async::<Option<String>>(manager).await).await??;
        serde_json::from_str(&text).ok()
    }

    /// Remembers it.
    pub(crate) async fn keep_marker(&self, relay: RelayId, marker: &Marker) {
        let Ok(text) = serde_json::to_string(marker) else { return };
        self.ask(async |manager| redis::cmd("SET").arg(marker_name(relay)).arg(&text).query_async::<String>(manager).await).await;
    }

    /// A connection that listens on the channel; `None` when there is no Redis.
    pub(crate) async fn listen(&self) -> Option<RedisResult<Listening>> {
        let client = self.client.clone()?;
        let connect = async {
            let (mut asking, messages) = client.get_async_pubsub().await?.split();
            asking.subscribe(NOTIFY_CHANNEL).await?;
            Ok(Listening { asking, messages })
        };
        let late = |_| Err(RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)));
        Some(timeout(LISTEN_WAIT, connect).await.unwrap_or_else(late))
    }
}

fn marker_name(relay: RelayId) -> String {
    format!("nodespace:marker:{relay}")
}
