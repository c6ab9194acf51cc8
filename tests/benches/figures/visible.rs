//! From a write's request at one host to its effect on another, against what no way of doing it can leave out: one
//! durable write, one round trip, one signature made and one checked.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use larder::api::writes::{Field, FieldChange, Say, Write};
use larder::client::Client;
use larder::view::{Heads, Plain, Written};
use larder_core::id::Secret;
use larder_core::resource::literal::Literal;
use larder_tests::lab::Lab;
use larder_tests::node::{PATIENCE, cluster};
use larder_tests::poll::poll;

use super::{median, ms};

const ROUNDS: usize = 100;
/// What a small change weighs on the wire and on the disk.
const BYTES: usize = 256;

/// A write at one host, seen on another.
pub(super) fn on_a_neighbour() {
    let Some(lab) = Lab::or_skip(2, "visible") else { return };
    let mut nodes = cluster(&lab, env!("CARGO_BIN_EXE_larder-under-test"));
    let [writer, reader] = [0, 1].map(|nth: usize| Client::new(nodes[nth].data.join("larder.sock")));
    set(&writer, "path", "visible.conf");
    let mut least = Least::new(&nodes[0].data);
    let (mut floor, mut durable, mut known, mut rendered) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        floor.push(least.once());
        let begun = Instant::now();
        let change = set(&writer, "keys.round", &format!("{round} known"));
        durable.push(begun.elapsed());
        until(|| heads(&reader).contains(&change));
        known.push(begun.elapsed());
        let begun = Instant::now();
        set(&writer, "keys.round", &format!("{round} rendered"));
        until(|| nodes[1].file("visible.conf").contains(&format!("{round} rendered")));
        rendered.push(begun.elapsed());
    }
    let floor = median(&mut floor);
    println!("  {:<58} {:>7.2} ms", "fdatasync + loopback round trip + sign + verify", ms(floor));
    let tell = |what: &str, times: &mut [Duration]| {
        let time = median(times);
        println!(
            "  {what:<58} {:>7.2} ms   {:.1} times that",
            ms(time),
            time.as_secs_f64() / floor.as_secs_f64()
        );
    };
    tell("answered: durable here", &mut durable);
    tell("in the neighbour's document: durable there", &mut known);
    tell("in the neighbour's file: rendered there", &mut rendered);
    for node in &mut nodes {
        node.stop();
    }
}

fn set(client: &Client, field: &str, value: &str) -> String {
    let change = FieldChange::Assign(Plain(Literal::Scalar(value.into())));
    let fields = vec![Field { field: field.to_owned(), change }];
    let resource = "config/visible".to_owned();
    let say = Say::Set { resource, fields, replace: false, node: None, existing: false };
    let command = format!("set config/visible {field}=");
    let write = Write { edits: vec![say], command, ..Write::default() };
    let written: Written = client.post("/v1/write", &write).expect("a write");
    written.change.expect("something new")
}

fn heads(client: &Client) -> Vec<String> {
    let heads: Heads = client.get("/v1/heads", &[]).expect("the heads");
    heads.heads
}

/// Looks as often as it can without keeping the others from their work.
fn until(mut seen: impl FnMut() -> bool) {
    let seen = poll(PATIENCE, Duration::from_micros(200), || seen().then_some(()));
    assert!(seen.is_some(), "not seen on the neighbour");
}

/// The parts that no way of doing it can leave out.
struct Least {
    file: File,
    near: TcpStream,
    far: TcpStream,
    secret: Secret,
}

impl Least {
    fn new(beside: &Path) -> Self {
        let file = File::create(beside.join("least")).expect("a file beside the store");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (far, _) = listener.accept().expect("its other end");
        for end in [&near, &far] {
            end.set_nodelay(true).expect("a TCP option");
        }
        Self { file, near, far, secret: Secret::from_bytes(&[9; 32]) }
    }

    fn once(&mut self) -> Duration {
        let mut bytes = [7; BYTES];
        let begun = Instant::now();
        let signature = self.secret.sign(&bytes);
        self.file.write_all(&bytes).and_then(|()| self.file.sync_data()).expect("a durable write");
        for (mut from, mut to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            from.write_all(&bytes).expect("a sent message");
            to.read_exact(&mut bytes).expect("the same message");
        }
        black_box(self.secret.node().verify(&bytes, &signature));
        begun.elapsed()
    }
}
