//! ZeroMQ.

/// To be built.
#[derive(Debug)]
pub struct ZmqTransport;
