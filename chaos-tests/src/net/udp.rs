//! Datagrams of gossip: what arrives at one node's stand-in leaves from the sender's.
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;

use super::proxy::Shared;

/// Datagrams held back at once towards one node; more are lost.
const HELD_MAX: usize = 256;
/// The largest that UDP has.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// Passes on what is sent to node `to`, until aborted.
pub(super) async fn relay(shared: Arc<Shared>, sockets: Arc<Vec<UdpSocket>>, to: usize) {
    let held = Arc::new(Semaphore::new(HELD_MAX));
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error is an ICMP reply to something sent earlier: nobody listens there now.
        let Ok((bytes, from)) = sockets[to].recv_from(&mut buffer).await else { continue };
        let Some(from) = shared.sender(from) else { continue };
        let quality = *shared.table.watch(from, to).borrow();
        if shared.holds(&quality) || shared.loses(&quality) {
            continue;
        }
        let Ok(permit) = held.clone().try_acquire_owned() else { continue };
        let (datagram, sockets, at) = (buffer[..bytes].to_vec(), sockets.clone(), shared.ends[to].at.gossip);
        let wait = quality.delay + quality.transmission(bytes);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            // As with any datagram: it arrives or not.
            drop(sockets[from].send_to(&datagram, at).await);
            drop(permit);
        });
    }
}
