//! How fast each may ask: by address, device and user, for all instances together.
//!
//! Both kinds of limiter are GCRA (a leaky bucket that keeps one number a key): a script in Redis that all instances share, and `governor`
//! in this process. The shared one is asked first; what it lets through is charged here too, so that this one, which is as wide, holds alone
//! while Redis is away and knows by then what came to this instance.

mod local;
mod shared;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nodespace_protocol::ids::{DeviceId, UserId, hex};

use crate::config::{LimitConfig, Rate};
use crate::neighbourhood::neighbourhood;
use crate::redis::Redis;
use crate::refusal::Refusal;
use local::Local;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests from an address.
    AddressRequests,
    /// Challenges for an address.
    AddressChallenges,
    /// Requests of a device.
    DeviceRequests,
    /// Operations pushed by a device.
    DeviceOperations,
    /// Operations pushed by a user.
    UserOperations,
}

impl Limit {
    const ALL: [Self; 5] =
        [Self::AddressRequests, Self::AddressChallenges, Self::DeviceRequests, Self::DeviceOperations, Self::UserOperations];

    const fn name(self) -> &'static str {
        match self {
            Self::AddressRequests => "address-requests",
            Self::AddressChallenges => "address-challenges",
            Self::DeviceRequests => "device-requests",
            Self::DeviceOperations => "device-operations",
            Self::UserOperations => "user-operations",
        }
    }

    /// The stable code of its refusal.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AddressRequests => "address_rate_exceeded",
            Self::AddressChallenges => "challenge_rate_exceeded",
            Self::DeviceRequests => "device_rate_exceeded",
            Self::DeviceOperations | Self::UserOperations => "rate_limit_exceeded",
        }
    }

    const fn rate(self, config: &LimitConfig) -> Rate {
        match self {
            Self::AddressRequests => config.address_requests,
            Self::AddressChallenges => config.address_challenges,
            Self::DeviceRequests => config.device_requests,
            Self::DeviceOperations => config.device_operations,
            Self::UserOperations => config.user_operations,
        }
    }
}

/// So much of a limit, for somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    limit: Limit,
    whose: String,
    cost: u32,
}

impl Charge {
    /// A request of an address. An IPv6 address counts by its /64: that is what one household or machine has.
    #[must_use]
    pub fn address(limit: Limit, address: IpAddr) -> Self {
        Self { limit, whose: neighbourhood(address).to_string(), cost: 1 }
    }

    /// Something of a device.
    #[must_use]
    pub fn device(limit: Limit, device: &DeviceId, cost: usize) -> Self {
        Self { limit, whose: hex(&device.0[..16]), cost: u32::try_from(cost).unwrap_or(u32::MAX) }
    }

    /// Something of a user.
    #[must_use]
    pub fn user(limit: Limit, user: &UserId, cost: usize) -> Self {
        Self { limit, whose: hex(&user.0[..16]), cost: u32::try_from(cost).unwrap_or(u32::MAX) }
    }

    fn name(&self) -> String {
        format!("nodespace:limit:{}:{}", self.limit.name(), self.whose)
    }
}

/// A charge that is too much for now, and when it will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Which limit.
    pub limit: Limit,
    /// How long to wait.
    pub wait: Duration,
}

impl From<Exceeded> for Refusal {
    fn from(exceeded: Exceeded) -> Self {
        let message = format!("too much for now ({}); try again in {} ms", exceeded.limit.name(), exceeded.wait.as_millis());
        Self::too_many(exceeded.limit.code(), message, exceeded.wait)
    }
}

/// All limits.
#[derive(Clone, Debug)]
pub struct Limits {
    config: LimitConfig,
    local: Arc<Local>,
    redis: Redis,
}

impl Limits {
    /// Limits as configured. A rate of nothing is the least there is.
    #[must_use]
    pub fn new(config: LimitConfig, redis: Redis) -> Self {
        Self { config, local: Arc::new(Local::new(&config)), redis }
    }

    /// Charges, or says what is too much and for how long. Of charges made together all are made, or none in the shared count.
    ///
    /// # Errors
    /// When one is too much.
    pub async fn charge(&self, charges: &[Charge]) -> Result<(), Exceeded> {
        if let Some(outcome) = shared::charge(&self.redis, charges, |limit| limit.rate(&self.config)).await {
            outcome?;
        }
        charges.iter().try_for_each(|charge| self.local.charge(charge))
    }

    /// Charges in this process alone: for what is asked before anybody is known, so that a flood does not become one of Redis.
    ///
    /// # Errors
    /// When it is too much.
    pub fn charge_here(&self, charge: &Charge) -> Result<(), Exceeded> {
        self.local.charge(charge)
    }

    /// Forgets keys that have not been charged for as long as their burst takes.
    pub fn sweep(&self) {
        self.local.sweep();
    }
}
