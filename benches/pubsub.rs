//! The data plane beside libzmq and rumqttc: `ringbus bench` over both transports, all sizes and crowds, then whether
//! each promise is kept.
//!
//! `cargo bench --all-features --bench pubsub`, about 18 minutes; with `-- --quick` one short round of each, 2 minutes.
//! The figures go to `target/bench/pubsub.json`, or where `RINGBUS_BENCH_JSON` says. With `-- --svg FILE` they are
//! plotted, with `-- --from FILE` nothing is measured and figures are read instead.
#![allow(clippy::print_stdout, reason = "it prints a report")]

mod chart;
#[path = "pubsub/figures.rs"]
mod figures;
#[path = "pubsub/plot.rs"]
mod plot;
#[path = "pubsub/promises.rs"]
mod promises;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use figures::Measured;

/// The parts of the matrix, by the options of `ringbus bench`. What is promised is about pairs: they have more rounds, so that one
/// which the host disturbs does not decide.
const PARTS: [&[&str]; 6] = [
    &["--transport=zmq", "--rounds=11"],
    &["--transport=zmq", "--subscribers=8,64", "--rate", "--rounds=3"],
    &["--transport=zmq", "--publishers=8", "--rate", "--rounds=3"],
    &["--transport=mqtt", "--rounds=11"],
    &["--transport=mqtt", "--subscribers=8,64", "--rate", "--rounds=3"],
    &["--transport=mqtt", "--publishers=8", "--rate", "--rounds=3"],
];

const QUICK: [&str; 2] = ["--rounds=1", "--seconds=0.3"];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("The bench failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all that was promised is kept.
fn run() -> Result<bool, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |option: &str| arguments.iter().skip_while(|argument| *argument != option).nth(1);
    let measured: Vec<Measured> = match after("--from") {
        Some(file) => serde_json::from_str(&std::fs::read_to_string(file)?)?,
        None => measure(arguments.iter().any(|argument| argument == "--quick"))?,
    };
    println!("{}", figures::overview(&measured));
    println!("{}", promises::table(&measured));
    if let Some(file) = after("--svg") {
        std::fs::write(file, plot::svg(&measured))?;
    }
    Ok(promises::all_kept(&measured))
}

fn measure(quick: bool) -> Result<Vec<Measured>, Box<dyn Error>> {
    let target = match std::env::var_os("RINGBUS_BENCH_JSON") {
        Some(file) => PathBuf::from(file),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/pubsub.json"),
    };
    std::fs::create_dir_all(target.parent().ok_or("RINGBUS_BENCH_JSON names no file")?)?;
    let mut figures: Vec<serde_json::Value> = Vec::new();
    for part in PARTS {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringbus"));
        command.arg("bench").args(part.iter().filter(|option| !quick || !option.starts_with("--rounds")));
        if quick {
            command.args(QUICK);
        }
        command.arg("--json").arg(&target);
        if target.exists() {
            std::fs::remove_file(&target)?;
        }
        let status = command.status()?;
        // Where samples were lost the figures are there all the same: the promises tell.
        let text = std::fs::read_to_string(&target).map_err(|_| format!("{command:?}: {status}"))?;
        let part: Vec<serde_json::Value> = serde_json::from_str(&text)?;
        figures.extend(part);
        println!();
    }
    std::fs::write(&target, serde_json::to_string_pretty(&figures)? + "\n")?;
    println!("Every figure is in {}.\n", target.display());
    Ok(serde_json::from_value(figures.into())?)
}
