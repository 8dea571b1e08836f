//! A Mosquitto of the tests' own, on a free loopback port.
#![allow(dead_code, reason = "each test file uses a part")]

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// A running broker; killed when dropped, and by the kernel if the test dies.
pub(crate) struct Mosquitto {
    port: u16,
    config: NamedTempFile,
    child: Option<Child>,
}

impl Mosquitto {
    /// Starts one that keeps everything for slow readers.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// Starts one with further lines of configuration.
    pub(crate) fn start_with(lines: &str) -> Self {
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let mut broker = Self { port, config: config(port, lines), child: None };
            if broker.try_start() {
                return broker;
            }
        }
        panic!("mosquitto does not start on any port: {}", Self::hint());
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends it a signal: with `STOP` it stands still until `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Kills it; what it knew is lost.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops its process where it stands: its connections stay, and nothing comes over them.
    pub(crate) fn freeze(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", "STOP", &id]).status().unwrap().success());
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn terminate(&mut self) {
        if let Some(mut child) = self.child.take() {
            let told = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
            assert!(told.unwrap().success());
            child.wait().unwrap();
        }
    }

    /// Has it read its configuration, and the files that this names, again.
    pub(crate) fn reload(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &id]).status().unwrap().success());
    }

    /// Starts it again on its port.
    pub(crate) fn restart(&mut self) {
        self.stop();
        assert!(self.try_start(), "mosquitto does not start again on port {}", self.port);
    }

    /// Runs `mosquitto_pub` to its end.
    pub(crate) fn publish(&self, arguments: &[&str]) {
        let status = self.client("mosquitto_pub", arguments).status();
        assert!(status.unwrap_or_else(|error| panic!("mosquitto_pub: {error}: {}", Self::hint())).success());
    }

    /// Starts `mosquitto_sub`, to read its standard output. It dies with the test.
    pub(crate) fn subscribe(&self, arguments: &[&str]) -> Child {
        let child = self.client("mosquitto_sub", arguments).stdout(Stdio::piped()).spawn();
        child.unwrap_or_else(|error| panic!("mosquitto_sub: {error}: {}", Self::hint()))
    }

    fn client(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = dies_with_the_test(program);
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).args(arguments);
        command
    }

    /// `false` if it ends before it accepts connections, e.g. because somebody else has got the port.
    fn try_start(&mut self) -> bool {
        let mut child = dies_with_the_test("mosquitto")
            .arg("-c")
            .arg(self.config.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("mosquitto: {error}: {}", Self::hint()));
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait().unwrap() {
                // What setpriv and env answer when there is no such program.
                assert_ne!(status.code(), Some(127), "mosquitto is missing: {}", Self::hint());
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                self.child = Some(child);
                return true;
            }
            sleep(Duration::from_millis(10));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    fn hint() -> &'static str {
        "run ./test, which installs it"
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The users and passwords of a broker; `lines` goes into its configuration.
pub(crate) struct Passwords(NamedTempFile);

impl Passwords {
    pub(crate) fn new(user: &str, password: &str) -> Self {
        let passwords = Self(NamedTempFile::new().unwrap());
        passwords.set(user, password);
        passwords
    }

    pub(crate) fn lines(&self) -> String {
        format!("allow_anonymous false\npassword_file {}", self.0.path().display())
    }

    /// Gives the user another password, for the broker to see when it reads its configuration again.
    pub(crate) fn set(&self, user: &str, password: &str) {
        let set =
            Command::new("mosquitto_passwd").arg("-b").arg(self.0.path()).args([user, password]).output();
        let set = set.unwrap_or_else(|error| panic!("mosquitto_passwd: {error}: {}", Mosquitto::hint()));
        assert!(set.status.success(), "{set:?}");
    }
}

/// The kernel kills it when the thread that started it ends, so start it from the test's own.
fn dies_with_the_test(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    // Debian keeps the broker where only root looks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin"));
    command
}

fn config(port: u16, lines: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    let write = |file: &mut NamedTempFile| -> io::Result<()> {
        writeln!(file, "listener {port} 127.0.0.1")?;
        writeln!(file, "allow_anonymous true\npersistence false\nuser root\nset_tcp_nodelay true")?;
        writeln!(file, "max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 1000")?;
        writeln!(file, "message_size_limit 0\n{lines}")
    };
    write(&mut file).unwrap();
    file
}
