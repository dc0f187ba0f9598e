//! The two ends of a session's stream, each in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use futures::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use nodespace_protocol::DecodeError;
use nodespace_protocol::session::message::{FRAME_BYTES_MAX, Message};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::net::frames::{FrameError, read_frame, write_frame};
use crate::peers::traffic::Bytes;

/// Messages that were read and wait to be taken, beside one that waits for a place: a large one has some megabytes when it is decoded.
const ARRIVED_MAX: usize = 1;
/// Messages that wait to be sent.
const OUTGOING_MAX: usize = 6;

/// What came in.
#[derive(Debug)]
pub(super) enum Arrival {
    Message(Message),
    Malformed(DecodeError),
    /// Nothing more comes in.
    Ended(FrameError),
    /// Nothing more can be sent; something that was sent here may still come in.
    Unsendable(FrameError),
}

/// Both ends.
#[derive(Debug)]
pub(super) struct Pipes {
    /// What comes in.
    pub(super) arrivals: Arrivals,
    /// What goes out.
    pub(super) outgoing: Outgoing,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

/// What comes in.
#[derive(Debug)]
pub(super) struct Arrivals {
    queue: mpsc::Receiver<Arrival>,
    over: bool,
}

/// What goes out.
#[derive(Debug)]
pub(super) struct Outgoing(Option<mpsc::Sender<Message>>);

impl Arrivals {
    /// The next thing that comes in. The end comes again and again.
    pub(super) async fn next(&mut self) -> Arrival {
        let next = if self.over { None } else { self.queue.recv().await };
        let arrival = next.unwrap_or(Arrival::Ended(FrameError::Closed));
        self.over |= matches!(arrival, Arrival::Ended(_));
        arrival
    }
}

impl Outgoing {
    /// How many messages can be sent without waiting.
    pub(super) fn room(&self) -> usize {
        self.0.as_ref().map_or(0, mpsc::Sender::capacity)
    }

    /// Waits until one can be sent.
    pub(super) async fn has_room(&self) {
        let reserved = match &self.0 {
            Some(outgoing) => outgoing.reserve().await.is_ok(),
            None => false,
        };
        // When nothing can be sent any more that arrives as an end. A place is taken by whoever sends next: nobody else does.
        if !reserved {
            std::future::pending::<()>().await;
        }
    }

    /// From here on there is room for nothing; what was sent before may still leave.
    pub(super) fn shut(&mut self) {
        self.0 = None;
    }

    /// Sends a message. What cannot be sent any more arrives as an end.
    pub(super) async fn send(&self, message: Message) {
        if let Some(outgoing) = &self.0 {
            outgoing.send(message).await.ok();
        }
    }
}

impl Pipes {
    pub(super) fn open(
        reading: impl AsyncRead + Unpin + Send + 'static,
        writing: impl AsyncWrite + Unpin + Send + 'static,
        first: Option<Vec<u8>>,
        bytes: &Arc<Bytes>,
    ) -> Self {
        let (arrive, arrivals) = mpsc::channel(ARRIVED_MAX);
        let (outgoing, queue) = mpsc::channel(OUTGOING_MAX);
        let writer = tokio::spawn(write(writing, queue, arrive.clone(), Arc::clone(bytes)));
        let reader = tokio::spawn(read(reading, first, arrive, Arc::clone(bytes)));
        let arrivals = Arrivals { queue: arrivals, over: false };
        Self { arrivals, outgoing: Outgoing(Some(outgoing)), reader, writer }
    }

    /// Lets what was sent leave, and ends both.
    pub(super) async fn close(&mut self, patience: Duration) {
        self.outgoing.shut();
        // Nobody takes what comes now: a task that has something to say must not wait for that.
        self.arrivals.queue.close();
        // Whatever has not left by then is lost with the stream; the peer asks again.
        tokio::time::timeout(patience, &mut self.writer).await.ok();
        self.writer.abort();
        self.reader.abort();
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

async fn read(mut stream: impl AsyncRead + Unpin, first: Option<Vec<u8>>, arrive: mpsc::Sender<Arrival>, bytes: Arc<Bytes>) {
    let mut next = first.map(Ok);
    loop {
        let frame = match next.take() {
            Some(first) => first,
            None => read_frame(&mut stream, FRAME_BYTES_MAX).await,
        };
        let arrival = match frame {
            Ok(frame) => {
                bytes.received(frame.len() + 4);
                Message::decode(&frame).map_or_else(Arrival::Malformed, Arrival::Message)
            }
            Err(error) => Arrival::Ended(error),
        };
        let last = !matches!(arrival, Arrival::Message(_));
        if arrive.send(arrival).await.is_err() || last {
            return;
        }
    }
}

async fn write(mut stream: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Message>, arrive: mpsc::Sender<Arrival>, bytes: Arc<Bytes>) {
    while let Some(message) = queue.recv().await {
        let frame = message.encode();
        bytes.sent(frame.len() + 4);
        if let Err(error) = write_frame(&mut stream, &frame).await {
            tracing::debug!(%error, "a frame could not be sent");
            // Nobody wants to know when the session has ended.
            arrive.send(Arrival::Unsendable(error)).await.ok();
            return;
        }
    }
    // The other end may have closed first.
    stream.close().await.ok();
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use futures::io::Cursor;

    use super::*;

    /// A line on which nothing can be sent any more.
    struct Broken;

    impl AsyncWrite for Broken {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<std::io::Result<usize>> {
            Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_a_broken_line_has_brought_still_arrives_and_then_its_end() {
        let said: Vec<Message> = (0..5).map(|frames| Message::Ack { frames, frontier: [7; 32] }).collect();
        let mut line = Cursor::new(Vec::new());
        for message in &said {
            write_frame(&mut line, &message.encode()).await.unwrap();
        }
        line.set_position(0);
        let mut pipes = Pipes::open(line, Broken, None, &Arc::new(Bytes::default()));
        pipes.outgoing.send(Message::WhoAreYou).await;
        let (mut arrived, mut unsendable) = (Vec::new(), 0);
        loop {
            match pipes.arrivals.next().await {
                Arrival::Message(message) => arrived.push(message),
                Arrival::Unsendable(_) => unsendable += 1,
                Arrival::Ended(FrameError::Closed) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(arrived, said);
        assert!(unsendable <= 1);
        // Whoever asks again need not wait.
        assert!(matches!(pipes.arrivals.next().await, Arrival::Ended(_)));
    }
}
