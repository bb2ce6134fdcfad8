//! A client's connection over HTTP/1, whose end a query can wait for while hyper reads and writes.
//!
//! hyper tells of an end by dropping the request, or, so that who closes only its side gets its answer, not at all. Writes need
//! the answer; a query that nobody may be waiting for is ended, as Go's server and so Prometheus does.
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Between two looks at a client that sends ahead: what it sent keeps the connection readable.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Goes along with each request.
#[derive(Clone, Debug)]
pub(crate) struct Connection(Arc<OwnedReadHalf>);

impl Connection {
    /// Returns once the client has closed the connection, or its side of it.
    pub(crate) async fn closed(&self) {
        while let Ok(ready) = self.0.ready(Interest::READABLE).await
            && !ready.is_read_closed()
        {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// What hyper reads and writes.
#[derive(Debug)]
pub(super) struct Watched {
    read: Arc<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Watched {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self { read: Arc::new(read), write }
    }

    pub(super) fn connection(&self) -> Connection {
        Connection(self.read.clone())
    }
}

impl AsyncRead for Watched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream: &TcpStream = (*self.read).as_ref();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.write).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.write.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.write).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_end_is_seen_and_bytes_ahead_are_none() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut watched = Watched::new(listener.accept().await.unwrap().0);
        let connection = watched.connection();
        client.write_all(b"ahead").await.unwrap();
        watched.read.readable().await.unwrap();
        let soon = tokio::time::timeout(LOOK_AGAIN * 3, connection.closed());
        assert!(soon.await.is_err(), "bytes that wait are no end");
        let mut five = [0; 5];
        watched.read_exact(&mut five).await.unwrap();
        client.shutdown().await.unwrap();
        connection.closed().await;
        // Who closed only its side still reads.
        watched.write_all(b"answer").await.unwrap();
        drop((watched, connection));
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((&five, answer.as_slice()), (b"ahead", &b"answer"[..]));
    }
}
