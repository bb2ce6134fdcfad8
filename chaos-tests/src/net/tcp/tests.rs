//! Links between two ends of this process.
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::*;
use crate::net::{Network, Pids, Realm};

/// Two nodes on loopback, both this process; what connects counts as node 0.
async fn network() -> (Network, TcpListener, UdpSocket, UdpSocket) {
    let mut network = Network::new(2, Some(Realm::Loopback)).unwrap();
    let nodes = [network.address(0).unwrap(), network.address(1).unwrap()];
    let listener = TcpListener::bind(nodes[1].rpc).await.unwrap();
    let gossip = [UdpSocket::bind(nodes[0].gossip).await.unwrap(), UdpSocket::bind(nodes[1].gossip).await.unwrap()];
    let pids = Pids::default();
    pids.set(0, Some(std::process::id()));
    network.start(&nodes, pids).await.unwrap();
    let [first, second] = gossip;
    (network, listener, first, second)
}

async fn arrives(stream: &mut TcpStream, within: Duration) -> bool {
    let mut byte = [0];
    tokio::time::timeout(within, stream.read_exact(&mut byte)).await.is_ok_and(|read| read.is_ok())
}

const SOON: Duration = Duration::from_millis(150);
const LATE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn links_are_cut_one_way_and_heal() {
    let (network, listener, _, second) = network().await;
    let rpc = SocketAddr::from((network.advertised(1), second_port(&listener)));
    let mut near = TcpStream::connect(rpc).await.unwrap();
    let (mut far, from) = listener.accept().await.unwrap();
    assert_eq!(from.ip(), IpAddr::V4(network.advertised(0)), "seen as coming from its stand-in");
    let cut = network.apply(vec![(0, 1, Quality::cut())]).unwrap();
    near.write_all(b"a").await.unwrap();
    far.write_all(b"b").await.unwrap();
    assert!(arrives(&mut near, LATE).await, "the other direction is whole");
    assert!(!arrives(&mut far, SOON).await);
    network.remove(cut).unwrap();
    assert!(arrives(&mut far, LATE).await);
    drop(second);
}

fn second_port(listener: &TcpListener) -> u16 {
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn bytes_are_delayed_and_closing_passes_through() {
    let (network, listener, _, _) = network().await;
    let delay = Duration::from_millis(120);
    network.apply(vec![(0, 1, Quality { delay, ..Quality::default() })]).unwrap();
    let mut near = TcpStream::connect((network.advertised(1), second_port(&listener))).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let started = Instant::now();
    near.write_all(b"a").await.unwrap();
    assert!(arrives(&mut far, LATE).await);
    assert!(started.elapsed() >= delay, "{:?}", started.elapsed());
    drop(near);
    assert_eq!(far.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn datagrams_come_from_their_senders_stand_in() {
    let (network, _, first, second) = network().await;
    let to = SocketAddr::from((network.advertised(1), second.local_addr().unwrap().port()));
    let mut buffer = [0; 8];
    first.send_to(b"hello", to).await.unwrap();
    let (bytes, from) = second.recv_from(&mut buffer).await.unwrap();
    assert_eq!((&buffer[..bytes], from.ip()), (b"hello".as_slice(), IpAddr::V4(network.advertised(0))));
    let cut = network.apply(vec![(0, 1, Quality::cut())]).unwrap();
    first.send_to(b"lost", to).await.unwrap();
    assert!(tokio::time::timeout(SOON, second.recv_from(&mut buffer)).await.is_err());
    network.remove(cut).unwrap();
    first.send_to(b"again", to).await.unwrap();
    let (bytes, _) = second.recv_from(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..bytes], b"again");
}
