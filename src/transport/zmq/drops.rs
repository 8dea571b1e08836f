//! What is thrown away, and the error of a session that has ended.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Level;

use crate::error::ErrorKind;
use crate::quiet::afterwards;

/// The one error of a session that was closed.
pub(in crate::transport) fn closed() -> ErrorKind {
    ErrorKind::Closed { what: "the zmq session" }
}

/// Counts something that was thrown away, and says so, once no lock is held.
pub(in crate::transport) fn dropped(cause: &'static str, detail: &dyn Debug) {
    let detail = tracing::level_enabled!(Level::DEBUG).then(|| format!("{detail:?}"));
    afterwards(move || {
        metrics::counter!("ringbus_zmq_dropped_total", "cause" => cause).increment(1);
        if let Some(detail) = detail {
            tracing::debug!(cause, %detail, "zmq: dropped a message");
        }
    });
}

/// Drops a publication whose topic and payload are frames of their own.
pub(in crate::transport) fn several_frames(first_frame: usize) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    foreign("publication of several frames", first_frame, &TOLD);
}

/// Drops a publication in which no topic ends.
pub(in crate::transport) fn without_topic(first_frame: usize) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    foreign("publication without a topic", first_frame, &TOLD);
}

/// Drops what another program publishes in a form of its own. The first of each kind is warned of, or its author would
/// look for it in vain.
fn foreign(cause: &'static str, first_frame: usize, told: &AtomicBool) {
    if !told.swap(true, Ordering::Relaxed) {
        afterwards(move || {
            tracing::warn!(
                cause,
                first_frame,
                "zmq: dropped a message: a publication is one frame, its topic, a zero byte and the \
                 payload; further ones are counted only"
            );
        });
    }
    dropped(cause, &first_frame);
}
