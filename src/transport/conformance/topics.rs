//! Under construction.

use super::{Failure, Harness};

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn concurrent_senders<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "concurrent_senders", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn fan_out<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "fan_out", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn interest<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "interest", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn ordering<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "ordering", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn own_messages<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "own_messages", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn unheard_topics<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "unheard_topics", what: "this check is being built".into() })
}
