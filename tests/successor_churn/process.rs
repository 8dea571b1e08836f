//! A node as a process of its own, which can be killed: this test program, started again.

use std::process::{Child, Command, Stdio};

use ringbus::dht::Key;
use ringbus::transport::{Locator, MqttTransport, Transport, ZmqTransport};
use ringbus::{DhtNode, Session};

/// A process in which this is set is a node: its id, then a broker's URL or the addresses of nodes.
const VARIABLE: &str = "RINGBUS_TEST_NODE";

/// A running node; killed when dropped, and by the kernel if the test dies.
pub(crate) struct Process {
    id: u32,
    child: Child,
}

impl Process {
    /// Starts one at a broker, or on the ring of these nodes. `test` is the test's own name, and must begin with
    /// [`is_one`]. The kernel kills it when the thread that started it ends, so start it from the test's own.
    pub(crate) fn start(test: &str, id: u32, at: &[&str]) -> Self {
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(VARIABLE, format!("{id} {}", at.join(" ")))
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("setpriv: {error}: run ./test, which installs it"));
        Self { id, child }
    }

    /// Sends a signal, `STOP` or `CONT` for instance.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success(), "kill -s {name}");
    }

    /// SIGKILL. Returns its id.
    pub(crate) fn kill(mut self) -> u32 {
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "it ran until now");
        self.id
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Whether this process has been started to be a node; then it is one as long as it lives.
pub(crate) async fn is_one() -> bool {
    let Ok(what) = std::env::var(VARIABLE) else { return false };
    let mut words = what.split(' ');
    let id: u32 = words.next().unwrap().parse().unwrap();
    let at: Vec<&str> = words.collect();
    match at[..] {
        [url] if url.starts_with("mqtt://") => {
            let transport = MqttTransport::new(url).client_id(format!("process-{id}"));
            serve(transport.last_will("fail", id.to_string()), id, Vec::new()).await;
        }
        ref seeds => {
            let seeds = seeds.iter().map(|seed| Locator::new(*seed).unwrap()).collect();
            serve(ZmqTransport::ephemeral(), id, seeds).await;
        }
    }
    true
}

async fn serve<T: Transport>(transport: T, id: u32, seeds: Vec<Locator>) {
    let session = Session::open(transport).await.unwrap();
    let node = DhtNode::builder(session).successor().id(Key::new(id)).join(seeds).start().await.unwrap();
    let mut events = node.events();
    while events.recv().await.is_ok() {}
}
