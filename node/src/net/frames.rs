//! Frames on a stream: a length of four bytes, big endian, then so many bytes.
//!
//! A length above the bound ends the stream before anything is allocated. Between frames a peer may be silent as long as it likes (the
//! connection's pings watch over it); within a frame it may not. Writing waits until the transport takes the bytes: that is the
//! backpressure.

use std::io;
use std::time::Duration;

use futures::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

/// How long the rest of a frame may take once its first byte is there. At the largest frame this asks for 35 kB/s.
pub const FRAME_MS_MAX: u64 = 120_000;

/// Bytes that are read at one time, so that no memory is taken for a frame before its bytes are there.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why no frame could be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other end closed the stream between frames.
    #[error("the peer closed the stream")]
    Closed,
    /// It announced more than is allowed. Drop it.
    #[error("the peer announced a frame of {announced} bytes, {max} are allowed")]
    TooLarge {
        /// What it announced.
        announced: u64,
        /// What is allowed.
        max: usize,
    },
    /// It began a frame and did not go on.
    #[error("the peer began a frame and did not finish it in {FRAME_MS_MAX} ms")]
    TooSlow,
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
}

/// Reads a frame of at most `max` bytes. Not to be cancelled half-way: what was read is lost then.
///
/// # Errors
/// See [`FrameError`].
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin), max: usize) -> Result<Vec<u8>, FrameError> {
    read_frame_within(stream, max, Duration::from_millis(FRAME_MS_MAX)).await
}

async fn read_frame_within(stream: &mut (impl AsyncRead + Unpin), max: usize, patience: Duration) -> Result<Vec<u8>, FrameError> {
    let mut length = [0; 4];
    match stream.read(&mut length[..1]).await {
        Ok(0) => return Err(FrameError::Closed),
        Ok(_) => {}
        Err(error) => return Err(FrameError::Broken(error)),
    }
    let rest = async {
        stream.read_exact(&mut length[1..]).await.map_err(FrameError::Broken)?;
        let announced = u32::from_be_bytes(length);
        match usize::try_from(announced).ok().filter(|announced| *announced <= max) {
            Some(bytes) => read_body(stream, bytes).await,
            None => Err(FrameError::TooLarge { announced: announced.into(), max }),
        }
    };
    timeout(patience, rest).await.unwrap_or(Err(FrameError::TooSlow))
}

async fn read_body(stream: &mut (impl AsyncRead + Unpin), bytes: usize) -> Result<Vec<u8>, FrameError> {
    let mut body = Vec::with_capacity(bytes.min(CHUNK_BYTES));
    while body.len() < bytes {
        let from = body.len();
        body.resize(bytes.min(from + CHUNK_BYTES), 0);
        let read = stream.read(&mut body[from..]).await.map_err(FrameError::Broken)?;
        if read == 0 {
            return Err(FrameError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        body.truncate(from + read);
    }
    Ok(body)
}

/// Writes a frame and hands it to the transport.
///
/// # Errors
/// When the connection broke, or the peer takes no byte for too long.
pub async fn write_frame(stream: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<(), FrameError> {
    let too_large = || FrameError::TooLarge { announced: frame.len() as u64, max: u32::MAX as usize };
    let length = u32::try_from(frame.len()).map_err(|_| too_large())?;
    let write = async {
        stream.write_all(&length.to_be_bytes()).await?;
        stream.write_all(frame).await?;
        stream.flush().await
    };
    match timeout(Duration::from_millis(FRAME_MS_MAX), write).await {
        Ok(written) => written.map_err(FrameError::Broken),
        Err(_) => Err(FrameError::TooSlow),
    }
}

#[cfg(test)]
mod tests {
    use futures::io::Cursor;

    use super::*;

    async fn written(frames: &[&[u8]]) -> Vec<u8> {
        let mut wire = Vec::new();
        for frame in frames {
            write_frame(&mut wire, frame).await.unwrap();
        }
        wire
    }

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let large = vec![7; 3 * CHUNK_BYTES + 1];
        let mut wire = Cursor::new(written(&[b"", b"one", &large]).await);
        for expected in [&b""[..], b"one", &large] {
            assert_eq!(read_frame(&mut wire, large.len()).await.unwrap(), expected);
        }
        assert!(matches!(read_frame(&mut wire, 10).await, Err(FrameError::Closed)));
    }

    #[tokio::test]
    async fn a_huge_announcement_ends_the_stream_before_anything_is_read() {
        let mut wire = Cursor::new(vec![0xff; 100]);
        let error = read_frame(&mut wire, 1_000).await.unwrap_err();
        assert!(matches!(error, FrameError::TooLarge { announced: 0xffff_ffff, max: 1_000 }), "{error}");
        assert_eq!(wire.position(), 4);
    }

    #[tokio::test]
    async fn a_frame_that_is_cut_is_no_frame() {
        let whole = written(&[b"something"]).await;
        for cut in 1..whole.len() {
            let mut wire = Cursor::new(whole[..cut].to_vec());
            assert!(matches!(read_frame(&mut wire, 100).await, Err(FrameError::Broken(_))), "cut at {cut}");
        }
    }

    #[tokio::test]
    async fn a_frame_that_never_ends_is_given_up() {
        struct Stalled(bool);
        impl AsyncRead for Stalled {
            fn poll_read(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
                into: &mut [u8],
            ) -> std::task::Poll<io::Result<usize>> {
                if std::mem::replace(&mut self.0, true) {
                    return std::task::Poll::Pending;
                }
                into[0] = 0;
                std::task::Poll::Ready(Ok(1))
            }
        }
        let patience = Duration::from_millis(20);
        assert!(matches!(read_frame_within(&mut Stalled(false), 100, patience).await, Err(FrameError::TooSlow)));
    }
}
