//! What `scripts/compare-builds` makes of figures: programs that print theirs stand in for builds.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "that is how a test fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Takes `--json FILE` out of what `ringbus bench` is given, and writes the figures there.
fn build(folder: &Path, name: &str, rate: &str, p50: &str) -> PathBuf {
    let program = folder.join(name);
    let script = format!(
        "#!/bin/sh\nset -e\nwhile [ \"$1\" != --json ]; do shift; done\n\
         printf '[\\n {{\\n \"raw\": null,\\n \"ringbus\": {{\\n  \"p50_us\": %s,\\n  \"rate\": %s,\\n  \"sent\": 1\\n }}\\n }}\\n]\\n' \
         {p50} {rate} >\"$2\"\n"
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn compare(old: &Path, new: &Path) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/compare-builds");
    Command::new(script).args(["--rounds", "5"]).args([old, new]).output().unwrap()
}

#[test]
fn a_slower_build_fails_the_comparison() {
    let folder = tempfile::tempdir().unwrap();
    let old = build(folder.path(), "old", "1000.0", "100.0");
    for (name, rate, p50, expected) in [
        ("same", "1000.0", "100.0", 0),
        ("a little slower", "985.0", "101.5", 0),
        ("lower rates", "975.0", "100.0", 1),
        ("longer round trips", "1000.0", "102.6", 1),
        ("faster", "1100.0", "80.0", 0),
    ] {
        let new = build(folder.path(), name, rate, p50);
        let output = compare(&old, &new);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(expected), "{name}: {text}");
        assert_eq!(text.contains("WORSE"), expected == 1, "{name}: {text}");
    }
}

#[test]
fn what_differs_from_itself_moves_the_border() {
    let folder = tempfile::tempdir().unwrap();
    // Every second figure is half of the one before.
    let unsteady = "$(echo x >>\"$0.count\"; if [ $(($(wc -l <\"$0.count\") % 2)) = 0 ]; then echo 500.0; else echo 1000.0; fi)";
    let old = build(folder.path(), "unsteady", unsteady, "100.0");
    let new = build(folder.path(), "new", "700.0", "100.0");
    let output = compare(&old, &new);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("50.0%") || text.contains("100.0%"), "{text}");
}

#[test]
fn what_cannot_be_measured_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let old = build(folder.path(), "old", "1000.0", "100.0");
    let broken = build(folder.path(), "broken", "null", "null");
    assert_eq!(compare(&old, &broken).status.code(), Some(2));
    assert_eq!(compare(&old, Path::new("no-such-commit")).status.code(), Some(2));
}
