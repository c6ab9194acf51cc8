//! A node's backup: everything that its data directory holds and that nobody else could give back.
//!
//! ```text
//! DIR/MANIFEST          `larder.backup/1`: whose, of when, and a checksum of every other file. Written last: without
//!                       it there is no backup
//! DIR/store.redb        records, changes and the rest, as of one moment. Its mark is that of no place, so that a node
//!                       that starts from it begins new chains
//! DIR/node.key          the node's key
//! DIR/groups.kept, larder.toml, recovery-GROUP.key, files/, previous/       as in the data directory
//! ```

mod copy;
pub mod restore;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use larder_core::id::GroupId;
use larder_core::machine::{Config, Machine, Moment, Now};
use larder_core::store::{Row, Table};

pub use copy::{copy, write_whole};

use crate::failure::{Exit, Failure};
use crate::place::{Place, read_text};
use crate::store::Store;
use crate::store::stream::Filling;
use crate::view::{Backup, BackupFile, BackupGroup, Tagged, Time};
use crate::{identity, limits};

/// The layout of a backup that this code writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The file that lists the others.
pub const MANIFEST: &str = "MANIFEST";
/// Stands where a store remembers its place.
const NO_PLACE: &[u8] = b"a backup";

/// Takes the store's rows in, wherever they come from.
type Fill<'a> = &'a mut dyn FnMut(&mut dyn io::Write) -> Result<(), Failure>;

fn cannot(what: &str, path: &Path) -> impl Fn(io::Error) -> Failure {
    let text = format!("cannot {what} {}", path.display());
    move |error| {
        let failure = Failure::failed(format!("{text}: {error}"));
        match error.kind() {
            io::ErrorKind::PermissionDenied => failure.hint("run this as the user that the daemon runs as"),
            _ => failure,
        }
    }
}

/// True of what belongs into a backup: the rest is a door, or damaged, or being written.
fn belongs(top: &str) -> bool {
    let recovery = top.starts_with("recovery-") && top.ends_with(".key");
    recovery || ["node.key", "store.redb", "groups.kept", "larder.toml", "files", "previous"].contains(&top)
}

/// Makes a backup of the node at `place` in `dir`, which must be empty or not there. `fill` writes the stream of the
/// store's rows; `progress` is told how many bytes of them came.
pub fn make(
    place: &Place,
    dir: &Path,
    fill: Fill<'_>,
    progress: &mut dyn FnMut(u64),
) -> Result<Backup, Failure> {
    let secret = read_text(&place.key()).map_err(cannot("read", &place.key()))?;
    let secret = identity::parse(&secret)
        .ok_or_else(|| Failure::failed(format!("{} is not a node's key", place.key().display())))?;
    copy::make_empty(dir)?;
    let mut files = Vec::new();
    for path in paths(&place.data)? {
        if path != Path::new("store.redb") {
            let from = place.data.join(&path);
            match copy(&from, &dir.join(&path), &path, &mut |_| {}) {
                Ok(file) => files.push(file),
                // The daemon goes on: a file that has just gone is no loss.
                Err(_) if !from.exists() => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    let store = dir.join("store.redb");
    let groups = {
        copy::touch(&store)?;
        let store = Store::open(&store).map_err(|error| error.failure(&store))?;
        let mut filling = Filling::new(&store, progress);
        fill(&mut filling)?;
        filling.finish().map_err(|error| Failure::failed(format!("the copy of the store: {error}")))?;
        let nowhere = Row::put(Table::Meta, b"mark".to_vec(), NO_PLACE.to_vec());
        store.commit([&nowhere]).map_err(|error| Failure::failed(error.to_string()))?;
        groups(&store, secret.clone())?
    };
    files.push(copy::describe(&store, Path::new("store.redb"))?);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let backup = Backup {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        node: secret.node().to_string(),
        time: Time(crate::daemon::wall()),
        groups,
        files,
    };
    let text = serde_json::to_string_pretty(&Tagged::new(&backup))
        .map_err(|error| Failure::failed(error.to_string()))?;
    let manifest = dir.join(MANIFEST);
    write_whole(&manifest, format!("{text}\n").as_bytes()).map_err(cannot("write", &manifest))?;
    Ok(backup)
}

/// Opens the copy as a daemon would, which shows that it can be, and says what is in it. Nothing is written.
fn groups(store: &Store, secret: larder_core::id::Secret) -> Result<Vec<BackupGroup>, Failure> {
    let config = Config {
        secret,
        seed: identity::random()?,
        software: String::new(),
        host: String::new(),
        reborn: false,
    };
    let now = Now { mono: Moment(0), wall: crate::daemon::wall() };
    let (mut machine, _) = Machine::open(config, now, store)
        .map_err(|error| Failure::failed(format!("the copy of the store cannot be opened: {error}")))?;
    let ids: Vec<GroupId> = machine.groups().map(|of| of.group.id()).collect();
    let mut groups = Vec::new();
    for id in ids {
        let Some(of) = machine.group_mut(&id) else { continue };
        let (name, changes) = (of.group.name().to_owned(), of.group.changes());
        groups.push(BackupGroup { id: id.to_string(), name, digest: of.digest().to_string(), changes });
    }
    Ok(groups)
}

/// The files of a data directory that belong into a backup, from there. What is neither file nor folder is left out.
fn paths(data: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let path = data.join(&folder);
        for entry in fs::read_dir(&path).map_err(cannot("read", &path))? {
            let entry = entry.map_err(cannot("read", &path))?;
            let name = entry.file_name();
            if folder.as_os_str().is_empty() && !name.to_str().is_some_and(belongs) {
                continue;
            }
            let kind = entry.file_type().map_err(cannot("read", &path))?;
            let inner = folder.join(name);
            if kind.is_dir() {
                folders.push(inner);
            } else if kind.is_file() {
                found.push(inner);
            }
        }
    }
    Ok(found)
}

/// Reads what is in a backup, and refuses what no backup says.
pub fn read(dir: &Path) -> Result<Backup, Failure> {
    use io::Read;
    let path = dir.join(MANIFEST);
    let mut text = String::new();
    let read =
        fs::File::open(&path).and_then(|file| file.take(limits::MANIFEST_BYTES).read_to_string(&mut text));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::not_found(format!("{} is no backup: it has no {MANIFEST}", dir.display()))
                .hint("`larder backup DIR` makes one; one that broke off has none"));
        }
        other => other.map_err(cannot("read", &path))?,
    };
    let damaged = |why: &str| Failure::failed(format!("{} is damaged: {why}", path.display()));
    #[derive(serde::Deserialize)]
    struct Front {
        format: u32,
    }
    let front: Front = serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
    if front.format > FORMAT {
        return Err(Failure::failed(format!("a newer version of larder wrote {}", dir.display()))
            .hint("restore it with that version"));
    }
    let backup: Backup = serde_json::from_str(&text).map_err(|error| damaged(&error.to_string()))?;
    for file in &backup.files {
        check_path(&file.path)
            .ok_or_else(|| damaged(&format!("`{}` is no file of a node", file.path.escape_default())))?;
    }
    Ok(backup)
}

/// The path of a file, if it leads nowhere but into the data directory.
fn check_path(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    let mut parts = path.components();
    let top = match parts.next()? {
        Component::Normal(top) => top.to_str()?,
        _ => return None,
    };
    (belongs(top) && parts.all(|part| matches!(part, Component::Normal(_)))).then_some(path)
}

/// Finds out whether a file of a backup is as it was written.
fn verify(file: &BackupFile, found: &BackupFile) -> Result<(), Failure> {
    if (file.bytes, &file.blake3) == (found.bytes, &found.blake3) {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Failed,
        "damaged",
        format!("`{}` of the backup is damaged: it is not what {MANIFEST} says", file.path.escape_default()),
    )
    .hint("nothing was changed; try another backup"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leads_out_of_the_data_directory() {
        for path in ["node.key", "files/a/b", "recovery-00.key", "previous/x"] {
            assert!(check_path(path).is_some(), "{path}");
        }
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "files/../../x",
            "files/./../x",
            "larder.sock",
            "other",
            "store.redb.damaged-1",
        ] {
            assert!(check_path(path).is_none(), "{path}");
        }
    }
}
