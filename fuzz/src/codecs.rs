//! Decoders of foreign bytes. What they take is written back as it was, and what it is made into does no harm.

use larder_core::delta::Delta;
use larder_core::delta::columns::{self, Placed};
use larder_core::delta::compose::{self, Composed};
use larder_core::id::{GroupId, NodeId};
use larder_core::record::SignedRecord;
use larder_core::shard::Shard;
use larder_core::shard::gate::Verdict;
use larder_core::wire::code::Code;
use larder_core::wire::link::Frame;
use larder_core::wire::presence::Presence;
use larder_core::wire::visit::{self, JoinAnswer, VisitFrame};

use crate::scene::SCENE;
use crate::script::Script;

/// A frame on a link, or one on a visit.
pub fn frame(data: &[u8]) {
    if let Ok(frame) = Frame::decode(data) {
        assert_eq!(Frame::decode(&frame.encode()).as_ref(), Ok(&frame));
        look_into(frame);
    }
    if let Ok(frame) = VisitFrame::decode(data) {
        assert_eq!(VisitFrame::decode(&frame.encode()).as_ref(), Ok(&frame));
        match frame {
            VisitFrame::Join(request) => {
                let _ = (request.is_signed(), request.id());
            }
            VisitFrame::Proof(proof) => portions(&proof.records),
            VisitFrame::Line(line) => portions(&line.records),
            VisitFrame::Answer(JoinAnswer::Granted { records, .. }) => portions(&records),
            _ => {}
        }
    }
}

fn look_into(frame: Frame) {
    match frame {
        Frame::Have(have) => {
            let tips = have.record_tips();
            assert!(tips.len() <= have.records.len());
        }
        Frame::Records(bundle) | Frame::Line(bundle) => portions(&bundle.records),
        Frame::Window(window) => {
            let _ = columns::decode(&SCENE.root, &window.columns);
        }
        Frame::Push(push) => push.changes.iter().for_each(|change| canonical(&change.delta)),
        Frame::Presence(told) => {
            let read = Presence::read(&told.presence);
            let _ = read.is_some_and(|presence| presence.is_signed(&told.presence, &told.signature));
        }
        Frame::Carry(carry) => {
            let _ = (carry.request.is_signed(), carry.request.id());
        }
        _ => {}
    }
}

/// Records travel in portions of a frame each; none is lost, and each portion fits.
fn portions(records: &[Vec<u8>]) {
    records.iter().for_each(|record| one_spelling(record));
    let portions = visit::portions(records.to_vec());
    assert!(portions.iter().flat_map(|(portion, _)| portion).eq(records));
    assert_eq!(portions.iter().filter(|(_, last)| *last).count(), 1);
    assert!(portions.last().is_some_and(|(_, last)| *last));
}

/// A record has one spelling.
pub(crate) fn one_spelling(bytes: &[u8]) {
    if let Ok(record) = SignedRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes);
        assert_eq!(record.weight(), bytes.len());
    }
}

/// A delta, or the columns of a window before zstd, or a window as it is sent.
pub fn delta(data: &[u8]) {
    let mut script = Script::new(data);
    match script.byte() % 4 {
        0 => window(&zstd::bulk::compress(script.rest(), 1).unwrap_or_default()),
        1 => window(script.rest()),
        _ => {
            let bytes = script.rest();
            canonical(bytes);
            if let Ok(delta) = Delta::decode(bytes) {
                compose(delta);
            }
        }
    }
}

fn canonical(bytes: &[u8]) {
    if let Ok(delta) = Delta::decode(bytes) {
        assert_eq!(delta.encode(), bytes, "a delta has one spelling");
    }
}

/// Whatever can be said as a delta can be composed, said again, and examined by a shard; what passes is applied.
fn compose(delta: Delta) {
    let delta = Delta { epoch: SCENE.root.epoch(), ..delta };
    let Ok(composed) = Composed::new(&SCENE.root, delta.clone()) else { return };
    let id = composed.id();
    let (said, change) = composed.clone().into_parts();
    let again = compose::decompose(&change, said.epoch, (said.grant, said.incarnation));
    assert_eq!(again.as_ref(), Some(&delta), "a change says what its delta said");
    let mut shard = Shard::new(SCENE.root.clone());
    // So that it can pass, its roots are those of an empty shard, if it names only one.
    let fitted = Delta {
        deps: if delta.deps.len() == 1 { vec![SCENE.root.id()] } else { delta.deps.clone() },
        start_op: SCENE.root.max_op() + 1,
        seq: 1,
        puts: delta
            .puts
            .iter()
            .cloned()
            .map(|put| larder_core::delta::Put { preds: vec![], ..put })
            .collect(),
        ..delta
    };
    let _ = shard.examine(composed);
    let Ok(fitted) = Composed::new(&SCENE.root, fitted) else { return };
    let fits = fitted.delta().deps == [SCENE.root.id()];
    let verdict = shard.examine(fitted);
    assert_eq!(matches!(verdict, Verdict::Ready(_)), fits, "{verdict:?} of {id:?}");
    if let Verdict::Ready(checked) = verdict {
        let (id, puts) = (checked.id(), checked.delta().puts.clone());
        shard.accept(*checked);
        shard.flush();
        assert_eq!(shard.document().isolated(), None);
        assert_eq!(shard.document().heads(), [id]);
        for put in puts {
            assert_eq!(shard.state().get(&put.key).last().map(|visible| &visible.value), Some(&put.value));
            assert_eq!(shard.document().visible_at(&SCENE.root, &put.key, &[id]).map(|all| all.len()), Ok(1));
        }
    }
}

/// A window that is read can be written and read again.
fn window(sent: &[u8]) {
    let Ok(window) = columns::decode(&SCENE.root, sent) else { return };
    let place = |delta: &Delta| {
        let named = |(head, _): &(columns::Head, columns::Proof)| {
            (head.grant, head.incarnation) == (delta.grant, delta.incarnation)
        };
        window.chains.iter().position(named).expect("a change of a chain that the window names")
    };
    let placed: Vec<Placed<'_>> =
        window.changes.iter().map(|change| (place(change.delta()), change.id(), change.delta())).collect();
    let again = columns::encode(&SCENE.root, &window.chains, &placed);
    let again = columns::decode(&SCENE.root, &again).expect("what was read is written so that it is read");
    assert_eq!(again.chains, window.chains);
    assert!(again.changes.iter().map(Composed::id).eq(window.changes.iter().map(Composed::id)));
    for change in &window.changes {
        canonical(change.bytes());
    }
    let _ = SCENE.villain.clone().take_window(SCENE.root.epoch(), sent);
}

/// A text that may be an invite code; or a code, printed, with some characters changed.
pub fn code(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(code) = text.parse::<Code>()
    {
        prints_back(&code);
        assert_eq!(plain(text), plain(&code.to_string()), "one code, one spelling");
    }
    let mut script = Script::new(data);
    let mut bytes = [0; 40];
    bytes.iter_mut().for_each(|byte| *byte = script.byte());
    let Some(code) = Code::from_bytes(&bytes) else { panic!("40 bytes are a code") };
    assert_eq!(code.to_bytes(), bytes);
    prints_back(&code);
    let mut typed: Vec<char> = code.to_string().chars().collect();
    for _ in 0..=script.byte() % 3 {
        let at = script.index(typed.len());
        typed[at] = char::from(script.byte());
    }
    let typed: String = typed.into_iter().collect();
    if let Ok(read) = typed.parse::<Code>() {
        assert_eq!(plain(&typed), plain(&read.to_string()));
    }
    assert_eq!(Code::new(GroupId(script.nonce()), &NodeId([1; 32]), [2; 16]).to_bytes().len(), 40);
}

fn prints_back(code: &Code) {
    assert_eq!(code.to_string().parse::<Code>().as_ref(), Ok(code));
    assert_eq!(Code::from_bytes(&code.to_bytes()).as_ref(), Some(code));
    let _ = code.invite();
}

/// A code without what its reader forgives.
fn plain(text: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    let body = text.strip_prefix("larder1").unwrap_or(&text);
    let body = body.chars().filter(|c| *c != '-' && !c.is_whitespace());
    body.map(|c| match c {
        'i' | 'l' => '1',
        'o' => '0',
        c => c,
    })
    .collect()
}
