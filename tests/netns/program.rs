//! The example programs as processes on a host, and the lines that they print.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::hosts::Hosts;
use crate::weather::PATIENCE;

/// A running program. It is killed when the value is dropped, and by the system should the test die first.
pub(crate) struct Program {
    name: String,
    child: Child,
    output: Arc<Output>,
}

/// A line of a program's standard output or error.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) at: Instant,
    pub(crate) text: String,
}

#[derive(Default)]
struct Output {
    lines: Mutex<Vec<Line>>,
    more: Condvar,
}

impl Program {
    /// Starts an example on a host.
    pub(crate) fn start(hosts: &Hosts, number: u8, example: &str, arguments: &[&str]) -> Self {
        Self::spawn(hosts, number, &path(example), arguments)
    }

    /// Starts the `ringbus` program on a host.
    #[cfg(feature = "cli")]
    pub(crate) fn ringbus(hosts: &Hosts, number: u8, arguments: &[&str]) -> Self {
        Self::spawn(hosts, number, Path::new(env!("CARGO_BIN_EXE_ringbus")), arguments)
    }

    /// Starts another program on a host.
    #[cfg(all(feature = "cli", feature = "mqtt"))]
    pub(crate) fn any(hosts: &Hosts, number: u8, program: &Path, arguments: &[&str]) -> Self {
        Self::spawn(hosts, number, program, arguments)
    }

    fn spawn(hosts: &Hosts, number: u8, program: &Path, arguments: &[&str]) -> Self {
        let file = program.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{file} {} at {}", arguments.join(" "), Hosts::address(number));
        // Each of the first two programs becomes the next, so that the child is the example itself.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "ip", "netns", "exec", &hosts.namespace(number)])
            .arg(program)
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("program `setpriv` (package util-linux) is installed");
        let output = Arc::new(Output::default());
        output.collect(child.stdout.take().unwrap());
        output.collect(child.stderr.take().unwrap());
        Self { name, child, output }
    }

    /// What `find` finds in the first line for which it finds something, waiting for that line.
    pub(crate) fn wait_for<V>(&self, what: &str, patience: Duration, find: impl Fn(&Line) -> Option<V>) -> V {
        let deadline = Instant::now() + patience;
        let mut lines = self.output.lock();
        let mut seen = 0;
        loop {
            if let Some(found) = lines[seen..].iter().find_map(&find) {
                return found;
            }
            seen = lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(lines);
                panic!("{}: waited {patience:?} for {what}\n{}", self.name, self.tail());
            }
            lines = self.output.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything printed so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.output.lock().clone()
    }

    /// Waits for its end, and the exit code.
    #[cfg(feature = "cli")]
    pub(crate) fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "{}: has not ended\n{}", self.name, self.tail());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL: it has no time for a farewell.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub(crate) fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{}: has not ended after SIGTERM\n{}", self.name, self.tail());
    }

    /// The last lines, for a report.
    pub(crate) fn tail(&self) -> String {
        let lines = self.lines();
        let last = &lines[lines.len().saturating_sub(20)..];
        last.iter().map(|line| format!("    {}\n", line.text)).collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have been killed before.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Output {
    /// Reads lines until the program ends.
    fn collect(self: &Arc<Self>, from: impl Read + Send + 'static) {
        let output = self.clone();
        std::thread::spawn(move || {
            for text in BufReader::new(from).lines().map_while(Result::ok) {
                output.lock().push(Line { at: Instant::now(), text });
                output.more.notify_all();
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Cargo builds the examples along with the tests, beside them.
fn path(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(example);
    assert!(path.exists(), "{} is missing: run `cargo build --examples` first", path.display());
    path
}
