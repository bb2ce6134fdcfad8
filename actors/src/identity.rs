//! Who this node is: an id drawn once and kept beside the data, so that a wiped node comes back as a new one.
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::error::Error;

const FILE: &str = "identity";
const HEADER: &str = "trine-identity 2";
/// Without the last two lines.
const HEADER_1: &str = "trine-identity 1";
/// [`Identity::rejoin`] when it is not known which cluster it was.
pub const ANY_CLUSTER: &str = "any";

/// The identity file: text, one `key value` a line, closed by a checksum line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Random; never reused.
    pub node_id: u64,
    pub node_name: String,
    /// Empty until the node belongs to a cluster.
    pub cluster: String,
    /// Replica id in the metadata group; 0 until the node belongs to a cluster.
    pub meta_replica: u64,
    /// The replica of the metadata group exists on this disk: if it is not there any more, it is lost.
    pub meta_opened: bool,
    /// Not empty when this node has lost what it had of a cluster: it joins that one ([`ANY_CLUSTER`]: whichever there is) and
    /// never founds one.
    pub rejoin: String,
}

impl Identity {
    /// Reads the identity in a data directory; `None` where there is none.
    pub fn load(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => Self::decode(&bytes, &path).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error("read", &path)(e)),
        }
    }

    /// Reads the identity, or draws one and makes it durable. A directory of another node name is refused.
    pub fn load_or_create(dir: &Path, node_name: &str) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(io_error("create directory", dir))?;
        match Self::load(dir)? {
            Some(found) if found.node_name != node_name => {
                let (found, expected) = (found.node_name, node_name.to_owned());
                Err(Error::NodeName { path: dir.display().to_string(), found, expected })
            }
            Some(found) => Ok(found),
            None => {
                let new = Self::draw(node_name, "");
                new.save(dir)?;
                Ok(new)
            }
        }
    }

    /// The identity in a data directory, whatever the node's name.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE);
        Self::decode(&fs::read(&path).map_err(io_error("read", &path))?, &path)
    }

    /// What is not text is damage like any other, and no trouble with the disk.
    fn decode(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|e| e.to_string());
        text.and_then(Self::parse).map_err(|reason| Error::Identity { path: path.display().to_string(), reason })
    }

    /// A new identity, not yet written.
    pub fn draw(node_name: &str, rejoin: &str) -> Self {
        // 63 bits, not zero: zero means "unknown" on the wire.
        let node_id = (rand::random::<u64>() >> 1).max(1);
        let (node_name, rejoin) = (node_name.to_owned(), rejoin.to_owned());
        Self { node_id, node_name, cluster: String::new(), meta_replica: 0, meta_opened: false, rejoin }
    }

    /// Writes the identity durably.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let body = format!(
            "{HEADER}\nnode_id {}\nnode_name {}\ncluster {}\nmeta_replica {}\nmeta_opened {}\nrejoin {}\n",
            self.node_id,
            self.node_name,
            self.cluster,
            self.meta_replica,
            u8::from(self.meta_opened),
            self.rejoin
        );
        let text = format!("{body}crc {:08x}\n", Self::checksum(&body));
        let (temporary, path) = (dir.join("identity.new"), dir.join(FILE));
        let mut file = fs::File::create(&temporary).map_err(io_error("create", &temporary))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io_error("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(io_error("rename", &path))?;
        fs::File::open(dir).and_then(|d| d.sync_all()).map_err(io_error("sync directory", dir))
    }

    /// First four bytes of the BLAKE3 hash: guards against damage, not against people.
    pub(crate) fn checksum(body: &str) -> u32 {
        let hash = blake3::hash(body.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (body, last) = text.trim_end().rsplit_once('\n').ok_or("too short")?;
        let body = format!("{body}\n");
        if last != format!("crc {:08x}", Self::checksum(&body)) {
            return Err("checksum mismatch".into());
        }
        let mut lines = body.lines();
        let version = lines.next();
        if version != Some(HEADER) && version != Some(HEADER_1) {
            return Err("unknown version".into());
        }
        let mut field = |name: &str| -> Result<String, String> {
            let line = lines.next().ok_or_else(|| format!("no {name}"))?;
            let (key, value) = line.split_once(' ').ok_or_else(|| format!("no {name}"))?;
            if key == name { Ok(value.to_owned()) } else { Err(format!("no {name}")) }
        };
        let number = |s: String| s.parse::<u64>().map_err(|e| e.to_string());
        let mut identity = Self {
            node_id: number(field("node_id")?)?,
            node_name: field("node_name")?,
            cluster: field("cluster")?,
            meta_replica: number(field("meta_replica")?)?,
            meta_opened: false,
            rejoin: String::new(),
        };
        if version == Some(HEADER) {
            identity.meta_opened = field("meta_opened")? == "1";
            identity.rejoin = field("rejoin")?;
        }
        Ok(identity)
    }
}

pub(crate) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path: PathBuf = path.to_owned();
    move |source| Error::Io { what, path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_drawn_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Identity::load(dir.path()).unwrap(), None);
        let mut first = Identity::load_or_create(dir.path(), "n1").unwrap();
        first.cluster = "c".into();
        first.meta_replica = 3;
        first.meta_opened = true;
        first.rejoin = ANY_CLUSTER.into();
        first.save(dir.path()).unwrap();
        assert_eq!(Identity::load_or_create(dir.path(), "n1").unwrap(), first);
        assert!(matches!(Identity::load_or_create(dir.path(), "n2"), Err(Error::NodeName { .. })));
    }

    #[test]
    fn version_1_is_still_read() {
        let body = format!("{HEADER_1}\nnode_id 5\nnode_name n1\ncluster c\nmeta_replica 2\n");
        let read = Identity::parse(&format!("{body}crc {:08x}\n", Identity::checksum(&body))).unwrap();
        assert_eq!((read.node_id, read.meta_replica, read.meta_opened, read.rejoin.as_str()), (5, 2, false, ""));
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_create(dir.path(), "n1").unwrap();
        let path = dir.path().join(FILE);
        let sound = fs::read(&path).unwrap();
        for at in 0..sound.len() - 1 {
            for flip in [0x01, 0x80] {
                let mut bytes = sound.clone();
                bytes[at] ^= flip;
                fs::write(&path, bytes).unwrap();
                for read in [Identity::load_or_create(dir.path(), "n1"), Identity::read(dir.path())] {
                    assert!(matches!(read, Err(Error::Identity { .. })), "byte {at} ^ {flip}: {read:?}");
                }
            }
        }
    }
}
