//! The requirements of tests on their host beyond a Rust toolchain, and the end of a test whose host lacks
//! one.

use std::panic::resume_unwind;

/// A program or permission that a test needs and this host lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs {what}, but {reason}. {remedy}")]
pub struct MissingRequirement {
    /// The program or permission that the test needs, as a noun phrase.
    pub what: &'static str,
    /// The observation that shows that the host lacks it.
    pub reason: String,
    /// A sentence that says how to get it.
    pub remedy: &'static str,
}

/// Returns the required thing, or ends the test as not run.
///
/// To end the test, this function unwinds with a [`MissingRequirement`] as the payload, without a panic hook.
/// The test harness reports such a test as ignored, with the reason.
pub fn require<T>(found: Result<T, MissingRequirement>) -> T {
    found.unwrap_or_else(|missing| resume_unwind(Box::new(missing)))
}
