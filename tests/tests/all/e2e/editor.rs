//! `edit` and `resolve` with an editor. The editors are small scripts, and `script` of util-linux provides
//! terminals.

use std::path::{Path, PathBuf};

use larder_tests::lab::{Lab, wait_until};
use larder_tests::node::{CommandOutput, TestNode, WAIT_LIMIT, start_cluster, wait_until_converged};
use serde_json::Value;

use super::LARDER;

tests! {
    editing_writes_the_difference_as_one_change,
    a_rejected_edit_is_kept_in_a_file_and_its_error_located,
    conflicts_are_resolved_in_an_editor,
}

/// A client of the same node with this editor, and with its own directory for the files to edit.
fn with_editor<'a>(node: &TestNode<'a>, editor: &str) -> TestNode<'a> {
    let mut client = node.as_client();
    let folder = node.data_dir.with_extension("sheets");
    std::fs::create_dir_all(&folder).unwrap();
    client.env = vec![("EDITOR".into(), editor.into()), ("TMPDIR".into(), folder.display().to_string())];
    client
}

/// The files that were created for editing and still exist.
fn edit_files(node: &TestNode<'_>) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(node.data_dir.with_extension("sheets")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn heads(node: &TestNode<'_>) -> Value {
    node.run_json(&["heads"])["heads"].clone()
}

/// Runs a command on a terminal and types `keys`.
fn run_on_terminal(node: &TestNode<'_>, args: &[&str], keys: &str) -> CommandOutput {
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
    CommandOutput { exit_code: output.status.code().unwrap_or(-1), stdout: out, stderr: String::new() }
}

fn write_script(node: &TestNode<'_>, name: &str, text: &str) -> String {
    let path = node.data_dir.with_extension(name);
    std::fs::write(&path, text).unwrap();
    format!("sh {}", path.display())
}

fn editing_writes_the_difference_as_one_change() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    node.run_ok(&["set", "config/a", "path=a", "keys.x=one", "keys.y=gone", "keys.z=kept"]);
    let edited = with_editor(node, "sed -i -e s/one/two/ -e /keys.y/d");
    edited.run_ok(&["edit", "config/a", "-m", "by hand"]);
    let change = node.run_json(&["show", "config/a"])["change"].clone();
    assert_eq!((&change["message"], &change["command"]), (&"by hand".into(), &"edit config/a".into()));
    let touched = change["edits"].as_array().unwrap();
    assert_eq!(touched.len(), 2, "{change}");
    let fields = node.run_json(&["get", "config/a"])["fields"].clone();
    assert_eq!(fields, serde_json::json!({ "keys.x": "two", "keys.z": "kept", "path": "a" }));
    assert!(edit_files(node).is_empty());
    let before = heads(node);
    for (editor, words) in [
        ("true", "Nothing was changed"),
        ("sh -c 'echo \"# more\" >> \"$0\"'", "Nothing differs"),
        ("sh -c ': > \"$0\"'", "larder rm config/a"),
    ] {
        let ran = with_editor(node, editor).run_larder(&["edit", "config/a"]);
        assert_eq!(ran.exit_code, 0, "{editor}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{editor}: {}", ran.stderr);
    }
    assert_eq!(heads(node), before);
    // A resource that does not exist begins with a template of its kind. Without an edit, the template
    // creates nothing.
    let ran = with_editor(node, "true").run_larder(&["edit", "file/motd"]);
    assert_eq!((ran.exit_code, heads(node)), (0, before.clone()), "{}", ran.stderr);
    let fill = "sed -i -e 's/^# path = \"\"/path = \"motd\"/' -e 's/^# content = \"\"/content = \"hi\"/'";
    with_editor(node, fill).run_ok(&["edit", "file/motd"]);
    let fields = node.run_json(&["get", "file/motd"])["fields"].clone();
    assert_eq!(fields, serde_json::json!({ "path": "motd", "content": "hi" }));
    let unknown = with_editor(node, "true").run_larder(&["edit", "novel/x"]);
    assert!(unknown.exit_code == 2 && unknown.stderr.contains("unknown kind"), "{}", unknown.stderr);
    assert!(edit_files(node).is_empty());
}

fn a_rejected_edit_is_kept_in_a_file_and_its_error_located() {
    let lab = Lab::require(1);
    let nodes = start_cluster(&lab, LARDER);
    let node = &nodes[0];
    node.run_ok(&["set", "config/a", "path=a", "keys.x=one"]);
    let before = heads(node);
    let ran = with_editor(node, "sed -i s/path/pth/").run_larder(&["edit", "config/a"]);
    let kept = edit_files(node);
    assert_eq!((ran.exit_code, kept.len(), heads(node)), (2, 1, before), "{}", ran.stderr);
    let file = kept[0].display().to_string();
    assert!(ran.stderr.contains(&format!("{file}:6:1: config/a has no field `pth`")), "{}", ran.stderr);
    assert!(ran.stderr.contains(&format!("what you edited is in {file}")), "{}", ran.stderr);
    assert!(std::fs::read_to_string(&kept[0]).unwrap().contains("pth = \"a\""));
    std::fs::remove_file(&kept[0]).unwrap();
    // A concurrent write to another resource does not matter. After one to the same resource, the edit is
    // refused and its file is kept.
    let larder = format!("{LARDER} --data {}", node.data_dir.display());
    let write_elsewhere =
        write_script(node, "other", &format!("{larder} set config/b path=b\nsed -i s/one/two/ \"$1\"\n"));
    with_editor(node, &write_elsewhere).run_ok(&["edit", "config/a"]);
    assert_eq!(node.run_ok(&["get", "config/a", "keys.x"]), "two\n");
    let write_same_resource = write_script(
        node,
        "same",
        &format!("{larder} set config/a keys.y=new\nsed -i s/two/three/ \"$1\"\n"),
    );
    let ran = with_editor(node, &write_same_resource).run_larder(&["edit", "config/a"]);
    assert_eq!((ran.exit_code, edit_files(node).len()), (5, 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("config/a was changed by others"), "{}", ran.stderr);
    assert_eq!(node.run_ok(&["get", "config/a", "keys.x"]), "two\n");
    std::fs::remove_file(&edit_files(node)[0]).unwrap();
    let ran = with_editor(node, "no-such-editor").run_larder(&["edit", "config/a"]);
    assert!(ran.exit_code == 1 && ran.stderr.contains("no-such-editor"), "{}", ran.stderr);
    let mut bare = node.as_client();
    bare.env = Vec::new();
    let ran = bare.run_larder(&["edit", "config/a"]);
    assert!(ran.exit_code == 2 && ran.stderr.contains("no terminal"), "{}", ran.stderr);
    assert!(edit_files(node).is_empty());
    // On a terminal, the user can correct a mistake at once.
    let twice = "case $(cat \"$1\") in *pth*) sed -i s/pth/path/ \"$1\";; *) sed -i -e 's/^path/pth/' -e \
        s/two/four/ \"$1\";; esac";
    let ran = run_on_terminal(
        &with_editor(node, &write_script(node, "twice", twice)),
        &["edit", "config/a"],
        "y\n",
    );
    assert!(ran.exit_code == 0 && ran.stdout.contains("no field `pth`"), "{}", ran.stdout);
    assert_eq!(node.run_ok(&["get", "config/a", "keys.x"]), "four\n");
}

/// Makes two nodes write the same two fields while they are disconnected.
fn create_conflicts(lab: &Lab, nodes: &[TestNode<'_>]) {
    let long = "one\ntwo\nthree\nfour\nfive\n";
    nodes[0].run_ok(&["set", "config/a", "path=a", "keys.x=base", &format!("keys.text={long}")]);
    wait_until_converged(nodes);
    lab.partition(&[&[0], &[1]]);
    wait_until(WAIT_LIMIT, "the cut to be noticed", || {
        nodes[0].run_json(&["sync"])["peers"].to_string().contains("\"away\"").then_some(())
    });
    let text = |new: &str| format!("keys.text={}", long.replace("three", new));
    nodes[0].run_ok(&["set", "config/a", "keys.x=left", &text("LEFT")]);
    nodes[1].run_ok(&["set", "config/a", "keys.x=right", &text("RIGHT")]);
    lab.heal();
    wait_until_converged(nodes);
}

fn conflicts_are_resolved_in_an_editor() {
    let lab = Lab::require(2);
    let nodes = start_cluster(&lab, LARDER);
    create_conflicts(&lab, &nodes);
    let node = &nodes[0];
    let count = || node.run_json(&["conflicts"])["conflicts"].as_array().unwrap().len();
    assert_eq!(count(), 2);
    let ran = with_editor(node, "true").run_larder(&["edit", "config/a"]);
    assert!(ran.exit_code == 5 && ran.stderr.contains("larder resolve config/a keys.text"), "{}", ran.stderr);
    // Without a terminal, the command cannot ask.
    let ran = with_editor(node, "true").run_larder(&["resolve", "config/a", "keys.x"]);
    assert!(ran.exit_code == 2 && ran.stderr.contains("--take TAG"), "{}", ran.stderr);
    let seen = node.data_dir.with_extension("seen");
    let copy_editor = write_script(node, "look", &format!("cp \"$1\" {}\n", seen.display()));
    let ran = run_on_terminal(&with_editor(node, &copy_editor), &["resolve", "config/a", "keys.x"], "");
    assert!(ran.exit_code == 0 && ran.stdout.contains("nothing was resolved"), "{}", ran.stdout);
    let shown = std::fs::read_to_string(&seen).unwrap();
    for words in ["# base\n#     base\n", "#     left\n", "#     right\n", "n0, ", "n1, ", "  (wins)  ", ">8"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    let empty = with_editor(node, "sed -i '/>8/q'");
    let ran = run_on_terminal(&empty, &["resolve", "config/a", "keys.x"], "");
    assert!(ran.exit_code == 0 && ran.stdout.contains("empty") && count() == 2, "{}", ran.stdout);
    // The merged text contains conflict markers, and is refused until they are removed.
    let ran = run_on_terminal(
        &with_editor(node, "sed -i s/LEFT/BOTH/"),
        &["resolve", "config/a", "keys.text"],
        "n\n",
    );
    assert!(ran.exit_code == 2 && ran.stdout.contains("a conflict marker is left here"), "{}", ran.stdout);
    let [kept] = edit_files(node).try_into().unwrap();
    let merged = std::fs::read_to_string(&kept).unwrap();
    assert!(merged.contains("\n||||||| base\nthree\n=======\n"), "{merged}");
    std::fs::remove_file(&kept).unwrap();
    let both = "sed -i -e 's/^<<<<<<<.*/BOTH/' -e '/^|||||||/,/^>>>>>>>/d' -e '/^LEFT/d' -e '/^RIGHT/d'";
    let ran = run_on_terminal(
        &with_editor(node, both),
        &["resolve", "config/a", "keys.text", "-m", "talked it over"],
        "",
    );
    assert_eq!((ran.exit_code, count()), (0, 1), "{}", ran.stdout);
    assert_eq!(node.run_ok(&["get", "config/a", "keys.text"]), "one\ntwo\nBOTH\nfour\nfive\n");
    // Another operator resolves the conflict while the editor is open. The edit does not overwrite that
    // resolution.
    let larder = format!("{LARDER} --data {}", node.data_dir.display());
    let slow = format!("{larder} resolve config/a keys.x --value faster\nsed -i '$s/.*/slower/' \"$1\"\n");
    let ran = run_on_terminal(
        &with_editor(node, &write_script(node, "slow", &slow)),
        &["resolve", "config/a", "keys.x"],
        "",
    );
    assert!(ran.exit_code == 5 && ran.stdout.contains("what you edited is in"), "{}", ran.stdout);
    assert_eq!(node.run_ok(&["get", "config/a", "keys.x"]), "faster\n");
    wait_until_converged(&nodes);
    assert_eq!(nodes[1].run_json(&["conflicts"])["conflicts"].as_array().unwrap().len(), 0);
}
