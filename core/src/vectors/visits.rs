//! Every frame on a visit, the request to join, and invite codes.

use super::golden::Golden;
use super::scene::{founder, genesis, grant, group, operator};
use crate::id::{InviteId, NodeId, Secret, Sig};
use crate::wire::ask::{self, Ask};
use crate::wire::code::Code;
use crate::wire::visit::{Denial, JoinAnswer, JoinRequest, JoinTerms, LineProof, Probe, Proof, VisitFrame};

fn code() -> Code {
    Code::new(group(), &founder().node(), [7; 16])
}

fn joiner() -> Secret {
    Secret::from_bytes(&[21; 32])
}

/// A request to join, signed.
pub(super) fn request() -> JoinRequest {
    let terms = JoinTerms {
        group: group(),
        invite: code().invite(),
        issuer: founder().node().hint(),
        joiner: joiner().node(),
        carrier: operator().node(),
        nonces: ([22; 16], [23; 16]),
        alias: "till-3".into(),
        labels: vec![("role".into(), "till".into())],
    };
    JoinRequest::sign(terms, &code().key(), &joiner())
}

/// Every answer to it.
pub(super) fn answers() -> Vec<(&'static str, JoinAnswer)> {
    let granted = |last| JoinAnswer::Granted { records: vec![genesis().encode(), grant().encode()], last };
    let denials = [
        ("refused.unknown", Denial::Unknown),
        ("refused.used", Denial::Used),
        ("refused.expired", Denial::Expired),
        ("refused.revoked", Denial::Revoked),
        ("refused.authority", Denial::Authority),
        ("refused.signature", Denial::Signature),
        ("refused.terms", Denial::Terms),
        ("refused.declined", Denial::Declined),
    ];
    let mut answers = vec![
        ("granted", granted(true)),
        ("granted.part", granted(false)),
        ("waiting", JoinAnswer::Waiting { issuer: founder().node().short() }),
    ];
    answers.extend(denials.map(|(name, denial)| (name, JoinAnswer::Refused(denial))));
    answers
}

#[test]
fn visits_are_written_and_read_as_ever() {
    let mut golden = Golden::open("visits", "Frames on a visit, the only stream that a stranger may open.");
    let (asker, asked): (NodeId, NodeId) = (joiner().node(), operator().node());
    let probe = Probe::new(group(), &asker, &asked, [22; 16]);
    let records = vec![genesis().encode(), grant().encode()];
    let removed = LineProof { group: group(), records: records.clone(), last: true };
    let ask = Ask {
        commit: ask::commit(&asker, &[24; 16]),
        alias: "till-3".into(),
        labels: vec![("role".into(), "till".into())],
    };
    let mut frames = vec![
        ("probe", VisitFrame::Probe(probe)),
        ("proof", VisitFrame::Proof(Proof { nonce: [23; 16], records: records.clone(), last: true })),
        ("not-here", VisitFrame::NotHere),
        ("join", VisitFrame::Join(request())),
        ("line", VisitFrame::Line(LineProof { group: group(), records, last: false })),
        ("welcome", VisitFrame::Welcome(group())),
        ("removed", VisitFrame::Removed(removed)),
        ("ask", VisitFrame::Ask(ask)),
        ("heard", VisitFrame::Heard([25; 16])),
        ("reveal", VisitFrame::Reveal([24; 16])),
        ("newer", VisitFrame::Unknown(200)),
    ];
    frames.extend(answers().into_iter().map(|(name, answer)| (name, VisitFrame::Answer(answer))));
    let mut kinds = Vec::new();
    for (name, frame) in frames {
        let name = match &frame {
            VisitFrame::Answer(_) => format!("answer.{name}"),
            _ => name.to_owned(),
        };
        let bytes = golden.fact(&name, frame.encode());
        let read = VisitFrame::decode(&bytes);
        assert_eq!(read, Ok(frame), "{name}");
        match read {
            Ok(VisitFrame::Probe(probe)) => assert!(probe.means(group(), &asker, &asked)),
            Ok(VisitFrame::Join(request)) => assert!(request.is_signed()),
            _ => {}
        }
        kinds.push(bytes[0]);
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 200], "every kind is pinned");
    golden.fact("join.request-id", request().id());
    let digits = ask::digits(&asker, &asked, (&[24; 16], &[25; 16]));
    golden.text("ask.digits", &format!("{digits:06}"));
    golden.close();
}

#[test]
fn invite_codes_are_as_ever() {
    let mut golden = Golden::open(
        "codes",
        "Invite codes: of the founder, for the group, with the secret 07 07 ..; the key that the secret makes, and what\n\
         it signs of the byte 00.",
    );
    let shown = golden.text("shown", &code().to_string());
    assert_eq!(shown.parse(), Ok(code()));
    let bytes = golden.fact("bytes", code().to_bytes());
    assert_eq!(Code::from_bytes(&bytes), Some(code()));
    let invite = InviteId::from_slice(&golden.fact("invite", code().invite())).unwrap();
    let signature = Sig::from_slice(&golden.fact("signature", code().key().sign(&[0]).0)).unwrap();
    assert!(crate::id::verify(&invite.0, &[0], &signature));
    golden.close();
}
