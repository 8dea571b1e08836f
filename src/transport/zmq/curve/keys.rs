//! A session's key pair, and the half of it that others know.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, ErrorKind, Result};
use crate::transport::zmtp::{KeyPair, PublicKey};

/// The public half of a [`CurveKeys`]: what others have to know. Its text is 40 characters of
/// [Z85](https://rfc.zeromq.org/spec/32/), as libzmq and pyzmq write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CurvePublicKey(pub(in crate::transport) PublicKey);

impl fmt::Display for CurvePublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CurvePublicKey {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidArgument`], which says what is wrong. The text is not repeated: it may
    /// be a secret key that was given by mistake.
    fn from_str(text: &str) -> Result<Self> {
        text.parse().map(Self).map_err(|reason| invalid("CURVE public key", reason))
    }
}

/// A session's key pair of CURVE (X25519). The secret is wiped when the pair is dropped, and no
/// `Debug` prints it.
///
/// [`write`](Self::write) and [`read`](Self::read) keep it in a file.
#[derive(Clone)]
pub struct CurveKeys(pub(in crate::transport) KeyPair);

impl CurveKeys {
    /// A new pair, from the system's random numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`] if the system gives none.
    pub fn generate() -> Result<Self> {
        KeyPair::generate().map(Self).map_err(|error| {
            let (transport, reason) = ("zmq+tcp", error.to_string());
            let kind = ErrorKind::Transport { transport, operation: "generating a key", reason };
            Error::with_source(kind, error)
        })
    }

    /// The pair of a secret key in Z85, 40 characters.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`], which says what is wrong and does not repeat the text.
    pub fn from_secret(secret: &str) -> Result<Self> {
        let pair = KeyPair::from_secret_text(secret);
        pair.map(Self).map_err(|reason| invalid("CURVE secret key", reason))
    }

    /// The public half.
    pub fn public(&self) -> CurvePublicKey {
        CurvePublicKey(self.0.public())
    }
}

impl fmt::Debug for CurveKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurveKeys").field("public", &self.0.public()).finish_non_exhaustive()
    }
}

/// A key that is none; the text of it is never told.
fn invalid(what: &'static str, reason: String) -> Error {
    ErrorKind::InvalidArgument { what, value: "(not shown)".to_owned(), reason }.into()
}
