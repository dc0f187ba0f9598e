//! The limits that all instances share, in Redis.

use std::sync::OnceLock;
use std::time::Duration;

use redis::Script;

use super::local::period;
use super::{Charge, Exceeded, Limit};
use crate::config::Rate;
use crate::redis::Redis;

/// GCRA for several keys at once: all are charged, or none. A key holds the time, in microseconds, at which its bucket will be empty again;
/// the time is Redis' own, so that instances with differing clocks agree. Answers {0, 0}, or {microseconds to wait, which key}.
const SCRIPT: &str = "
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local wait, which, until_empty = 0, 0, {}
for i, key in ipairs(KEYS) do
  local period, burst, cost = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local empty = math.max(tonumber(redis.call('GET', key)) or now, now) + period * math.min(cost, burst)
  local over = empty - period * burst - now
  if over > wait then wait, which = over, i end
  until_empty[i] = empty
end
if wait > 0 then return { math.ceil(wait), which } end
for i, key in ipairs(KEYS) do
  redis.call('SET', key, string.format('%.0f', until_empty[i]), 'PX', math.ceil((until_empty[i] - now) / 1000) + 1)
end
return { 0, 0 }
";

/// Charges in Redis; `None` when it is not there to ask.
pub(super) async fn charge(redis: &Redis, charges: &[Charge], rate: impl Fn(Limit) -> Rate) -> Option<Result<(), Exceeded>> {
    static PREPARED: OnceLock<Script> = OnceLock::new();
    let charges: Vec<&Charge> = charges.iter().filter(|charge| charge.cost > 0).collect();
    if charges.is_empty() || redis.is_up().is_none() {
        return None;
    }
    let answer: Option<(u64, usize)> = redis
        .script(PREPARED.get_or_init(|| Script::new(SCRIPT)), |invocation| {
            for charge in &charges {
                let rate = rate(charge.limit);
                let micros = period(rate).as_secs_f64() * 1e6;
                invocation.key(charge.name()).arg(micros).arg(rate.burst.max(1)).arg(charge.cost);
            }
        })
        .await;
    let (wait, which) = answer?;
    let limit = which.checked_sub(1).and_then(|at| charges.get(at)).map(|charge| charge.limit);
    Some(limit.map_or(Ok(()), |limit| Err(Exceeded { limit, wait: Duration::from_micros(wait) })))
}
