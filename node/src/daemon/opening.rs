//! Opening what a node has on its disk: the store, the machine that follows from it, and what the daemon keeps beside.
//! It is done when the daemon starts, and again when a disk that failed works again.

use std::collections::BTreeMap;

use larder_core::group::LoadError;
use larder_core::id::{GroupId, NodeId, Secret};
use larder_core::machine::{Config, Effect, Machine};
use larder_core::resource::target::Applied;
use larder_core::store::{Row, Rows, Table, layout};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::driver::Clock;
use super::keeper::Keeper;
use crate::failure::Failure;
use crate::identity;
use crate::place::Place;
use crate::store::recover::{self, Loss};
use crate::store::{Outcome, Roster, Store, Writer, damaged};

/// Software and version, as it is told to others.
const SOFTWARE: &str = concat!("larder ", env!("CARGO_PKG_VERSION"));
/// The version of the store as a whole: which tables there are, and what they mean together.
const FORMAT: u8 = 1;

/// What it takes to open a node's store.
pub(super) struct Opening {
    pub(super) place: Place,
    pub(super) secret: Secret,
    pub(super) clock: Clock,
}

/// A node as its disk has it.
pub(super) struct Opened {
    pub(super) machine: Machine,
    /// What the machine wants done first.
    pub(super) first: Vec<Effect>,
    pub(super) kept: Kept,
    pub(super) runs: BTreeMap<GroupId, Applied>,
    pub(super) store: Store,
}

/// What is read from the store besides what the machine reads.
pub(super) struct Kept {
    pub(super) port: Option<u16>,
    pub(super) book: BTreeMap<NodeId, Vec<String>>,
    /// True if the store is not where it was made.
    reborn: bool,
    /// Where it is, to be written once what follows from that is durable.
    pub(super) mark: Vec<Row>,
}

impl Opening {
    /// Opens everything. What is damaged is set aside, and the node goes on with what could be saved.
    pub(super) fn open(&self) -> Result<Opened, Failure> {
        let (store, loss) = recover::open(&self.place, &self.secret)?;
        if let Some(loss) = &loss {
            tell(loss);
        }
        match self.read(store)? {
            Ok(opened) => Ok(opened),
            // Every page is as it was written, and yet the rows make no sense.
            Err(why) if loss.is_none() => {
                let (store, loss) = recover::begin_anew(&self.place, &why, &self.secret)?;
                tell(&loss);
                self.read(store)?.map_err(|why| damaged(&self.place.store(), &why))
            }
            Err(why) => Err(damaged(&self.place.store(), &why)),
        }
    }

    /// Reads a node back; `Ok(Err)` where its rows are damaged.
    fn read(&self, store: Store) -> Result<Result<Opened, String>, Failure> {
        let kept = Kept::read(&store, &self.place, self.secret.node())?;
        let config = Config {
            secret: self.secret.clone(),
            seed: identity::random()?,
            software: SOFTWARE.to_owned(),
            host: host(),
            reborn: kept.reborn,
        };
        let (machine, first) = match Machine::open(config, self.clock.now(), &store) {
            Ok(opened) => opened,
            Err(error @ LoadError::Newer { .. }) => {
                return Err(
                    Failure::failed(error.to_string()).hint("run the newer version; nothing was changed")
                );
            }
            Err(error) => return Ok(Err(error.to_string())),
        };
        let runs = match Keeper::read_runs(&store) {
            Ok(runs) => runs,
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(Ok(Opened { machine, first, kept, runs, store }))
    }
}

/// Says what was damaged, and what became of it.
fn tell(loss: &Loss) {
    let aside = loss
        .aside
        .as_ref()
        .map_or_else(|| "nowhere: nothing was left of it".to_owned(), |path| path.display().to_string());
    tracing::error!(
        why = loss.why,
        set_aside = aside,
        "the store is damaged; a new one was made of what could be saved"
    );
    for (group, changes, lacking) in &loss.groups {
        match lacking {
            true => {
                tracing::error!(group = %group.short(), saved = changes, "the rest of this group is fetched from its members")
            }
            false => tracing::warn!(group = %group.short(), saved = changes, "all of this group was saved"),
        }
    }
}

/// Starts the thread that writes, and answers with what it is told by. The rows are written first: if even that
/// fails, the disk does not work.
pub(super) fn start_writer(
    store: Store,
    place: &Place,
    rows: &[Row],
) -> Result<(Writer, UnboundedReceiver<Outcome>), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::failed(format!("the store {} cannot be written: {error}", place.store().display()))
            .hint("the data directory must be writable, and have room")
    };
    store.commit(rows).map_err(|error| failed(&error))?;
    let roster = Roster::at(place.roster());
    roster.keep(&store).map_err(|error| failed(&error))?;
    let (outcomes, stored) = unbounded_channel();
    let writer = Writer::start(store, roster, outcomes)
        .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
    Ok((writer, stored))
}

impl Kept {
    fn read(store: &Store, place: &Place, me: NodeId) -> Result<Self, Failure> {
        let bad = |error: &dyn std::fmt::Display| damaged(&place.store(), &error.to_string());
        let get = |name: &str| store.get(Table::Meta, name.as_bytes()).map_err(|error| bad(&error));
        if let Some(format) =
            get("format")?.as_deref().and_then(<[u8]>::first).filter(|format| **format > FORMAT)
        {
            return Err(Failure::failed(format!(
                "a newer version of larder wrote {} (format {format}, and this one knows {FORMAT})",
                place.store().display()
            ))
            .hint("run the newer version; nothing was changed"));
        }
        if get("node")?.is_some_and(|node| node != me.0) {
            return Err(Failure::failed(format!(
                "{} belongs to another node than {}",
                place.store().display(),
                place.key().display()
            ))
            .hint("put back the key that belongs to it, or begin anew in an empty data directory"));
        }
        let here = identity::mark(place).map_err(|error| bad(&error))?;
        let reborn = get("mark")?.is_some_and(|made| !here.is(&made));
        let mark = vec![
            Row::put(Table::Meta, b"format".to_vec(), vec![FORMAT]),
            Row::put(Table::Meta, b"node".to_vec(), me.0.to_vec()),
            Row::put(Table::Meta, b"mark".to_vec(), here.now.to_vec()),
        ];
        let port = get("port")?.and_then(|port| port.try_into().ok()).map(u16::from_be_bytes);
        let mut book = BTreeMap::new();
        for (node, addresses) in store.rows(Table::Addresses, &[]).map_err(|error| bad(&error))? {
            if let (Some(node), Some(addresses)) = (node.try_into().ok().map(NodeId), layout(&addresses)) {
                book.insert(node, addresses);
            }
        }
        Ok(Self { port, book, reborn, mark })
    }
}

fn host() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    host.chars().filter(|c| !c.is_control()).take(larder_core::limits::NAME_BYTES).collect()
}
