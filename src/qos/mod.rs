//! Quality of service: what a publisher offers, what a subscriber requests, and whether the two fit.
//!
//! The policies and their defaults are those of the OMG Data Distribution Service 1.4, section 2.2.3.

mod check;
mod offered;
pub(crate) mod ownership;
mod policy;
mod requested;

pub use check::{Mismatch, PolicyMismatch, check};
pub use offered::Offered;
pub use policy::{
    Access, DestinationOrder, Durability, History, Liveliness, LivelinessKind, Ownership, Partition, Period,
    Presentation, Reliability, ResourceLimits,
};
pub use requested::Requested;
