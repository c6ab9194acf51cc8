//! The seeds that follow from the sources: real encodings and texts. `replay --write-seeds` writes them to
//! `seeds/TARGET.hex`, and every run of `replay` checks that the files are up to date. The seeds of the other
//! targets were found by longer runs.

/// The golden vectors of `core`, one `name = hex` on each line.
const FRAMES: &str = include_str!("../../core/vectors/frames.txt");
const GUEST_FRAMES: &str = include_str!("../../core/vectors/guest_frames.txt");
const CHANGES: &str = include_str!("../../core/vectors/changes.txt");
const BATCHES: &str = include_str!("../../core/vectors/batches.txt");
const RECORDS: &str = include_str!("../../core/vectors/records.txt");
const INVITE_CODES: &str = include_str!("../../core/vectors/invite_codes.txt");

/// The first byte by which the target `delta` takes the rest as columns, as a batch, or as a delta.
const AS_COLUMNS: u8 = 0;
const AS_BATCH: u8 = 1;
const AS_DELTA: u8 = 2;

const MANIFESTS: [&str; 6] = [
    "[config.db]\npath = \"db\"\nformat = \"properties\"\n[config.db.keys]\nurl = \"x\"\n\"a b\" = 1\n",
    "[config.\"db\"]\nkeys.url = 'x'\nkeys.list = [1, 2.5, true, \"y\"]\nselect = \"role=plc\"\n",
    "[file.motd]\npath = \"motd\"\ncontent = \"\"\"\nhello\n\"\"\"\nmode = \"0644\"\nensure = \"present\"\n",
    "[config.ntp]\npath = \"ntp.conf\"\n[config.ntp.overlay.\"role=plc\".keys]\nserver = \"ntp1\"\n",
    "[novel.a]\nx.y = 1\nz = [\"a\", \"a\"]\n",
    "role=plc and (site=a or site=b) and not line",
];
const SETTINGS: [&str; 4] = [
    "listen = [\"/ip4/0.0.0.0/tcp/7440\"]\npeers = [\"/ip4/192.0.2.7/tcp/7440\"]\nmdns = true\n",
    "roots = [\"/etc/shop\"]\nsocket_group = \"larder\"\nlog = \"info\"\n",
    "mdns = 1\n",
    "peers = ['nowhere']\n[net]\n",
];
const ARGS: [&str; 12] = [
    "up\nshop\n--root\n/etc/ntp\n--peer\n/ip4/192.0.2.7/tcp/7440",
    "join\nlarder1-0c5vtp2",
    "set\nconfig/ntp\npath=ntp.properties\nkeys.server=ntp1.example.net\nkeys.minpoll=6\n-m\nwhy",
    "set\nconfig/ntp\nkeys.list+=a\nkeys.list-=b\nkeys.\"a b\"=[1, 2]",
    "unset\nconfig/ntp\nkeys.server",
    "log\n--graph\n--since\n1h ago",
    "diff\n--since\n2026-11-29T10:00:00Z",
    "resolve\nconfig/ntp\nkeys.server\n--take\nA",
    "restore\n--at\nbefore-friday\nconfig/ntp\n--dry-run",
    "invite\n--uses\n10\n--expires\n90m",
    "watch\n--json\n--since\n12",
    "1d12h",
];

/// The seeds of a target that follow from the sources; `None` if a longer run found them.
pub fn generated_seeds(target: &str) -> Option<Vec<Vec<u8>>> {
    let all = |_: &str| true;
    Some(match target {
        "args" => texts(&ARGS),
        "delta" => [
            prefixed(AS_COLUMNS, vectors(BATCHES, |name| name.ends_with(".columns"))),
            prefixed(AS_BATCH, vectors(BATCHES, |name| name.ends_with(".sent"))),
            prefixed(AS_DELTA, vectors(CHANGES, |name| name.ends_with(".delta"))),
        ]
        .concat(),
        "frame" => [vectors(FRAMES, all), vectors(GUEST_FRAMES, all)].concat(),
        "invite_code" => vectors(INVITE_CODES, |name| ["shown", "bytes"].contains(&name)),
        "manifest" => texts(&MANIFESTS),
        "record" => vectors(RECORDS, |name| !name.ends_with(".id")),
        "settings" => texts(&SETTINGS),
        _ => return None,
    })
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn prefixed(first: u8, seeds: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    seeds.into_iter().map(|seed| [vec![first], seed].concat()).collect()
}

/// The values of a file of golden vectors whose names are wanted.
fn vectors(file: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<Vec<u8>> {
    let values = file.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
    let wanted = values.filter(|(name, _)| is_wanted(name));
    wanted.map(|(_, value)| decode_hex(value.split(' ').next().unwrap_or_default())).collect()
}

/// The bytes of a line of hex.
pub fn decode_hex(line: &str) -> Vec<u8> {
    let digits: Vec<u8> = line.chars().filter_map(|c| c.to_digit(16)?.try_into().ok()).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Bytes as a line of hex.
pub fn encode_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
