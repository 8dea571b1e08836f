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
fn input_that_is_not_utf8_fails_in_one_line_that_names_it() {
    let output = place(&["--nodes", "a"], b"good\n\xff\n");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.starts_with("ringbus: cannot read line 2 of standard input"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
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
