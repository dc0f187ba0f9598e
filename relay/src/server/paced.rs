//! A connection that has to get on: what is written to it goes out within a time, or it is cut off.
//!
//! Whoever asks and does not read the answer would keep the answer in memory, and the task that writes it, for as long as he likes. Here a
//! clock runs while the system takes no more, and stops with every byte that it takes. It stands below TLS, HTTP and WebSockets, so nothing
//! of theirs has to be bounded by itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::metrics::Metrics;

/// A TCP connection whose other end has to read.
#[derive(Debug)]
pub(super) struct Paced {
    stream: TcpStream,
    wait: Duration,
    /// Runs while the system takes no more.
    stalled: Option<Pin<Box<Sleep>>>,
    is_cut_off: bool,
    metrics: Metrics,
}

impl Paced {
    pub(super) fn new(stream: TcpStream, wait: Duration, metrics: Metrics) -> Self {
        Self { stream, wait, stalled: None, is_cut_off: false, metrics }
    }

    /// Looks at what became of a write.
    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        if !self.is_cut_off {
            let wait = self.wait;
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(wait)));
            ready!(stalled.as_mut().poll(cx));
            self.cut_off();
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other end does not read what it asked for")))
    }

    fn cut_off(&mut self) {
        self.is_cut_off = true;
        self.metrics.refused("reads_too_slowly");
        // What waits in the system goes as well, instead of being offered for minutes. Where that cannot be had it ends all the same.
        self.stream.set_zero_linger().ok();
    }
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    // Of a TCP connection these two wait for nothing.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
