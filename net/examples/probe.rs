//! A probe for tests and measurements: runs only the network of one node. It prints every event as one JSON
//! object per line, and reads commands from standard input.
//!
//! Nodes are named by seed numbers. Times are milliseconds of CLOCK_MONOTONIC, which all hosts of a lab
//! share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Parser;
use larder_core::id::{NodeId, SecretKey};
use larder_net::{Config, EventReceiver, LinkId, LinkKind, Multiaddr, NetEvent, NetHandle};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Runs the network of one node and prints its events.
#[derive(Parser)]
struct Args {
    /// The seed of the secret key of this node.
    #[arg(long)]
    seed: u64,
    /// The seeds of the members, such as 1,2,5-9.
    #[arg(long, default_value = "")]
    members: String,
    /// The addresses to listen on; without one, all addresses at --port.
    #[arg(long)]
    listen: Vec<Multiaddr>,
    /// The port to use without a listen address.
    #[arg(long, default_value_t = larder_net::limits::DEFAULT_TCP_PORT)]
    port: u16,
    /// The addresses of peers.
    #[arg(long)]
    peer: Vec<Multiaddr>,
    /// The known addresses, as SEED=MULTIADDR.
    #[arg(long)]
    remember: Vec<String>,
    /// Disables mDNS and the beacon.
    #[arg(long)]
    no_multicast: bool,
    /// The interval in milliseconds at which a frame is sent on every link.
    #[arg(long, default_value_t = 5000)]
    every: u64,
    /// The number of bytes of such a frame.
    #[arg(long, default_value_t = 16)]
    size: usize,
    /// Prints every frame, not only the first of each link.
    #[arg(long)]
    frames: bool,
    /// Sends every frame of a guest stream back.
    #[arg(long)]
    echo: bool,
}

struct ProbeNode {
    args: Args,
    net: NetHandle,
    links: BTreeMap<LinkId, LinkKind>,
    links_without_frame: BTreeSet<LinkId>,
    seed_by_node: BTreeMap<NodeId, u64>,
    is_paused: bool,
}

fn secret_from_seed(seed: u64) -> SecretKey {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(seed.to_le_bytes()).for_each(|(to, from)| *to = from);
    SecretKey::from_bytes(&bytes)
}

fn parse_seeds(text: &str) -> BTreeSet<u64> {
    let parse_number = |text: &str| text.trim().parse::<u64>().unwrap_or_default();
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| match part.split_once('-') {
            Some((from, to)) => parse_number(from)..=parse_number(to),
            None => parse_number(part)..=parse_number(part),
        })
        .collect()
}

fn monotonic_ms() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64() * 1000.0
}

fn format_addrs(addrs: &[Multiaddr]) -> String {
    format!("{:?}", addrs.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn print_event(line: &str) {
    println!("{{\"t\":{:.3},{line}}}", monotonic_ms());
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let mut config = Config::new(secret_from_seed(args.seed));
    config.listen_addrs.clone_from(&args.listen);
    config.preferred_port = args.port;
    config.static_peers.clone_from(&args.peer);
    config.is_multicast_enabled = !args.no_multicast;
    for remembered in &args.remember {
        let (seed, addr) = remembered.split_once('=').ok_or("--remember SEED=MULTIADDR")?;
        config.known_addresses.push((secret_from_seed(seed.parse()?).node_id(), vec![addr.parse()?]));
    }
    let (net, events) = larder_net::start(config)?;
    let members = parse_seeds(&args.members);
    let seed_by_node = (0..=100)
        .chain(members.iter().copied())
        .map(|seed| (secret_from_seed(seed).node_id(), seed))
        .collect();
    net.set_members(members.iter().map(|seed| secret_from_seed(*seed).node_id()).collect());
    print_event(&format!("\"ev\":\"start\",\"node\":{}", args.seed));
    let links = BTreeMap::new();
    ProbeNode { args, net, links, links_without_frame: BTreeSet::new(), seed_by_node, is_paused: false }
        .run(events)
        .await;
    Ok(())
}

impl ProbeNode {
    async fn run(mut self, mut events: EventReceiver) {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut tick = tokio::time::interval(Duration::from_millis(self.args.every.max(1)));
        let mut is_stdin_open = true;
        loop {
            tokio::select! {
                event = events.recv(), if !self.is_paused => match event {
                    Some(event) => self.on_event(event),
                    None => return print_event("\"ev\":\"end\""),
                },
                _ = tick.tick(), if self.args.every > 0 => {
                    for (link, kind) in &self.links {
                        if *kind == LinkKind::Member {
                            let _ = self.net.send_frame(*link, vec![7; self.args.size]);
                        }
                    }
                }
                line = lines.next_line(), if is_stdin_open => match line {
                    Ok(Some(line)) => self.on_command(&line),
                    _ => is_stdin_open = false,
                },
            }
        }
    }

    fn peer_name(&self, node: NodeId) -> String {
        self.seed_by_node.get(&node).map_or_else(|| format!("\"{}\"", node.short()), u64::to_string)
    }

    fn on_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Listening { addrs } => {
                print_event(&format!("\"ev\":\"listening\",\"addrs\":{}", format_addrs(&addrs)))
            }
            NetEvent::NodeDiscovered { peer, addrs, source } => {
                print_event(&format!(
                    "\"ev\":\"discovered\",\"peer\":{},\"source\":\"{source:?}\",\"addrs\":{}",
                    self.peer_name(peer),
                    format_addrs(&addrs)
                ));
            }
            NetEvent::LinkUp { link, peer, kind, is_dialed_here: dialed, addr, .. } => {
                self.links.insert(link, kind);
                self.links_without_frame.insert(link);
                let peer = self.peer_name(peer);
                print_event(&format!(
                    "\"ev\":\"up\",\"link\":{link},\"peer\":{peer},\"kind\":\"{kind:?}\",\"dialed\":{dialed},\
                     \"addr\":\"{addr}\""
                ));
                if kind == LinkKind::Member {
                    let _ = self.net.send_frame(link, vec![1]);
                }
            }
            NetEvent::LinkDown { link, peer, reason } => {
                self.links.remove(&link);
                let peer = self.peer_name(peer);
                print_event(&format!(
                    "\"ev\":\"down\",\"link\":{link},\"peer\":{peer},\"reason\":\"{reason:?}\""
                ));
            }
            NetEvent::FrameReceived { link, bytes } => self.on_frame(link, bytes),
            NetEvent::BytesSent { link, bytes } if self.args.frames => {
                print_event(&format!("\"ev\":\"sent\",\"link\":{link},\"bytes\":{bytes}"));
            }
            NetEvent::BytesSent { .. } => {}
            NetEvent::LinkRefused { peer, reason } => {
                print_event(&format!(
                    "\"ev\":\"refused\",\"peer\":{},\"reason\":\"{reason:?}\"",
                    self.peer_name(peer)
                ));
            }
            NetEvent::GuestStreamFailed { peer, reason } => {
                print_event(&format!(
                    "\"ev\":\"guest-failed\",\"peer\":{},\"reason\":\"{reason:?}\"",
                    self.peer_name(peer)
                ));
            }
            NetEvent::AddressConfirmed { peer, addr } => {
                print_event(&format!(
                    "\"ev\":\"address\",\"peer\":{},\"addr\":\"{addr}\"",
                    self.peer_name(peer)
                ));
            }
        }
    }

    fn on_frame(&mut self, link: LinkId, bytes: Vec<u8>) {
        if self.links_without_frame.remove(&link) || self.args.frames {
            print_event(&format!("\"ev\":\"frame\",\"link\":{link},\"bytes\":{}", bytes.len()));
        }
        if self.args.echo && self.links.get(&link) == Some(&LinkKind::Guest) {
            let _ = self.net.send_frame(link, bytes);
        }
    }

    /// `members SEEDS`, `guest SEED`, `learn SEED ADDR`, `send LINK SIZE COUNT`, `close LINK`, `pause`,
    /// `resume`, `count`, `stop`.
    fn on_command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let parse_number = |text: &str| text.parse::<u64>().unwrap_or_default();
        match words.as_slice() {
            ["members", seed_list] => self.net.set_members(
                parse_seeds(seed_list).into_iter().map(|seed| secret_from_seed(seed).node_id()).collect(),
            ),
            ["members"] => self.net.set_members(BTreeSet::new()),
            ["guest", seed] => {
                self.net.open_guest_stream(secret_from_seed(parse_number(seed)).node_id());
            }
            ["learn", seed, addr] => self.net.learn_addresses(
                secret_from_seed(parse_number(seed)).node_id(),
                addr.parse().into_iter().collect(),
            ),
            ["send", link, size, count] => {
                self.send(LinkId(parse_number(link)), parse_number(size), parse_number(count))
            }
            ["close", link] => self.net.close_link(LinkId(parse_number(link))),
            ["pause"] => self.is_paused = true,
            ["resume"] => self.is_paused = false,
            ["count"] => {
                let counts = self.net.connection_counts();
                let count_fields: Vec<_> = counts
                    .iter()
                    .map(|(node, count)| format!("\"{}\":{count}", self.peer_name(*node)))
                    .collect();
                print_event(&format!("\"ev\":\"count\",\"connections\":{{{}}}", count_fields.join(",")));
            }
            ["stop"] => self.net.shutdown(),
            _ => print_event(&format!("\"ev\":\"unknown\",\"line\":{line:?}")),
        }
    }

    fn send(&self, link: LinkId, size: u64, count: u64) {
        let mut queued_count = 0;
        let size = usize::try_from(size).unwrap_or(0);
        for _ in 0..count {
            queued_count += u64::from(self.net.send_frame(link, vec![9; size]).is_ok());
        }
        print_event(&format!("\"ev\":\"queued\",\"link\":{link},\"taken\":{queued_count}"));
    }
}
