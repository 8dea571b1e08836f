//! The address of a session, opaque to everything but its own transport.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::text::{redacted, serde_as_text};

/// The longest locator, in bytes.
pub const MAX_LOCATOR_LEN: usize = 255;

/// Where a session is reached: `memory:a`, `zmq+tcp://10.0.0.1:5556`, `mqtt:node-7`.
///
/// The part before the first colon is the scheme; what follows it is the transport's own affair, so that records
/// about peers do not depend on the transport.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator(Arc<str>);

serde_as_text!(Locator, "a locator");

impl Locator {
    /// Checks and takes a locator.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidAddress`] if there is no scheme, nothing after it, a control character or white space,
    /// credentials (`//USER:PASSWORD@`, which are not repeated), or more than [`MAX_LOCATOR_LEN`] bytes.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        match check(text) {
            Ok(()) => Ok(Self(text.into())),
            Err(reason) => {
                let address = redacted(text).chars().take(80).collect();
                Err(ErrorKind::InvalidAddress { address, reason: reason.into() }.into())
            }
        }
    }

    /// The locator as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scheme, without its colon.
    pub fn scheme(&self) -> &str {
        self.0.split_once(':').map_or("", |(scheme, _)| scheme)
    }

    /// What follows the scheme `scheme` (given with its colon, e.g. `"memory:"`).
    ///
    /// # Errors
    /// [`ErrorKind::ForeignLocator`] if the locator has another scheme.
    pub fn expect_scheme(&self, scheme: &'static str) -> Result<&str> {
        self.0
            .strip_prefix(scheme)
            .ok_or_else(|| ErrorKind::ForeignLocator { locator: self.0.to_string(), expected: scheme }.into())
    }
}

fn check(text: &str) -> Result<(), &'static str> {
    let (scheme, rest) =
        text.split_once(':').ok_or("it has no scheme: write for instance zmq+tcp://127.0.0.1:5556")?;
    if text.len() > MAX_LOCATOR_LEN {
        Err("it is longer than 255 bytes")
    } else if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
        Err("its scheme is not made of letters, digits, '+', '-' and '.'")
    } else if rest.is_empty() {
        Err("nothing follows its scheme")
    } else if rest.starts_with("//") && rest.contains('@') {
        // A locator is told to peers and logged.
        Err("credentials do not belong into a locator: leave what stands before the '@' out")
    } else if has_blanks(text) {
        Err("it holds white space or a control character")
    } else {
        Ok(())
    }
}

fn has_blanks(text: &str) -> bool {
    if text.is_ascii() {
        return text.bytes().any(|byte| byte <= b' ' || byte == 0x7F);
    }
    text.chars().any(|c| c.is_control() || c.is_whitespace())
}

impl FromStr for Locator {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl TryFrom<String> for Locator {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::new(text)
    }
}

impl From<Locator> for String {
    fn from(locator: Locator) -> Self {
        locator.0.as_ref().to_owned()
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}
