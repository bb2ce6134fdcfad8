//! Free ports on loopback.
use std::net::{TcpListener, UdpSocket};

/// Distinct TCP ports that nothing listened on a moment ago: all are bound before the first is let go.
pub(crate) fn free_tcp_ports(count: usize) -> Vec<u16> {
    let bound: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port")).collect();
    bound.iter().map(|l| l.local_addr().expect("a bound socket has an address").port()).collect()
}

/// Distinct UDP ports.
pub(crate) fn free_udp_ports(count: usize) -> Vec<u16> {
    let bound: Vec<UdpSocket> =
        (0..count).map(|_| UdpSocket::bind(("127.0.0.1", 0)).expect("loopback has a free port")).collect();
    bound.iter().map(|s| s.local_addr().expect("a bound socket has an address").port()).collect()
}
