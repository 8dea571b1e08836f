//! placeholder

/// To be built.
#[derive(Debug)]
pub struct BoxTransport;
