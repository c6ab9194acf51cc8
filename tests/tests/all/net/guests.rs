//! Non-members, removed members, and floods of frames.

use std::time::Duration;

use larder_tests::lab::{Lab, wait_until};

use super::{start_mesh, start_probe, wait_until_linked};

tests! {
    a_non_member_gets_a_guest_stream_but_no_member_link,
    a_removed_member_loses_its_link,
    large_frames_pass_and_a_flood_is_limited,
    guest_streams_beyond_the_limit_wait_for_their_turn,
}

const PATIENCE: Duration = Duration::from_secs(20);

fn a_non_member_gets_a_guest_stream_but_no_member_link() {
    let lab = Lab::require(2);
    let mut member = start_probe(&lab, 0, &["--echo"]);
    // The probe knows the other as a member, but the other does not know it.
    let mut non_member = start_probe(&lab, 1, &["--members", "0"]);
    non_member.wait_for_event(0, "discovered", |e| e["ev"] == "discovered" && e["peer"] == 0);
    non_member.process.write_line("guest 0");
    let up = non_member.wait_for_event(0, "a guest stream", |e| e["ev"] == "up");
    assert_eq!(up["kind"], "Guest");
    let link = up["link"].as_u64().unwrap();
    non_member.process.write_line(&format!("send {link} 60000 1"));
    non_member.wait_for_event(0, "the echo", |e| e["ev"] == "frame" && e["bytes"] == 60_000);
    assert!(non_member.member_links().is_empty() && member.member_links().is_empty());
    // Exceeding the quota of a guest stream closes it.
    for _ in 0..6 {
        non_member.process.write_line(&format!("send {link} 60000 4"));
    }
    let down = member.wait_for_event(0, "the end", |e| e["ev"] == "down");
    assert!(
        ["GuestQuotaExceeded", "QueueFull", "Lost"].contains(&down["reason"].as_str().unwrap()),
        "{down}"
    );
    // After it became a member, it gets a link.
    member.process.write_line("members 1");
    wait_until(PATIENCE, "linked", || {
        (member.member_links().len() == 1 && non_member.member_links().len() == 1).then_some(())
    });
}

fn a_removed_member_loses_its_link() {
    let lab = Lab::require(2);
    let mut both = start_mesh(&lab, &["--frames"]);
    wait_until_linked(&mut both, PATIENCE);
    // The removed member still receives the frames that were sent before, because they may say why it was
    // removed.
    let link = both[0].member_links()[&1].link;
    both[0].process.write_line(&format!("send {link} 1000000 3\nmembers"));
    wait_until(PATIENCE, "the frames sent before", || {
        let frames = both[1].events_named("frame");
        (frames.iter().filter(|frame| frame["bytes"] == 1_000_000).count() == 3).then_some(())
    });
    let down = both[0].wait_for_event(0, "down", |e| e["ev"] == "down");
    assert_eq!(down["reason"], "Removed");
    wait_until(PATIENCE, "no link", || both[1].member_links().is_empty().then_some(()));
    both[0].process.write_line("members 1");
    wait_until_linked(&mut both, PATIENCE);
}

fn large_frames_pass_and_a_flood_is_limited() {
    let lab = Lab::require(2);
    let mut both = start_mesh(&lab, &["--frames"]);
    wait_until_linked(&mut both, PATIENCE);
    let link = both[0].member_links()[&1].link;
    both[0].process.write_line(&format!("send {link} 2097152 1"));
    both[1].wait_for_event(0, "a frame of 2 MiB", |e| e["ev"] == "frame" && e["bytes"] == 2_097_152);
    // The other probe stops reading. The buffers fill, then the queue, and then the link is closed.
    both[1].process.write_line("pause");
    let end = wait_until(PATIENCE, "the queue is full", || {
        both[0].process.write_line(&format!("send {link} 1000000 4"));
        both[0].events_named("down").into_iter().next()
    });
    assert_eq!(end["reason"], "QueueFull");
    for probe in &both {
        let memory = probe.process.resident_bytes() >> 20;
        report!("memory after the flood: {memory} MiB");
        assert!(memory < 150, "{memory} MiB");
    }
    both[1].process.write_line("resume");
    wait_until_linked(&mut both, PATIENCE);
}

/// A node may discover many non-members that send nothing. Its guest streams must still reach every node.
fn guest_streams_beyond_the_limit_wait_for_their_turn() {
    let limit = larder_net::limits::MAX_OUTGOING_GUEST_STREAMS;
    let lab = Lab::require(limit + 2);
    let mut opener = start_probe(&lab, 0, &[]);
    let _non_members: Vec<_> = (1..=limit + 1).map(|nth| start_probe(&lab, nth, &[])).collect();
    for nth in 1..=limit + 1 {
        opener.wait_for_event(0, "discovered", |e| e["ev"] == "discovered" && e["peer"] == nth);
        opener.process.write_line(&format!("guest {nth}"));
    }
    wait_until(PATIENCE, "as many guest streams as the limit allows", || {
        (opener.events_named("up").len() == limit).then_some(())
    });
    // A silent guest stream makes room for a waiting request, and only as many end as wait.
    wait_until(PATIENCE, "the last one's turn", || {
        (opener.events_named("up").len() == limit + 1).then_some(())
    });
    let down_reasons: Vec<_> =
        opener.events_named("down").into_iter().map(|down| down["reason"].clone()).collect();
    assert_eq!(down_reasons, ["Silent"], "one request waited, so one stream ended");
    let reached_peers: std::collections::BTreeSet<u64> =
        opener.events_named("up").iter().filter_map(|up| up["peer"].as_u64()).collect();
    assert_eq!(reached_peers.len(), limit + 1);
}
