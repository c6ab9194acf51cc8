//! The node's key, and the check that its store was not copied or moved.
//!
//! ```text
//! node.key = "larder-key-1 " 64 hex digits of the Ed25519 seed "\n"
//! ```
//!
//! A copied or restored data directory holds the key and the history of another node, or of this node at an
//! earlier time. If both continued to write, they would write two different changes with one sequence number
//! in one chain. The store therefore holds a [`StoreFingerprint`]. If the fingerprint does not match, the
//! node leaves all its chains and begins new ones.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use data_encoding::HEXLOWER;
use larder_core::id::{SecretKey, hash};

use crate::data_dir::{DataDir, create_secret_file, read_text_file};
use crate::error::CliError;

const KEY_FILE_PREFIX: &str = "larder-key-1 ";

/// Reads the node's key, or creates it at the first start.
pub fn load_or_create_key(data_dir: &DataDir) -> Result<SecretKey, CliError> {
    let path = data_dir.key_file();
    match read_text_file(&path) {
        Ok(text) => {
            let secret = parse_key(&text).ok_or_else(|| {
                CliError::failed(format!(
                    "{} does not hold a node's key: the file is damaged",
                    path.display()
                ))
                .with_hint("restore the file from a backup; with another key this host is another node")
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
            "{} is missing, but the data directory has a store: the groups know this node by the missing key",
            path.display()
        ))
        .with_hint("restore the key from a backup, or start again with an empty data directory"));
    }
    let secret = SecretKey::from_bytes(&random_seed()?);
    create_secret_file(&path, format_key(&secret))
        .map_err(|error| CliError::failed(format!("cannot write {}: {error}", path.display())))?;
    Ok(secret)
}

/// Sets the mode of the key file to 0600 if other users can read it.
fn restrict_key_permissions(data_dir: &DataDir) -> Result<(), CliError> {
    let path = data_dir.key_file();
    let restrict = || {
        let mode = fs::metadata(&path)?.permissions().mode();
        if mode & 0o077 != 0 {
            tracing::warn!("other users could read {}; its mode is now 0600", path.display());
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    };
    restrict()
        .map_err(|error: io::Error| CliError::failed(format!("cannot protect {}: {error}", path.display())))
}

/// Encodes a key as the text of a key file.
pub fn format_key(secret: &SecretKey) -> String {
    format!("{KEY_FILE_PREFIX}{}\n", HEXLOWER.encode(&secret.to_bytes()))
}

/// Decodes the text of a key file. Returns `None` if the text does not hold a key.
pub fn parse_key(text: &str) -> Option<SecretKey> {
    let seed = HEXLOWER.decode(text.strip_prefix(KEY_FILE_PREFIX)?.trim_end().as_bytes()).ok()?;
    Some(SecretKey::from_bytes(&seed.try_into().ok()?))
}

/// Returns 256 random bits from the operating system.
pub fn random_seed() -> Result<[u8; 32], CliError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        CliError::failed(format!("the operating system returns no random bytes: {error}"))
    })?;
    Ok(bytes)
}

/// A hash over the host, directory and file in which a store was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFingerprint {
    /// The fingerprint that this version stores.
    pub current: [u8; 32],
    /// The fingerprint without the creation time of the file. Stores may still hold it. The creation time was
    /// added because a copy can get the inode number of a deleted file.
    without_creation_time: [u8; 32],
}

impl StoreFingerprint {
    /// True if a store with the fingerprint `stored` is where it was created.
    pub fn matches(&self, stored: &[u8]) -> bool {
        *stored == self.current[..] || *stored == self.without_creation_time[..]
    }
}

/// Computes the fingerprint of the store's current location. A copy or a restored backup has another
/// fingerprint. A repaired file system may have one too; the node then begins new chains without need, which
/// does no harm.
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
