//! `edit` and `resolve` in an editor. The editors are small scripts; terminals are made by `script` of util-linux.

use std::path::{Path, PathBuf};

use larder_tests::lab::{Lab, until};
use larder_tests::node::{Node, PATIENCE, Ran, cluster, converge};
use serde_json::Value;

use super::{LARDER, lab};

/// The same machine with this editor, and a folder of its own for the files to edit.
fn with_editor<'a>(node: &Node<'a>, editor: &str) -> Node<'a> {
    let mut twin = node.twin();
    let folder = node.data.with_extension("sheets");
    std::fs::create_dir_all(&folder).unwrap();
    twin.env = vec![("EDITOR".into(), editor.into()), ("TMPDIR".into(), folder.display().to_string())];
    twin
}

/// The files that were laid out to be edited and are still there.
fn sheets(node: &Node<'_>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.data.with_extension("sheets")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn heads(node: &Node<'_>) -> Value {
    node.json(&["heads"])["heads"].clone()
}

/// Runs a command on a terminal; what it types is `keys`.
fn on_terminal(node: &Node<'_>, args: &[&str], keys: &str) -> Ran {
    use std::io::Write as _;
    let line: Vec<String> =
        [LARDER].iter().chain(args).map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    let mut command = node.command(Path::new("script"));
    command.args(["-qec", &line.join(" "), "/dev/null"]);
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(keys.as_bytes()).unwrap();
    // The terminal stays open until the command has ended by itself.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let out = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
    Ran { code: output.status.code().unwrap_or(-1), out, err: String::new(), took: PATIENCE }
}

fn script(node: &Node<'_>, name: &str, text: &str) -> String {
    let path = node.data.with_extension(name);
    std::fs::write(&path, text).unwrap();
    format!("sh {}", path.display())
}

#[test]
fn editing_writes_the_difference_as_one_change() {
    let lab = lab!(1, "editing_writes_the_difference_as_one_change");
    let nodes = cluster(&lab, LARDER);
    let node = &nodes[0];
    node.ok(&["set", "config/a", "path=a", "keys.x=one", "keys.y=gone", "keys.z=kept"]);
    let edited = with_editor(node, "sed -i -e s/one/two/ -e /keys.y/d");
    edited.ok(&["edit", "config/a", "-m", "by hand"]);
    let change = node.json(&["show", "config/a"])["change"].clone();
    assert_eq!((&change["message"], &change["command"]), (&"by hand".into(), &"edit config/a".into()));
    let touched = change["edits"].as_array().unwrap();
    assert_eq!(touched.len(), 2, "{change}");
    let fields = node.json(&["get", "config/a"])["fields"].clone();
    assert_eq!(fields, serde_json::json!({ "keys.x": "two", "keys.z": "kept", "path": "a" }));
    assert!(sheets(node).is_empty());
    let before = heads(node);
    for (editor, words) in [
        ("true", "Nothing was changed"),
        ("sh -c 'echo \"# more\" >> \"$0\"'", "Nothing differs"),
        ("sh -c ': > \"$0\"'", "larder rm config/a"),
    ] {
        let ran = with_editor(node, editor).larder(&["edit", "config/a"]);
        assert_eq!(ran.code, 0, "{editor}: {}", ran.err);
        assert!(ran.err.contains(words), "{editor}: {}", ran.err);
    }
    assert_eq!(heads(node), before);
    // What is not there begins with a template of its kind, which makes nothing as it is.
    let ran = with_editor(node, "true").larder(&["edit", "file/motd"]);
    assert_eq!((ran.code, heads(node)), (0, before.clone()), "{}", ran.err);
    let fill = "sed -i -e 's/^# path = \"\"/path = \"motd\"/' -e 's/^# content = \"\"/content = \"hi\"/'";
    with_editor(node, fill).ok(&["edit", "file/motd"]);
    let fields = node.json(&["get", "file/motd"])["fields"].clone();
    assert_eq!(fields, serde_json::json!({ "path": "motd", "content": "hi" }));
    let unknown = with_editor(node, "true").larder(&["edit", "novel/x"]);
    assert!(unknown.code == 2 && unknown.err.contains("unknown kind"), "{}", unknown.err);
    assert!(sheets(node).is_empty());
}

#[test]
fn what_cannot_be_written_is_kept_and_named() {
    let lab = lab!(1, "what_cannot_be_written_is_kept_and_named");
    let nodes = cluster(&lab, LARDER);
    let node = &nodes[0];
    node.ok(&["set", "config/a", "path=a", "keys.x=one"]);
    let before = heads(node);
    let ran = with_editor(node, "sed -i s/path/pth/").larder(&["edit", "config/a"]);
    let kept = sheets(node);
    assert_eq!((ran.code, kept.len(), heads(node)), (2, 1, before), "{}", ran.err);
    let file = kept[0].display().to_string();
    assert!(ran.err.contains(&format!("{file}:6:1: config/a has no field `pth`")), "{}", ran.err);
    assert!(ran.err.contains(&format!("what you edited is in {file}")), "{}", ran.err);
    assert!(std::fs::read_to_string(&kept[0]).unwrap().contains("pth = \"a\""));
    std::fs::remove_file(&kept[0]).unwrap();
    // Others write to another resource meanwhile: no reason to refuse. To this one: it is refused, and kept.
    let larder = format!("{LARDER} --data {}", node.data.display());
    let other = script(node, "other", &format!("{larder} set config/b path=b\nsed -i s/one/two/ \"$1\"\n"));
    with_editor(node, &other).ok(&["edit", "config/a"]);
    assert_eq!(node.ok(&["get", "config/a", "keys.x"]), "two\n");
    let same =
        script(node, "same", &format!("{larder} set config/a keys.y=new\nsed -i s/two/three/ \"$1\"\n"));
    let ran = with_editor(node, &same).larder(&["edit", "config/a"]);
    assert_eq!((ran.code, sheets(node).len()), (5, 1), "{}", ran.err);
    assert!(ran.err.contains("config/a was changed by others"), "{}", ran.err);
    assert_eq!(node.ok(&["get", "config/a", "keys.x"]), "two\n");
    std::fs::remove_file(&sheets(node)[0]).unwrap();
    let ran = with_editor(node, "no-such-editor").larder(&["edit", "config/a"]);
    assert!(ran.code == 1 && ran.err.contains("no-such-editor"), "{}", ran.err);
    let mut bare = node.twin();
    bare.env = Vec::new();
    let ran = bare.larder(&["edit", "config/a"]);
    assert!(ran.code == 2 && ran.err.contains("no terminal"), "{}", ran.err);
    assert!(sheets(node).is_empty());
    // On a terminal a mistake can be mended at once.
    let twice = "case $(cat \"$1\") in *pth*) sed -i s/pth/path/ \"$1\";; *) sed -i -e 's/^path/pth/' -e s/two/four/ \"$1\";; esac";
    let ran = on_terminal(&with_editor(node, &script(node, "twice", twice)), &["edit", "config/a"], "y\n");
    assert!(ran.code == 0 && ran.out.contains("no field `pth`"), "{}", ran.out);
    assert_eq!(node.ok(&["get", "config/a", "keys.x"]), "four\n");
}

/// Two nodes that wrote the same two fields while they did not hear each other.
fn contested(lab: &Lab, nodes: &[Node<'_>]) {
    let long = "one\ntwo\nthree\nfour\nfive\n";
    nodes[0].ok(&["set", "config/a", "path=a", "keys.x=base", &format!("keys.text={long}")]);
    converge(nodes);
    lab.split(&[&[0], &[1]]);
    until(PATIENCE, "the cut to be noticed", || {
        nodes[0].json(&["sync"])["peers"].to_string().contains("\"away\"").then_some(())
    });
    let text = |new: &str| format!("keys.text={}", long.replace("three", new));
    nodes[0].ok(&["set", "config/a", "keys.x=left", &text("LEFT")]);
    nodes[1].ok(&["set", "config/a", "keys.x=right", &text("RIGHT")]);
    lab.heal();
    converge(nodes);
}

#[test]
fn conflicts_are_settled_in_an_editor() {
    let lab = lab!(2, "conflicts_are_settled_in_an_editor");
    let nodes = cluster(&lab, LARDER);
    contested(&lab, &nodes);
    let node = &nodes[0];
    let count = || node.json(&["conflicts"])["conflicts"].as_array().unwrap().len();
    assert_eq!(count(), 2);
    let ran = with_editor(node, "true").larder(&["edit", "config/a"]);
    assert!(ran.code == 5 && ran.err.contains("larder resolve config/a keys.text"), "{}", ran.err);
    // Not on a terminal there is nobody to ask.
    let ran = with_editor(node, "true").larder(&["resolve", "config/a", "keys.x"]);
    assert!(ran.code == 2 && ran.err.contains("--take TAG"), "{}", ran.err);
    let seen = node.data.with_extension("seen");
    let look = script(node, "look", &format!("cp \"$1\" {}\n", seen.display()));
    let ran = on_terminal(&with_editor(node, &look), &["resolve", "config/a", "keys.x"], "");
    assert!(ran.code == 0 && ran.out.contains("nothing was settled"), "{}", ran.out);
    let shown = std::fs::read_to_string(&seen).unwrap();
    for words in ["# base\n#     base\n", "#     left\n", "#     right\n", "n0, ", "n1, ", "  (wins)  ", ">8"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let empty = with_editor(node, "sed -i '/>8/q'");
    let ran = on_terminal(&empty, &["resolve", "config/a", "keys.x"], "");
    assert!(ran.code == 0 && ran.out.contains("empty") && count() == 2, "{}", ran.out);
    // The merge has marks, and is refused while they are there.
    let ran =
        on_terminal(&with_editor(node, "sed -i s/LEFT/BOTH/"), &["resolve", "config/a", "keys.text"], "n\n");
    assert!(ran.code == 2 && ran.out.contains("a mark of the merge is left here"), "{}", ran.out);
    let [kept] = sheets(node).try_into().unwrap();
    let merged = std::fs::read_to_string(&kept).unwrap();
    assert!(merged.contains("\n||||||| base\nthree\n=======\n"), "{merged}");
    std::fs::remove_file(&kept).unwrap();
    let both = "sed -i -e 's/^<<<<<<<.*/BOTH/' -e '/^|||||||/,/^>>>>>>>/d' -e '/^LEFT/d' -e '/^RIGHT/d'";
    let ran = on_terminal(
        &with_editor(node, both),
        &["resolve", "config/a", "keys.text", "-m", "talked it over"],
        "",
    );
    assert_eq!((ran.code, count()), (0, 1), "{}", ran.out);
    assert_eq!(node.ok(&["get", "config/a", "keys.text"]), "one\ntwo\nBOTH\nfour\nfive\n");
    // Somebody settles it otherwise while it is looked at: what is no more there is not written over.
    let larder = format!("{LARDER} --data {}", node.data.display());
    let slow = format!("{larder} resolve config/a keys.x --value faster\nsed -i '$s/.*/slower/' \"$1\"\n");
    let ran =
        on_terminal(&with_editor(node, &script(node, "slow", &slow)), &["resolve", "config/a", "keys.x"], "");
    assert!(ran.code == 5 && ran.out.contains("what you edited is in"), "{}", ran.out);
    assert_eq!(node.ok(&["get", "config/a", "keys.x"]), "faster\n");
    converge(&nodes);
    assert_eq!(nodes[1].json(&["conflicts"])["conflicts"].as_array().unwrap().len(), 0);
}
