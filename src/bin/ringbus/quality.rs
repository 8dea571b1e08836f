//! Quality of service as options.

use std::time::Duration;

use clap::ValueEnum;
use ringbus::qos::{
    DEFAULT_DEPTH, Durability, History, Liveliness, Offered, Overflow, Ownership, Reliability, Requested,
};

use crate::duration;

/// What both sides can say.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Quality of service")]
pub(crate) struct Common {
    /// Deliver every value, in order and once [default]
    #[arg(long, conflicts_with = "best_effort")]
    reliable: bool,

    /// Values may be lost; every loss is counted
    #[arg(long)]
    best_effort: bool,

    /// Keep the last N values of each topic [default: 1024, or all with --overflow]
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,

    /// Keep all values, up to 1048576: a subscriber that prints slowly makes publishers wait that keep all, too
    #[arg(long, conflicts_with = "keep_last")]
    keep_all: bool,

    /// Late joiners get the values that the publisher keeps; short for --durability transient-local
    #[arg(long, conflicts_with = "durability")]
    transient_local: bool,

    /// How long values outlive their publication; the last two are not supported yet
    #[arg(long, value_name = "LEVEL", value_enum)]
    durability: Option<Level>,

    /// A publisher that is silent for so long counts as gone (sub: match only publishers that state at most this)
    /// [default: ten seconds; sub: any]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    lease: Option<Duration>,

    /// What gives way when values find no room (sub: in the queue, pub: in the history or on a busy link)
    /// [default: wait]
    #[arg(long, value_name = "POLICY", value_enum)]
    overflow: Option<GivesWay>,
}

/// What gives way when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum GivesWay {
    /// Nothing: publishers wait
    Wait,
    /// The oldest values
    DropOldest,
    /// The newest values
    DropNewest,
    /// The subscriber that is too slow
    Disconnect,
}

/// DDS's durability levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Volatile,
    TransientLocal,
    Transient,
    Persistent,
}

/// What a publisher offers.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Quality of service")]
pub(crate) struct Offer {
    #[command(flatten)]
    common: Common,

    /// Only the strongest live publisher of a topic is heard: this one's strength
    #[arg(long, value_name = "STRENGTH", allow_negative_numbers = true)]
    exclusive: Option<i32>,
}

/// What a subscriber requests.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Quality of service")]
pub(crate) struct Request {
    #[command(flatten)]
    common: Common,

    /// Hear only the strongest live publisher of each topic (those that have --exclusive too)
    #[arg(long)]
    exclusive: bool,
}

impl Offer {
    /// The policies, checked.
    ///
    /// # Errors
    /// Policies that contradict each other or are not supported yet.
    pub(crate) fn offered(&self) -> ringbus::Result<Offered> {
        let offered = Offered {
            durability: self.common.durability(),
            reliability: self.common.reliability(),
            history: self.common.history(),
            liveliness: self.common.liveliness(),
            overflow: self.common.overflow(),
            ownership: ownership(self.exclusive.is_some()),
            strength: self.exclusive.unwrap_or(0),
            ..Offered::default()
        };
        offered.validate()?;
        offered.supported()?;
        Ok(offered)
    }

    /// Whether it makes sense to publish before anybody listens.
    pub(crate) fn is_for_late_joiners(&self) -> bool {
        self.common.durability() >= Durability::TransientLocal
    }
}

impl Request {
    /// The policies, checked.
    ///
    /// # Errors
    /// Policies that contradict each other or are not supported yet.
    pub(crate) fn requested(&self) -> ringbus::Result<Requested> {
        let requested = Requested {
            durability: self.common.durability(),
            reliability: self.common.reliability(),
            history: self.common.history(),
            liveliness: self.common.liveliness(),
            overflow: self.common.overflow(),
            ownership: ownership(self.exclusive),
            ..Requested::default()
        };
        requested.validate()?;
        requested.supported()?;
        Ok(requested)
    }
}

impl Common {
    fn durability(&self) -> Durability {
        match self.durability {
            None if self.transient_local => Durability::TransientLocal,
            None | Some(Level::Volatile) => Durability::Volatile,
            Some(Level::TransientLocal) => Durability::TransientLocal,
            Some(Level::Transient) => Durability::Transient,
            Some(Level::Persistent) => Durability::Persistent,
        }
    }

    fn reliability(&self) -> Reliability {
        if self.best_effort { Reliability::BestEffort } else { Reliability::Reliable }
    }

    fn history(&self) -> History {
        match self.keep_last {
            Some(depth) => History::KeepLast(depth),
            // Who says what gives way at the limits wants these to decide, not a depth.
            None if self.keep_all || self.overflow.is_some() => History::KeepAll,
            None => History::KeepLast(DEFAULT_DEPTH),
        }
    }

    fn overflow(&self) -> Overflow {
        match self.overflow {
            None | Some(GivesWay::Wait) => Overflow::Wait,
            Some(GivesWay::DropOldest) => Overflow::DropOldest,
            Some(GivesWay::DropNewest) => Overflow::DropNewest,
            Some(GivesWay::Disconnect) => Overflow::Disconnect,
        }
    }

    fn liveliness(&self) -> Liveliness {
        self.lease.map_or_else(Liveliness::default, Liveliness::automatic)
    }
}

fn ownership(exclusive: bool) -> Ownership {
    if exclusive { Ownership::Exclusive } else { Ownership::Shared }
}
