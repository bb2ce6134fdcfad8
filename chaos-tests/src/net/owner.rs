//! Which node opened a connection, on loopback, where every node's connections come from 127.0.0.1.
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Process ids by node; `None` while a node does not run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pids(Arc<Mutex<Vec<Option<u32>>>>);

impl Pids {
    /// Notes a node's process.
    pub(crate) fn set(&self, n: usize, pid: Option<u32>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= n {
            all.resize(n + 1, None);
        }
        all[n] = pid;
    }

    /// The node whose process has the socket with this local address.
    pub(super) fn owner(&self, local: SocketAddr) -> Option<usize> {
        let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
        let socket = format!("socket:[{}]", inode(&table, local)?);
        let pids = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pids.iter().position(|pid| pid.is_some_and(|pid| has(pid, &socket)))
    }
}

/// Whether a process has this file open.
fn has(pid: u32, target: &str) -> bool {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.filter_map(|e| std::fs::read_link(e.path()).ok()).any(|link| link.as_os_str() == target)
}

/// The inode of the socket with this local address, in the words of `/proc/net/tcp`.
fn inode(table: &str, local: SocketAddr) -> Option<&str> {
    let SocketAddr::V4(local) = local else { return None };
    let wanted = format!("{:08X}:{:04X}", u32::from_le_bytes(local.ip().octets()), local.port());
    let line = table.lines().skip(1).find(|l| l.split_whitespace().nth(1) == Some(&wanted))?;
    line.split_whitespace().nth(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_connection_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let pids = Pids::default();
        pids.set(1, Some(std::process::id()));
        assert_eq!(pids.owner(stream.local_addr().unwrap()), Some(1));
        assert_eq!(pids.owner("127.0.0.9:1".parse().unwrap()), None);
        pids.set(1, None);
        assert_eq!(pids.owner(stream.local_addr().unwrap()), None);
    }
}
