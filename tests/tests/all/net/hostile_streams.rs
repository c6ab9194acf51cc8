//! Hostile non-members: raw libp2p streams that break the protocol. They run on loopback and need no lab.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use larder_tests::lab::wait_until;
use larder_tests::probe::Probe;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint, Transport as _};
use libp2p::identity::Keypair;
use libp2p::{Multiaddr, noise, tcp, yamux};
use multistream_select::Negotiated;

use super::{PROBE, wait_until_linked};

tests! {
    hostile_frames_close_only_their_own_guest_stream,
    two_hundred_fresh_keys_cost_little_memory_and_disturb_no_member,
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a stream with a fresh key. Returns it with the task that drives its connection, or `None` if the
/// peer refused.
async fn open_raw_stream(
    addr: &Multiaddr,
    protocol: &str,
) -> Option<(Negotiated<SubstreamBox>, tokio::task::JoinHandle<()>)> {
    let key = Keypair::generate_ed25519();
    let mut transport = tcp::tokio::Transport::new(tcp::Config::default())
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&key).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    let opts = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
    let dial = transport.dial(addr.clone(), opts).unwrap();
    let (_, muxer) = tokio::time::timeout(PATIENCE, dial).await.ok()?.ok()?;
    let mut muxer = StreamMuxerBox::new(muxer);
    let stream = poll_fn(|task_context| muxer.poll_outbound_unpin(task_context)).await.ok()?;
    let driving = tokio::spawn(async move {
        let _ = poll_fn(|task_context| {
            let _ = muxer.poll_inbound_unpin(task_context);
            muxer.poll_unpin(task_context)
        })
        .await;
    });
    let chosen = multistream_select::dialer_select_proto(
        stream,
        [protocol.to_owned()],
        multistream_select::Version::V1,
    );
    let (_, stream) = tokio::time::timeout(PATIENCE, chosen).await.ok()?.ok()?;
    Some((stream, driving))
}

/// Starts two members on loopback. Returns them with the address of the first.
fn start_two_members(name: &str) -> (Vec<Probe>, Multiaddr, LogDir) {
    let logs = std::env::temp_dir().join(format!("larder-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&logs).unwrap();
    let base = ["--members", "0-1", "--no-multicast", "--listen", "/ip4/127.0.0.1/tcp/0"];
    let start = |seed: u64, args: &[&str]| {
        Probe::start(std::process::Command::new(PROBE), seed, args, &logs.join(format!("{seed}.log")))
    };
    let mut victim = start(0, &base);
    let addr = victim.wait_for_event_named("listening")["addrs"][0].as_str().unwrap().to_owned();
    let friend = start(1, &[&base[..], &["--peer", &addr]].concat());
    let mut both = vec![victim, friend];
    wait_until_linked(&mut both, PATIENCE);
    (both, addr.parse().unwrap(), LogDir(logs))
}

/// A directory for logs. It is removed at the end of a passed test.
struct LogDir(std::path::PathBuf);

impl Drop for LogDir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn link_down_reasons(probe: &mut Probe) -> BTreeMap<String, usize> {
    let mut reasons = BTreeMap::new();
    for event in probe.events_named("down") {
        *reasons.entry(event["reason"].to_string()).or_default() += 1;
    }
    reasons
}

fn hostile_frames_close_only_their_own_guest_stream() {
    let (mut both, addr, _logs) = start_two_members("hostile-frames");
    let before = both[0].member_links();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let random: Vec<u8> =
            (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 1).collect();
        let claim = u32::MAX.to_be_bytes().to_vec();
        for attack in [claim, random] {
            let (mut stream, driving) =
                open_raw_stream(&addr, "/larder/guest/1").await.expect("a guest stream is open to anyone");
            let mut hello = [0];
            stream.read_exact(&mut hello).await.unwrap();
            assert_eq!(hello, *b"+");
            let _ = stream.write_all(&attack).await;
            let _ = stream.flush().await;
            let mut rest = Vec::new();
            let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest))
                .await
                .expect("the guest stream was ended");
            driving.abort();
        }
        // The node answers "not yet" to a member link of a non-member, or closes the stream if this key may
        // not open the link.
        let (mut stream, driving) =
            open_raw_stream(&addr, "/larder/link/1").await.expect("the protocol is there");
        let mut hello = [0];
        let read = stream.read(&mut hello).await.unwrap_or(0);
        assert!(read == 0 || hello == *b"-", "a stranger was let in");
        driving.abort();
    });
    wait_until(PATIENCE, "both are told", || (both[0].events_named("down").len() == 2).then_some(()));
    let reasons = link_down_reasons(&mut both[0]);
    assert!(reasons.keys().all(|reason| reason.contains("TooLong")), "{reasons:?}");
    assert_eq!(both[0].member_links(), before, "the member's link is the same");
}

fn two_hundred_fresh_keys_cost_little_memory_and_disturb_no_member() {
    let (mut both, addr, _logs) = start_two_members("fresh-keys");
    let before = both[0].member_links();
    let memory = both[0].process.resident_bytes();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let admitted = runtime.block_on(async {
        let all =
            futures::future::join_all((0..200).map(|_| open_raw_stream(&addr, "/larder/guest/1"))).await;
        let mut held = Vec::new();
        for (mut stream, driving) in all.into_iter().flatten() {
            // The stream claims the largest allowed frame and never sends its content.
            let _ = stream.write_all(&[0, 0, 255, 255]).await;
            let _ = stream.flush().await;
            held.push((stream, driving));
        }
        held.len()
    });
    let grown = both[0].process.resident_bytes().saturating_sub(memory) >> 20;
    report!("of 200 strangers {admitted} came to a stream; memory grew by {grown} MiB");
    assert!(admitted <= larder_net::limits::MAX_NON_MEMBER_CONNECTIONS && grown < 40);
    assert_eq!(both[0].member_links(), before, "the member's link is the same");
}
