use super::*;

fn parse_entries(text: &[u8]) -> Vec<(String, String)> {
    entries_of(&Properties::parse(text))
}

fn entries_of(file: &Properties) -> Vec<(String, String)> {
    let read = |part: &LogicalLine| match part {
        LogicalLine::Entry { key, value, .. } => Some((super::decode_text(key), super::decode_text(value))),
        LogicalLine::Unkeyed(_) => None,
    };
    file.lines.iter().filter_map(read).collect()
}

fn single_entry(key: &str, value: &str) -> Vec<(String, String)> {
    vec![(key.to_owned(), value.to_owned())]
}

/// The examples are from the documentation of `java.util.Properties.load`, with edge cases added.
#[test]
fn properties_parse_as_java_util_properties_loads_them() {
    for (text, key, value) in [
        ("Truth = Beauty", "Truth", "Beauty"),
        (" Truth:Beauty", "Truth", "Beauty"),
        ("Truth                    :Beauty", "Truth", "Beauty"),
        (
            "fruits    apple, banana, pear, \\\n          cantaloupe, \\\n   kiwi",
            "fruits",
            "apple, banana, pear, cantaloupe, kiwi",
        ),
        ("cheeses", "cheeses", ""),
        ("\\:\\= = x", ":=", "x"),
        ("a\\ b=c", "a b", "c"),
        ("a==b", "a", "=b"),
        ("a : = b", "a", "= b"),
        ("a=b  ", "a", "b  "),
        ("a=\\u00e9\\ud83d\\ude00", "a", "é\u{1f600}"),
        ("a=\\q\\\\", "a", "q\\"),
        ("a=1\\\r\n  2", "a", "12"),
        ("\tserver ntp.example iburst", "server", "ntp.example iburst"),
        ("a=#b", "a", "#b"),
        ("a=b\\", "a", "b"),
    ] {
        assert_eq!(parse_entries(text.as_bytes()), single_entry(key, value), "{text:?}");
    }
    assert_eq!(parse_entries(b"# a=b\\\n! c\n\n  \n"), vec![]);
    assert_eq!(parse_entries(b"a=caf\xe9\n"), single_entry("a", "café"));
}

#[test]
fn unchanged_lines_keep_their_bytes() {
    let text = "# head\r\n\r\na = 1\r\n! note\r\nb:\\\r\n  2\r\na=3\r\nd";
    let mut file = Properties::parse(text.as_bytes());
    file.set("a", "3");
    file.set("b", "2");
    assert_eq!(file.to_bytes(), text.as_bytes());
    file.set("a", "4");
    file.set("new key", " x\n");
    file.set("d", "5");
    let expected = "# head\r\n\r\na = 1\r\n! note\r\nb:\\\r\n  2\r\na=4\r\nd=5\r\nnew\\ key=\\ x\\n\r\n";
    assert_eq!(String::from_utf8(file.to_bytes()).unwrap(), expected);
    file.restore("a", &["4".to_owned()], None);
    file.restore("new key", &["other".to_owned()], None);
    file.restore("new key", &[" x\n".to_owned()], None);
    assert_eq!(
        String::from_utf8(file.to_bytes()).unwrap(),
        "# head\r\n\r\na = 1\r\n! note\r\nb:\\\r\n  2\r\nd=5\r\n"
    );
}

#[test]
fn added_keys_copy_separator_and_encoding_of_the_file() {
    let mut file = Properties::parse(b"driftfile /var/ntp\nserver a");
    file.set("restrict", "default");
    assert_eq!(file.to_bytes(), b"driftfile /var/ntp\nserver a\nrestrict default\n");
    let mut file = Properties::parse(b"a=caf\xe9\n");
    file.set("b", "é");
    assert_eq!(file.to_bytes(), b"a=caf\xe9\nb=\\u00E9\n");
    let mut file = Properties::parse(b"");
    file.set("b", "é");
    assert_eq!(file.to_bytes(), b"b=\\u00E9\n");
    let mut file = Properties::parse("a=ü\n".as_bytes());
    file.set("b", "é");
    assert_eq!(file.to_bytes(), "a=ü\nb=é\n".as_bytes());
    let mut file = Properties::parse(b"\xef\xbb\xbfa=1\n");
    file.set("a", "2");
    assert_eq!(file.to_bytes(), b"\xef\xbb\xbfa=2\n");
    let mut file = Properties::parse(b"a=b\\");
    file.set("c", "d");
    assert_eq!(parse_entries(&file.to_bytes()), [single_entry("a", "b"), single_entry("c", "d")].concat());
}

/// Any bytes stay the same after parsing and writing, and a key that was set has its new value.
#[test]
fn any_bytes_round_trip_and_any_key_can_be_set() {
    let pieces: [&[u8]; 17] = [
        b"a", b"b", b"=", b":", b" ", b"\t", b"\\", b"\n", b"\r", b"\r\n", b"#", b"!", b"\\u0041", b"\\u12",
        b"\xe9", b"\x0c", b"\\\n",
    ];
    let mut seed: u32 = 1;
    let mut next = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    for _ in 0..20_000 {
        let bytes: Vec<u8> = (0..next(14)).flat_map(|_| pieces[next(pieces.len())].to_vec()).collect();
        let mut file = Properties::parse(&bytes);
        assert_eq!(file.to_bytes(), bytes);
        let key = ["a", "b", "a b", "#k", "é", "k\n"][next(6)];
        let value = ["", " x ", "y\\", "\u{1f600}é", "1\n2", "#"][next(6)];
        file.set(key, value);
        let written = file.to_bytes();
        let found = parse_entries(&written).into_iter().rfind(|(found, _)| found == key);
        assert_eq!(found, Some((key.to_owned(), value.to_owned())), "{bytes:?} -> {written:?}");
        assert_eq!(parse_entries(&written), entries_of(&file), "{bytes:?} -> {written:?}");
        let count = parse_entries(&written).iter().filter(|(found, _)| found == key).count();
        file.restore(key, &[value.to_owned()], None);
        let left = parse_entries(&file.to_bytes()).iter().filter(|(found, _)| found == key).count();
        assert_eq!(left, count - 1, "{bytes:?}");
    }
}
