//! The two processes of a round as the bench sees them.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::order::{Answer, Cue, Order, Report};

/// How long a process may take for a step, beside the time that it was told to work. With many subscribers a broker has
/// more in its buffers than it delivers in some seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// One process. It ends with its standard input, so when this is dropped.
pub(super) struct Process {
    order: Order,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts this very program again, with an order.
    pub(super) async fn start(order: Order) -> anyhow::Result<Self> {
        let (child, mut input, output) = spawn_self(&[])?;
        input.write_all(format!("{}\n", serde_json::to_string(&order)?).as_bytes()).await?;
        Ok(Self { order, child, input, output })
    }

    pub(super) async fn cue(&mut self, cue: &Cue) -> anyhow::Result<()> {
        let line = format!("{}\n", serde_json::to_string(cue)?);
        // A process that has failed has said so before it went: its answer is read next.
        drop(self.input.write_all(line.as_bytes()).await);
        Ok(())
    }

    pub(super) async fn addresses(&mut self) -> anyhow::Result<Vec<String>> {
        match self.answer().await? {
            Answer::At(addresses) => Ok(addresses),
            other => self.out_of_turn(&other),
        }
    }

    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        match self.answer().await? {
            Answer::Ready => Ok(()),
            other => self.out_of_turn(&other),
        }
    }

    pub(super) async fn done(&mut self) -> anyhow::Result<u64> {
        match self.answer().await? {
            Answer::Done(count) => Ok(count),
            other => self.out_of_turn(&other),
        }
    }

    pub(super) async fn report(&mut self) -> anyhow::Result<Report> {
        match self.answer().await? {
            Answer::Report(report) => Ok(report),
            other => self.out_of_turn(&other),
        }
    }

    /// Waits until it is gone: what it has to tidy up must not weigh on what comes next.
    pub(super) async fn ended(mut self) -> anyhow::Result<()> {
        drop(self.input);
        timeout(PATIENCE, self.child.wait()).await.context("a process does not end")??;
        Ok(())
    }

    async fn answer(&mut self) -> anyhow::Result<Answer> {
        let patience = PATIENCE + self.order.warm_up + self.order.length;
        let what = || format!("{:?} by {}", self.order.role, self.order.side.name());
        let line = timeout(patience, self.output.next_line()).await;
        let line = line.with_context(|| format!("{}: no answer within {patience:?}", what()))??;
        let line = line.with_context(|| format!("{}: the process ended: its error stands above", what()))?;
        match serde_json::from_str(&line).with_context(|| format!("{}: said {line:?}", what()))? {
            Answer::Failed(error) => bail!("{}: {error}", what()),
            answer => Ok(answer),
        }
    }

    fn out_of_turn<V>(&self, answer: &Answer) -> anyhow::Result<V> {
        bail!("{:?} by {}: out of turn: {answer:?}", self.order.role, self.order.side.name())
    }
}

/// Starts this very program as a process of the bench, which ends with its standard input.
pub(super) fn spawn_self(
    arguments: &[String],
) -> anyhow::Result<(Child, ChildStdin, Lines<BufReader<ChildStdout>>)> {
    let program = std::env::current_exe().context("cannot find the program itself")?;
    let mut command = Command::new(program);
    command.arg("bench-peer").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start a process")?;
    let input = child.stdin.take().context("no standard input")?;
    let output = BufReader::new(child.stdout.take().context("no standard output")?).lines();
    Ok((child, input, output))
}
