//! What a test needs of its host beyond a Rust toolchain, and how a test ends where the host lacks it.

use std::panic::resume_unwind;

/// A program or permission that a test needs and this host lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs {what}, but {reason}. {remedy}")]
pub struct MissingRequirement {
    /// The thing that the test needs, as a noun phrase.
    pub what: &'static str,
    /// The observation that shows that the host lacks it.
    pub reason: String,
    /// The sentence that tells how to get it.
    pub remedy: &'static str,
}

/// Returns what a test needs, or ends the test as not run.
///
/// The end is an unwinding with a [`MissingRequirement`] as its payload, which runs no panic hook. The test
/// harness reports such a test as ignored, with the reason.
pub fn require<T>(found: Result<T, MissingRequirement>) -> T {
    found.unwrap_or_else(|missing| resume_unwind(Box::new(missing)))
}
