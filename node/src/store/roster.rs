//! The roster: what a node needs to come back as the member it was, kept beside the store.
//!
//! The store is one file, and one bad sector can cost it. Content can be fetched from members again; membership cannot
//! be had without the records that prove it. They are few and change seldom, so they are kept twice.
//!
//! ```text
//! DATA/groups.kept = version u8 | checksum [32] | body
//! checksum         = BLAKE3("larder 1 roster", body)
//! body             = [ (group [16], paused bool, [ record | signature ]) ]          in postcard
//! ```
//!
//! It is replaced as a whole (written aside, synced, renamed) whenever records or groups were written to the store.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use larder_core::id::{GroupId, hash};
use larder_core::record::SignedRecord;
use larder_core::store::salvage::Kept;
use larder_core::store::{GroupRow, Rows, Table, key, layout, write_layout};

use super::Store;
use crate::limits;

const VERSION: u8 = 1;
const HEAD: usize = 33;

/// The file, and what was written to it last.
#[derive(Debug)]
pub struct Roster {
    path: PathBuf,
}

impl Roster {
    /// The roster of that path.
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// What is in it; nothing if it is not there, or not what was written.
    pub fn read(&self) -> Vec<Kept> {
        let Ok(bytes) = read_bounded(&self.path) else { return Vec::new() };
        parse(&bytes).unwrap_or_default()
    }

    /// Writes what the store holds, if the file says anything else.
    pub fn keep(&self, store: &Store) -> io::Result<()> {
        let groups = of(store).map_err(io::Error::other)?;
        let bytes = print(&groups);
        if read_bounded(&self.path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        let staged = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&staged)?;
        // One that was left behind keeps the mode that it had.
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&staged, &self.path)?;
        match self.path.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read;
    let mut bytes = Vec::new();
    File::open(path)?.take(limits::ROSTER_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The groups of a store, with their records.
fn of(store: &Store) -> Result<Vec<Kept>, super::ReadError> {
    let mut groups = Vec::new();
    for (id, row) in store.rows(Table::Groups, &[])? {
        let (Some(group), Some(row)) = (GroupId::from_slice(&id), layout::<GroupRow>(&row)) else { continue };
        let records = store.rows(Table::Records, &key::group(group))?;
        let records = records.iter().filter_map(|(_, value)| SignedRecord::decode(value).ok()).collect();
        groups.push(Kept { group, paused: row.paused, records });
    }
    Ok(groups)
}

type Layout = Vec<(GroupId, bool, Vec<Vec<u8>>)>;

fn checksum(body: &[u8]) -> [u8; 32] {
    hash("larder 1 roster", &[body])
}

fn print(groups: &[Kept]) -> Vec<u8> {
    let records = |kept: &Kept| kept.records.iter().map(SignedRecord::encode).collect();
    let groups: Layout = groups.iter().map(|kept| (kept.group, kept.paused, records(kept))).collect();
    let body = write_layout(&groups);
    [[VERSION].as_slice(), &checksum(&body), &body].concat()
}

/// Reads the bytes of a roster; `None` if they are not what was written.
pub fn parse(bytes: &[u8]) -> Option<Vec<Kept>> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let (version, sum) = head.split_first()?;
    if *version != VERSION || sum != checksum(body) {
        return None;
    }
    let groups: Layout = layout(body)?;
    let kept = |(group, paused, records): (GroupId, bool, Vec<Vec<u8>>)| {
        let records = records.iter().filter_map(|bytes| SignedRecord::decode(bytes).ok()).collect();
        Kept { group, paused, records }
    };
    Some(groups.into_iter().map(kept).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::id::Secret;
    use larder_core::record::found;

    fn groups() -> Vec<Kept> {
        let secret = Secret::from_bytes(&[7; 32]);
        let genesis = found(&secret, "shop", [1; 16], secret.node());
        let group = genesis.founds().unwrap();
        vec![Kept { group, paused: true, records: vec![genesis] }]
    }

    /// What this version writes, later ones read: the bytes are fixed.
    #[test]
    fn a_roster_is_written_and_read_as_ever() {
        let bytes = print(&groups());
        assert_eq!(parse(&bytes), Some(groups()));
        assert_eq!(data_encoding::HEXLOWER.encode(&bytes[..HEAD]), GOLDEN);
    }

    const GOLDEN: &str = "01028f02bcfd00e578d16f532e7edc7d3fe3e74519133f8da9b0a648377ea06d67";

    #[test]
    fn no_damaged_roster_is_believed() {
        let bytes = print(&groups());
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 4;
            assert_eq!(parse(&bad), None, "byte {at}");
        }
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len]), None);
        }
    }
}
