//! `ringbus place` for those who come from other rings: clients by name, configurations, hashes of keys, odd names.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn place(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringbus"));
    command.arg("place").args(args).env_remove("RUST_LOG").output().unwrap()
}

/// What a run that succeeds writes to standard output, and to standard error.
fn written(args: &[&str]) -> (String, String) {
    let output = place(args);
    let [out, error] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {error}");
    (out, error)
}

fn refused(args: &[&str], code: i32, expected: &str) {
    let output = place(args);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert!(error.contains(expected) && output.stdout.is_empty(), "{args:?}: {error:?} lacks {expected:?}");
}

/// Each of the vectors' cases that are a client's, placed by the client's name.
#[test]
fn clients_are_known_by_name() {
    let vectors: Value = serde_json::from_str(include_str!("vectors/placement_rings.json")).unwrap();
    let mut checked = 0;
    for (like, program, rule) in [
        ("libmemcached ketama_weighted", "libmemcached 1.1.4, KETAMA_WEIGHTED", None),
        ("pylibmc ketama_weighted 1.6.3", "libmemcached 1.1.4, KETAMA_WEIGHTED", None),
        ("pylibmc ketama", "libmemcached 1.1.4, KETAMA", None),
        ("npm hashring", "npm hashring 3.2.0", None),
        ("npm memcached", "npm memcached 2.2.2", None),
        ("nginx 1.22.1", "nginx 1.22.1, http", None),
        ("haproxy", "HAProxy 2.6.12", None),
        ("envoy ring_hash 1.40.0", "Envoy 1.40.0", None),
        ("cache::memcached::fast ketama_points 160", "Cache::Memcached::Fast 0.28", None),
        ("twemproxy", "twemproxy 0.5.0", Some("fnv1a_64")),
        ("nutcracker murmur", "twemproxy 0.5.0", Some("murmur")),
        ("twemproxy md5", "twemproxy 0.5.0", Some("md5")),
    ] {
        let of_client = |case: &&Value| {
            case["program"] == program
                && case["rule"].as_str() == rule
                && case["keys"].is_null()
                && case["nodes"].as_array().unwrap().len() == 3
        };
        for case in vectors["cases"].as_array().unwrap().iter().filter(of_client) {
            let nodes: Vec<(String, u32)> = serde_json::from_value(case["nodes"].clone()).unwrap();
            let names = nodes.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",");
            let weights = nodes.iter().map(|(name, weight)| format!("{name}={weight}")).collect::<Vec<_>>();
            let keys: Vec<String> = serde_json::from_value(vectors["keys"].clone()).unwrap();
            let mut args = vec!["--like", like, "--nodes", &names, "--replicas", "1", "--weights"];
            let weights = weights.join(",");
            args.push(&weights);
            args.extend(keys.iter().map(String::as_str));
            let (out, _) = written(&args);
            let owners =
                case["owners"].as_array().unwrap().iter().map(|owner| owner.as_u64().unwrap() as usize);
            for (line, owner) in out.lines().zip(owners) {
                assert_eq!(line.split('\t').nth(2), Some(nodes[owner].0.as_str()), "{like}: {line}");
            }
            checked += 1;
        }
    }
    assert!(checked >= 42, "{checked}");
}

#[test]
fn clients_that_are_like_no_mode_are_refused_with_the_reason() {
    for (like, expected) in [
        ("pymemcache", "rendezvous"),
        ("pylibmc", "modulo"),
        ("npm consistent-hash", "random"),
        ("pylibmc ketama 0.1", "seen of pylibmc ketama was 1.6.3"),
        ("pylibmc nope", "'pylibmc ketama_weighted', 'pylibmc ketama'"),
        ("nope", "--clients"),
    ] {
        refused(&["--like", like, "--nodes", "a,b", "k"], 2, expected);
    }
    refused(&["--like", "nginx", "--mode", "ketama", "--nodes", "a,b", "k"], 2, "--mode");
}

/// The page has the table that the program prints.
#[test]
fn the_page_lists_the_clients_that_the_program_knows() {
    let (out, _) = written(&["--clients"]);
    let page = include_str!("../docs/migrating-rings.md");
    for line in out.lines().filter(|line| !line.is_empty()) {
        assert!(page.contains(line.trim_end()), "docs/migrating-rings.md lacks {line}");
    }
}

/// Every `$ command` in a console block of the page prints what stands below it.
#[cfg(unix)]
#[test]
fn the_page_shows_what_the_program_prints() {
    let directory = tempfile::tempdir().unwrap();
    let programs = Path::new(env!("CARGO_BIN_EXE_ringbus")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut commands = 0;
    for block in include_str!("../docs/migrating-rings.md").split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap();
        for shown in block.strip_prefix("$ ").unwrap().split("\n$ ") {
            let (command, expected) = shown.split_once('\n').unwrap_or((shown, ""));
            let mut shell = Command::new("sh");
            let output =
                shell.args(["-c", command]).current_dir(&directory).env("PATH", &path).output().unwrap();
            assert_eq!(
                String::from_utf8(output.stdout).unwrap().trim_end(),
                expected.trim_end(),
                "{command}"
            );
            commands += 1;
        }
    }
    assert_eq!(commands, 7);
}

/// Where keys move between nodes that did not change, the plan says by which rule of the mode.
#[test]
fn the_plan_says_why_others_keys_move() {
    let plan =
        |mode: &str, nodes: &str| written(&["--plan", "--mode", mode, "--nodes", nodes, "--remove", "a:1"]).0;
    assert!(plan("haproxy", "a:1,b:1,c:1").contains("has the number of its line"));
    assert!(plan("envoy", "a:1,b:1,c:1").contains("a host's number of points"));
    let plan = written(&["--plan", "--mode", "haproxy", "--nodes", "a#1,b#2,c#3", "--remove", "a#1"]).0;
    assert!(!plan.contains("Note:"), "{plan}");
}

#[test]
fn a_hash_of_keys_is_chosen_with_its_tag() {
    let owner = |hash: &str, key: &str| {
        let (out, _) = written(&["--mode", "twemproxy", "--nodes", "a,b,c,d,e", "--hash", hash, key]);
        out.split('\t').skip(1).collect::<Vec<_>>().join("\t")
    };
    assert_eq!(owner("fnv1a_64:{}", "user:{17}:name"), owner("fnv1a_64", "17"));
    assert_ne!(owner("fnv1a_64", "17"), owner("md5", "17"));
    refused(&["--nodes", "a", "--hash", "sha1", "k"], 2, "use one of md5, one_at_a_time");
    refused(&["--nodes", "a", "--hash", "md5:x", "k"], 2, "two characters");
}

/// The doctor says by which rule of the two modes a key goes elsewhere, and what the two say of it.
#[test]
fn the_doctor_names_the_rule_that_differs() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys");
    std::fs::write(&keys, (0..3000).map(|key| format!("key-{key}\n")).collect::<String>()).unwrap();
    let keys = keys.to_str().unwrap();
    let three = "127.77.0.1:11211,127.77.0.2:11211,127.77.0.3:11211";
    let seven = (1..=7).map(|n| format!("10.0.0.{n}:11212")).collect::<Vec<_>>().join(",");
    for (nodes, mode, against, rule, text) in [
        (three, "ketama", ["--against-mode", "twemproxy"], "label", "the name without :11211 at its end"),
        (&seven, "ketama", ["--against-like", "npm hashring"], "counts", "in f64"),
        (three, "twemproxy", ["--against-hash", "fnv1a_64"], "key_hash", "md5 here, fnv1a_64 there"),
        (three, "hash_ring", ["--against-mode", "ketama"], "points", "four words of each MD5 digest"),
    ] {
        let args = ["--doctor", "--mode", mode, "--nodes", nodes, "--keys", keys, against[0], against[1]];
        let (text_out, _) = written(&args);
        assert!(text_out.contains(text), "{text_out}");
        let (json, _) = written(&[&args[..], &["--json"]].concat());
        let counts: Value = serde_json::from_str(json.lines().last().unwrap()).unwrap();
        assert!(counts["rules"][rule].as_u64() > Some(0), "{counts}");
        assert_eq!(counts["reasons"]["mode"], counts["differing"], "{counts}");
        assert!(counts["modes"].as_array().unwrap().iter().any(|mode| mode["rule"] == rule), "{counts}");
        let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert!(first["rule"].is_string(), "{first}");
    }
}

#[test]
fn names_that_can_hardly_be_meant_are_refused_by_name() {
    for (nodes, expected) in [
        ("a, b", r#"--nodes names " b", with blanks around it, which would be another node than "b""#),
        ("a ,b", r#"--nodes names "a ""#),
        ("a\u{a0},b", "with blanks around it"),
        ("a\tb,c", r#"--nodes names "a\tb", with a control character in it"#),
        ("a\nb,c", r#"--nodes names "a\nb", with a control character in it"#),
        ("a,b,a", r#"--nodes names "a" twice"#),
    ] {
        refused(&["--nodes", nodes, "k"], 2, expected);
        let doctor = ["--doctor", "--nodes", "a,b", "--keys", "/dev/null", "--against-nodes", nodes];
        refused(&doctor, 2, &expected.replace("--nodes", "--against-nodes"));
    }
    refused(&["--plan", "--nodes", "a,b", "--add", " c"], 2, r#"--add names " c", with blanks"#);
    refused(&["--plan", "--nodes", "a,b", "--remove", "b "], 2, r#"--remove names "b ", with blanks"#);
    // Blanks within a name are part of it.
    assert!(written(&["--nodes", "a b,c", "k"]).0.contains("a b"));
}

#[test]
fn weights_that_make_no_ring_are_refused_or_said_by_name() {
    for mode in ["hash_ring", "ketama", "npm"] {
        let args = ["--mode", mode, "--nodes", "a,b", "--weights", "a=1e308,b=1.5e308", "k"];
        refused(&args, 2, "the weights are too great to be added up: \"b\" has 1.5e308");
    }
    refused(
        &["--mode", "nginx", "--nodes", "a,b", "--weights", "a=200000", "k"],
        2,
        "and they add up to 200001",
    );
    refused(
        &["--mode", "haproxy", "--nodes", "a,b", "--weights", "b=257", "k"],
        2,
        "\"b\" has the weight 257",
    );
    let (out, said) = written(&["--nodes", "a,b", "--weights", "a=0.001", "k"]);
    assert!(out.ends_with("\tb\tb\n"), "{out}");
    assert!(said.contains(r#""a" owns nothing and is in no preference list: its weight 0.001"#), "{said}");
    assert_eq!(written(&["--nodes", "a,b", "--weights", "a=0.5", "k"]).1, "");
}

fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const NGINX: &str = r#"
# upstream commented { hash $a consistent; server x; }
events { worker_connections 1024; }
http {
    map $http_x $y { default "{;}"; }
    upstream plain { server 10.0.0.9:80; }
    upstream modulo { hash $request_uri; server 10.0.0.8:80; }
    upstream ring {
        hash "$scheme${request_uri}" consistent;   # the text of a directive counts
        server 127.77.0.1:11212 weight=1;
        server 127.77.0.2:11212 max_fails=3 weight=2;
        server '127.77.0.3:11212' weight=3;
        server 127.77.0.4:11212 down;
    }
    server { listen 80; location / { proxy_pass http://ring; } }
}
"#;

#[test]
fn an_nginx_configuration_is_a_ring() {
    let directory = tempfile::tempdir().unwrap();
    let conf = file(directory.path(), "nginx.conf", NGINX);
    let keys = ["key-0", "key-1", "key-2", "key-3", "key-4", "key-5"];
    let from = ["--from-nginx", &conf, "--pool", "ring"];
    let (out, said) = written(&[&from[..], &keys].concat());
    let nodes = "127.77.0.1:11212,127.77.0.2:11212,127.77.0.3:11212";
    let weights = "127.77.0.2:11212=2,127.77.0.3:11212=3";
    let by_hand = ["--mode", "nginx", "--nodes", nodes, "--weights", weights];
    assert_eq!(out, written(&[&by_hand[..], &keys].concat()).0);
    assert!(said.contains(r#"ring: "127.77.0.4:11212" is down, and not in the ring"#), "{said}");
    let (plan, _) = written(&[&from[..], &["--plan", "--remove", "127.77.0.2:11212"]].concat());
    assert!(plan.contains("of the circle moves") && !plan.contains("Note:"), "{plan}");
    let keys = file(directory.path(), "keys", "a\nb\nc\n");
    let doctor = ["--doctor", "--against-mode", "nginx", "--keys", &keys, "--against-nodes", nodes];
    let (text, _) = written(&[&from[..], &doctor, &["--against-weights", weights]].concat());
    assert!(text.contains("0 of 3 keys"), "{text}");

    refused(&["--from-nginx", &conf, "k"], 2, "has modulo, ring: give --pool");
    refused(&["--from-nginx", &conf, "--pool", "x", "k"], 2, "and not \"x\"");
    refused(&["--from-nginx", &conf, "--pool", "modulo", "k"], 2, "without 'consistent'");
    refused(&["--from-nginx", &conf, "--nodes", "a", "k"], 2, "--nodes");
    refused(&["--from-nginx", "/no/such/file", "k"], 1, "cannot read /no/such/file");
    refused(&["--pool", "x", "--nodes", "a", "k"], 2, "--from-nginx");
    for (text, code, expected) in [
        ("events {}\n", 2, "has no ring in it"),
        ("upstream u { hash $a consistent;\n", 1, "a block is not closed"),
        ("upstream u { hash $a consistent; }\n}\n", 1, "line 2 has a brace that closes nothing"),
        ("upstream u { hash $a consistent; }\n", 2, "has no server that is up"),
        ("upstream u { hash $a consistent;\nserver a weight=0; }\n", 1, "line 2: \"0\" is not a weight"),
        ("upstream u { hash $a consistent;\ninclude s.conf; }\n", 1, "'nginx -T'"),
        ("upstream u { hash $a consistent; server a; server a; }\n", 2, "names \"a\" twice"),
        ("upstream u { hash \"$a consistent; }\n", 1, "a quotation that begins on line 1 does not end"),
    ] {
        refused(&["--from-nginx", &file(directory.path(), "odd.conf", text), "k"], code, expected);
    }
}

const TWEMPROXY: &str = r#"
alpha:            # two pools
  listen: 127.0.0.1:22121
  hash: fnv1a_64
  hash_tag: "{}"
  distribution: ketama
  servers:
   - 127.77.0.1:11212:1
   - 127.77.0.2:11212:2
   - 10.0.0.3:11211:3 cache-c

beta:
  listen: 127.0.0.1:22122
  distribution: modula
  servers: 
  - 127.0.0.1:6379:1
gamma:
  listen: 127.0.0.1:22123
  servers:
  - /run/memcached.sock:1
"#;

#[test]
fn a_twemproxy_configuration_is_a_ring() {
    let directory = tempfile::tempdir().unwrap();
    let conf = file(directory.path(), "nutcracker.yml", TWEMPROXY);
    let keys = ["key-0", "user:{17}", "key-2", "key-3", "key-4", "key-5"];
    let (out, said) = written(&[&["--from-twemproxy", &conf, "--pool", "alpha"], &keys[..]].concat());
    let nodes = "127.77.0.1:11212,127.77.0.2:11212,cache-c";
    let by_hand = ["--mode", "twemproxy", "--hash", "fnv1a_64:{}", "--nodes", nodes];
    let weights = ["--weights", "127.77.0.2:11212=2,cache-c=3"];
    assert_eq!((out, said), written(&[&by_hand[..], &weights, &keys].concat()));
    // As nutcracker has it: a socket's name includes the colon behind its path.
    let (out, _) = written(&["--from-twemproxy", &conf, "--pool", "gamma", "k"]);
    assert!(out.ends_with("\t/run/memcached.sock:\n"), "{out}");

    refused(&["--from-twemproxy", &conf, "k"], 2, "has alpha, beta, gamma: give --pool");
    refused(&["--from-twemproxy", &conf, "--pool", "beta", "k"], 2, "its distribution is modula");
    for (text, code, expected) in [
        ("", 2, "has no ring in it"),
        ("p:\n  servers:\n  - a:1\n", 1, "is not HOST:PORT:WEIGHT"),
        ("p:\n  servers:\n  - a:1:0\n", 1, "has no weight"),
        ("p:\n  servers:\n  - a:1:1 b:11211\n", 1, "looks like an address"),
        ("p:\n  hash: sha1\n  servers:\n  - a:1:1\n", 2, "use one of md5"),
        ("p:\n  servers:\n  - a:1:1\n  - a:1:2\n", 2, "names \"a:1\" twice"),
        ("  servers:\n", 1, "line 1: \"servers:\" is in no pool"),
    ] {
        refused(&["--from-twemproxy", &file(directory.path(), "odd.yml", text), "k"], code, expected);
    }
}
