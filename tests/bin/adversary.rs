//! A hostile peer as a process. It tries every attack of a non-member, joins with an invite code, and then
//! tries every attack of a member, again and again. It prints one JSON line for each attack.

#![allow(clippy::expect_used, reason = "a tool of tests: what is wrong ends it")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use larder_tests::adversary::{AS_MEMBER, AS_STRANGER, Adversary, Attack};

/// Run every attack that a hostile peer can try.
#[derive(Debug, Parser)]
struct Args {
    /// The number from which the key is derived.
    #[arg(long, default_value_t = 66)]
    seed: u8,
    /// An address of the node to attack.
    #[arg(long)]
    peer: String,
    /// An invite code, to continue as a member.
    #[arg(long)]
    code: Option<String>,
    /// The duration in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Run only this attack.
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(args))
}

async fn run(args: Args) -> ExitCode {
    let peer = args.peer.parse().expect("an address");
    let mut adversary = Adversary::start(args.seed, vec![peer]);
    adversary.run_for(Duration::from_secs(1)).await;
    let wanted = |attack: &&Attack| args.only.as_ref().is_none_or(|only| attack.0 == *only);
    for attack in AS_STRANGER.iter().filter(wanted) {
        run_attack(&mut adversary, attack).await;
    }
    let Some(code) = args.code else { return ExitCode::SUCCESS };
    if !adversary.join(code.parse().expect("a code"), Duration::from_secs(30)).await {
        println!("{}", serde_json::json!({ "joined": false }));
        return ExitCode::FAILURE;
    }
    println!("{}", serde_json::json!({ "joined": true }));
    let end = Instant::now() + Duration::from_secs(args.seconds);
    loop {
        for attack in AS_MEMBER.iter().filter(wanted) {
            run_attack(&mut adversary, attack).await;
            if Instant::now() >= end {
                return ExitCode::SUCCESS;
            }
        }
    }
}

async fn run_attack(adversary: &mut Adversary, attack: &Attack) {
    let before = adversary.member_link_count();
    attack.1(adversary);
    adversary.run_for(Duration::from_millis(300)).await;
    let line =
        serde_json::json!({ "attack": attack.0, "links": before, "after": adversary.member_link_count() });
    println!("{line}");
}
