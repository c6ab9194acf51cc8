//! The frames on guest streams, join requests and invite codes.

use super::fixture::{founder, genesis, grant, group, operator};
use super::golden_file::GoldenFile;
use crate::id::{InviteId, NodeId, SecretKey, Sig};
use crate::wire::guest::{
    GrantPath, GuestFrame, JoinDenial, JoinRequest, JoinResponse, JoinTerms, MembershipProbe, ProbeResponse,
};
use crate::wire::invite_code::InviteCode;
use crate::wire::pairing::{self, PairingRequest};

fn code() -> InviteCode {
    InviteCode::new(group(), &founder().node_id(), [7; 16])
}

fn joiner() -> SecretKey {
    SecretKey::from_bytes(&[21; 32])
}

/// A signed join request.
pub(super) fn request() -> JoinRequest {
    let terms = JoinTerms {
        group: group(),
        invite_id: code().invite_id(),
        issuer_fingerprint: founder().node_id().fingerprint8(),
        joiner: joiner().node_id(),
        contacted_member: operator().node_id(),
        nonces: ([22; 16], [23; 16]),
        alias: "till-3".into(),
        labels: vec![("role".into(), "till".into())],
    };
    JoinRequest::sign(terms, &code().invite_key(), &joiner())
}

/// All responses to a join request.
pub(super) fn answers() -> Vec<(&'static str, JoinResponse)> {
    let granted =
        |is_last| JoinResponse::Granted { records: vec![genesis().encode(), grant().encode()], is_last };
    let denials = [
        ("refused.unknown", JoinDenial::UnknownInvite),
        ("refused.used", JoinDenial::UsedUp),
        ("refused.expired", JoinDenial::Expired),
        ("refused.revoked", JoinDenial::Revoked),
        ("refused.authority", JoinDenial::IssuerNotAdmin),
        ("refused.signature", JoinDenial::InvalidSignature),
        ("refused.terms", JoinDenial::InvalidTerms),
        ("refused.declined", JoinDenial::DeclinedByOperator),
    ];
    let mut answers = vec![
        ("granted", granted(true)),
        ("granted.part", granted(false)),
        ("waiting", JoinResponse::WaitingForIssuer { issuer_name: founder().node_id().short() }),
    ];
    answers.extend(denials.map(|(name, denial)| (name, JoinResponse::Denied(denial))));
    answers
}

#[test]
fn guest_frames_match_the_pinned_bytes() {
    let mut golden = GoldenFile::open(
        "guest_frames",
        "Frames on a guest stream, the only stream that a peer who is no member may open.",
    );
    let (joiner_id, member_id): (NodeId, NodeId) = (joiner().node_id(), operator().node_id());
    let probe = MembershipProbe::new(group(), &joiner_id, &member_id, [22; 16]);
    let records = vec![genesis().encode(), grant().encode()];
    let removed = GrantPath { group: group(), records: records.clone(), is_last: true };
    let ask = PairingRequest {
        commit: pairing::commitment(&joiner_id, &[24; 16]),
        alias: "till-3".into(),
        labels: vec![("role".into(), "till".into())],
    };
    let mut frames = vec![
        ("probe", GuestFrame::MembershipProbe(probe)),
        (
            "proof",
            GuestFrame::ProbeResponse(ProbeResponse {
                nonce: [23; 16],
                records: records.clone(),
                is_last: true,
            }),
        ),
        ("not-here", GuestFrame::NotMember),
        ("join", GuestFrame::JoinRequest(request())),
        ("line", GuestFrame::GrantPath(GrantPath { group: group(), records, is_last: false })),
        ("welcome", GuestFrame::MemberRecognized(group())),
        ("removed", GuestFrame::MembershipEnded(removed)),
        ("ask", GuestFrame::PairingRequest(ask)),
        ("pairing-nonce", GuestFrame::PairingNonce([25; 16])),
        ("reveal", GuestFrame::PairingReveal([24; 16])),
        ("newer", GuestFrame::Unknown(200)),
    ];
    frames.extend(answers().into_iter().map(|(name, answer)| (name, GuestFrame::JoinResponse(answer))));
    let mut kinds = Vec::new();
    for (name, frame) in frames {
        let name = match &frame {
            GuestFrame::JoinResponse(_) => format!("answer.{name}"),
            _ => name.to_owned(),
        };
        let bytes = golden.check(&name, frame.encode());
        let read = GuestFrame::decode(&bytes);
        assert_eq!(read, Ok(frame), "{name}");
        match read {
            Ok(GuestFrame::MembershipProbe(probe)) => {
                assert!(probe.matches_group(group(), &joiner_id, &member_id))
            }
            Ok(GuestFrame::JoinRequest(request)) => assert!(request.has_valid_signatures()),
            _ => {}
        }
        kinds.push(bytes[0]);
    }
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 200], "every kind is pinned");
    golden.check("join.request-id", request().id());
    let digits = pairing::digits(&joiner_id, &member_id, (&[24; 16], &[25; 16]));
    golden.check_text("ask.digits", &format!("{digits:06}"));
    golden.finish();
}

#[test]
fn invite_codes_match_the_pinned_text_and_bytes() {
    let mut golden = GoldenFile::open(
        "invite_codes",
        "Invite codes of the founder, for the group, with the secret 07 07 ..; the public key that belongs\n\
         to the secret, and its signature of the byte 00.",
    );
    let shown = golden.check_text("shown", &code().to_string());
    assert_eq!(shown.parse(), Ok(code()));
    let bytes = golden.check("bytes", code().to_bytes());
    assert_eq!(InviteCode::from_bytes(&bytes), Some(code()));
    let invite = InviteId::from_slice(&golden.check("invite", code().invite_id())).unwrap();
    let signature = Sig::from_slice(&golden.check("signature", code().invite_key().sign(&[0]).0)).unwrap();
    assert!(crate::id::verify(&invite.0, &[0], &signature));
    golden.finish();
}
