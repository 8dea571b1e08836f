//! The matching rule.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Offered, Requested};

/// One policy on which an offer falls short of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyMismatch {
    /// The policy's name, as in the DDS specification, in kebab case.
    pub policy: String,
    /// The offered value.
    pub offered: String,
    /// The requested value.
    pub requested: String,
}

/// Every policy on which an offer falls short of a request; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mismatch(pub Vec<PolicyMismatch>);

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, PolicyMismatch { policy, offered, requested }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{policy}: offered {offered}, requested {requested}")?;
        }
        Ok(())
    }
}

/// Whether an offer satisfies a request; if not, every policy that stands against it.
///
/// # Errors
/// The [`Mismatch`] with both values of each policy.
pub fn check(offered: &Offered, requested: &Requested) -> Result<(), Mismatch> {
    let mut found = Vec::new();
    if offered.reliability < requested.reliability {
        found.push(PolicyMismatch {
            policy: "reliability".into(),
            offered: format!("{:?}", offered.reliability),
            requested: format!("{:?}", requested.reliability),
        });
    }
    if found.is_empty() { Ok(()) } else { Err(Mismatch(found)) }
}
