//! The `ringbus` program, and others, as child processes: started, talked to, ended by its own pid, every wait bounded.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// A running `ringbus`; killed when dropped, and by the kernel if the test dies.
pub struct Program {
    what: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Receiver<String>,
    errors: Receiver<String>,
    seen: Vec<String>,
}

/// How a program ended, and what it printed that was not read before.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub output: Vec<String>,
    pub errors: Vec<String>,
}

impl Program {
    /// Starts it. The kernel kills it when the thread that started it ends, so start it from the test's own.
    pub fn start<S: AsRef<str>>(arguments: &[S]) -> Self {
        let arguments: Vec<&str> = arguments.iter().map(AsRef::as_ref).collect();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", env!("CARGO_BIN_EXE_ringbus")]).args(&arguments);
        Self::spawn(&arguments.join(" "), &mut command)
    }

    /// Starts any program; `what` is what a failing test calls it.
    pub fn spawn(what: &str, command: &mut Command) -> Self {
        // What the test itself was started with is not for the program.
        for name in ["RUST_LOG", "BROKER", "RINGBUS_USER", "RINGBUS_PASSWORD"] {
            if !command.get_envs().any(|(set, _)| set == name) {
                command.env_remove(name);
            }
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{command:?}: {error}: run ./test, which installs what is missing")
            });
        let (input, output) = (child.stdin.take(), lines(child.stdout.take().unwrap()));
        let errors = lines(child.stderr.take().unwrap());
        Self { what: what.to_owned(), child, input, output, errors, seen: Vec::new() }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts it and waits for its end.
    pub fn run<S: AsRef<str>>(arguments: &[S]) -> Ended {
        Self::start(arguments).ended()
    }

    /// Writes to its standard input.
    pub fn type_in(&mut self, text: &str) {
        self.input.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Closes its standard input.
    pub fn end_of_input(&mut self) {
        self.input = None;
    }

    /// The next line of its standard output.
    pub fn line(&mut self) -> String {
        match self.output.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => panic!("{}: no line in {PATIENCE:?}", self.what),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("{}: ended: {:?}", self.what, self.errors.iter().collect::<Vec<_>>())
            }
        }
    }

    /// The next line of its standard output, if one comes in time.
    pub fn line_within(&mut self, patience: Duration) -> Option<String> {
        self.output.recv_timeout(patience).ok()
    }

    /// Reads lines of its standard output until these have come, in whatever order.
    pub fn wait_for_lines<S: AsRef<str>>(&mut self, expected: &[S]) {
        let deadline = Instant::now() + PATIENCE;
        let mut missing: Vec<&str> = expected.iter().map(AsRef::as_ref).collect();
        let mut seen = Vec::new();
        while !missing.is_empty() {
            let Some(line) = self.line_within(deadline.saturating_duration_since(Instant::now())) else {
                let errors: Vec<String> = self.errors.try_iter().collect();
                panic!("{}: no {missing:?}, only {seen:?}, {errors:?}", self.what);
            };
            missing.retain(|wanted| *wanted != line);
            seen.push(line);
        }
    }

    /// The next lines of its standard output.
    pub fn lines(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.line()).collect()
    }

    /// The next line of its standard error that holds the text.
    pub fn error_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.errors.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => self.seen.push(line),
                Err(error) => panic!("{}: no {text:?} ({error}), only {:?}", self.what, self.seen),
            }
        }
    }

    /// The lines of its standard error that were passed over by [`error_line`](Self::error_line).
    pub fn seen(&self) -> &[String] {
        &self.seen
    }

    /// The lines of its standard error that have come since.
    pub fn error_lines(&mut self) -> Vec<String> {
        self.errors.try_iter().collect()
    }

    /// Sends a signal, `TERM` for instance.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().unwrap();
        assert!(status.success(), "{}: cannot signal {pid}", self.what);
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Ended {
        self.input = None;
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "{}: still runs after {PATIENCE:?}", self.what);
            sleep(Duration::from_millis(5));
        };
        // Both end with the process.
        let (output, errors) = (self.output.iter().collect(), self.errors.iter().collect());
        Ended { code: status.code(), output, errors }
    }

    /// Asks it to end, and waits.
    pub fn terminate(self) -> Ended {
        self.signal("TERM");
        self.ended()
    }
}

impl Ended {
    /// What it wrote to standard error, but for what it says while it waits for somebody: on a busy machine each wait may be
    /// long enough for that.
    pub fn complaints(&self) -> Vec<&str> {
        let is_hint = |line: &str| {
            let about = ["nobody answers at ", "no answer from ", "connected"];
            let hint = line.strip_prefix("ringbus: ");
            hint.is_some_and(|hint| {
                (about.iter().any(|about| hint.starts_with(about)) && !hint.contains(" within "))
                    || hint.contains(" subscribers yet: waiting for ")
            })
        };
        self.errors.iter().map(String::as_str).filter(|line| !is_hint(line)).collect()
    }

    /// Fails unless all went well and quietly; returns what it printed.
    pub fn ok(self) -> Vec<String> {
        assert_eq!((self.code, &self.complaints()[..]), (Some(0), &[][..]), "{self:?}");
        self.output
    }

    /// Fails unless it ended with this code and one line on standard error, warnings aside, that holds the text.
    pub fn failed(&self, code: i32, text: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        let mut lines = self.complaints();
        lines.retain(|line| !line.starts_with("ringbus: warning: "));
        let [line] = lines[..] else { panic!("not one line: {self:?}") };
        assert!(line.starts_with("ringbus: ") && line.contains(text), "{line:?} lacks {text:?}");
    }
}

/// Runs the program for each line of a table: it must refuse the arguments as wrong usage, print nothing, and say why.
pub fn each_is_wrong_usage(table: &[(&[&str], &str)]) {
    for (arguments, expected) in table {
        let ended = Program::run(arguments);
        assert!(ended.output.is_empty(), "{arguments:?}: {ended:?}");
        ended.failed(2, expected);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
