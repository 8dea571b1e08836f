//! From messages to what a session posts.

use super::message::Message;
use super::text;
use crate::error::Result;
use crate::topic::Topic;
use crate::transport::{Capabilities, Outbound};

/// More than what stands around a value in any message of the ring, in bytes.
const AROUND_A_VALUE: usize = 128;
/// And in one that is carried by another, where there is no broker.
const AROUND_WHAT_IS_CARRIED: usize = 128;

/// A message on its way out, acknowledged where the transport can.
pub(super) fn outbound(message: &Message) -> Result<Outbound> {
    let (topic, payload) = text::encode(message);
    Ok(Outbound::topic(Topic::new(topic)?, payload).reliable())
}

/// The longest value, of at most `limit` bytes, that fits into the transport's messages.
pub(super) fn longest_value(limit: usize, capabilities: &Capabilities) -> usize {
    let around = if capabilities.brokered { AROUND_A_VALUE } else { AROUND_A_VALUE + AROUND_WHAT_IS_CARRIED };
    limit.min(capabilities.max_payload.saturating_sub(around))
}
