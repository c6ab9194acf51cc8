//! Strangers, floods and hostile frames.

use std::time::Duration;

use larder_tests::lab::{Lab, until};

use super::{mesh, probe, until_linked};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_stranger_may_visit_and_gets_no_member_link() {
    let Some(lab) = Lab::or_skip(2, "a stranger visits") else { return };
    let mut member = probe(&lab, 0, &["--echo"]);
    // It believes to be a member, and is not known as one.
    let mut stranger = probe(&lab, 1, &["--members", "0"]);
    stranger.wait(0, "seen", |e| e["ev"] == "seen" && e["peer"] == 0);
    stranger.process.tell("visit 0");
    let up = stranger.wait(0, "a visit", |e| e["ev"] == "up");
    assert_eq!(up["kind"], "Stranger");
    let link = up["link"].as_u64().unwrap();
    stranger.process.tell(&format!("send {link} 60000 1"));
    stranger.wait(0, "the echo", |e| e["ev"] == "frame" && e["bytes"] == 60_000);
    assert!(stranger.links().is_empty() && member.links().is_empty());
    // More than a visit may carry ends it.
    for _ in 0..6 {
        stranger.process.tell(&format!("send {link} 60000 4"));
    }
    let down = member.wait(0, "the end", |e| e["ev"] == "down");
    assert!(["TooMuch", "QueueFull", "Lost"].contains(&down["reason"].as_str().unwrap()), "{down}");
    // Once it is known, it is let in.
    member.process.tell("members 1");
    until(PATIENCE, "linked", || (member.links().len() == 1 && stranger.links().len() == 1).then_some(()));
}

#[test]
fn one_that_is_removed_loses_its_link() {
    let Some(lab) = Lab::or_skip(2, "a member is removed") else { return };
    let mut both = mesh(&lab, &["--frames"]);
    until_linked(&mut both, PATIENCE);
    // What was sent to it before, it still gets: it may say why it is none any more.
    let link = both[0].links()[&1].link;
    both[0].process.tell(&format!("send {link} 1000000 3\nmembers"));
    until(PATIENCE, "what was sent before", || {
        let frames = both[1].all("frame");
        (frames.iter().filter(|frame| frame["bytes"] == 1_000_000).count() == 3).then_some(())
    });
    let down = both[0].wait(0, "down", |e| e["ev"] == "down");
    assert_eq!(down["reason"], "Removed");
    until(PATIENCE, "no link", || both[1].links().is_empty().then_some(()));
    both[0].process.tell("members 1");
    until_linked(&mut both, PATIENCE);
}

#[test]
fn large_frames_pass_and_a_flood_is_bounded() {
    let Some(lab) = Lab::or_skip(2, "large frames") else { return };
    let mut both = mesh(&lab, &["--frames"]);
    until_linked(&mut both, PATIENCE);
    let link = both[0].links()[&1].link;
    both[0].process.tell(&format!("send {link} 2097152 1"));
    both[1].wait(0, "a frame of 2 MiB", |e| e["ev"] == "frame" && e["bytes"] == 2_097_152);
    // One that does not read: everything on the way fills, then the queue, then the link ends.
    both[1].process.tell("deaf");
    let end = until(PATIENCE, "the queue is full", || {
        both[0].process.tell(&format!("send {link} 1000000 4"));
        both[0].all("down").into_iter().next()
    });
    assert_eq!(end["reason"], "QueueFull");
    for probe in &both {
        let memory = probe.process.memory() >> 20;
        println!("memory after the flood: {memory} MiB");
        assert!(memory < 150, "{memory} MiB");
    }
    both[1].process.tell("hear");
    until_linked(&mut both, PATIENCE);
}

/// Many strangers may be about, none of whom says a word. The one that matters may be any of them.
#[test]
fn whoever_is_to_be_visited_beyond_what_is_visited_at_once_has_its_turn() {
    let most = larder_net::limits::VISITS_OUT;
    let Some(lab) = Lab::or_skip(most + 2, "many strangers") else { return };
    let mut visitor = probe(&lab, 0, &[]);
    let _strangers: Vec<_> = (1..=most + 1).map(|nth| probe(&lab, nth, &[])).collect();
    for nth in 1..=most + 1 {
        visitor.wait(0, "seen", |e| e["ev"] == "seen" && e["peer"] == nth);
        visitor.process.tell(&format!("visit {nth}"));
    }
    until(PATIENCE, "as many visits as there may be", || (visitor.all("up").len() == most).then_some(()));
    // Those that say nothing give up their places, and not to one that had a place before.
    until(PATIENCE, "the last one's turn", || (visitor.all("up").len() == most + 1).then_some(()));
    let given_up: Vec<_> = visitor.all("down").into_iter().map(|down| down["reason"].clone()).collect();
    assert_eq!(given_up, ["Silent"], "one waited, and one gives way");
    let visited: std::collections::BTreeSet<u64> =
        visitor.all("up").iter().filter_map(|up| up["peer"].as_u64()).collect();
    assert_eq!(visited.len(), most + 1);
}
