//! `ringbus place` as a user runs it: output against the golden vectors, and how bad input ends.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringbus"));
    command.arg("place").args(args).env_remove("RUST_LOG");
    command
}

fn spawn(args: &[&str]) -> Child {
    command(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn place(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = spawn(args);
    let mut input = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // In a thread: the child answers while it reads, and either pipe may fill up.
    let writer = std::thread::spawn(move || input.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    // A child that rejects its arguments goes without having read.
    drop(writer.join().unwrap());
    output
}

fn stdout(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    std::str::from_utf8(&output.stdout).unwrap()
}

/// What the Python package says, in this program's format: (--nodes, --weights, keys, expected lines).
fn golden() -> Vec<(String, String, Vec<String>, String)> {
    let vectors: Value = serde_json::from_str(include_str!("vectors/hash_ring_vectors.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |value: &Value| value.as_array().unwrap().iter().map(text).collect::<Vec<_>>();
    let cases = vectors["cases"].as_array().unwrap().iter();
    cases
        .map(|case| {
            let weights = case["weights"].as_object().unwrap().iter();
            let weights: Vec<_> = weights.map(|(node, weight)| format!("{node}={weight}")).collect();
            let (mut keys, mut lines) = (Vec::new(), String::new());
            for key in case["keys"].as_array().unwrap() {
                let (name, preference) = (text(&key["key"]), list(&key["preference"]).join(","));
                let (hash, owner) = (&key["hash"], text(&key["owner"]));
                lines.push_str(&format!("{name}\t{hash}\t{owner}\t{preference}\n"));
                keys.push(name);
            }
            (list(&case["nodes"]).join(","), weights.join(","), keys, lines)
        })
        .collect()
}

/// The vectors list three nodes a key at most.
fn golden_args<'a>(nodes: &'a str, weights: &'a str) -> Vec<&'a str> {
    let mut args = vec!["--replicas", "3", "--nodes", nodes];
    if !weights.is_empty() {
        args.extend(["--weights", weights]);
    }
    args
}

#[test]
fn keys_as_arguments_are_placed_as_python_does() {
    for (nodes, weights, keys, expected) in golden() {
        let mut args = golden_args(&nodes, &weights);
        args.push("--");
        args.extend(keys.iter().map(String::as_str));
        assert_eq!(stdout(&place(&args, b"")), expected);
    }
}

#[test]
fn keys_on_standard_input_are_placed_as_python_does() {
    for (nodes, weights, keys, expected) in golden() {
        let args = golden_args(&nodes, &weights);
        for ending in ["\n", "\r\n"] {
            let input: String = keys.iter().map(|key| format!("{key}{ending}")).collect();
            assert_eq!(stdout(&place(&args, input.as_bytes())), expected);
        }
        assert_eq!(stdout(&place(&args, keys.join("\n").as_bytes())), expected, "no newline at the end");
    }
}

#[test]
fn the_preference_lists_all_nodes_unless_replicas_says_otherwise() {
    // Computed with Python's algorithm.
    let lines = "k1\t2058434486\ta\ta,c,b\nk2\t1460232801\tc\tc,a,b\n";
    assert_eq!(stdout(&place(&["--nodes", "a,b,c", "k1", "k2"], b"")), lines);
    let lines = "k1\t2058434486\ta\ta,c\n";
    assert_eq!(stdout(&place(&["--nodes", "a,b,c", "--replicas", "2", "k1"], b"")), lines);
    // An empty key is a key; one heavier node changes its owner.
    assert_eq!(stdout(&place(&["--nodes", "a,b,c", ""], b"")), "\t3649838548\tc\tc,b,a\n");
    let weighted = place(&["--nodes", "a,b,c", "--weights", "a=2,b=1"], b"\n");
    assert_eq!(stdout(&weighted), "\t3649838548\ta\ta,b,c\n");
    assert_eq!(stdout(&place(&["--nodes", "a"], b"")), "");
}

#[test]
fn each_line_is_answered_before_the_next_is_needed() {
    let mut child = spawn(&["--nodes", "a,b,c"]);
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for (key, expected) in [("k1", "k1\t2058434486\ta\ta,c,b\n"), ("k2", "k2\t1460232801\tc\tc,a,b\n")] {
        writeln!(input, "{key}").unwrap();
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, expected);
    }
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Each line's arguments are refused, with a word on what is wrong with them.
fn each_is_wrong_usage(table: &[(&[&str], &str)]) {
    for (args, expected) in table {
        let output = place(args, b"k\n");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert!(error.contains(expected), "{args:?}: {error:?} lacks {expected:?}");
        assert!(!error.contains("panicked"), "{args:?}: {error}");
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_do() {
    let table: &[(&[&str], &str)] = &[
        (&["k"], "--nodes"),
        (&["--nodes", "", "k"], "--nodes has an empty name"),
        (&["--nodes", "a,,b", "k"], "--nodes has an empty name"),
        (&["--nodes", "a,b", "--weights", "c=1", "k"], "\"c\", which is not among --nodes a,b"),
        (&["--nodes", "a,b", "--weights", "a=1,a=2", "k"], "names \"a\" twice"),
        (&["--nodes", "a", "--weights", "a", "k"], "give NODE=WEIGHT"),
        (&["--nodes", "a", "--weights", "a=", "k"], "\"\" is not a weight"),
        (&["--nodes", "a", "--weights", "a=x", "k"], "\"x\" is not a weight"),
        (&["--nodes", "a", "--weights", "a=0", "k"], "\"0\" is not a weight"),
        (&["--nodes", "a", "--weights", "a=-1", "k"], "\"-1\" is not a weight"),
        (&["--nodes", "a", "--weights", "a=NaN", "k"], "\"NaN\" is not a weight"),
        (&["--nodes", "a", "--weights", "a=inf", "k"], "\"inf\" is not a weight"),
        (&["--nodes", "a", "--replicas", "0", "k"], "--replicas"),
        (&["--nodes", "a", "--no-such-option"], "--no-such-option"),
    ];
    each_is_wrong_usage(table);
}

/// The keys and owners that the program prints.
fn placed(output: &Output) -> Vec<(Vec<u8>, String)> {
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
    let lines =
        output.stdout.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap());
    let fields = lines.map(|line| line.split(|&byte| byte == b'\t').collect::<Vec<_>>());
    fields.map(|fields| (fields[0].to_vec(), String::from_utf8(fields[2].to_vec()).unwrap())).collect()
}

#[test]
fn keys_are_bytes_as_they_are() {
    let ring = ringbus::HashRing::new(["a", "b", "c"]);
    let owned = |keys: &[&[u8]]| -> Vec<(Vec<u8>, String)> {
        keys.iter().map(|key| (key.to_vec(), ring.owner(key).unwrap().to_owned())).collect()
    };
    let lines = place(&["--nodes", "a,b,c"], b"\xef\xbb\xbfgood\n\xff\xfe\r\n\0\r\r\n\nlast\xc3");
    assert_eq!(placed(&lines), owned(&[b"good", b"\xff\xfe", b"\0\r", b"", b"last\xc3"]));
    let nul = place(&["--nodes", "a,b,c", "-0"], b"\xef\xbb\xbfgood\0\xff\r\0\0last");
    assert_eq!(placed(&nul), owned(&[b"\xef\xbb\xbfgood", b"\xff\r", b"", b"last"]));
    // What would break a line or a column is shown, and is part of the key all the same.
    let odd = placed(&place(&["--nodes", "a,b,c", "--null"], b"k\nx\ty\0"));
    assert_eq!(odd, [(b"k\\nx\\ty".to_vec(), ring.owner(b"k\nx\ty").unwrap().to_owned())]);
}

#[cfg(unix)]
#[test]
fn an_argument_that_is_not_utf8_is_a_key() {
    use std::os::unix::ffi::OsStrExt;
    let key = std::ffi::OsStr::from_bytes(b"\xffkey");
    let output = command(&["--nodes", "a,b,c"]).arg(key).output().unwrap();
    let owner = ringbus::HashRing::new(["a", "b", "c"]).owner(b"\xffkey").unwrap().to_owned();
    assert_eq!(placed(&output), [(b"\xffkey".to_vec(), owner)]);
}

#[test]
fn more_keys_than_are_placed_at_once_are_placed_like_each_alone() {
    let keys: Vec<String> = (0..70_000).map(|key| format!("key-{key}")).collect();
    let output = place(&["--nodes", "a,b,c,d", "--replicas", "2"], keys.join("\n").as_bytes());
    let ring = ringbus::HashRing::new(["a", "b", "c", "d"]);
    let mut expected = String::new();
    for key in &keys {
        let nodes = ring.preference(key.as_bytes(), 2);
        let position = ringbus::HashRing::position(key.as_bytes());
        expected += &format!("{key}\t{position}\t{}\t{}\n", nodes[0], nodes.join(","));
    }
    assert!(stdout(&output) == expected);
}

#[test]
fn a_line_without_end_is_refused_and_what_came_before_it_is_placed() {
    let mut child = spawn(&["--nodes", "a"]);
    let mut input = child.stdin.take().unwrap();
    // It ends by itself where the program does not.
    let writer = std::thread::spawn(move || {
        input.write_all(b"good\n")?;
        (0..1000).try_for_each(|_| input.write_all(&[b'k'; 1 << 16]))
    });
    let output = child.wait_with_output().unwrap();
    assert!(writer.join().unwrap().is_err(), "the whole line was read");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.starts_with(b"good\t"));
    let error = String::from_utf8_lossy(&output.stderr);
    let expected = "ringbus: line 2 of standard input has no end: keys have at most 1048576 bytes";
    assert!(error.starts_with(expected) && error.lines().count() == 1, "{error}");
}

#[test]
fn nodes_come_from_a_file_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| -> String {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let file = write("nodes", b"\xef\xbb\xbfb\r\nc\n");
    let expected = stdout(&place(&["--nodes", "a,b,c", "--weights", "c=2", "k1", "k2"], b"")).to_owned();
    let args = ["--nodes", "a", "--nodes-file", &file, "--weights", "c=2", "k1", "k2"];
    assert_eq!(stdout(&place(&args, b"")), expected);
    let alone = stdout(&place(&["--nodes-file", &file, "k1"], b"")).to_owned();
    assert_eq!(alone, stdout(&place(&["--nodes", "b,c", "k1"], b"")));
    let cases: [(&str, &[u8], &str); 3] = [
        ("none", b"", "names no node"),
        ("gap", b"a\n\nb\n", "empty name"),
        ("binary", b"a\n\xff\n", "line 2 of "),
    ];
    for (name, text, expected) in cases {
        let output = place(&["--nodes-file", &write(name, text), "k"], b"");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() > Some(0) && error.contains(expected), "{name}: {error}");
    }
    let missing = place(&["--nodes-file", "/no/such/file", "k"], b"");
    assert!(String::from_utf8_lossy(&missing.stderr).starts_with("ringbus: cannot read /no/such/file: "));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = spawn(&["--nodes", "a,b,c"]);
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    // More than fits into a pipe; the child goes while this is being written.
    let written = input.write_all(&b"some-key\n".repeat(1 << 17));
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(written.is_err(), "the child read on although nobody listens");
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_fails_in_one_line() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(&["--nodes", "a", "k"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("ringbus: cannot write to standard output: "), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn help_shows_examples() {
    let output = place(&["--help"], b"");
    let help = stdout(&output);
    assert!(help.contains("Examples:") && help.contains("ringbus place --nodes"), "{help}");
}

/// A file of `key-1` to `key-1000`, in a directory that goes with it.
fn thousand_keys() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.txt");
    std::fs::write(&file, (1..=1000).map(|key| format!("key-{key}\n")).collect::<String>()).unwrap();
    let path = file.to_str().unwrap().to_owned();
    (directory, path)
}

fn json_lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The owner of each key, as a plain `ringbus place` says.
fn owners(args: &[&str], keys: &str) -> Vec<String> {
    let keys = std::fs::read(keys).unwrap();
    let output = place(&[&["--replicas", "1"], args].concat(), &keys);
    stdout(&output).lines().map(|line| line.split('\t').nth(2).unwrap().to_owned()).collect()
}

#[test]
fn modes_place_keys_as_the_programs_do() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/placement_modes.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    for mode in ["hash_ring", "ketama", "twemproxy"] {
        let five = |case: &&Value| case["mode"] == mode && case["nodes"].as_array().unwrap().len() == 5;
        let (case, common) = (cases.iter().find(five).unwrap(), &vectors["keys"]);
        let nodes: Vec<(String, u64)> = serde_json::from_value(case["nodes"].clone()).unwrap();
        let list = nodes.iter().map(|(node, _)| node.as_str()).collect::<Vec<_>>().join(",");
        let weights =
            nodes.iter().map(|(node, weight)| format!("{node}={weight}")).collect::<Vec<_>>().join(",");
        let keys: Vec<String> = serde_json::from_value(common.clone()).unwrap();
        let output =
            place(&["--mode", mode, "--nodes", &list, "--weights", &weights], keys.join("\n").as_bytes());
        for (line, owner) in stdout(&output).lines().zip(case["owners"].as_array().unwrap()) {
            let expected = nodes[owner.as_u64().unwrap() as usize].0.as_str();
            assert_eq!(line.split('\t').nth(2), Some(expected), "{mode}: {line}");
        }
    }
}

#[test]
fn the_plan_counts_the_keys_that_really_move() {
    let (_directory, keys) = thousand_keys();
    for mode in ["hash_ring", "ketama", "twemproxy"] {
        let old = ["--mode", mode, "--nodes", "a,b,c", "--weights", "a=2"];
        let plan = ["--plan", "--add", "d=1.5", "--remove", "b", "--keys", &keys];
        let new = ["--mode", mode, "--nodes", "a,c,d", "--weights", "a=2,d=1.5"];
        let (before, after) = (owners(&old, &keys), owners(&new, &keys));
        let moving = before.iter().zip(&after).filter(|(before, after)| before != after).count();

        let text = place(&[&old[..], &plan].concat(), b"");
        let said = format!("{moving} of 1000 keys in {keys} ({:.2} %) move\n", moving as f64 / 10.0);
        assert!(stdout(&text).contains(&said), "{mode}: {said}{}", stdout(&text));
        assert!(stdout(&text).contains("Note: "), "{}", stdout(&text));

        let json = &json_lines(&place(&[&old[..], &plan, &["--json"]].concat(), b""))[0];
        assert_eq!(json["keys"], serde_json::json!({ "all": 1000, "moving": moving }));
        for flow in json["flows"].as_array().unwrap() {
            let pairs =
                before.iter().zip(&after).filter(|(from, to)| flow["from"] == **from && flow["to"] == **to);
            assert_eq!(flow["keys"], pairs.count(), "{mode}: {flow}");
        }
        let arcs = json["arcs"].as_array().unwrap().iter();
        let length = |arc: &Value| {
            let [first, last] = ["first", "last"].map(|end| arc[end].as_u64().unwrap() as u32);
            u64::from(last.wrapping_sub(first)) + 1
        };
        assert_eq!(json["positions"], arcs.map(length).sum::<u64>());
        assert!(json["positions_between_unchanged"].as_u64() > Some(0));
    }
}

#[test]
fn the_plan_of_equal_nodes_needs_no_notice() {
    let output = place(&["--plan", "--nodes", "a,b,c", "--add", "d"], b"");
    let text = stdout(&output);
    assert!(text.contains("22.42 % of the circle moves, in 94 arcs\n"), "{text}");
    assert!(text.contains("max/mean load per weight: 1.07 before, 1.19 after\n"), "{text}");
    assert!(!text.contains("Note:") && !text.contains("keys"), "{text}");
    // Equal, but 61 of them have 39 digests in libketama's arithmetic, and 60 have 40.
    let nodes = (1..=60).map(|node| format!("n{node}")).collect::<Vec<_>>().join(",");
    let output = place(&["--plan", "--mode", "ketama", "--nodes", &nodes, "--add", "n61"], b"");
    assert!(stdout(&output).contains("rounds the nodes' equal shares"), "{}", stdout(&output));
    // Another weight for a node that stays.
    let output = place(&["--plan", "--nodes", "a,b", "--remove", "b", "--add", "b=3"], b"");
    assert!(stdout(&output).contains("| 1 to 3 |"), "{}", stdout(&output));
}

#[test]
fn the_doctor_finds_the_keys_that_differ() {
    let (_directory, keys) = thousand_keys();
    let there = ["--nodes", "a,c", "--mode", "ketama"];
    let (ours, theirs) = (owners(&["--nodes", "a,b"], &keys), owners(&there, &keys));
    let expected: Vec<_> =
        ours.iter().zip(&theirs).enumerate().filter(|(_, (our, their))| our != their).collect();

    let args =
        ["--doctor", "--nodes", "a,b", "--against-nodes", "a,c", "--against-mode", "ketama", "--keys", &keys];
    let mut lines = json_lines(&place(&[&args[..], &["--json"]].concat(), b""));
    let counts = lines.pop().unwrap();
    assert_eq!((&counts["keys"], &counts["differing"]), (&1000.into(), &expected.len().into()));
    assert_eq!(lines.len(), expected.len());
    for (line, (index, (our, their))) in lines.iter().zip(&expected) {
        assert_eq!(
            (&line["key"], &line["here"]),
            (&format!("key-{}", index + 1).into(), &our.as_str().into())
        );
        assert_eq!(line["there"], their.as_str());
        let reason = if *our == "b" { "missing_there" } else { "missing_here" };
        assert_eq!(line["reason"], reason, "{line}");
    }

    let text = place(&[&args[..], &["--limit", "3"]].concat(), b"");
    let text = stdout(&text);
    assert_eq!(text.lines().filter(|line| line.starts_with("| key-")).count(), 3, "{text}");
    assert!(text.contains(&format!("and {} more (--limit shows more)\n", expected.len() - 3)), "{text}");
    let gone = expected.iter().filter(|(_, (our, _))| *our == "b").count();
    for line in [
        format!("{} of 1000 keys in {keys} ", expected.len()),
        format!("\n  {gone}: the owner here is missing there\n"),
    ] {
        assert!(text.contains(&line), "{text} lacks {line}");
    }
}

#[test]
fn the_doctor_tells_modes_and_weights_apart() {
    let (_directory, keys) = thousand_keys();
    let counts = |against: [&str; 2]| {
        let args = [
            "--doctor",
            "--nodes",
            "a,b,c",
            "--weights",
            "a=2",
            "--keys",
            &keys,
            "--json",
            against[0],
            against[1],
        ];
        json_lines(&place(&args, b"")).pop().unwrap()
    };
    for (against, reason) in [
        (["--against-mode", "ketama"], "mode"),
        (["--against-weights", "c=2"], "weights"),
        (["--against-nodes", "a,b"], "missing_there"),
    ] {
        let counts = counts(against);
        assert!(counts["reasons"][reason].as_u64() > Some(0), "{against:?}: {counts}");
    }
    // The weights hold for both rings unless others are given.
    assert_eq!(counts(["--against-nodes", "c,b,a"])["differing"], 0);
    let same = place(&["--doctor", "--nodes", "a,b", "--against-nodes", "a,b", "--keys", "-"], b"k1\nk2\n");
    assert_eq!(stdout(&same), "0 of 2 keys in - (0.00 %) placed differently\n");
}

#[test]
fn wrong_plans_and_comparisons_end_with_2() {
    let (_directory, keys) = thousand_keys();
    let table: &[(&[&str], &str)] = &[
        (&["--nodes", "a", "--mode", "nope", "k"], "use one of hash_ring, ketama, twemproxy"),
        (&["--plan", "--nodes", "a"], "give --add or --remove"),
        (&["--plan", "--nodes", "a", "--add", "a"], "\"a\", which is a node already"),
        (&["--plan", "--nodes", "a", "--add", "b,b=2"], "\"b\", which is added twice"),
        (&["--plan", "--nodes", "a", "--add", "b,,c"], "--add has an empty name"),
        (&["--plan", "--nodes", "a", "--add", "=2"], "--add has an empty name"),
        (&["--plan", "--nodes", "a", "--add", "b=0"], "\"0\" is not a weight"),
        (&["--plan", "--nodes", "a", "--remove", "b"], "\"b\", which is not among --nodes a"),
        (&["--plan", "--nodes", "a", "--remove", "a"], "leaves no node"),
        (&["--plan", "--nodes", "a", "--add", "b", "k1"], "give --keys FILE"),
        (&["--plan", "--nodes", "a", "--add", "b", "--replicas", "2"], "--replicas has no meaning"),
        (&["--plan", "--doctor", "--nodes", "a", "--keys", &keys], "--doctor"),
        (&["--nodes", "a", "--add", "b", "k1"], "--plan"),
        (&["--nodes", "a", "--keys", &keys], "--plan"),
        (&["--nodes", "a", "--json", "k1"], "--plan"),
        (&["--nodes", "a", "--against-mode", "ketama", "k1"], "--doctor"),
        (&["--plan", "--nodes", "a", "--add", "b", "--limit", "3"], "--doctor"),
        (&["--doctor", "--nodes", "a", "--against-mode", "ketama"], "--keys"),
        (&["--doctor", "--nodes", "a", "--keys", &keys], "nothing to compare with"),
        (
            &["--doctor", "--nodes", "a", "--keys", &keys, "--against-nodes", "a,,b"],
            "--against-nodes has an empty name",
        ),
        (&["--doctor", "--nodes", "a", "--keys", &keys, "--against-weights", "b=1"], "not among --nodes a"),
    ];
    each_is_wrong_usage(table);
}

#[test]
fn keys_that_cannot_be_read_fail_in_one_line_that_names_the_file() {
    let output = place(&["--plan", "--nodes", "a", "--add", "b", "--keys", "/no/such/file"], b"");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(1), &b""[..]));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.starts_with("ringbus: cannot read /no/such/file: ") && error.lines().count() == 1,
        "{error}"
    );
}

#[test]
fn plan_and_doctor_take_keys_of_any_bytes() {
    let keys = b"\xff1\0\xff2\0k\n3\0k4";
    let args = ["--plan", "--nodes", "a,b", "--add", "c,d", "--keys", "-", "-0"];
    let text = place(&args, keys);
    let moving = |ring: &[&str]| {
        let ring = ringbus::HashRing::new(ring.iter().copied());
        keys.split(|&byte| byte == 0).map(|key| ring.owner(key).unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (before, after) = (moving(&["a", "b"]), moving(&["a", "b", "c", "d"]));
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!(stdout(&text).contains(&format!("{moved} of 4 keys in - ")), "{}", stdout(&text));
    let args = ["--doctor", "--nodes", "a", "--against-nodes", "b", "--keys", "-", "-0"];
    let text = place(&args, keys);
    assert!(stdout(&text).contains("| \\xff1 ") && stdout(&text).contains("| k\\n3 "), "{}", stdout(&text));
}

/// Every `$ command` in a console block of the page prints what stands below it.
#[cfg(unix)]
#[test]
fn the_page_shows_what_the_program_prints() {
    let directory = tempfile::tempdir().unwrap();
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_ringbus")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let run = |command: &str| {
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", command]).current_dir(&directory).env("PATH", &path).output().unwrap();
        stdout(&output).to_owned()
    };
    let mut commands = 0;
    for block in include_str!("../docs/placement.md").split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for shown in block.strip_prefix("$ ").unwrap().split("\n$ ") {
            let (command, expected) = shown.split_once('\n').unwrap_or((shown, ""));
            assert_eq!(run(command).trim_end(), expected.trim_end(), "{command}");
            commands += 1;
        }
    }
    assert_eq!(commands, 4);
}
