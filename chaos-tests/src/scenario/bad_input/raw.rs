//! Bytes that are not requests at all, on the ports themselves.
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngCore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::error::{Result, io};

const CONNECTIONS: usize = 50;
const STREAMS: usize = 20;
const DATAGRAMS: usize = 300;
const DATAGRAM_BYTES_MAX: usize = 60_000;
/// A server that neither answers nor hangs up is left after this; that is its right.
const REPLY_PATIENCE: Duration = Duration::from_millis(300);

/// Connections that have sent half a request each, and stay so while they are held.
pub(super) async fn half_requests(http: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(http).await.map_err(io("connect"))?;
        let half = b"POST /api/v1/write HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nab";
        stream.write_all(half).await.map_err(io("send half a request"))?;
        held.push(stream);
    }
    Ok(held)
}

/// Random bytes, and beginnings of HTTP/1 and HTTP/2 that go wrong; how many pieces were sent.
pub(super) async fn garbage(rng: &mut StdRng, http: SocketAddr, rpc: SocketAddr, gossip: SocketAddr) -> Result<usize> {
    let mut sent = 0;
    for at in [http, rpc] {
        for beginning in BEGINNINGS {
            for _ in 0..STREAMS / BEGINNINGS.len() {
                let mut bytes = beginning.to_vec();
                let from = bytes.len();
                bytes.resize(from + rng.random_range(1..20_000), 0);
                rng.fill_bytes(&mut bytes[from..]);
                poke(at, &bytes).await;
                sent += 1;
            }
        }
        poke(at, &[&b"GET / HTTP/1.1\r\nA: "[..], &vec![b'a'; 2 << 20]].concat()).await;
        sent += 1;
    }
    let socket = UdpSocket::bind((http.ip(), 0)).await.map_err(io("bind"))?;
    for _ in 0..DATAGRAMS {
        let mut bytes = vec![0; rng.random_range(0..DATAGRAM_BYTES_MAX)];
        rng.fill_bytes(&mut bytes);
        socket.send_to(&bytes, gossip).await.map_err(io("send a datagram"))?;
        sent += 1;
    }
    Ok(sent)
}

const BEGINNINGS: [&[u8]; 5] = [
    b"",
    b"GET ",
    b"POST /api/v1/write HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    // A settings frame, then headers whose length is a lie.
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\xff\xff\xff\x01\x05\0\0\0\x01",
];

/// Sends bytes and waits a little for the server to hang up. It may at any time: that is no error of anybody.
async fn poke(at: SocketAddr, bytes: &[u8]) {
    let talk = async {
        let mut stream = TcpStream::connect(at).await?;
        stream.write_all(bytes).await?;
        stream.shutdown().await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await
    };
    // Both a reset and a patience that ran out are fine; what counts is what other clients see.
    if let Ok(Err(error)) = tokio::time::timeout(REPLY_PATIENCE, talk).await {
        note_unexpected(&error);
    }
}

/// Resets are expected; anything else is worth a line in the test's output.
fn note_unexpected(error: &std::io::Error) {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    if ![BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected].contains(&error.kind()) {
        println!("garbage met {error}");
    }
}
