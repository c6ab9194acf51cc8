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
use larder_core::id::{SecretKey, hash};

use crate::data_dir::{DataDir, create_secret_file, read_text_file};
use crate::error::CliError;

const KEY_FILE_PREFIX: &str = "larder-key-1 ";

/// Reads the node's key, or makes it at the first start.
pub fn load_or_create_key(data_dir: &DataDir) -> Result<SecretKey, CliError> {
    let path = data_dir.key_file();
    match read_text_file(&path) {
        Ok(text) => {
            let secret = parse_key(&text).ok_or_else(|| {
                CliError::failed(format!("{} is not a node's key: it is damaged", path.display()))
                    .with_hint("restore it from a backup; without it this machine is another node")
            })?;
            restrict_key_permissions(data_dir)?;
            Ok(secret)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create_key(data_dir),
        Err(error) => Err(CliError::failed(format!("cannot read {}: {error}", path.display()))),
    }
}

fn create_key(data_dir: &DataDir) -> Result<SecretKey, CliError> {
    let path = data_dir.key_file();
    if data_dir.store_file().exists() {
        return Err(CliError::failed(format!(
            "{} is missing, but there is a store beside it: the groups know this node by that key",
            path.display()
        ))
        .with_hint("restore the key from a backup, or begin anew in an empty data directory"));
    }
    let secret = SecretKey::from_bytes(&random_seed()?);
    create_secret_file(&path, &format_key(&secret))
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
    Ok(secret)
}

/// A key file that others can read is closed to them.
fn restrict_key_permissions(data_dir: &DataDir) -> Result<(), CliError> {
    let path = data_dir.key_file();
    let restrict = || {
        let mode = fs::metadata(&path)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!("{} could be read by others; its mode is 0600 now", path.display());
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    };
    restrict()
        .map_err(|error: io::Error| CliError::failed(format!("cannot protect {}: {error}", path.display())))
}

/// A key as a file holds it.
pub fn format_key(secret: &SecretKey) -> String {
    format!("{KEY_FILE_PREFIX}{}\n", HEXLOWER.encode(&secret.to_bytes()))
}

/// Reads what [`print()`] wrote.
pub fn parse_key(text: &str) -> Option<SecretKey> {
    let seed = HEXLOWER.decode(text.strip_prefix(KEY_FILE_PREFIX)?.trim_end().as_bytes()).ok()?;
    Some(SecretKey::from_bytes(&seed.try_into().ok()?))
}

/// 256 bits of chance from the system.
pub fn random_seed() -> Result<[u8; 32], CliError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| CliError::failed(format!("the system has no chance: {error}")))?;
    Ok(bytes)
}

/// Stands for the machine, directory and file that a store lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFingerprint {
    /// What is stored from now on.
    pub current: [u8; 32],
    /// What was stored before files were also known by when they were made: a number of a file that is gone may be
    /// given to its copy.
    without_creation_time: [u8; 32],
}

impl StoreFingerprint {
    /// True if a store with that mark is where it was made.
    pub fn matches(&self, stored: &[u8]) -> bool {
        *stored == self.current[..] || *stored == self.without_creation_time[..]
    }
}

/// Where the store is. A copy or a restored backup has another mark; so may, harmlessly, a repaired file system.
pub fn store_fingerprint(data_dir: &DataDir) -> io::Result<StoreFingerprint> {
    let machine_id = fs::read("/etc/machine-id").unwrap_or_default();
    let file_identity = |path: &std::path::Path| -> io::Result<([u8; 8], [u8; 16])> {
        let meta = fs::metadata(path)?;
        let created = meta.created().ok().and_then(|made| made.duration_since(std::time::UNIX_EPOCH).ok());
        Ok((meta.ino().to_be_bytes(), created.unwrap_or_default().as_nanos().to_be_bytes()))
    };
    let ((directory, _), (store, created)) =
        (file_identity(&data_dir.path)?, file_identity(&data_dir.store_file())?);
    Ok(StoreFingerprint {
        current: hash("larder 1 place", &[&machine_id, &directory, &store, &created]),
        without_creation_time: hash("larder 1 place", &[&machine_id, &directory, &store]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_key_parses_to_the_same_key() {
        let secret = SecretKey::from_bytes(&[7; 32]);
        assert_eq!(parse_key(&format_key(&secret)).map(|key| key.node_id()), Some(secret.node_id()));
        for text in ["", "larder-key-1 ", "larder-key-1 00", "hello"] {
            assert!(parse_key(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_key_file_readable_by_others_gets_mode_0600() {
        let data = std::env::temp_dir().join(format!("larder-key-{}", std::process::id()));
        fs::create_dir_all(&data).unwrap();
        let data_dir = DataDir::new(Some(data.clone()), None);
        let created_key = load_or_create_key(&data_dir).unwrap();
        let mode = || fs::metadata(data_dir.key_file()).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(data_dir.key_file(), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(load_or_create_key(&data_dir).unwrap().node_id(), created_key.node_id());
        assert_eq!(mode(), 0o600);
        fs::remove_dir_all(data).unwrap();
    }
}
