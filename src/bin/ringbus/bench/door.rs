//! A process of the bench as it sees the bench: what it is told, and what it answers.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::order::{Answer, Cue, Order, Report};

/// A receiver to which nothing new came for so long after the last sample was sent gives the rest up as lost.
const SILENCE: Duration = Duration::from_secs(2);

/// The most lines that wait: the bench says three.
const LINES: usize = 8;

/// Standard input and output. The process ends with its standard input, so that it never outlives the bench.
pub(super) struct Door {
    lines: mpsc::Receiver<String>,
    finished: bool,
}

impl Door {
    /// Opens it and reads the order.
    pub(super) async fn open() -> anyhow::Result<(Self, Order)> {
        let (sender, lines) = mpsc::channel(LINES);
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
            std::process::exit(1);
        });
        let mut door = Self { lines, finished: false };
        let order = door.next().await?;
        Ok((door, order))
    }

    /// Tells where this process is, and returns where the other one is.
    pub(super) async fn introduce(&mut self, addresses: Vec<String>) -> anyhow::Result<Vec<String>> {
        answer(&Answer::At(addresses))?;
        match self.next().await? {
            Cue::Others(others) => Ok(others),
            other => bail!("out of turn: {other:?}"),
        }
    }

    pub(super) fn ready(&self) -> anyhow::Result<()> {
        answer(&Answer::Ready)
    }

    pub(super) async fn go(&mut self) -> anyhow::Result<()> {
        match self.next().await? {
            Cue::Go => Ok(()),
            other => bail!("out of turn: {other:?}"),
        }
    }

    pub(super) fn done(&self, count: u64) -> anyhow::Result<()> {
        answer(&Answer::Done(count))
    }

    /// Waits until the other process has done its part. Cancel-safe.
    pub(super) async fn finish(&mut self) -> anyhow::Result<()> {
        if self.finished {
            return Ok(());
        }
        match self.next().await? {
            Cue::Finish => {
                self.finished = true;
                Ok(())
            }
            other => bail!("out of turn: {other:?}"),
        }
    }

    /// Lets the subscribers run, and ends them by `end` if nothing comes any more though something is missing.
    pub(super) async fn until_silence<V>(
        &mut self,
        subscribers: impl Future<Output = anyhow::Result<V>>,
        progress: &Arc<AtomicU64>,
        end: impl FnOnce(),
    ) -> anyhow::Result<V> {
        let mut subscribers = std::pin::pin!(subscribers);
        self.ready()?;
        tokio::select! {
            ended = &mut subscribers => return ended,
            silent = self.silence(progress) => silent?,
        }
        end();
        subscribers.await
    }

    /// Ends once everything was sent and `progress` stands still: what did not come by then is lost.
    async fn silence(&mut self, progress: &Arc<AtomicU64>) -> anyhow::Result<()> {
        self.finish().await?;
        loop {
            let before = progress.load(Ordering::Relaxed);
            tokio::time::sleep(SILENCE).await;
            if progress.load(Ordering::Relaxed) == before {
                return Ok(());
            }
        }
    }

    pub(super) fn report(&self, report: Report) -> anyhow::Result<()> {
        answer(&Answer::Report(report))
    }

    async fn next<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.lines.recv().await.context("the bench has ended")?;
        serde_json::from_str(&line).with_context(|| format!("not a line of the bench: {line:?}"))
    }
}

/// One line to the bench.
pub(super) fn answer(answer: &Answer) -> anyhow::Result<()> {
    let line = serde_json::to_string(answer)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
