//! The time from a write at one host to its effect on another, compared with a minimum that no implementation
//! avoids: one durable write, one round trip, one signature, and one verification.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use larder::api::writes::WriteBody;
use larder::client::ApiClient;
use larder::dto::{GroupHeads, WriteResult};
use larder_core::id::SecretKey;
use larder_core::resource::edit::{Edit, FieldEdit};
use larder_core::resource::literal::Literal;
use larder_tests::lab::Lab;
use larder_tests::node::{WAIT_LIMIT, start_cluster};
use larder_tests::poll::poll;

use super::{median, ms};

const ROUND_COUNT: usize = 100;
/// The size of a small change on the network and on the disk, in bytes.
const WRITE_BYTES: usize = 256;

/// Measures a write at one host until another host shows it.
pub(super) fn measure_write_latency() {
    let lab = match Lab::new(2) {
        Ok(lab) => lab,
        Err(missing) => return println!("  not measured: {missing}"),
    };
    let mut nodes = start_cluster(&lab, env!("CARGO_BIN_EXE_larder-under-test"));
    let [writer, reader] = [0, 1].map(|nth: usize| ApiClient::new(nodes[nth].data_dir.join("larder.sock")));
    set(&writer, "path", "visible.conf");
    let mut baseline = Baseline::new(&nodes[0].data_dir);
    let (mut floor, mut durable, mut known, mut rendered) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUND_COUNT {
        floor.push(baseline.measure_once());
        let begun = Instant::now();
        let change = set(&writer, "keys.round", &format!("{round} known"));
        durable.push(begun.elapsed());
        wait_until(|| heads(&reader).contains(&change));
        known.push(begun.elapsed());
        let begun = Instant::now();
        set(&writer, "keys.round", &format!("{round} rendered"));
        wait_until(|| nodes[1].read_file("visible.conf").contains(&format!("{round} rendered")));
        rendered.push(begun.elapsed());
    }
    let floor = median(&mut floor);
    println!("  {:<58} {:>7.2} ms", "fdatasync + loopback round trip + sign + verify", ms(floor));
    let print_times = |what: &str, times: &mut [Duration]| {
        let time = median(times);
        println!(
            "  {what:<58} {:>7.2} ms   {:.1} times that",
            ms(time),
            time.as_secs_f64() / floor.as_secs_f64()
        );
    };
    print_times("answered: durable here", &mut durable);
    print_times("in the neighbour's document: durable there", &mut known);
    print_times("in the neighbour's file: rendered there", &mut rendered);
    for node in &mut nodes {
        node.stop();
    }
}

fn set(client: &ApiClient, field: &str, value: &str) -> String {
    let edit = FieldEdit::Assign(Literal::Scalar(value.into()));
    let fields = vec![(field.parse().expect("a field"), edit)];
    let resource = "config/visible".parse().expect("a name");
    let edits = vec![Edit::Set { resource, fields, replace: false }];
    let command = format!("set config/visible {field}=");
    let write = WriteBody { edits, command, ..WriteBody::default() };
    let written: WriteResult = client.post("/v1/groups/-/changes", &write).expect("a write");
    written.change.expect("something new")
}

fn heads(client: &ApiClient) -> Vec<String> {
    let heads: GroupHeads = client.get("/v1/groups/-/heads", &[]).expect("the heads");
    heads.heads
}

/// Checks the condition often, with pauses that leave the processors to the daemons.
fn wait_until(mut seen: impl FnMut() -> bool) {
    let seen = poll(WAIT_LIMIT, Duration::from_micros(200), || seen().then_some(()));
    assert!(seen.is_some(), "not seen on the neighbour");
}

/// The parts of the minimum.
struct Baseline {
    file: File,
    near: TcpStream,
    far: TcpStream,
    secret: SecretKey,
}

impl Baseline {
    fn new(data_dir: &Path) -> Self {
        let file = File::create(data_dir.join("least")).expect("a file beside the store");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let near = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
        let (far, _) = listener.accept().expect("its other end");
        for end in [&near, &far] {
            end.set_nodelay(true).expect("a TCP option");
        }
        Self { file, near, far, secret: SecretKey::from_bytes(&[9; 32]) }
    }

    fn measure_once(&mut self) -> Duration {
        let mut bytes = [7; WRITE_BYTES];
        let begun = Instant::now();
        let signature = self.secret.sign(&bytes);
        self.file.write_all(&bytes).and_then(|()| self.file.sync_data()).expect("a durable write");
        for (mut from, mut to) in [(&self.near, &self.far), (&self.far, &self.near)] {
            from.write_all(&bytes).expect("a sent message");
            to.read_exact(&mut bytes).expect("the same message");
        }
        black_box(self.secret.node_id().verify(&bytes, &signature));
        begun.elapsed()
    }
}
