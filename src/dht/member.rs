//! Who is on the ring: names and identities of nodes.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::text::serde_as_text;
use crate::transport::Locator;

/// The longest node name, in bytes.
pub const MAX_NODE_NAME_LEN: usize = 255;

/// The name of a ring node. Placement depends on the names of the members and on nothing else.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

serde_as_text!(NodeName, "a node's name");

impl NodeName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the name is empty, longer than [`MAX_NODE_NAME_LEN`] bytes, or holds a
    /// control character.
    pub fn new(name: impl AsRef<str>) -> Result<Self> {
        let name = name.as_ref();
        let reason = if name.is_empty() {
            "it is empty: give at least one character"
        } else if name.len() > MAX_NODE_NAME_LEN {
            "it is longer than 255 bytes"
        } else if name.chars().any(char::is_control) {
            "it holds a control character"
        } else {
            return Ok(Self(name.into()));
        };
        let value = name.chars().take(80).collect();
        Err(ErrorKind::InvalidArgument { what: "node name", value, reason: reason.into() }.into())
    }

    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for NodeName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for NodeName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// One incarnation of a ring node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its name: one live node holds it.
    pub name: NodeName,
    /// Where its session is reached.
    pub locator: Locator,
    /// Grows with every start of the node (the wall clock's milliseconds, for instance) and whenever it has to
    /// come back after others had given it up. A node whose clock went back takes one above the one that others
    /// remember it by.
    pub generation: u64,
}

impl Member {
    /// Whether `self` is the later incarnation of one name; of equal generations, the one with the greater locator is.
    pub(crate) fn is_later_than(&self, other: &Self) -> bool {
        (self.generation, &self.locator) > (other.generation, &other.locator)
    }
}

impl foca::Identity for Member {
    type Addr = NodeName;

    /// Never by foca: the membership does it, since it knows which generation others remember, and bounds how often.
    fn renew(&self) -> Option<Self> {
        None
    }

    fn addr(&self) -> NodeName {
        self.name.clone()
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.is_later_than(adversary)
    }
}
