//! The MQTT broker that both sides go through.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};

use super::door::answer;
use super::order::{Answer, Link};
use super::process::spawn_self;
use crate::failure::Usage;

/// How long Mosquitto may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets the broker's allocator keep what it has. By default it may give the memory of a large message back to the system after
/// each message, and have its pages cleared for the next: by the state of its heap, which one side may meet more often than the
/// other.
const ALLOCATOR: [(&str, &str); 3] = [
    ("MALLOC_TRIM_THRESHOLD_", "268435456"),
    ("MALLOC_TOP_PAD_", "1048576"),
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
];

/// A broker: somebody else's, or an own Mosquitto, which ends with this.
pub(super) struct Broker {
    host: String,
    port: u16,
    /// The process whose time can be read.
    pub(super) pid: Option<u32>,
    /// Keeps the broker as long as this end of its standard input is open, however this program ends.
    keeper: Option<(Child, ChildStdin)>,
}

impl Broker {
    /// The one at this URL.
    pub(super) fn at(url: &str) -> Result<Self, Usage> {
        let expected = || {
            // What stands before an '@' may be secret.
            let shown = url.rsplit_once('@').map_or(url, |(_, host)| host);
            Usage::new(format!(
                "invalid broker {shown:?}: write mqtt://HOST:PORT; credentials are not taken here"
            ))
        };
        if url.contains('@') {
            return Err(expected());
        }
        let address = url.strip_prefix("mqtt://").or(url.strip_prefix("tcp://")).ok_or_else(expected)?;
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "1883"));
        let port = port.parse().map_err(|_| expected())?;
        if host.is_empty() {
            return Err(expected());
        }
        Ok(Self { host: host.to_owned(), port, pid: None, keeper: None })
    }

    /// Starts a Mosquitto on a free port that keeps everything for slow readers.
    pub(super) async fn start(nodelay: bool) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut arguments = vec!["--broker".to_owned(), port.to_string()];
        arguments.extend(nodelay.then(|| "--nodelay".to_owned()));
        let (child, input, mut output) = spawn_self(&arguments)?;
        let line = output.next_line().await?.context("the broker's keeper ended")?;
        let pid = match serde_json::from_str(&line)? {
            Answer::Broker(pid) => pid,
            Answer::Failed(error) => bail!(error),
            other => bail!("out of turn: {other:?}"),
        };
        Ok(Self { host: "127.0.0.1".into(), port, pid, keeper: Some((child, input)) })
    }

    /// Ends an own one, and waits until it is gone.
    pub(super) async fn end(self) -> anyhow::Result<()> {
        if let Some((mut keeper, input)) = self.keeper {
            drop(input);
            keeper.wait().await?;
        }
        Ok(())
    }

    pub(super) fn link(&self, qos: u8, nodelay: bool) -> Link {
        Link::Mqtt { host: self.host.clone(), port: self.port, qos, nodelay }
    }
}

/// In a process of its own: runs Mosquitto until standard input is closed.
pub(super) async fn keep(port: u16, nodelay: bool) -> anyhow::Result<()> {
    let mut mosquitto = start(port, nodelay).await?;
    answer(&Answer::Broker(mosquitto.id()))?;
    let mut nothing = Vec::new();
    tokio::io::stdin().read_to_end(&mut nothing).await?;
    mosquitto.kill().await?;
    Ok(())
}

async fn start(port: u16, nodelay: bool) -> anyhow::Result<Child> {
    let mut command = Command::new("mosquitto");
    // Debian keeps the broker where only root looks.
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin")).args(["-c", "/dev/stdin"]);
    command.envs(ALLOCATOR);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().context(
        "cannot start mosquitto, which the bench over MQTT goes through: install it (apt-get install mosquitto), \
         or name a broker with --broker URL",
    )?;
    let mut input = child.stdin.take().context("no standard input")?;
    input.write_all(config(port, nodelay).as_bytes()).await?;
    drop(input);
    let started = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if let Some(status) = child.try_wait()? {
            bail!("mosquitto ended at once ({status}): try it by hand with mosquitto -v -p {port}");
        }
        if started.elapsed() > PATIENCE {
            bail!("mosquitto does not listen on port {port} after {PATIENCE:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(child)
}

/// Nothing is dropped for slow readers, and nothing written to disk.
fn config(port: u16, nodelay: bool) -> String {
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nset_tcp_nodelay {nodelay}\n\
         max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 0\nmessage_size_limit 0\n"
    )
}
