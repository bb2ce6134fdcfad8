//! Connections between nodes, byte by byte, each direction as its link is.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Quality;
use super::proxy::Shared;

const CHUNK_BYTES: usize = 16 << 10;
/// Chunks under way in one direction of a connection; beyond, the sender is held back.
const CHUNKS_MAX: usize = 64;
/// What a lost packet costs: TCP's shortest time until it sends again.
const RESEND_AFTER: Duration = Duration::from_millis(200);
/// After an error of accept, which is one of this process: too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Passes on connections to node `to`, until aborted.
pub(super) async fn listen(shared: Arc<Shared>, listener: TcpListener, to: usize) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => { connections.spawn(connection(shared.clone(), stream, from, to)); }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, until either end closes it.
async fn connection(shared: Arc<Shared>, near: TcpStream, from: SocketAddr, to: usize) {
    let Some(from) = shared.sender(from) else { return };
    let (mut there, back) = (shared.table.watch(from, to), shared.table.watch(to, from));
    if there.wait_for(|q| !shared.holds(q)).await.is_err() {
        return;
    }
    let Ok(far) = connect(&shared, from, to).await else { return };
    // Delays are ours to add: nothing else may.
    if near.set_nodelay(true).and_then(|()| far.set_nodelay(true)).is_err() {
        return;
    }
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::join!(pump(&shared, near_read, far_write, there), pump(&shared, far_read, near_write, back));
}

async fn connect(shared: &Shared, from: usize, to: usize) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(IpAddr::V4(shared.ends[from].alias), 0))?;
    socket.connect(shared.ends[to].at.rpc).await
}

/// Bytes and when they arrive.
type Chunk = (Instant, Vec<u8>);

async fn pump(shared: &Shared, from: OwnedReadHalf, to: OwnedWriteHalf, link: watch::Receiver<Quality>) {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    tokio::join!(take(shared, from, sender, link.clone()), give(shared, to, receiver, link));
}

async fn take(shared: &Shared, mut from: OwnedReadHalf, chunks: mpsc::Sender<Chunk>, link: watch::Receiver<Quality>) {
    let mut wire_free = Instant::now();
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let bytes = tokio::select! {
            read = from.read(&mut buffer) => match read { Ok(0) | Err(_) => return, Ok(bytes) => bytes },
            () = chunks.closed() => return,
        };
        let quality = *link.borrow();
        wire_free = wire_free.max(Instant::now()) + quality.transmission(bytes);
        if shared.loses(&quality) {
            wire_free += RESEND_AFTER;
        }
        if chunks.send((wire_free + quality.delay, buffer[..bytes].to_vec())).await.is_err() {
            return;
        }
    }
}

async fn give(
    shared: &Shared,
    mut to: OwnedWriteHalf,
    mut chunks: mpsc::Receiver<Chunk>,
    mut link: watch::Receiver<Quality>,
) {
    while let Some((arrives, bytes)) = chunks.recv().await {
        if arrives > Instant::now() {
            tokio::time::sleep_until(arrives).await;
        }
        if link.wait_for(|q| !shared.holds(q)).await.is_err() || to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    // The other end closed: say so, as it did. It may be gone already.
    drop(to.shutdown().await);
}

#[cfg(test)]
mod tests;
