//! Under construction.

use super::{Failure, Harness};

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn changes_under_traffic<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "changes_under_traffic", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn overlapping_filters<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "overlapping_filters", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn thousand_filters<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "thousand_filters", what: "this check is being built".into() })
}

/// Under construction.
///
/// # Errors
/// Always, until it is built.
pub async fn wildcards<H: Harness>(_harness: &H) -> Result<(), Failure> {
    Err(Failure { check: "wildcards", what: "this check is being built".into() })
}
