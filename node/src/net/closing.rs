//! Connections that are closed in time.
//!
//! A connection is closed in order: what is on its way leaves first, then the word that it ends. Whoever reads nothing could keep it so for as
//! long as the system has patience, a quarter of an hour, and with it a place among the connections there may be. So closing has a deadline;
//! who does not let it end by then loses the connection as it is. QUIC needs none: it says that it ends and waits for nobody.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::future::{MapOk, TryFutureExt as _};
use futures::io::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::yamux;
use tokio::time::{Sleep, sleep};

use super::links::CLOSE_MS_MAX;

/// How long a connection may take to close. A farewell that was said has left long before on a line of any use; and what is told of the
/// connection by then ([`CLOSE_MS_MAX`]) is true.
const CLOSE_TIME: Duration = Duration::from_secs(2);
const _: () = assert!(CLOSE_TIME.as_millis() < CLOSE_MS_MAX as u128, "a connection is gone before it counts as gone");

/// Yamux, each connection of which closes in time.
#[derive(Clone, Debug, Default)]
pub(super) struct ClosingYamux(yamux::Config);

/// What makes the one of the other.
type Made<C> = fn(yamux::Muxer<C>) -> ClosingInTime<yamux::Muxer<C>>;

impl UpgradeInfo for ClosingYamux {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for ClosingYamux {
    type Output = ClosingInTime<yamux::Muxer<C>>;
    type Error = io::Error;
    type Future = MapOk<<yamux::Config as InboundConnectionUpgrade<C>>::Future, Made<C>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(socket, info).map_ok(ClosingInTime::new as Made<C>)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for ClosingYamux {
    type Output = ClosingInTime<yamux::Muxer<C>>;
    type Error = io::Error;
    type Future = MapOk<<yamux::Config as OutboundConnectionUpgrade<C>>::Future, Made<C>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(socket, info).map_ok(ClosingInTime::new as Made<C>)
    }
}

/// A connection that closes in time.
#[derive(Debug)]
pub(super) struct ClosingInTime<M> {
    inner: M,
    patience: Duration,
    /// Runs from when it was first asked to close.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<M> ClosingInTime<M> {
    fn new(inner: M) -> Self {
        Self { inner, patience: CLOSE_TIME, deadline: None }
    }
}

impl<M> StreamMuxer for ClosingInTime<M>
where
    M: StreamMuxer + Unpin,
    M::Error: Send + Sync + 'static,
{
    type Substream = M::Substream;
    type Error = io::Error;

    fn poll_inbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.get_mut().inner).poll_inbound(cx).map_err(io::Error::other)
    }

    fn poll_outbound(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
        Pin::new(&mut self.get_mut().inner).poll_outbound(cx).map_err(io::Error::other)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let this = self.get_mut();
        if let Poll::Ready(closed) = Pin::new(&mut this.inner).poll_close(cx) {
            return Poll::Ready(closed.map_err(io::Error::other));
        }
        let patience = this.patience;
        ready!(this.deadline.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(cx));
        // Whoever closes drops it now, and the socket with it.
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.get_mut().inner).poll(cx).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;
    use libp2p::core::muxing::StreamMuxerExt as _;

    use super::*;

    /// A connection that closes when it has been asked so often, if ever.
    struct Line {
        asks_left: usize,
    }

    impl StreamMuxer for Line {
        type Substream = Cursor<Vec<u8>>;
        type Error = io::Error;

        fn poll_inbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
            Poll::Pending
        }

        fn poll_outbound(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<Self::Substream, Self::Error>> {
            Poll::Pending
        }

        fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            let Some(left) = self.asks_left.checked_sub(1) else { return Poll::Ready(Ok(())) };
            self.asks_left = left;
            cx.waker().wake_by_ref();
            Poll::Pending
        }

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn who_lets_it_close_has_it_closed_in_order() {
        let closing = ClosingInTime::new(Line { asks_left: 3 });
        assert!(closing.close().await.is_ok());
    }

    #[tokio::test]
    async fn who_does_not_let_it_close_loses_it() {
        let closing = ClosingInTime { patience: Duration::from_millis(20), ..ClosingInTime::new(Line { asks_left: usize::MAX }) };
        let error = closing.close().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }
}
