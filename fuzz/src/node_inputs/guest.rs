//! The frames of non-members and members on guest streams.

use larder_core::id::{Digest, RecordId};
use larder_core::node::LinkId;
use larder_core::record::{Role, SignedRecord};
use larder_core::wire::guest::{
    GrantPath, GuestFrame, JoinDenial, JoinRequest, JoinResponse, JoinTerms, MembershipProbe, ProbeResponse,
};

use super::node_harness::NodeHarness;
use crate::decisions::Decisions;
use crate::fixture::{self, FIXTURE, secret_key};

/// The nonce of every membership probe.
const NONCE: [u8; 16] = [3; 16];

pub(super) fn random_guest_frame(
    decisions: &mut Decisions<'_>,
    host: &NodeHarness,
    link: LinkId,
) -> GuestFrame {
    let harness_link = host.link(link);
    let (me, founder) = (secret_key(harness_link.key_number), secret_key(fixture::FOUNDER).node_id());
    let group = if decisions.one_in(4) { FIXTURE.foreign_group.0.id() } else { fixture::group() };
    let last = !decisions.one_in(4);
    match decisions.next_byte_or_zero() % 16 {
        0..=2 => GuestFrame::MembershipProbe(MembershipProbe::new(group, &me.node_id(), &founder, NONCE)),
        3 => {
            let tag = Digest(decisions.repeated_byte());
            GuestFrame::MembershipProbe(MembershipProbe { nonce: decisions.repeated_byte(), tag })
        }
        4..=6 => GuestFrame::ProbeResponse(ProbeResponse {
            nonce: decisions.repeated_byte(),
            records: random_records(decisions),
            is_last: last,
        }),
        7..=9 => GuestFrame::JoinRequest(random_join_request(
            decisions,
            &harness_link.proof_nonce,
            harness_link.key_number,
        )),
        10..=12 => GuestFrame::JoinResponse(random_join_answer(decisions, last)),
        13 => GuestFrame::GrantPath(GrantPath { group, records: random_records(decisions), is_last: last }),
        14 if decisions.next_bool() => GuestFrame::NotMember,
        14 => GuestFrame::MemberRecognized(group),
        _ => GuestFrame::Unknown(8 + decisions.next_byte_or_zero() % 200),
    }
}

/// A join request with the founder's invite.
pub(super) fn random_join_request(
    decisions: &mut Decisions<'_>,
    proof: &[u8; 16],
    person: u8,
) -> JoinRequest {
    let mut labels = vec![("role".to_owned(), "till".to_owned())];
    labels.truncate(usize::from(decisions.next_byte_or_zero() % 2));
    let issuer = secret_key(if decisions.one_in(3) { fixture::ADMIN } else { fixture::FOUNDER })
        .node_id()
        .fingerprint8();
    let terms = JoinTerms {
        group: fixture::group(),
        invite_id: FIXTURE.code.invite_id(),
        issuer_fingerprint: issuer,
        joiner: secret_key(person).node_id(),
        contacted_member: secret_key(fixture::FOUNDER).node_id(),
        nonces: (NONCE, *proof),
        alias: String::from_utf8_lossy(decisions.bytes()).into_owned(),
        labels,
    };
    let key = if decisions.one_in(8) { secret_key(9) } else { FIXTURE.code.invite_key() };
    JoinRequest::sign(terms, &key, &secret_key(person))
}

pub(super) fn random_join_answer(decisions: &mut Decisions<'_>, last: bool) -> JoinResponse {
    let denials = [
        JoinDenial::UnknownInvite,
        JoinDenial::UsedUp,
        JoinDenial::Expired,
        JoinDenial::Revoked,
        JoinDenial::IssuerNotAdmin,
        JoinDenial::InvalidTerms,
    ];
    match decisions.next_byte_or_zero() % 4 {
        0 => JoinResponse::Denied(*decisions.choose(&denials)),
        1 => JoinResponse::WaitingForIssuer {
            issuer_name: String::from_utf8_lossy(decisions.bytes()).into_owned(),
        },
        _ => JoinResponse::Granted { records: random_records(decisions), is_last: last },
    }
}

/// Records of the foreign group with or without a grant for the founder, records of its own group, or
/// arbitrary bytes.
fn random_records(decisions: &mut Decisions<'_>) -> Vec<Vec<u8>> {
    let elsewhere = FIXTURE.foreign_group.0.records();
    match decisions.next_byte_or_zero() % 8 {
        0..=2 => elsewhere.iter().map(SignedRecord::encode).collect(),
        3 | 4 => {
            let grant = larder_core::record::Record {
                group: elsewhere.group(),
                ..fixture::sign_record(
                    (elsewhere.genesis(), &secret_key(fixture::NON_MEMBER)),
                    (1, RecordId::ZERO),
                    fixture::grant_to(fixture::FOUNDER, Role::Operator),
                )
                .record()
                .clone()
            };
            let grant = grant.sign(&secret_key(fixture::NON_MEMBER));
            elsewhere.iter().map(SignedRecord::encode).chain([grant.encode()]).collect()
        }
        5 | 6 => FIXTURE.operator_copy.records().iter().map(SignedRecord::encode).collect(),
        _ => vec![decisions.bytes().to_vec()],
    }
}
