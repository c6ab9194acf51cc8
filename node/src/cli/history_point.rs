//! `--at`: the point of the history that a reading command looks at.

use clap::Args;

use super::context::{CommandContext, print_stderr};
use crate::output::{escape, short_id};
use crate::time;

/// Arguments of every command that reads the document.
#[derive(Debug, Args)]
pub(super) struct AtArgs {
    /// Read the document as it was at a time, change or tag
    #[arg(long, value_name = "TIME|CHANGE|TAG")]
    at: Option<String>,
}

impl AtArgs {
    pub(super) fn point(&self) -> Option<&str> {
        self.at.as_deref()
    }

    /// The point as a query parameter.
    pub(super) fn query_param(&self) -> (&'static str, Option<&str>) {
        ("at", self.point())
    }

    /// Prints which changes a typed time stands for. `heads` is empty for a time before the first change.
    pub(super) fn report(&self, context: &CommandContext, heads: Option<&[String]>) {
        let typed_time = self.point().filter(|point| !context.json && time::looks_like_time(point));
        if let Some((point, heads)) = typed_time.zip(heads) {
            print_stderr(&format!("{}: {}", escape(point), describe_heads(heads)));
        }
    }
}

fn describe_heads(heads: &[String]) -> String {
    match heads {
        [] => "before the first change".to_owned(),
        [one] => format!("as of change {}", short_id(one)),
        several => {
            let ids: Vec<String> = several.iter().map(|id| short_id(id)).collect();
            format!("as of changes {}, which had not been merged", ids.join(", "))
        }
    }
}
