//! The demo's processes: started, told to go, killed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;

use super::Plan;

/// How long a process may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// One process. It is killed when this is dropped.
pub(super) struct Member {
    name: String,
    child: Child,
    stage_door: ChildStdin,
    /// What it said last, by the first word of it.
    said: watch::Receiver<Said>,
}

#[derive(Debug, Clone, Default)]
struct Said {
    at: Option<String>,
    sent: u64,
}

impl Member {
    /// Starts a process of this very program and waits until it is ready.
    pub(super) async fn start(
        plan: &Plan,
        name: &str,
        nodes: &[String],
        role: &[String],
    ) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the program itself")?;
        let mut command = Command::new(program);
        command.arg("demo-party").args(["--transport", plan.kind.argument(), "--name", name]);
        if let Some(broker) = &plan.broker {
            command.args(["--broker", broker]);
        }
        for node in nodes {
            command.args(["--node", node]);
        }
        command.args(role).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let stage_door = child.stdin.take().context("no standard input")?;
        let mut lines = BufReader::new(child.stdout.take().context("no standard output")?).lines();
        let (tell, said) = watch::channel(Said::default());
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                tell.send_modify(|said| match line.split_once(' ') {
                    Some(("at", place)) => said.at = Some(place.to_owned()),
                    Some(("sent", count)) => said.sent = count.parse().unwrap_or(said.sent),
                    _ => {}
                });
            }
        });
        let mut member = Self { name: name.to_owned(), child, stage_door, said };
        member.wait_until_ready().await?;
        Ok(member)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The address or identity that it announced.
    pub(super) fn place(&self) -> String {
        self.said.borrow().at.clone().unwrap_or_default()
    }

    /// How many readings it has published.
    pub(super) fn sent(&self) -> u64 {
        self.said.borrow().sent
    }

    pub(super) async fn go(&mut self) -> anyhow::Result<()> {
        self.stage_door.write_all(b"go\n").await.with_context(|| format!("{} is gone", self.name))
    }

    /// SIGKILL. Returns when it happened.
    pub(super) async fn kill(&mut self) -> anyhow::Result<Instant> {
        let at = Instant::now();
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
        Ok(at)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let ready = self.said.wait_for(|said| said.at.is_some());
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("{} ended before it was ready: its error stands above", self.name),
            Err(_) => bail!("{} was not ready within {PATIENCE:?}", self.name),
        }
    }
}
