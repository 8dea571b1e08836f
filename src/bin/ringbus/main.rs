//! The `ringbus` program: a file a subcommand, and here what they share.
//!
//! Results go to standard output with `writeln!`, whose error is returned: `println!` would panic when the reader of a
//! pipe is gone.

mod demo;
mod failure;
mod place;

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgAction, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Publish, subscribe and find each other, over ZeroMQ or MQTT, without a central server.
///
/// Results go to standard output, errors and logs to standard error.
/// Exit codes: 0 done, 1 failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "ringbus", version, arg_required_else_help = true)]
#[command(after_help = "Try first:\n  ringbus demo\n  ringbus place --nodes a,b,c my-key\n\n\
                        'ringbus COMMAND --help' explains a command, with examples.")]
struct Cli {
    /// Log to standard error; -vv and -vvv tell more (RUST_LOG overrides it)
    #[arg(short, long, global = true, action = ArgAction::Count, display_order = 100)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    #[command(hide = true)]
    DemoParty(demo::PartyArgs),
    Place(place::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.verbose);
    failure::exit_code(run(cli.command))
}

fn run(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime: the system gives no threads or files")?;
    runtime.block_on(async {
        match command {
            Command::Demo(args) => demo::run(args).await,
            Command::DemoParty(args) => demo::run_party(args).await,
            Command::Place(args) => place::run(args),
        }
    })
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "off",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
