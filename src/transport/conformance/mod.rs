//! The executable form of the [`transport`](super) contract: one suite that every transport passes.
//!
//! Implement [`Harness`] for your transport and let [`transport_conformance!`](crate::transport_conformance) write the
//! tests, one per check. The expression is evaluated inside each test, so that every check has a harness of its own:
//!
//! ```
//! use ringbus::transport::conformance::{BadAddress, Harness};
//! use ringbus::transport::MemoryTransport;
//! use ringbus::transport::memory::Network;
//!
//! struct Memory(Network);
//!
//! impl Harness for Memory {
//!     type Transport = MemoryTransport;
//!
//!     fn endpoint(&self, name: &str) -> MemoryTransport {
//!         MemoryTransport::new(&self.0, name)
//!     }
//!
//!     fn bad_addresses(&self) -> Vec<BadAddress<MemoryTransport>> {
//!         vec![BadAddress::invalid("an empty name", self.endpoint(""))]
//!     }
//!
//!     async fn interrupt(&self) -> bool {
//!         self.0.stop();
//!         true
//!     }
//!
//!     async fn restore(&self) {
//!         self.0.start();
//!     }
//! }
//!
//! ringbus::transport_conformance!(Memory(Network::new()));
//! # fn main() {}
//! ```
//!
//! The tests need crate `tokio` with its features `macros` and `rt-multi-thread` beside this one. Without the macro,
//! [`run`] goes through all checks and [`checks`] lists them.
//!
//! Every wait is bounded by [`Harness::patience`] and follows events; nothing sleeps in the hope that it was enough.

mod directed;
mod faults;
mod filters;
mod lifecycle;
mod member;
mod payloads;
mod pressure;
mod refused;
mod retained;
mod sink;
mod topics;

use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{Locator, OpenOptions, Transport};
use crate::error::{ErrorKind, Result};
use crate::topic::Topic;

pub use directed::{directed_both_ways, foreign_locators};
pub use faults::{interrupted_link, newcomers, peer_events, prompt_departures, restarted_peer};
pub use filters::{changes_under_traffic, overlapping_filters, thousand_filters, wildcards};
pub use lifecycle::{
    acknowledgements, bad_addresses, close_flushes, closed_is_closed, dropped_without_close,
};
pub use payloads::{all_sizes, over_limit_is_refused, oversize_from_a_peer};
pub use pressure::{back_pressure, cancelled_receive};
pub use refused::refused_message;
pub use retained::{retained, retained_wildcards};
pub use sink::sink;
pub use topics::{concurrent_senders, fan_out, interest, ordering, own_messages, unheard_topics};

/// What the suite needs to know about a transport: how to make endpoints that can reach each other.
///
/// A harness stands for one network: a broker, a loopback interface, a memory hub. The suite keeps to topics below
/// [`root`](Self::root) and to endpoint names of its own for each check, so checks may share a broker, except those
/// that [`interrupt`](Self::interrupt) it.
pub trait Harness: Send + Sync + 'static {
    /// The transport under test.
    type Transport: Transport;

    /// A transport for the endpoint `name` (letters, digits and `-`). The first call chooses an address (a free
    /// loopback port, a client id); later calls with the same name describe the same address, so that an endpoint can
    /// be opened again after it was closed.
    fn endpoint(&self, name: &str) -> Self::Transport;

    /// Transports whose `open` must fail, each with the kind of error that it must fail with. While it is called and
    /// they are tried, the suite holds the endpoint [`TAKEN`] open.
    fn bad_addresses(&self) -> Vec<BadAddress<Self::Transport>>;

    /// Locators with the transport's own scheme that `attach` refuses as
    /// [`InvalidAddress`](ErrorKind::InvalidAddress). None by default.
    fn bad_peers(&self) -> Vec<Locator> {
        Vec::new()
    }

    /// A well-formed locator of another transport.
    ///
    /// # Errors
    /// That of [`Locator::new`].
    fn foreign_locator(&self) -> Result<Locator> {
        Locator::new("foreign:nowhere")
    }

    /// Stops what stands between the endpoints, i.e. the broker, and returns when it is gone. `false` if nothing
    /// stands there, which is the default; a transport that calls itself
    /// [`brokered`](super::Capabilities::brokered) must be able to.
    fn interrupt(&self) -> impl Future<Output = bool> + Send {
        async { false }
    }

    /// Starts again, at the same address, what [`interrupt`](Self::interrupt) stopped. The endpoints find it by
    /// themselves.
    fn restore(&self) -> impl Future<Output = ()> + Send {
        async {}
    }

    /// Whether the broker keeps or drops messages to an endpoint that does not read, instead of slowing the sender
    /// down. Then the back-pressure check asks for order and recovery, but neither for a full queue (the broker may be
    /// faster than the sender) nor for completeness.
    fn broker_drops(&self) -> bool {
        false
    }

    /// A message that the broker between the endpoints does not take, and closes the sender's connection over: its topic
    /// holds what the broker does not carry, or it is over the broker's size limit. `None`, the default, if none can be
    /// named; then [`refused_message`] has nothing to ask.
    fn refused_message(&self) -> Option<(Topic, Bytes)> {
        None
    }

    /// The options that endpoints are opened with, where a check does not ask for others.
    fn options(&self) -> OpenOptions {
        OpenOptions::default()
    }

    /// The first levels of every topic that the suite uses.
    fn root(&self) -> &str {
        "conformance"
    }

    /// How long the suite waits for any one thing that must happen.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }
}

/// The endpoint that is open while [`Harness::bad_addresses`] are tried.
pub const TAKEN: &str = "taken";

/// A transport whose `open` must fail.
#[derive(Debug)]
pub struct BadAddress<T> {
    /// What is wrong with it, for the message of a failure.
    pub what: &'static str,
    /// The transport.
    pub transport: T,
    /// Whether an error is the right one.
    pub expected: fn(&ErrorKind) -> bool,
}

impl<T> BadAddress<T> {
    /// Must fail with [`ErrorKind::InvalidAddress`].
    pub fn invalid(what: &'static str, transport: T) -> Self {
        Self { what, transport, expected: |kind| matches!(kind, ErrorKind::InvalidAddress { .. }) }
    }

    /// Must fail with [`ErrorKind::AddressInUse`].
    pub fn in_use(what: &'static str, transport: T) -> Self {
        Self { what, transport, expected: |kind| matches!(kind, ErrorKind::AddressInUse { .. }) }
    }

    /// Must fail with [`ErrorKind::Unreachable`].
    pub fn unreachable(what: &'static str, transport: T) -> Self {
        Self { what, transport, expected: |kind| matches!(kind, ErrorKind::Unreachable { .. }) }
    }
}

/// A check that a transport did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The check's name.
    pub check: &'static str,
    /// What was expected and what happened.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transport conformance, {}: {}", self.check, self.what)
    }
}

impl std::error::Error for Failure {}

/// One check of the suite.
#[derive(Debug, Clone, Copy)]
pub struct Check<H> {
    /// Its name, which is also the name of its function in this module.
    pub name: &'static str,
    run: fn(&H) -> BoxFuture<'_, Result<(), Failure>>,
}

impl<H: Harness> Check<H> {
    /// Runs the check.
    ///
    /// # Errors
    /// What the transport did otherwise than the contract says.
    pub async fn run(&self, harness: &H) -> Result<(), Failure> {
        (self.run)(harness).await
    }
}

/// All checks, in the order in which [`run`] goes through them.
pub fn checks<H: Harness>() -> Vec<Check<H>> {
    crate::__transport_checks!(__transport_check_list)
}

/// Runs all checks, one after the other, each to its end.
///
/// # Errors
/// All failures.
pub async fn run<H: Harness>(harness: &H) -> Result<(), Vec<Failure>> {
    let mut failures = Vec::new();
    for check in checks::<H>() {
        failures.extend(check.run(harness).await.err());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// Writes one `#[tokio::test]` for each check of the [suite](crate::transport::conformance), under the check's name.
/// The argument is an expression that makes a [`Harness`](crate::transport::conformance::Harness); it may `.await`.
///
/// Several harnesses in one file go into a module each.
#[macro_export]
macro_rules! transport_conformance {
    ($harness:expr $(,)?) => {
        $crate::__transport_checks!(__transport_check_tests { $harness });
    };
}

/// The one list of checks, handed to another macro.
#[doc(hidden)]
#[macro_export]
macro_rules! __transport_checks {
    ($then:ident $($arguments:tt)*) => {
        $crate::$then! {
            [$($arguments)*]
            ordering
            concurrent_senders
            fan_out
            own_messages
            unheard_topics
            interest
            wildcards
            overlapping_filters
            changes_under_traffic
            thousand_filters
            directed_both_ways
            foreign_locators
            all_sizes
            over_limit_is_refused
            oversize_from_a_peer
            back_pressure
            cancelled_receive
            sink
            peer_events
            newcomers
            retained
            retained_wildcards
            prompt_departures
            restarted_peer
            interrupted_link
            acknowledgements
            refused_message
            close_flushes
            closed_is_closed
            dropped_without_close
            bad_addresses
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_check_list {
    ([] $($name:ident)+) => {
        vec![$($crate::transport::conformance::Check {
            name: stringify!($name),
            run: |harness| Box::pin($crate::transport::conformance::$name(harness)),
        }),+]
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __transport_check_tests {
    ([$harness:tt] $($name:ident)+) => {
        $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let harness = $harness;
                if let Err(failure) = $crate::transport::conformance::$name(&harness).await {
                    panic!("{failure}");
                }
            }
        )+
    };
}
