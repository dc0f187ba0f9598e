//! Telling systemd how the daemon is doing: `sd_notify(3)`, a datagram to the socket that NOTIFY_SOCKET names.

/// Says that the daemon answers now.
pub(crate) const READY: &str = "READY=1";

/// Says that the daemon is going down.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// Tells the service manager, if there is one that wants to know. A manager that does not listen stops nothing.
#[cfg(target_os = "linux")]
pub(crate) fn tell(state: &str) {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return };
    let send = || {
        let address = match path.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&path)?,
        };
        UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)
    };
    if let Err(error) = send() {
        tracing::warn!(%error, "the service manager could not be told {state}");
    }
}

/// Elsewhere there is no such manager.
#[cfg(not(target_os = "linux"))]
pub(crate) const fn tell(_state: &str) {}
