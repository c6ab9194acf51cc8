//! The `larder` command again, so that cargo builds it before the tests that start it.

use std::process::ExitCode;

fn main() -> ExitCode {
    larder::main()
}
