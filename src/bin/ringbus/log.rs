//! The library's log on standard error.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Warnings, but for those about publishers and subscribers whose events the program tells in its own words.
const WARNINGS: &str = "ringbus=warn,ringbus::pubsub::events=off,ringbus::pubsub::writer::overflow=off,\
                        ringbus::pubsub::reader::overflow=off,ringbus::dht::membership::claims=off";

/// Logs warnings, and what `-v`, `-vv` and `-vvv` ask for; `RUST_LOG` overrides it. Colours are for terminals.
pub(crate) fn to_stderr(verbose: u8) {
    let level = match verbose {
        0 => WARNINGS,
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let chosen = EnvFilter::try_from_default_env();
    let short = verbose == 0 && chosen.is_err();
    let filter = chosen.unwrap_or_else(|_| EnvFilter::new(level));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(colours);
    if short {
        log.event_format(Short).init();
    } else {
        log.init();
    }
}

/// A warning among the program's own messages: without time and place.
struct Short;

impl<S, N> FormatEvent<S, N> for Short
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = if *event.metadata().level() == Level::ERROR { "error" } else { "warning" };
        write!(out, "ringbus: {level}: ")?;
        ctx.field_format().format_fields(out.by_ref(), event)?;
        writeln!(out)
    }
}
