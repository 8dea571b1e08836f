//! The `ringbus` program: a file a subcommand, and here what they share.
//!
//! Results go to standard output with `writeln!`, whose error is returned: `println!` would panic when the reader of a
//! pipe is gone.

#[cfg(any(feature = "zmq", feature = "mqtt"))]
mod bench;
mod connect;
mod demo;
mod duration;
mod engine;
mod events;
mod failure;
mod get;
mod hints;
#[cfg(feature = "zmtp")]
mod keygen;
mod load;
mod log;
mod members;
mod node;
mod payload;
mod place;
mod publish;
mod put;
mod quality;
mod source;
mod stop;
mod store;
mod subscribe;

use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgAction, Parser, Subcommand};

const EXAMPLES: &str = "\
Try first:
  ringbus demo

Then, each in a terminal of its own:
  ringbus node --name n1
  ringbus sub --node 127.0.0.1:5556 'weather/#'
  ringbus pub --node 127.0.0.1:5556 weather/98101 12.5

Or a key-value store on a ring of nodes:
  ringbus node --protocol successor
  ringbus put --node 127.0.0.1:5556 greeting hello
  ringbus get --node 127.0.0.1:5556 greeting

'ringbus COMMAND --help' explains a command, with examples.";

/// Publish, subscribe, find each other and keep values, over ZeroMQ or MQTT, without a central server.
///
/// Results go to standard output, errors and logs to standard error.
/// Exit codes: 0 done, 1 failed, 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "ringbus", version, arg_required_else_help = true)]
#[command(after_help = EXAMPLES)]
struct Cli {
    /// Log more than warnings to standard error; -vv and -vvv tell still more (RUST_LOG overrides it)
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
    Node(node::Args),
    Pub(publish::Args),
    Sub(subscribe::Args),
    Members(members::Args),
    Put(put::Args),
    Get(get::Args),
    Load(load::Args),
    Place(place::Args),
    #[cfg(feature = "zmtp")]
    Keygen(keygen::Args),
    #[cfg(any(feature = "zmq", feature = "mqtt"))]
    Bench(bench::Args),
    #[cfg(any(feature = "zmq", feature = "mqtt"))]
    #[command(hide = true)]
    BenchPeer(bench::PeerArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    raise_descriptor_limit();
    log::to_stderr(cli.verbose);
    failure::exit_code(run(cli.command, cli.verbose > 0))
}

fn run(command: Command, verbose: bool) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime: the system gives no threads or files")?;
    runtime.block_on(async {
        match command {
            Command::Demo(args) => demo::run(args).await,
            Command::DemoParty(args) => demo::run_party(args).await,
            Command::Node(args) => node::run(args).await,
            Command::Pub(args) => publish::run(args, verbose).await,
            Command::Sub(args) => subscribe::run(args, verbose).await,
            Command::Members(args) => members::run(args).await,
            Command::Put(args) => put::run(args).await,
            Command::Get(args) => get::run(args).await,
            Command::Load(args) => load::run(args).await,
            Command::Place(args) => place::run(args),
            #[cfg(feature = "zmtp")]
            Command::Keygen(args) => keygen::run(args),
            #[cfg(any(feature = "zmq", feature = "mqtt"))]
            Command::Bench(args) => bench::run(args).await,
            #[cfg(any(feature = "zmq", feature = "mqtt"))]
            Command::BenchPeer(args) => bench::run_peer(args).await,
        }
    })
}

/// Each peer over ZeroMQ takes a dozen descriptors, and the soft limit is there for programs that use `select`.
fn raise_descriptor_limit() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // Where the system refuses, what there is has to do: who then cannot be reached is told.
        if current != maximum {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        }
    }
}
