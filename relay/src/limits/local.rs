//! The limits of this process.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::{Charge, Exceeded, Limit};
use crate::config::{LimitConfig, Rate};

/// The least rate: one an hour. A configured rate of nothing becomes this.
const PERIOD_MAX: Duration = Duration::from_secs(3_600);

/// A limiter for each limit, keyed by whose it is.
#[derive(Debug)]
pub(super) struct Local {
    limiters: Vec<(Limit, u32, DefaultKeyedRateLimiter<String>)>,
    clock: DefaultClock,
}

impl Local {
    pub(super) fn new(config: &LimitConfig) -> Self {
        let limiter = |limit: Limit| {
            let rate = limit.rate(config);
            (limit, rate.burst.max(1), RateLimiter::keyed(quota(rate)))
        };
        Self { limiters: Limit::ALL.into_iter().map(limiter).collect(), clock: DefaultClock::default() }
    }

    pub(super) fn charge(&self, charge: &Charge) -> Result<(), Exceeded> {
        let found = self.limiters.iter().find(|(limit, ..)| *limit == charge.limit);
        let Some((limit, burst, limiter)) = found else { return Ok(()) };
        // More than fits at once is charged as much as fits: it passes when nothing was asked for as long as that takes.
        let Some(cost) = NonZeroU32::new(charge.cost.min(*burst)) else { return Ok(()) };
        match limiter.check_key_n(&charge.whose, cost) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(Exceeded { limit: *limit, wait: until.wait_time_from(self.clock.now()) }),
            Err(_) => Err(Exceeded { limit: *limit, wait: PERIOD_MAX }),
        }
    }

    pub(super) fn sweep(&self) {
        for (.., limiter) in &self.limiters {
            limiter.retain_recent();
            limiter.shrink_to_fit();
        }
    }
}

pub(super) fn period(rate: Rate) -> Duration {
    let period = Duration::try_from_secs_f64(1.0 / rate.per_second).unwrap_or(PERIOD_MAX);
    period.clamp(Duration::from_nanos(1), PERIOD_MAX)
}

fn quota(rate: Rate) -> Quota {
    let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(period(rate)).expect("a period is at least a nanosecond");
    quota.allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn limits(per_second: f64, burst: u32) -> Local {
        Local::new(&LimitConfig { address_requests: Rate { per_second, burst }, ..LimitConfig::default() })
    }

    fn charge(address: &str, cost: u32) -> Charge {
        Charge { cost, ..Charge::address(Limit::AddressRequests, address.parse::<IpAddr>().unwrap()) }
    }

    #[test]
    fn a_burst_passes_and_then_there_is_a_time_to_come_back() {
        let local = limits(0.01, 3);
        for _ in 0..3 {
            local.charge(&charge("192.0.2.1", 1)).unwrap();
        }
        let exceeded = local.charge(&charge("192.0.2.1", 1)).unwrap_err();
        assert!(exceeded.wait > Duration::from_secs(90) && exceeded.wait <= Duration::from_secs(100), "{exceeded:?}");
        local.charge(&charge("192.0.2.2", 1)).unwrap();
    }

    #[test]
    fn more_than_a_burst_passes_once_and_nothing_is_no_limit() {
        let local = limits(0.01, 3);
        local.charge(&charge("192.0.2.1", 1_000_000)).unwrap();
        local.charge(&charge("192.0.2.1", 1_000_000)).unwrap_err();
        local.charge(&charge("192.0.2.1", 0)).unwrap();
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300] {
            assert!(period(Rate { per_second: rate, burst: 1 }) <= PERIOD_MAX);
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_mapped_addresses_are_ipv4() {
        let key = |address: &str| charge(address, 1).whose;
        assert_eq!(key("2001:db8:1:2:3::4"), key("2001:db8:1:2:ffff::"));
        assert_ne!(key("2001:db8:1:2::"), key("2001:db8:1:3::"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    }
}
