//! Frames that do not get through the broker, whatever is tried: they are given up, and readers go on behind them.

use std::collections::VecDeque;
use std::time::Duration;

use super::{ReaderProxy, WriterAction, WriterCore};
use crate::pubsub::control::{AckNack, Message};
use crate::time::Mono;
use crate::transport::Locator;

/// A frame that a reader has asked for so often, and for so long, does not get through.
const ASKED: u32 = 10;
const FOR: Duration = Duration::from_secs(5);

/// So many frames that do not get through are remembered, for readers that come later.
const REMEMBERED: usize = 64;

/// What a reader asks for again and again.
#[derive(Debug, Default)]
pub(super) struct Plea {
    /// The first sample that it misses.
    first: u64,
    /// How often it has asked for that.
    times: u32,
    since: Mono,
}

impl Plea {
    /// It asks. Whether it has done so in vain for long.
    fn is_in_vain(&mut self, now: Mono, first: u64) -> bool {
        if self.first != first {
            *self = Self { first, times: 0, since: now };
        }
        self.times += 1;
        self.times >= ASKED && now - self.since >= FOR
    }
}

/// Frames that were given up, each by the first sample's number and the one behind its last.
#[derive(Debug, Default)]
pub(super) struct GivenUp(VecDeque<(u64, u64)>);

impl GivenUp {
    fn add(&mut self, first: u64, end: u64) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((first, end));
    }

    /// Where a reader goes on that misses this sample and cannot have it.
    fn behind(&self, number: u64) -> Option<u64> {
        self.0.iter().find(|(first, end)| (*first..*end).contains(&number)).map(|(_, end)| *end)
    }
}

impl WriterCore {
    /// A message was refused; with the samples in it, if it was a frame of them.
    pub(in crate::pubsub) fn on_refused(&mut self, frame: Option<(u64, u64)>) {
        self.stats.refused += 1;
        if let Some((first, end)) = frame
            && self.given_up.behind(first).is_none()
        {
            self.given_up.add(first, end);
        }
    }

    /// What a reader misses and can have. Of what was given up it is told that there is none.
    pub(super) fn obtainable(&mut self, now: Mono, from: &Locator, acknack: &AckNack) -> Vec<(u64, u64)> {
        let mut missing = acknack.missing.clone();
        let Some((first, _)) = missing.first().copied() else { return missing };
        if self.given_up.behind(first).is_none() && self.is_in_vain(now, acknack, first) {
            let frame = self.history.range(first, first).next();
            if let Some((header, size)) = frame.map(|frame| (*frame.header(), frame.bytes().len())) {
                self.on_refused(Some((header.first, header.end())));
                self.actions.push_back(WriterAction::GiveUp { size });
            }
        }
        let Some(mut behind) = self.given_up.behind(first) else { return missing };
        while let Some(next) = self.given_up.behind(behind) {
            behind = next;
        }
        let mut heartbeat = self.heartbeat();
        heartbeat.first = heartbeat.first.max(behind.min(heartbeat.last + 1));
        let message = Message::Heartbeat(heartbeat);
        self.actions.push_back(WriterAction::Tell { to: from.clone(), message });
        missing.retain_mut(|(from, to)| {
            *from = (*from).max(behind);
            *from <= *to
        });
        missing
    }

    /// Only a broker takes a frame and does not pass it on. Elsewhere what is lost is lost by chance.
    fn is_in_vain(&mut self, now: Mono, acknack: &AckNack, first: u64) -> bool {
        let reader = self.readers.get_mut(&acknack.reader).filter(|_| self.config.brokered);
        reader.is_some_and(|ReaderProxy { plea, .. }| plea.is_in_vain(now, first))
    }
}
