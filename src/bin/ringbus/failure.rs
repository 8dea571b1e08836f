//! How the program ends: exit codes, and errors in one line.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

use ringbus::ErrorKind;

const DONE: u8 = 0;
const FAILED: u8 = 1;
const USAGE: u8 = 2;

/// Arguments that do not make sense together: what clap cannot know. Ends the program with exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl Usage {
    /// Says what is wrong and what would be right, in one line.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Reports a failure on standard error, in one line, and gives the exit code. A reader of the output that went away
/// (`| head`) has what it wanted: that is no failure.
pub(crate) fn exit_code(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let code = code(&error);
    if code != DONE {
        // Where standard error is closed there is nobody left to tell.
        drop(writeln!(io::stderr(), "ringbus: {}{}", one_line(&error), advice(&error)));
    }
    ExitCode::from(code)
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() || error.downcast_ref().is_some_and(is_argument) {
        USAGE
    } else if is_broken_pipe(error) {
        DONE
    } else {
        FAILED
    }
}

/// What the library refuses for what it is was wrong on the command line already.
fn is_argument(error: &ringbus::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidTopic { .. }
            | ErrorKind::InvalidFilter { .. }
            | ErrorKind::InvalidAddress { .. }
            | ErrorKind::InvalidArgument { .. }
            | ErrorKind::ForeignLocator { .. }
            | ErrorKind::InconsistentPolicy { .. }
            | ErrorKind::UnsupportedPolicy { .. }
    )
}

/// What a user of the program can do, where the library's text is for programmers.
fn advice(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<ringbus::Error>().map(ringbus::Error::kind) {
        Some(ErrorKind::Denied { .. }) => {
            " (--user NAME with --password-file FILE, RINGBUS_USER and RINGBUS_PASSWORD, or mqtt://USER:PASSWORD@HOST)"
        }
        _ => "",
    }
}

/// Only of standard output: a connection that broke is wrapped in an error of the library's.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The error and its causes; a cause that its parent has quoted already is not repeated.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    // Line breaks and what indents the lines go; spaces within a value that is quoted stay.
    line.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn causes_are_joined_in_one_line_without_repetition() {
        let error = Err::<(), _>(anyhow!("no\n  route")).context("cannot reach x: no\n  route").unwrap_err();
        assert_eq!(one_line(&error), "cannot reach x: no route");
        assert_eq!(one_line(&anyhow!("no value for \"a  b\"\n")), "no value for \"a  b\"");
        let error = Err::<(), _>(anyhow!("no route")).context("cannot reach x").unwrap_err();
        assert_eq!(one_line(&error), "cannot reach x: no route");
    }

    #[test]
    fn usage_is_told_apart_also_below_context() {
        let usage = || anyhow::Error::from(Usage::new("give --nodes"));
        assert_eq!([code(&usage()), code(&usage().context("place"))], [2, 2]);
        assert_eq!(code(&anyhow!("failed")), 1);
        assert_eq!(code(&io::Error::from(io::ErrorKind::NotFound).into()), 1);
        assert_eq!(code(&io::Error::from(io::ErrorKind::BrokenPipe).into()), 0);
    }

    #[test]
    fn an_argument_that_the_library_refuses_is_wrong_usage() {
        let topic = ringbus::Topic::new("a/+").unwrap_err();
        assert_eq!(code(&topic.into()), 2);
        let broker = ringbus::Error::from(ErrorKind::AddressInUse { address: "tcp://127.0.0.1:1".into() });
        assert_eq!(code(&anyhow::Error::from(broker).context("node")), 1);
    }
}
