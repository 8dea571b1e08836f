//! The MQTT broker that both sides go through.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::failure::Usage;

/// How long Mosquitto may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A broker, somebody else's or an own Mosquitto, which is killed when this is dropped.
pub(super) struct Broker {
    pub(super) host: String,
    pub(super) port: u16,
    own: Option<Child>,
}

impl Broker {
    /// The one at this URL.
    pub(super) fn at(url: &str) -> Result<Self, Usage> {
        let expected = || Usage::new(format!("invalid broker {url:?}: write mqtt://HOST:PORT"));
        let address = url.strip_prefix("mqtt://").or(url.strip_prefix("tcp://")).ok_or_else(expected)?;
        let (host, port) = address.rsplit_once(':').unwrap_or((address, "1883"));
        let port = port.parse().map_err(|_| expected())?;
        if host.is_empty() {
            return Err(expected());
        }
        Ok(Self { host: host.to_owned(), port, own: None })
    }

    /// Starts a Mosquitto on a free port that keeps everything for slow readers.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("mosquitto");
        // Debian keeps the broker where only root looks.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin")).args(["-c", "/dev/stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().context(
            "cannot start mosquitto, which the bench over MQTT goes through: install it (apt-get install mosquitto), \
             or name a broker with --broker URL",
        )?;
        let mut input = child.stdin.take().context("no standard input")?;
        input.write_all(config(port).as_bytes()).await?;
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
        Ok(Self { host: "127.0.0.1".into(), port, own: Some(child) })
    }

    /// The process whose time can be read.
    pub(super) fn pid(&self) -> Option<u32> {
        self.own.as_ref().and_then(Child::id)
    }
}

fn config(port: u16) -> String {
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
         max_queued_messages 0\nmax_queued_bytes 0\nmax_inflight_messages 0\nmessage_size_limit 0\n"
    )
}
