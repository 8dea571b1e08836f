//! Why an offer and a request do not fit.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Policy, bounded};

/// The longest value, in bytes, that a decoded [`PolicyMismatch`] may carry; each that [`check`](super::check) writes
/// is shorter.
const MAX_VALUE_LEN: usize = 128;

/// The most entries a decoded [`Mismatch`] may carry: room for policies that later versions match.
const MAX_ENTRIES: usize = 32;

/// One policy on which an offer falls short of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PolicyMismatch {
    /// The policy.
    pub policy: Policy,
    /// The offered value, as it reads in messages.
    #[serde(deserialize_with = "bounded::string::<_, MAX_VALUE_LEN>")]
    pub offered: String,
    /// The requested value, as it reads in messages.
    #[serde(deserialize_with = "bounded::string::<_, MAX_VALUE_LEN>")]
    pub requested: String,
}

impl fmt::Display for PolicyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: offered {}, requested {}", self.policy, self.offered, self.requested)
    }
}

/// Every policy on which an offer falls short of a request, in the order of [`Policy::MATCHED`]. One that
/// [`check`](super::check) returns is never empty.
///
/// It displays as one line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mismatch(#[serde(deserialize_with = "bounded::seq::<_, _, MAX_ENTRIES>")] pub Vec<PolicyMismatch>);

impl Mismatch {
    /// The policies that stand against the match.
    pub fn policies(&self) -> impl Iterator<Item = Policy> + '_ {
        self.0.iter().map(|entry| entry.policy)
    }

    /// The entry of one policy; `None` if that policy fits.
    pub fn get(&self, policy: Policy) -> Option<&PolicyMismatch> {
        self.0.iter().find(|entry| entry.policy == policy)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{entry}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mismatch {}
