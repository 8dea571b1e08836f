//! A lookup at a ring node over ZeroMQ, next to a bare DEALER/ROUTER echo of the same sizes: the request's size up, the
//! answer's size down. Two processes each, loopback, interleaved rounds; the ratios are medians of ratios within a round.
//!
//! `cargo bench --bench dht --all-features`, with `-- --quick` for a look, `-- --rounds N` for more of it.
#![allow(clippy::print_stdout, reason = "it prints a report")]

#[path = "dht/bare.rs"]
mod bare;
#[path = "dht/library.rs"]
mod library;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

/// Which server this process is to be, where it is the second process of a pair.
const SERVER: &str = "RINGBUS_BENCH_DHT_SERVER";
/// Requests under way at a time, where many are.
const IN_FLIGHT: usize = 64;

/// What is promised.
const MOST_LATENCY: f64 = 1.3;
const LEAST_RATE: f64 = 1.0;

struct Plan {
    rounds: usize,
    lone: usize,
    busy: Duration,
}

/// What one side did in one round.
struct Round {
    p50: f64,
    p99: f64,
    rate: f64,
    /// With a task for each request that is under way, where there are tasks.
    tasks: f64,
}

fn main() -> Result<ExitCode> {
    match std::env::var(SERVER).as_deref() {
        Ok("echo") => return bare::serve().map(|()| ExitCode::SUCCESS),
        Ok("node") => return library::serve().map(|()| ExitCode::SUCCESS),
        _ => {}
    }
    let plan = plan();
    let (node, locator) = Server::start("node")?;
    let (echo, address) = Server::start("echo")?;
    let library = library::Client::open(&locator)?;
    let (request, answer) = library.sizes()?;
    let bare = bare::Client::connect(&address, request, answer)?;
    println!("A lookup of {request} bytes, answered with {answer}; {} rounds.\n", plan.rounds);
    // Connections, caches, allocators.
    round(&Plan { rounds: 1, lone: 200, busy: Duration::from_millis(100) }, &library, &bare)?;
    let rounds = (0..plan.rounds).map(|_| round(&plan, &library, &bare)).collect::<Result<Vec<_>>>()?;
    let kept = report(&rounds);
    drop((library, bare));
    node.stop()?;
    echo.stop()?;
    Ok(if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn plan() -> Plan {
    let arguments: Vec<String> = std::env::args().collect();
    let rounds = arguments.iter().skip_while(|argument| *argument != "--rounds").nth(1);
    let rounds = rounds.and_then(|rounds| rounds.parse().ok());
    if arguments.iter().any(|argument| argument == "--quick") {
        Plan { rounds: rounds.unwrap_or(5), lone: 500, busy: Duration::from_millis(200) }
    } else {
        Plan { rounds: rounds.unwrap_or(15), lone: 3_000, busy: Duration::from_secs(1) }
    }
}

fn round(plan: &Plan, library: &library::Client, bare: &bare::Client) -> Result<(Round, Round)> {
    let (bare_lone, library_lone) = (bare.lone(plan.lone)?, library.lone(plan.lone)?);
    let (bare_rate, library_rate) = (bare.busy(IN_FLIGHT, plan.busy)?, library.busy(IN_FLIGHT, plan.busy)?);
    let tasks = library.busy_tasks(IN_FLIGHT, plan.busy)?;
    Ok((side(library_lone, library_rate, tasks), side(bare_lone, bare_rate, bare_rate)))
}

fn side(mut lone: Vec<Duration>, rate: f64, tasks: f64) -> Round {
    lone.sort_unstable();
    let at = |percent: usize| {
        lone.get(lone.len() * percent / 100).copied().unwrap_or_default().as_secs_f64() * 1e6
    };
    Round { p50: at(50), p99: at(99), rate, tasks }
}

/// Prints the table; whether both promises are kept.
fn report(rounds: &[(Round, Round)]) -> bool {
    println!("| | library | bare echo | ratio | promised | |\n|---|--:|--:|--:|--:|---|");
    let row = |name: &str, of: fn(&Round) -> f64, scale: f64, unit: &str, promise: Option<(&str, f64)>| {
        let ours = median(rounds.iter().map(|(ours, _)| of(ours)));
        let bare = median(rounds.iter().map(|(_, bare)| of(bare)));
        let ratio = median(rounds.iter().map(|(ours, bare)| of(ours) / of(bare)));
        let kept = match promise {
            Some(("≤", most)) => ratio <= most,
            Some((_, least)) => ratio >= least,
            None => true,
        };
        let verdict = match (promise, kept) {
            (None, _) => "",
            (_, true) => "kept",
            (_, false) => "**not kept**",
        };
        let promised = promise.map(|(sign, value)| format!("{sign} {value}")).unwrap_or_default();
        println!(
            "| {name} | {:.0} {unit} | {:.0} {unit} | {ratio:.2} | {promised} | {verdict} |",
            ours / scale,
            bare / scale
        );
        kept
    };
    let latency = row("a lone request, p50", |round| round.p50, 1.0, "µs", Some(("≤", MOST_LATENCY)));
    row("a lone request, p99", |round| round.p99, 1.0, "µs", None);
    let rate = row("rate with 64 in flight", |round| round.rate, 1e3, "k/s", Some(("≥", LEAST_RATE)));
    row("... from 64 tasks", |round| round.tasks, 1e3, "k/s", None);
    println!(
        "\nA lone request is one message each way on both sides. In flight, the library puts requests that wait into \
         bundles; the bare echo sends a message for each."
    );
    latency && rate
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The second process of a pair: this program again. It ends when its standard input does.
struct Server(Child);

impl Server {
    /// Starts it and reads the address that it prints.
    fn start(kind: &str) -> Result<(Self, String)> {
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        command.env(SERVER, kind).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = Self(command.spawn().context("starting the second process")?);
        let output = server.0.stdout.take().context("the second process has no output")?;
        let mut address = String::new();
        BufReader::new(output).read_line(&mut address).context("reading the second process's address")?;
        anyhow::ensure!(!address.is_empty(), "the second process ({kind}) ended at once");
        Ok((server, address.trim().to_owned()))
    }

    fn stop(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        let status = self.0.wait().context("waiting for the second process")?;
        anyhow::ensure!(status.success(), "the second process: {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Where something failed it is not to stay behind.
        drop(self.0.kill());
    }
}

/// Blocks until whoever started this process closes its input, or ends.
fn until_input_ends() {
    let mut line = String::new();
    while std::io::stdin().lock().read_line(&mut line).is_ok_and(|read| read > 0) {
        line.clear();
    }
}
