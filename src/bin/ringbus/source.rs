//! Where the values to publish come from: the command line, or standard input.

use std::io::{self, BufRead};

use anyhow::{Context, Result, anyhow};
use tokio::sync::mpsc;

use crate::failure::Usage;
use crate::payload::{Format, Payload};

/// The most lines that are read ahead.
const READ_AHEAD: usize = 1024;

/// Values, one after the other.
#[derive(Debug)]
pub(crate) enum Source {
    /// Given as arguments.
    Arguments(std::vec::IntoIter<Payload>),
    /// Lines of standard input.
    Input(mpsc::Receiver<Result<Payload>>),
}

impl Source {
    /// The arguments, or standard input if there are none.
    ///
    /// # Errors
    /// [`Usage`] for an argument that is not of the format.
    pub(crate) fn new(format: Format, arguments: Vec<String>) -> Result<Self, Usage> {
        if arguments.is_empty() {
            return Ok(Self::input(format));
        }
        let read = |argument: String| Payload::read(format, argument.into_bytes());
        let values: Result<Vec<_>, _> = arguments.into_iter().map(read).collect();
        values.map(|values| Self::Arguments(values.into_iter())).map_err(Usage::new)
    }

    /// The next value; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// A line that is not of the format, and standard input that cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<Payload>> {
        match self {
            Self::Arguments(values) => Ok(values.next()),
            Self::Input(lines) => lines.recv().await.transpose(),
        }
    }

    /// Whether there is an end that should have been reached.
    pub(crate) fn left(&self) -> usize {
        match self {
            Self::Arguments(values) => values.len(),
            Self::Input(_) => 0,
        }
    }

    /// Standard input blocks, and cannot be woken: it gets a thread that ends with the program.
    fn input(format: Format) -> Self {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        std::thread::spawn(move || {
            let mut input = io::stdin().lock();
            for number in 1_u64.. {
                let value = match read_line(&mut input) {
                    Ok(None) => return,
                    Ok(Some(line)) => Payload::read(format, line)
                        .map_err(|error| anyhow!("line {number} of standard input: {error}")),
                    Err(error) => Err(error).context(format!("cannot read line {number} of standard input")),
                };
                if sender.blocking_send(value).is_err() {
                    return;
                }
            }
        });
        Self::Input(receiver)
    }
}

fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    for ending in [b'\n', b'\r'] {
        line.pop_if(|last| *last == ending);
    }
    Ok(Some(line))
}
