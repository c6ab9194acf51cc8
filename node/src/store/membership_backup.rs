//! The membership backup: a second copy of the membership records, outside of the store.
//!
//! The store is one file, and one bad sector can destroy it. Members can send its content again, but only to
//! a node that proves its membership with records. The records are few and change seldom, so each node keeps
//! them twice.
//!
//! ```text
//! DATA/groups.kept = version u8 | checksum [32] | body
//! checksum         = BLAKE3("larder 1 roster", body)
//! body             = [ (group [16], paused bool, [ record | signature ]) ]          in postcard
//! ```
//!
//! The store's writer replaces the file atomically after each commit that writes records or groups.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use larder_core::codec::checksum;
use larder_core::id::GroupId;
use larder_core::record::SignedRecord;
use larder_core::store::salvage::KnownGroup;
use larder_core::store::{GroupRow, RowReader, Table, decode_layout, encode_layout, key};

use super::Store;
use crate::data_dir::replace_secret_file;
use crate::limits;

const BACKUP_VERSION: u8 = 1;
const HEADER_BYTES: usize = 33;
/// The hash context of the checksum.
const BACKUP_CONTEXT: &str = "larder 1 roster";

/// The file of a node's membership backup.
#[derive(Debug)]
pub struct MembershipBackup {
    path: PathBuf,
}

impl MembershipBackup {
    /// Returns the membership backup in the file `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Reads the groups in the file. Returns none if the file is missing or damaged.
    pub fn read(&self) -> Vec<KnownGroup> {
        let Ok(bytes) = read_file(&self.path) else { return Vec::new() };
        decode(&bytes).unwrap_or_default()
    }

    /// Replaces the file if it differs from the records in the store.
    pub fn update(&self, store: &Store) -> io::Result<()> {
        let groups = read_groups(store).map_err(io::Error::other)?;
        let encoded = encode(&groups);
        if read_file(&self.path).is_ok_and(|existing| existing == encoded) {
            return Ok(());
        }
        replace_secret_file(&self.path, &encoded)
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(limits::MEMBERSHIP_BACKUP_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the groups in the store, with their records.
fn read_groups(store: &Store) -> Result<Vec<KnownGroup>, super::StoreError> {
    let mut groups = Vec::new();
    for (id, row) in store.read_rows(Table::Groups, &[])? {
        let (Some(group), Some(row)) = (GroupId::from_slice(&id), decode_layout::<GroupRow>(&row)) else {
            continue;
        };
        let records = store.read_rows(Table::Records, &key::for_group(group))?;
        let records = records.iter().filter_map(|(_, value)| SignedRecord::decode(value).ok()).collect();
        groups.push(KnownGroup { group, paused: row.paused, records });
    }
    Ok(groups)
}

type BackupLayout = Vec<(GroupId, bool, Vec<Vec<u8>>)>;

fn encode(groups: &[KnownGroup]) -> Vec<u8> {
    let records = |group: &KnownGroup| group.records.iter().map(SignedRecord::encode).collect();
    let groups: BackupLayout =
        groups.iter().map(|group| (group.group, group.paused, records(group))).collect();
    let body = encode_layout(&groups);
    [[BACKUP_VERSION].as_slice(), &checksum(BACKUP_CONTEXT, &body), &body].concat()
}

/// Decodes the content of the file. Returns `None` if it is damaged.
pub fn decode(bytes: &[u8]) -> Option<Vec<KnownGroup>> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
    let (version, stored_checksum) = header.split_first()?;
    if *version != BACKUP_VERSION || stored_checksum != checksum(BACKUP_CONTEXT, body) {
        return None;
    }
    let groups: BackupLayout = decode_layout(body)?;
    let to_group = |(group, paused, records): (GroupId, bool, Vec<Vec<u8>>)| {
        let records = records.iter().filter_map(|bytes| SignedRecord::decode(bytes).ok()).collect();
        KnownGroup { group, paused, records }
    };
    Some(groups.into_iter().map(to_group).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::id::SecretKey;
    use larder_core::record::create_genesis;

    fn sample_groups() -> Vec<KnownGroup> {
        let secret = SecretKey::from_bytes(&[7; 32]);
        let genesis = create_genesis(&secret, "shop", [1; 16], secret.node_id());
        let group = genesis.genesis_group_id().unwrap();
        vec![KnownGroup { group, paused: true, records: vec![genesis] }]
    }

    /// Later versions must read the files of this one.
    #[test]
    fn the_backup_encoding_is_stable() {
        let bytes = encode(&sample_groups());
        assert_eq!(decode(&bytes), Some(sample_groups()));
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes[..HEADER_BYTES]), GOLDEN);
    }

    const GOLDEN: &str = "01028f02bcfd00e578d16f532e7edc7d3fe3e74519133f8da9b0a648377ea06d67";

    #[test]
    fn any_flipped_bit_or_truncation_is_rejected() {
        let bytes = encode(&sample_groups());
        for offset in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[offset] ^= 4;
            assert_eq!(decode(&damaged), None, "byte {offset}");
        }
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None);
        }
    }
}
