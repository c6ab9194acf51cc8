//! Reading an Automerge document that anybody may have made.
//!
//! A few crafted bytes can make Automerge panic, or ask for more memory than there is. So no daemon ever reads such a
//! file, nor does the command that was given it: that command starts itself once more as a child (`larder doc keys`)
//! with a limit on its memory and time. The child takes the document in, and prints plain keys and values. Whatever
//! happens to it, its parent goes on and says so.

use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

use automerge::{Automerge, ObjType, ROOT, ReadDoc, Value as Found};
use larder_core::delta::compose::value_of;
use larder_core::resource::ResourceName;
use larder_core::resource::literal::Literal;
use larder_core::value::Value;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::failure::Failure;
use crate::limits;
use crate::view::{DocKeys, Plain};

/// Lets a child read the file; `-` is standard input.
pub(super) fn read_apart(file: &str) -> Result<DocKeys, Failure> {
    let (file, path) = if file == "-" { ("standard input", None) } else { (file, Some(file)) };
    let cannot = |error: io::Error| Failure::usage(format!("cannot read {file}: {error}"));
    let input = match path {
        None => Stdio::inherit(),
        Some(path) => Stdio::from(File::open(path).map_err(cannot)?),
    };
    let own = std::env::current_exe().map_err(cannot)?;
    let mut child = Command::new(own)
        .args(["doc", "keys", "--json"])
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    let mut said = Vec::new();
    let out = child.stdout.take();
    let most = limits::DOC_PLAN_BYTES as u64;
    let read = out.map(|out| out.take(most + 1).read_to_end(&mut said)).transpose();
    if said.len() as u64 > most {
        // It would wait for somebody to read on.
        drop(child.kill());
    }
    let ended = child.wait_with_output().map_err(cannot)?;
    read.map_err(cannot)?;
    if said.len() as u64 > most {
        return Err(Failure::usage(format!("{file} wants more than {most} bytes of values")));
    }
    if ended.status.success() {
        return serde_json::from_slice(&said)
            .map_err(|error| Failure::failed(format!("the reader's answer: {error}")));
    }
    // The child says what is wrong, unless it came to an end that it did not foresee.
    let last = ended.stderr.split(|byte| *byte == b'\n').rfind(|line| line.starts_with(b"{"));
    let told = last.and_then(|line| serde_json::from_slice::<Failure>(line).ok());
    Err(told.map_or_else(
        || {
            Failure::usage(format!(
                "{file} cannot be read: reading it takes too much, or breaks off ({})",
                ended.status
            ))
            .hint("it is damaged, or was made to do harm; nothing else was touched")
        },
        |told| Failure { text: format!("{file}: {}", told.text), ..told },
    ))
}

/// What the child does: reads the document on its standard input, under limits.
pub(super) fn read_here() -> Result<DocKeys, Failure> {
    let limit = |resource, most| {
        let most = Some(most);
        setrlimit(resource, Rlimit { current: most, maximum: most })
            .map_err(|error| Failure::failed(format!("cannot limit what reading takes: {error}")))
    };
    limit(Resource::As, limits::DOC_MEMORY)?;
    limit(Resource::Cpu, limits::DOC_SECONDS)?;
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(limits::DOC_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::usage(format!("it cannot be read: {error}")))?;
    if bytes.len() as u64 > limits::DOC_BYTES {
        return Err(Failure::usage(format!("it is longer than {} bytes", limits::DOC_BYTES)));
    }
    std::panic::set_hook(Box::new(|_| {}));
    let read = catch_unwind(AssertUnwindSafe(|| parse(&bytes)));
    read.unwrap_or_else(|_| Err(no_document("Automerge gave up on it")))
}

fn no_document(why: &str) -> Failure {
    Failure::usage(format!("it is no whole Automerge document ({why})"))
}

fn parse(bytes: &[u8]) -> Result<DocKeys, Failure> {
    let document = Automerge::load(bytes).map_err(|error| no_document(&error.to_string()))?;
    let wrong = |error: automerge::AutomergeError| no_document(&error.to_string());
    let desired = match document.get(ROOT, "desired").map_err(wrong)? {
        Some((Found::Object(ObjType::Map), id)) => id,
        _ => {
            return Err(Failure::usage("it holds no desired state: there is no map `desired` at its root")
                .hint("`larder doc export` writes one"));
        }
    };
    let mut found = DocKeys::default();
    for bucket in document.keys(&desired) {
        let Some((Found::Object(ObjType::Map), bucket)) =
            document.get(&desired, bucket.as_str()).map_err(wrong)?
        else {
            found.left_out += 1;
            continue;
        };
        for key in document.keys(&bucket) {
            match document.get(&bucket, key.as_str()).map_err(wrong)? {
                Some((value, _)) => take(&mut found, key, &value),
                None => found.left_out += 1,
            }
        }
    }
    Ok(found)
}

/// Takes in what a field can be called and hold.
fn take(found: &mut DocKeys, key: String, value: &Found<'_>) {
    let value = match value {
        Found::Scalar(scalar) => value_of(scalar).filter(Value::is_sound),
        Found::Object(_) => None,
    };
    let is_key = key.len() <= larder_core::limits::KEY_BYTES && ResourceName::of_key(&key).is_some();
    match value {
        Some(Value::Null) if is_key => drop(found.keys.insert(key, None)),
        Some(value) if is_key => drop(found.keys.insert(key, Some(Plain(Literal::Scalar(value))))),
        _ => found.left_out += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::transaction::Transactable;

    fn document(fill: impl FnOnce(&mut automerge::AutoCommit)) -> Vec<u8> {
        let mut document = automerge::AutoCommit::new();
        fill(&mut document);
        document.save()
    }

    #[test]
    fn only_what_a_field_can_hold_is_taken() {
        let bytes = document(|document| {
            let desired = document.put_object(ROOT, "desired", ObjType::Map).unwrap();
            let bucket = document.put_object(&desired, "any", ObjType::Map).unwrap();
            document.put(&bucket, "config/a keys.x", 5).unwrap();
            document.put(&bucket, "config/a keys.y", ()).unwrap();
            document.put(&bucket, "no field", "x").unwrap();
            document.put(&bucket, "config/a keys.t", automerge::ScalarValue::Timestamp(5)).unwrap();
            document.put_object(&bucket, "config/a keys.o", ObjType::List).unwrap();
        });
        let found = parse(&bytes).unwrap();
        let five = Some(Plain(Literal::Scalar(Value::Int(5))));
        let keys = [("config/a keys.x".to_owned(), five), ("config/a keys.y".to_owned(), None)];
        assert_eq!((found.keys, found.left_out), (keys.into(), 3));
    }

    #[test]
    fn what_is_no_document_of_a_group_is_refused() {
        let other = document(|document| document.put(ROOT, "desired", "x").unwrap());
        assert!(parse(&other).unwrap_err().text.contains("no map `desired`"));
        for bytes in [b"".as_slice(), b"hello", &other[..other.len() - 1]] {
            let refused = parse(bytes).unwrap_err();
            assert_eq!(refused.exit, crate::failure::Exit::Usage, "{refused}");
        }
    }
}
