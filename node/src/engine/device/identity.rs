//! Who a device is, and whose.

use std::sync::{PoisonError, RwLock};

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{DeviceId, UserId};
use nodespace_protocol::membership::Certificate;
use nodespace_store::Home;

use super::Device;
use crate::model::{ErrorCode, ServiceError};

/// The keys of a home, and the certificate that holds for its device.
#[derive(Debug)]
pub(super) struct Identity {
    device: KeyPair,
    user: KeyPair,
    certificate: RwLock<Certificate>,
}

impl Identity {
    pub(super) fn of(home: &Home) -> Self {
        let certificate = RwLock::new(home.certificate());
        Self { device: home.device_key().clone(), user: home.user_key().clone(), certificate }
    }
}

impl Device {
    /// This device.
    pub fn id(&self) -> DeviceId {
        self.inner.identity.device.device()
    }

    /// The key that this device signs by; its public half is the device's name, and proves it on a connection.
    pub fn key(&self) -> &KeyPair {
        &self.inner.identity.device
    }

    /// The user's word that this device is theirs: by this home's own user, until the user's other device certified it.
    pub fn certificate(&self) -> Certificate {
        *self.inner.identity.certificate.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The user whose key lies in this home. Another than the certificate's on a user's second device.
    pub(crate) fn key_user(&self) -> UserId {
        self.inner.identity.user.user()
    }

    /// Certifies another device as of the user whose key lies in this home.
    pub(crate) fn certify(&self, device: DeviceId) -> Certificate {
        Certificate::issue(&self.inner.identity.user, device)
    }

    /// Whether this device may become that user's: once it was made one user's by a certificate, it is not made another's.
    ///
    /// # Errors
    /// When it is another user's.
    pub(crate) fn check_certificate(&self, user: UserId) -> Result<(), ServiceError> {
        let held = self.certificate().user;
        if held == user || held == self.key_user() {
            return Ok(());
        }
        let message = format!(
            "this device is of user {} already, and the ticket would make it user {}'s; make another home for that: `nodespace init --empty              --home FOLDER`",
            held.short(),
            user.short()
        );
        Err(ServiceError::new(ErrorCode::AlreadyExists, message))
    }

    /// Keeps the certificate by another device of the user, for all that is founded or joined from now on. Workspaces that this device is
    /// in already go on under the user they know it by.
    ///
    /// # Errors
    /// When it is another user's device, the certificate is not valid, the home folder cannot be written, or the device is stopping.
    pub(crate) async fn take_certificate(&self, certificate: Certificate) -> Result<(), ServiceError> {
        self.check_certificate(certificate.user)?;
        if self.certificate().user == certificate.user {
            return Ok(());
        }
        let kept = self.with_home(move |device, home| {
            home.keep_certificate(&certificate)?;
            *device.inner.identity.certificate.write().unwrap_or_else(PoisonError::into_inner) = certificate;
            Ok(())
        });
        Ok(kept.await?)
    }
}
