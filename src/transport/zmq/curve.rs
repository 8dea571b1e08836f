//! CURVE: which keys a session proves, and which it accepts.

mod file;
mod keys;

use std::collections::{HashMap, HashSet};

use super::address::Address;
use super::ipc::IpcAddress;
use crate::error::Result;
use crate::transport::Locator;

pub use keys::{CurveKeys, CurvePublicKey};

/// Encryption and authentication of a session by [CURVE](https://rfc.zeromq.org/spec/26/), for
/// [`ZmqTransport::curve`](super::ZmqTransport::curve).
///
/// A session is client and server at once: it connects to its peers, and they connect to it. In
/// both directions it proves the one secret that it has, and a peer has to prove one that is
/// accepted:
///
/// - **One key for all**, the default: each session of a deployment is given the same
///   [`CurveKeys`], and accepts exactly the sessions that have them, at whatever address. Nothing
///   else has to be known, so peers that are found through a ring need no more.
/// - **A key of its own for each session**: [`allow`](Self::allow) names the keys that are let in
///   beside the session's own. A client has to know the key of the server that it connects to
///   before it says anything, so a session with another key that is connected *to* has to be
///   named with its address, by [`allow_at`](Self::allow_at). Only where such a peer has connected
///   to us first is the key known that it has proved; it is used for the way back.
///
/// A connection whose peer proves no accepted key ends in its handshake: nothing that it sends is
/// taken, and nothing is sent to it. A session with CURVE and one without do not understand each
/// other.
///
/// What a key does not bind is the name of its session: a peer that is let in may state any
/// locator, but for those that are given a key by `allow_at`, which it then has to have proved.
///
/// ```
/// use ringbus::transport::ZmqTransport;
/// use ringbus::transport::zmq::{Curve, CurveKeys, Engine};
///
/// # fn main() -> ringbus::Result<()> {
/// let (keys, client) = (CurveKeys::generate()?, CurveKeys::generate()?);
/// let transport = ZmqTransport::new("tcp://127.0.0.1:0")
///     .engine(Engine::Native)
///     .curve(Curve::new(keys).allow([client.public()]));
/// # drop(transport);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Curve {
    keys: CurveKeys,
    clients: HashSet<CurvePublicKey>,
    places: HashMap<Locator, CurvePublicKey>,
}

impl Curve {
    /// Accepts the sessions that have the same keys, and no other.
    pub fn new(keys: CurveKeys) -> Self {
        Self { clients: HashSet::from([keys.public()]), keys, places: HashMap::new() }
    }

    /// Lets peers in that prove one of these keys, too.
    pub fn allow(mut self, keys: impl IntoIterator<Item = CurvePublicKey>) -> Self {
        self.clients.extend(keys);
        self
    }

    /// Expects this key of the session at that address, and lets it in. The address is the one
    /// that is connected to: what is attached to, or what the peer tells a ring.
    ///
    /// # Errors
    /// [`ErrorKind::ForeignLocator`](crate::ErrorKind::ForeignLocator) and
    /// [`ErrorKind::InvalidAddress`](crate::ErrorKind::InvalidAddress) for an address that nothing
    /// can be connected to.
    pub fn allow_at(mut self, address: &Locator, key: CurvePublicKey) -> Result<Self> {
        self.places.insert(place(address)?, key);
        Ok(self.allow([key]))
    }

    /// The session's own keys.
    pub(in crate::transport) const fn keys(&self) -> &CurveKeys {
        &self.keys
    }

    /// All keys that are let in.
    pub(in crate::transport) const fn clients(&self) -> &HashSet<CurvePublicKey> {
        &self.clients
    }

    /// The key that [`allow_at`](Self::allow_at) was given for the session at that address.
    pub(in crate::transport) fn expected_at(&self, address: &Locator) -> Option<CurvePublicKey> {
        self.places.get(&place(address).ok()?).copied()
    }
}

impl From<CurveKeys> for Curve {
    fn from(keys: CurveKeys) -> Self {
        Self::new(keys)
    }
}

/// One spelling of an address for all of its spellings.
fn place(locator: &Locator) -> Result<Locator> {
    if let Some(address) = IpcAddress::parse(locator.as_str()) {
        return address?.locator();
    }
    let address = Address::of_peer(locator)?;
    let host = match address.ip().map(|ip| ip.to_canonical()) {
        Some(ip @ std::net::IpAddr::V6(_)) => format!("[{ip}]"),
        Some(ip) => ip.to_string(),
        None => address.host.to_ascii_lowercase(),
    };
    Address { host, ..address }.locator()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_keys_are_let_in_and_no_others_unless_named() {
        let [own, client, server] = [(); 3].map(|()| CurveKeys::generate().unwrap());
        let curve = Curve::new(own.clone());
        assert_eq!(*curve.clients(), HashSet::from([own.public()]));
        let curve = curve.allow([client.public()]);
        let at = Locator::new("zmq+tcp://[0:0:0:0:0:0:0:1]:5556").unwrap();
        let curve = curve.allow_at(&at, server.public()).unwrap();
        assert_eq!(*curve.clients(), HashSet::from([own, client, server.clone()].map(|k| k.public())));
        let expected = |text: &str| curve.expected_at(&Locator::new(text).unwrap());
        assert_eq!(expected("tcp://[::1]:5556"), Some(server.public()));
        assert_eq!(expected("tcp://[::1]:5557"), None);
        let socket = Locator::new("ipc:///run/a.sock").unwrap();
        let curve = curve.clone().allow_at(&socket, server.public()).unwrap();
        assert_eq!(curve.expected_at(&socket), Some(server.public()));
        let nowhere = Locator::new("zmq+tcp://0.0.0.0:5556").unwrap();
        assert!(curve.clone().allow_at(&nowhere, server.public()).is_err());
        assert!(curve.allow_at(&Locator::new("mqtt:a").unwrap(), server.public()).is_err());
    }
}
