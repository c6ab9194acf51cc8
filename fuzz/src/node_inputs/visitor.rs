//! What a stranger says on a visit, and a member to one who visits it.

use larder_core::id::{Digest, RecordId};
use larder_core::machine::LinkId;
use larder_core::record::{Role, SignedRecord};
use larder_core::wire::visit::{
    Denial, JoinAnswer, JoinRequest, JoinTerms, LineProof, Probe, Proof, VisitFrame,
};

use super::host::Host;
use crate::scene::{self, SCENE, secret};
use crate::script::Script;

/// The nonce that every visitor probes with.
const NONCE: [u8; 16] = [3; 16];

pub(super) fn says(script: &mut Script<'_>, host: &Host, link: LinkId) -> VisitFrame {
    let line = host.line(link);
    let (me, founder) = (secret(line.person), secret(scene::FOUNDER).node());
    let group = if script.rarely(4) { SCENE.elsewhere.0.id() } else { scene::group() };
    let last = !script.rarely(4);
    match script.byte() % 16 {
        0..=2 => VisitFrame::Probe(Probe::new(group, &me.node(), &founder, NONCE)),
        3 => {
            let tag = Digest(script.nonce());
            VisitFrame::Probe(Probe { nonce: script.nonce(), tag })
        }
        4..=6 => VisitFrame::Proof(Proof { nonce: script.nonce(), records: records(script), last }),
        7..=9 => VisitFrame::Join(request(script, &line.proof, line.person)),
        10..=12 => VisitFrame::Answer(answer(script, last)),
        13 => VisitFrame::Line(LineProof { group, records: records(script), last }),
        14 if script.coin() => VisitFrame::NotHere,
        14 => VisitFrame::Welcome(group),
        _ => VisitFrame::Unknown(8 + script.byte() % 200),
    }
}

/// A request to join by the founder's invite.
pub(super) fn request(script: &mut Script<'_>, proof: &[u8; 16], person: u8) -> JoinRequest {
    let mut labels = vec![("role".to_owned(), "till".to_owned())];
    labels.truncate(usize::from(script.byte() % 2));
    let issuer = secret(if script.rarely(3) { scene::ADMIN } else { scene::FOUNDER }).node().hint();
    let terms = JoinTerms {
        group: scene::group(),
        invite: SCENE.code.invite(),
        issuer,
        joiner: secret(person).node(),
        carrier: secret(scene::FOUNDER).node(),
        nonces: (NONCE, *proof),
        alias: String::from_utf8_lossy(script.bytes()).into_owned(),
        labels,
    };
    let key = if script.rarely(8) { secret(9) } else { SCENE.code.key() };
    JoinRequest::sign(terms, &key, &secret(person))
}

pub(super) fn answer(script: &mut Script<'_>, last: bool) -> JoinAnswer {
    let denials =
        [Denial::Unknown, Denial::Used, Denial::Expired, Denial::Revoked, Denial::Authority, Denial::Terms];
    match script.byte() % 4 {
        0 => JoinAnswer::Refused(*script.pick(&denials)),
        1 => JoinAnswer::Waiting { issuer: String::from_utf8_lossy(script.bytes()).into_owned() },
        _ => JoinAnswer::Granted { records: records(script), last },
    }
}

/// Records of the group that the founder is not in, with a grant for it or without; or of its own; or anything.
fn records(script: &mut Script<'_>) -> Vec<Vec<u8>> {
    let elsewhere = SCENE.elsewhere.0.records();
    match script.byte() % 8 {
        0..=2 => elsewhere.iter().map(SignedRecord::encode).collect(),
        3 | 4 => {
            let grant = larder_core::record::Record {
                group: elsewhere.group(),
                ..scene::issue(
                    (elsewhere.genesis(), &secret(scene::STRANGER)),
                    (1, RecordId::ZERO),
                    scene::grant(scene::FOUNDER, Role::Operator),
                )
                .record()
                .clone()
            };
            let grant = grant.sign(&secret(scene::STRANGER));
            elsewhere.iter().map(SignedRecord::encode).chain([grant.encode()]).collect()
        }
        5 | 6 => SCENE.villain.records().iter().map(SignedRecord::encode).collect(),
        _ => vec![script.bytes().to_vec()],
    }
}
