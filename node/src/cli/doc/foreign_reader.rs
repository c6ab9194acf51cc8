//! Reads an Automerge document from an untrusted source.
//!
//! A few crafted bytes can make Automerge panic or allocate without limit. Therefore neither the daemon
//! nor the command itself parses the file. The command starts a child process (`larder doc keys`) with
//! limits on memory and time. The child parses the document and prints keys and values. If the child
//! fails, the command reports it.

use std::fs::File;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};

use automerge::{Automerge, ObjType, ROOT, ReadDoc, Value as AutomergeValue};
use larder_core::delta::automerge_codec::value_from_scalar;
use larder_core::resource::ResourceName;
use larder_core::resource::literal::Literal;
use larder_core::value::Value;
use rustix::process::{Resource, Rlimit, setrlimit};

use crate::dto::{DocKeys, JsonValue};
use crate::error::CliError;
use crate::limits;

/// Parses the file in a child process. `-` is standard input.
pub(super) fn read_in_child(file: &str) -> Result<DocKeys, CliError> {
    let (file, path) = if file == "-" { ("standard input", None) } else { (file, Some(file)) };
    let read_error = |error: io::Error| CliError::usage(format!("cannot read {file}: {error}"));
    let input = match path {
        None => Stdio::inherit(),
        Some(path) => Stdio::from(File::open(path).map_err(read_error)?),
    };
    let own_binary = std::env::current_exe().map_err(read_error)?;
    let mut child = Command::new(own_binary)
        .args(["doc", "keys", "--json"])
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(read_error)?;
    let mut output = Vec::new();
    let child_stdout = child.stdout.take();
    let limit = limits::MAX_DOC_PLAN_BYTES as u64;
    let read_result = child_stdout.map(|out| out.take(limit + 1).read_to_end(&mut output)).transpose();
    if output.len() as u64 > limit {
        // The child blocks while its output is not read.
        drop(child.kill());
    }
    let finished = child.wait_with_output().map_err(read_error)?;
    read_result.map_err(read_error)?;
    if output.len() as u64 > limit {
        return Err(CliError::usage(format!("{file} contains more than {limit} bytes of values")));
    }
    if finished.status.success() {
        return serde_json::from_slice(&output).map_err(|error| {
            CliError::failed(format!("the child process printed an invalid answer: {error}"))
        });
    }
    // The child reports its error as JSON, unless a limit or a crash ended it.
    let error_line = finished.stderr.split(|byte| *byte == b'\n').rfind(|line| line.starts_with(b"{"));
    let child_error = error_line.and_then(|line| serde_json::from_slice::<CliError>(line).ok());
    Err(child_error.map_or_else(
        || {
            CliError::usage(format!(
                "{file} cannot be parsed: the parser failed or exceeded its limits ({})",
                finished.status
            ))
            .with_hint("the file is damaged or hostile; nothing was changed")
        },
        |child_error| CliError { text: format!("{file}: {}", child_error.text), ..child_error },
    ))
}

/// Runs in the child: parses the document on standard input with limits on memory and time.
pub(super) fn read_stdin_limited() -> Result<DocKeys, CliError> {
    let set_limit = |resource, amount| {
        let amount = Some(amount);
        setrlimit(resource, Rlimit { current: amount, maximum: amount })
            .map_err(|error| CliError::failed(format!("cannot set a resource limit: {error}")))
    };
    set_limit(Resource::As, limits::DOC_READER_MEMORY_BYTES)?;
    set_limit(Resource::Cpu, limits::DOC_READER_CPU_SECONDS)?;
    let mut bytes = Vec::new();
    let read_result = io::stdin().lock().take(limits::MAX_DOC_BYTES + 1).read_to_end(&mut bytes);
    read_result.map_err(|error| CliError::usage(format!("cannot read standard input: {error}")))?;
    if bytes.len() as u64 > limits::MAX_DOC_BYTES {
        return Err(CliError::usage(format!("the document is longer than {} bytes", limits::MAX_DOC_BYTES)));
    }
    std::panic::set_hook(Box::new(|_| {}));
    let parse_result = catch_unwind(AssertUnwindSafe(|| parse_document(&bytes)));
    parse_result.unwrap_or_else(|_| Err(invalid_document("Automerge cannot read it")))
}

fn invalid_document(reason: &str) -> CliError {
    CliError::usage(format!("this is not a complete Automerge document ({reason})"))
}

fn parse_document(bytes: &[u8]) -> Result<DocKeys, CliError> {
    let document = Automerge::load(bytes).map_err(|error| invalid_document(&error.to_string()))?;
    let load_error = |error: automerge::AutomergeError| invalid_document(&error.to_string());
    let desired = match document.get(ROOT, "desired").map_err(load_error)? {
        Some((AutomergeValue::Object(ObjType::Map), id)) => id,
        _ => {
            return Err(CliError::usage("it has no desired state: its root has no map `desired`")
                .with_hint("`larder doc export` writes one"));
        }
    };
    let mut doc_keys = DocKeys::default();
    for bucket in document.keys(&desired) {
        let Some((AutomergeValue::Object(ObjType::Map), bucket)) =
            document.get(&desired, bucket.as_str()).map_err(load_error)?
        else {
            doc_keys.skipped_keys += 1;
            continue;
        };
        for key in document.keys(&bucket) {
            match document.get(&bucket, key.as_str()).map_err(load_error)? {
                Some((value, _)) => collect_key(&mut doc_keys, key, &value),
                None => doc_keys.skipped_keys += 1,
            }
        }
    }
    Ok(doc_keys)
}

/// Collects a key if it names a field and its value is one that a field can have.
fn collect_key(doc_keys: &mut DocKeys, key: String, value: &AutomergeValue<'_>) {
    let value = match value {
        AutomergeValue::Scalar(scalar) => value_from_scalar(scalar).filter(Value::is_valid),
        AutomergeValue::Object(_) => None,
    };
    let is_key = key.len() <= larder_core::limits::MAX_KEY_BYTES && ResourceName::split_key(&key).is_some();
    match value {
        Some(Value::Null) if is_key => drop(doc_keys.keys.insert(key, None)),
        Some(value) if is_key => drop(doc_keys.keys.insert(key, Some(JsonValue(Literal::Scalar(value))))),
        _ => doc_keys.skipped_keys += 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use automerge::transaction::Transactable;

    fn saved_document(fill: impl FnOnce(&mut automerge::AutoCommit)) -> Vec<u8> {
        let mut document = automerge::AutoCommit::new();
        fill(&mut document);
        document.save()
    }

    #[test]
    fn values_that_no_field_can_hold_are_left_out() {
        let bytes = saved_document(|document| {
            let desired = document.put_object(ROOT, "desired", ObjType::Map).unwrap();
            let bucket = document.put_object(&desired, "any", ObjType::Map).unwrap();
            document.put(&bucket, "config/a keys.x", 5).unwrap();
            document.put(&bucket, "config/a keys.y", ()).unwrap();
            document.put(&bucket, "no field", "x").unwrap();
            document.put(&bucket, "config/a keys.t", automerge::ScalarValue::Timestamp(5)).unwrap();
            document.put_object(&bucket, "config/a keys.o", ObjType::List).unwrap();
        });
        let doc_keys = parse_document(&bytes).unwrap();
        let five = Some(JsonValue(Literal::Scalar(Value::Int(5))));
        let keys = [("config/a keys.x".to_owned(), five), ("config/a keys.y".to_owned(), None)];
        assert_eq!((doc_keys.keys, doc_keys.skipped_keys), (keys.into(), 3));
    }

    #[test]
    fn bytes_without_a_desired_state_are_refused() {
        let other = saved_document(|document| document.put(ROOT, "desired", "x").unwrap());
        assert!(parse_document(&other).unwrap_err().text.contains("no map `desired`"));
        for bytes in [b"".as_slice(), b"hello", &other[..other.len() - 1]] {
            let error = parse_document(bytes).unwrap_err();
            assert_eq!(error.exit, crate::error::ExitKind::Usage, "{error}");
        }
    }
}
