//! What is valid and yet not part of the document: why, and who could bring it in.

use axum::extract::State;
use larder_core::group::{Beside, Note, Why};
use larder_core::id::EpochId;
use larder_core::machine::{Machine, Membership};
use larder_core::record::Signer;
use larder_core::resource::item::Item;
use larder_core::resource::literal::Literal;
use larder_core::value::Value;

use super::names::{self, Which};
use super::{Api, Query, Reply, Shown};
use crate::time;
use crate::view::{Aside, Plain, Quarantine, Time};

pub(super) async fn list(State(api): State<Api>, Query(which): Query<Which>) -> Reply<Quarantine> {
    let look = move |machine: &mut Machine| {
        let of = names::membership(machine, which.group.as_deref())?;
        let mut changes: Vec<(i64, Aside)> = of
            .group
            .asides()
            .flat_map(|(epoch, aside)| aside.iter().map(move |beside| (epoch, beside)))
            .map(|(epoch, beside)| (beside.delta().time, row(of, epoch, beside)))
            .collect();
        changes.sort_by(|a, b| (a.0, &a.1.id).cmp(&(b.0, &b.1.id)));
        Ok(Shown(Quarantine { changes: changes.into_iter().map(|(_, row)| row).collect() }))
    };
    api.handle.look(look).await?
}

fn row(of: &Membership, epoch: &EpochId, beside: &Beside) -> Aside {
    let delta = beside.delta();
    let note = Note::read(&delta.message, delta.time);
    let puts = delta.puts.iter().map(|put| {
        let value = match Item::decode(&put.value) {
            Some(item) => Some(item.value),
            None => Some(put.value.clone()).filter(|value| *value != Value::Null),
        };
        (put.key.clone(), value.map(|value| Plain(Literal::Scalar(value))))
    });
    Aside {
        id: beside.id().to_string(),
        shard: of.shard_name(epoch).map(|shard| shard.to_string()).unwrap_or_default(),
        node: names::who(of, &beside.key),
        user: note.user,
        time: Time(note.time),
        message: note.words,
        state: if beside.kept { "aside" } else { "quarantine" }.to_owned(),
        why: why(of, of.group.why(epoch, beside)),
        vouch: "any admin, with `larder quarantine readmit`; or an operator writes it again".to_owned(),
        puts: puts.collect(),
    }
}

fn why(of: &Membership, why: Why) -> String {
    match why {
        Why::Ended(record) => {
            let record = of.group.records().get(&record).map(larder_core::record::SignedRecord::record);
            let holder = record.and_then(|record| of.group.records().holder(&record.grant));
            let by = match (record.map(|record| record.signer), holder) {
                (Some(Signer::Holder), Some((key, _))) => {
                    names::alias(of, &key).unwrap_or_else(|| key.short())
                }
                _ => "the recovery key".to_owned(),
            };
            let when = record.and_then(|record| record.remark.as_ref()).map(|remark| remark.time);
            let when = when.map(|when| format!(" on {}", time::local(when))).unwrap_or_default();
            format!("its author's membership was ended by {by}{when}, who let no more of its changes count")
        }
        Why::Grant => "whoever let its author in had no right to do so any more".to_owned(),
        Why::Fork(winner) => {
            format!("its author's history forked, and the branch of {} stays", winner.short())
        }
        Why::BuiltOn(below) => {
            format!("it was built on {}, which is not part of the document", below.short())
        }
        Why::Crowded => "its author's history has more branches than are kept".to_owned(),
    }
}
