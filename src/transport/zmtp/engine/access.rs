//! Which keys a session proves, and which it accepts from its peers.

use std::sync::{Arc, Mutex};

use ahash::HashMap;

use super::super::{AllowedClients, KeyPair, PublicKey, Security};
use crate::quiet::lock;
use crate::transport::Locator;
use crate::transport::zmq::curve::Curve;

/// What a session's connections prove and check in their handshakes.
#[derive(Debug)]
pub(super) struct Access(Option<Secured>);

/// That of a session with CURVE.
#[derive(Debug)]
struct Secured {
    curve: Curve,
    keys: KeyPair,
    clients: Arc<AllowedClients>,
    /// The keys that peers which have connected to us have proved, by the locator that they come
    /// as and the number of the connection. As many as there are such connections.
    proved: Mutex<HashMap<Locator, (u64, PublicKey)>>,
}

impl Access {
    /// That of a session with these keys; without any, each peer is believed.
    pub(super) fn new(curve: Option<Curve>) -> Self {
        Self(curve.map(|curve| Secured {
            keys: curve.keys().0.clone(),
            clients: Arc::new(AllowedClients::Only(curve.clients().iter().map(|key| key.0).collect())),
            proved: Mutex::default(),
            curve,
        }))
    }

    /// For the connections that are made to us.
    pub(super) fn answering(&self) -> Security {
        match &self.0 {
            None => Security::Null,
            Some(Secured { keys, clients, .. }) => {
                Security::CurveServer { keys: keys.clone(), allow: clients.clone() }
            }
        }
    }

    /// For our connections to a peer, which the session knows by this locator.
    pub(super) fn towards(&self, peer: &Locator) -> Security {
        match &self.0 {
            None => Security::Null,
            Some(secured) => {
                Security::CurveClient { server: secured.expected(peer), keys: secured.keys.clone() }
            }
        }
    }

    /// The key that a peer has to prove where we connect to it; `None` without CURVE.
    pub(super) fn expected(&self, peer: &Locator) -> Option<PublicKey> {
        self.0.as_ref().map(|secured| secured.expected(peer))
    }

    /// Whether a peer that has connected to us, and proved that key, may come as this locator. If
    /// so, that key is expected where we connect to it, until the connection is
    /// [left](Self::leave).
    pub(super) fn enter(&self, peer: &Locator, number: u64, key: Option<PublicKey>) -> bool {
        let Some(secured) = &self.0 else { return true };
        let Some(key) = key else { return false };
        if secured.fixed(peer).is_some_and(|fixed| fixed != key) {
            return false;
        }
        lock(&secured.proved).insert(peer.clone(), (number, key));
        true
    }

    /// A connection of a peer to us is over.
    pub(super) fn leave(&self, peer: &Locator, number: u64) {
        let Some(secured) = &self.0 else { return };
        let mut proved = lock(&secured.proved);
        if proved.get(peer).is_some_and(|(current, _)| *current == number) {
            proved.remove(peer);
        }
    }
}

impl Secured {
    /// The key that the user has given for the peer's address.
    fn fixed(&self, peer: &Locator) -> Option<PublicKey> {
        self.curve.expected_at(peer).map(|key| key.0)
    }

    /// What the user says, else what the peer has proved, else the key that all have.
    fn expected(&self, peer: &Locator) -> PublicKey {
        let proved = || lock(&self.proved).get(peer).map(|(_, key)| *key);
        self.fixed(peer).or_else(proved).unwrap_or_else(|| self.keys.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::zmq::curve::CurveKeys;

    #[test]
    fn a_key_is_expected_by_the_list_then_by_proof_then_the_own() {
        let [own, one, two] = [(); 3].map(|()| CurveKeys::generate().unwrap());
        let [named, other] =
            ["10.0.0.1:1", "10.0.0.2:2"].map(|address| Locator::new(format!("zmq+tcp://{address}")).unwrap());
        let curve = Curve::new(own.clone()).allow([two.public()]);
        let access = Access::new(Some(curve.allow_at(&named, one.public()).unwrap()));
        let key = |keys: &CurveKeys| Some(keys.public().0);
        assert_eq!([access.expected(&named), access.expected(&other)], [key(&one), key(&own)]);
        // A locator that belongs to a key is nobody else's, though the other key is let in.
        assert!(!access.enter(&named, 1, key(&two)) && !access.enter(&other, 1, None));
        assert!(access.enter(&named, 2, key(&one)) && access.enter(&other, 3, key(&two)));
        assert_eq!([access.expected(&named), access.expected(&other)], [key(&one), key(&two)]);
        // An old connection that ends late takes nothing from the one that stands.
        assert!(access.enter(&other, 4, key(&two)));
        access.leave(&other, 3);
        assert_eq!(access.expected(&other), key(&two));
        access.leave(&other, 4);
        assert_eq!(access.expected(&other), key(&own));
        let open = Access::new(None);
        assert!(open.enter(&named, 1, None) && open.expected(&named).is_none());
    }
}
