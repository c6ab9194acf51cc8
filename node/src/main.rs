//! The `larder` command: the daemon, and everything that is asked of it.

fn main() {}
