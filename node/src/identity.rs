//! Who this node is: its key, and whether its store is where it was made.
//!
//! ```text
//! node.key = "larder-key-1 " 64 hex digits of the Ed25519 seed "\n"
//! ```
//!
//! A copied or restored data directory holds the key and the past of another machine, or of this one at another time.
//! If both wrote on, they would write two different changes at one place of one chain. So the store remembers where it
//! was made ([`mark`]); anywhere else the node leaves all its chains and begins new ones.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use data_encoding::HEXLOWER;
use larder_core::id::{Secret, hash};

use crate::failure::Failure;
use crate::place::{Place, read_text, write_secret};

const PREFIX: &str = "larder-key-1 ";

/// Reads the node's key, or makes it at the first start.
pub fn load_or_make(place: &Place) -> Result<Secret, Failure> {
    let path = place.key();
    match read_text(&path) {
        Ok(text) => {
            let secret = parse(&text).ok_or_else(|| {
                Failure::failed(format!("{} is not a node's key: it is damaged", path.display()))
                    .hint("restore it from a backup; without it this machine is another node")
            })?;
            protect(place)?;
            Ok(secret)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(place),
        Err(error) => Err(Failure::failed(format!("cannot read {}: {error}", path.display()))),
    }
}

fn make(place: &Place) -> Result<Secret, Failure> {
    let path = place.key();
    if place.store().exists() {
        return Err(Failure::failed(format!(
            "{} is missing, but there is a store beside it: the groups know this node by that key",
            path.display()
        ))
        .hint("restore the key from a backup, or begin anew in an empty data directory"));
    }
    let secret = Secret::from_bytes(&random()?);
    write_secret(&path, &print(&secret))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    Ok(secret)
}

/// A key file that others can read is closed to them.
fn protect(place: &Place) -> Result<(), Failure> {
    let path = place.key();
    let shut = || {
        let mode = fs::metadata(&path)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!("{} could be read by others; its mode is 0600 now", path.display());
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    };
    shut().map_err(|error: io::Error| Failure::failed(format!("cannot protect {}: {error}", path.display())))
}

/// A key as a file holds it.
pub fn print(secret: &Secret) -> String {
    format!("{PREFIX}{}\n", HEXLOWER.encode(&secret.to_bytes()))
}

/// Reads what [`print()`] wrote.
pub fn parse(text: &str) -> Option<Secret> {
    let seed = HEXLOWER.decode(text.strip_prefix(PREFIX)?.trim_end().as_bytes()).ok()?;
    Some(Secret::from_bytes(&seed.try_into().ok()?))
}

/// 256 bits of chance from the system.
pub fn random() -> Result<[u8; 32], Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::failed(format!("the system has no chance: {error}")))?;
    Ok(bytes)
}

/// Stands for the machine, directory and file that a store lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What is stored from now on.
    pub now: [u8; 32],
    /// What was stored before files were also known by when they were made: a number of a file that is gone may be
    /// given to its copy.
    before: [u8; 32],
}

impl Mark {
    /// True if a store with that mark is where it was made.
    pub fn is(&self, stored: &[u8]) -> bool {
        *stored == self.now[..] || *stored == self.before[..]
    }
}

/// Where the store is. A copy or a restored backup has another mark; so may, harmlessly, a repaired file system.
pub fn mark(place: &Place) -> io::Result<Mark> {
    let machine = fs::read("/etc/machine-id").unwrap_or_default();
    let file = |path: &std::path::Path| -> io::Result<([u8; 8], [u8; 16])> {
        let meta = fs::metadata(path)?;
        let made = meta.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        Ok((meta.ino().to_be_bytes(), made.unwrap_or_default().as_nanos().to_be_bytes()))
    };
    let ((directory, _), (store, made)) = (file(&place.data)?, file(&place.store())?);
    Ok(Mark {
        now: hash("larder 1 place", &[&machine, &directory, &store, &made]),
        before: hash("larder 1 place", &[&machine, &directory, &store]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_comes_back() {
        let secret = Secret::from_bytes(&[7; 32]);
        assert_eq!(parse(&print(&secret)).map(|key| key.node()), Some(secret.node()));
        for text in ["", "larder-key-1 ", "larder-key-1 00", "hello"] {
            assert!(parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_key_that_others_could_read_is_closed_to_them() {
        let data = std::env::temp_dir().join(format!("larder-key-{}", std::process::id()));
        fs::create_dir_all(&data).unwrap();
        let place = Place::new(Some(data.clone()), None);
        let made = load_or_make(&place).unwrap();
        let mode = || fs::metadata(place.key()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(place.key(), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load_or_make(&place).unwrap().node(), made.node());
        assert_eq!(mode(), 0o600);
        fs::remove_dir_all(data).unwrap();
    }
}
