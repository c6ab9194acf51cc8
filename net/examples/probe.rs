//! A node that is nothing but its network: prints every event as one JSON object a line, and does what it is told on
//! standard input. For tests and measurements.
//!
//! Nodes are named by seed numbers. Times are milliseconds of CLOCK_MONOTONIC, which all hosts of a lab share.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Parser;
use larder_core::id::{NodeId, Secret};
use larder_net::{Config, Event, Events, LinkId, LinkKind, Multiaddr, Net};
use tokio::io::{AsyncBufReadExt as _, BufReader};

/// Runs one node's network and prints what happens.
#[derive(Parser)]
struct Args {
    /// Makes this node's key.
    #[arg(long)]
    seed: u64,
    /// Seeds of the members, as 1,2,5-9.
    #[arg(long, default_value = "")]
    members: String,
    /// Addresses to listen on; none: everywhere at --port.
    #[arg(long)]
    listen: Vec<Multiaddr>,
    /// Port where no address is given.
    #[arg(long, default_value_t = larder_net::limits::PORT)]
    port: u16,
    /// Addresses of peers.
    #[arg(long)]
    peer: Vec<Multiaddr>,
    /// Remembered addresses, as SEED=MULTIADDR.
    #[arg(long)]
    remember: Vec<String>,
    /// No mDNS and no beacon.
    #[arg(long)]
    no_multicast: bool,
    /// Sends a frame on every link each so many milliseconds.
    #[arg(long, default_value_t = 5000)]
    every: u64,
    /// Bytes of such a frame.
    #[arg(long, default_value_t = 16)]
    size: usize,
    /// Prints every frame, not only the first of each link.
    #[arg(long)]
    frames: bool,
    /// Sends every frame of a stranger link back.
    #[arg(long)]
    echo: bool,
}

struct Probe {
    args: Args,
    net: Net,
    links: BTreeMap<LinkId, LinkKind>,
    silent: BTreeSet<LinkId>,
    seeds: BTreeMap<NodeId, u64>,
    deaf: bool,
}

fn secret(seed: u64) -> Secret {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(seed.to_le_bytes()).for_each(|(to, from)| *to = from);
    Secret::from_bytes(&bytes)
}

fn seeds(text: &str) -> BTreeSet<u64> {
    let number = |text: &str| text.trim().parse::<u64>().unwrap_or_default();
    text.split(',')
        .filter(|part| !part.trim().is_empty())
        .flat_map(|part| match part.split_once('-') {
            Some((from, to)) => number(from)..=number(to),
            None => number(part)..=number(part),
        })
        .collect()
}

fn now() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)).as_secs_f64() * 1000.0
}

fn list(addrs: &[Multiaddr]) -> String {
    format!("{:?}", addrs.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn say(line: &str) {
    println!("{{\"t\":{:.3},{line}}}", now());
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let mut config = Config::new(secret(args.seed));
    config.listen.clone_from(&args.listen);
    config.port = args.port;
    config.peers.clone_from(&args.peer);
    config.multicast = !args.no_multicast;
    for remembered in &args.remember {
        let (seed, addr) = remembered.split_once('=').ok_or("--remember SEED=MULTIADDR")?;
        config.book.push((secret(seed.parse()?).node(), vec![addr.parse()?]));
    }
    let (net, events) = larder_net::start(config)?;
    let members = seeds(&args.members);
    let seeds = (0..=100).chain(members.iter().copied()).map(|seed| (secret(seed).node(), seed)).collect();
    net.members(members.iter().map(|seed| secret(*seed).node()).collect());
    say(&format!("\"ev\":\"start\",\"node\":{}", args.seed));
    let links = BTreeMap::new();
    Probe { args, net, links, silent: BTreeSet::new(), seeds, deaf: false }.run(events).await;
    Ok(())
}

impl Probe {
    async fn run(mut self, mut events: Events) {
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        let mut tick = tokio::time::interval(Duration::from_millis(self.args.every.max(1)));
        let mut listening = true;
        loop {
            tokio::select! {
                event = events.recv(), if !self.deaf => match event {
                    Some(event) => self.on_event(event),
                    None => return say("\"ev\":\"end\""),
                },
                _ = tick.tick(), if self.args.every > 0 => {
                    for (link, kind) in &self.links {
                        if *kind == LinkKind::Member {
                            let _ = self.net.send(*link, vec![7; self.args.size]);
                        }
                    }
                }
                line = lines.next_line(), if listening => match line {
                    Ok(Some(line)) => self.on_command(&line),
                    _ => listening = false,
                },
            }
        }
    }

    fn name(&self, node: NodeId) -> String {
        self.seeds.get(&node).map_or_else(|| format!("\"{}\"", node.short()), u64::to_string)
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Listening { addrs } => say(&format!("\"ev\":\"listening\",\"addrs\":{}", list(&addrs))),
            Event::Seen { peer, addrs, by } => {
                say(&format!(
                    "\"ev\":\"seen\",\"peer\":{},\"by\":\"{by:?}\",\"addrs\":{}",
                    self.name(peer),
                    list(&addrs)
                ));
            }
            Event::LinkUp { link, peer, kind, dialed, addr, .. } => {
                self.links.insert(link, kind);
                self.silent.insert(link);
                let peer = self.name(peer);
                say(&format!(
                    "\"ev\":\"up\",\"link\":{link},\"peer\":{peer},\"kind\":\"{kind:?}\",\"dialed\":{dialed},\"addr\":\"{addr}\""
                ));
                if kind == LinkKind::Member {
                    let _ = self.net.send(link, vec![1]);
                }
            }
            Event::LinkDown { link, peer, reason } => {
                self.links.remove(&link);
                let peer = self.name(peer);
                say(&format!("\"ev\":\"down\",\"link\":{link},\"peer\":{peer},\"reason\":\"{reason:?}\""));
            }
            Event::Frame { link, bytes } => self.on_frame(link, bytes),
            Event::Sent { link, bytes } if self.args.frames => {
                say(&format!("\"ev\":\"sent\",\"link\":{link},\"bytes\":{bytes}"));
            }
            Event::Sent { .. } => {}
            Event::Refused { peer, why } => {
                say(&format!("\"ev\":\"refused\",\"peer\":{},\"why\":\"{why:?}\"", self.name(peer)));
            }
            Event::VisitFailed { peer, reason } => {
                say(&format!(
                    "\"ev\":\"visit-failed\",\"peer\":{},\"reason\":\"{reason:?}\"",
                    self.name(peer)
                ));
            }
            Event::Address { peer, addr } => {
                say(&format!("\"ev\":\"address\",\"peer\":{},\"addr\":\"{addr}\"", self.name(peer)));
            }
        }
    }

    fn on_frame(&mut self, link: LinkId, bytes: Vec<u8>) {
        if self.silent.remove(&link) || self.args.frames {
            say(&format!("\"ev\":\"frame\",\"link\":{link},\"bytes\":{}", bytes.len()));
        }
        if self.args.echo && self.links.get(&link) == Some(&LinkKind::Stranger) {
            let _ = self.net.send(link, bytes);
        }
    }

    /// `members SEEDS`, `visit SEED`, `learn SEED ADDR`, `send LINK SIZE COUNT`, `close LINK`, `every MS`, `deaf`,
    /// `hear`, `count`, `stop`.
    fn on_command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |text: &str| text.parse::<u64>().unwrap_or_default();
        match words.as_slice() {
            ["members", list] => {
                self.net.members(seeds(list).into_iter().map(|seed| secret(seed).node()).collect())
            }
            ["members"] => self.net.members(BTreeSet::new()),
            ["visit", seed] => drop(self.net.visit(secret(number(seed)).node())),
            ["learn", seed, addr] => {
                self.net.learn(secret(number(seed)).node(), addr.parse().into_iter().collect())
            }
            ["send", link, size, count] => self.send(LinkId(number(link)), number(size), number(count)),
            ["close", link] => self.net.close(LinkId(number(link))),
            ["deaf"] => self.deaf = true,
            ["hear"] => self.deaf = false,
            ["count"] => {
                let counts = self.net.connections();
                let all: Vec<_> =
                    counts.iter().map(|(node, count)| format!("\"{}\":{count}", self.name(*node))).collect();
                say(&format!("\"ev\":\"count\",\"connections\":{{{}}}", all.join(",")));
            }
            ["stop"] => self.net.shutdown(),
            _ => say(&format!("\"ev\":\"unknown\",\"line\":{line:?}")),
        }
    }

    fn send(&self, link: LinkId, size: u64, count: u64) {
        let mut taken = 0;
        let size = usize::try_from(size).unwrap_or(0);
        for _ in 0..count {
            taken += u64::from(self.net.send(link, vec![9; size]).is_ok());
        }
        say(&format!("\"ev\":\"queued\",\"link\":{link},\"taken\":{taken}"));
    }
}
