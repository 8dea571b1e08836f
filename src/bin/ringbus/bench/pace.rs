//! How long a publisher goes on.

use std::time::Instant;

use super::order::Order;
use super::samples::Number;

/// Numbers samples until the time is over.
pub(super) struct Pace {
    first: Number,
    sent: u64,
    stride: u64,
    deadline: Instant,
}

impl Pace {
    /// Begins now.
    pub(super) fn begin(order: &Order, publisher: usize) -> Self {
        Self {
            first: Number::first_of(publisher),
            sent: 0,
            stride: order.payload.stride(),
            deadline: Instant::now() + order.warm_up + order.length,
        }
    }

    /// The next sample's number; `None` when the time is over.
    #[inline]
    pub(super) fn next(&mut self) -> Option<Number> {
        if self.sent.is_multiple_of(self.stride) && Instant::now() >= self.deadline {
            return None;
        }
        let number = self.first.plus(self.sent);
        self.sent += 1;
        Some(number)
    }

    /// The mark behind the last sample.
    pub(super) fn last(&self) -> Number {
        self.first.last()
    }

    pub(super) fn sent(&self) -> u64 {
        self.sent
    }
}
