//! Looking names up: not on libzmq's thread, on which every connection would stand still meanwhile, nor on the runtime's,
//! whose end would wait.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "zmq")]
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use super::address::Address;

/// How long a look-up is waited for.
pub(in crate::transport) const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);
/// After the first address of a name each further one is tried after this, unless an earlier one has answered.
#[cfg(feature = "zmq")]
const STAGGER: Duration = Duration::from_millis(250);
/// So many addresses of a name are tried.
#[cfg(feature = "zmq")]
const MAX_TRIED: usize = 8;
/// How many look-ups may be under way: of peers that were attached, and of names that strangers gave. Each has a thread,
/// which the system may keep for longer than anybody waits.
const OWN_LOOKUPS: usize = 8;
const STRANGERS_LOOKUPS: usize = 2;

/// The right to look names up.
#[derive(Debug, Clone)]
pub(in crate::transport) struct Lookups {
    own: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            own: Arc::new(Semaphore::new(OWN_LOOKUPS)),
            strangers: Arc::new(Semaphore::new(STRANGERS_LOOKUPS)),
        }
    }
}

impl Lookups {
    /// Where `address` is reached: of several numbers that its name has, the first that accepts a connection. `Err` says
    /// why not, for now.
    #[cfg(feature = "zmq")]
    pub(in crate::transport) async fn find(
        &self,
        address: &Address,
        wanted: bool,
    ) -> Result<SocketAddr, String> {
        let found = self.all(address, wanted).await?;
        match found[..] {
            [only] => Ok(only),
            _ => Ok(first_that_answers(&found).await.unwrap_or(found[0])),
        }
    }

    /// All numbers that the name of `address` has, one at least. `Err` says why there is none, for now.
    pub(in crate::transport) async fn all(
        &self,
        address: &Address,
        wanted: bool,
    ) -> Result<Vec<SocketAddr>, String> {
        let permits = if wanted { &self.own } else { &self.strangers };
        match timeout(LOOKUP_PATIENCE, permits.clone().acquire_owned()).await {
            Ok(Ok(permit)) => look_up(address, Some(permit)).await,
            _ => Err(format!("its host name {} waits behind other look-ups", address.host)),
        }
    }
}

/// The numbers of a host name, those of IPv4 first; one at least.
pub(in crate::transport) async fn look_up(
    address: &Address,
    permit: Option<OwnedSemaphorePermit>,
) -> Result<Vec<SocketAddr>, String> {
    let host = address.host.clone();
    let (name, port) = (host.trim_matches(['[', ']']).to_owned(), address.port);
    let (answer, answered) = oneshot::channel::<io::Result<Vec<SocketAddr>>>();
    let thread = std::thread::Builder::new().name("ringbus-lookup".into()).spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        // Given back when the system has answered, not when nobody waits any more.
        drop(permit);
        drop(answer.send(found));
    });
    if let Err(error) = thread {
        return Err(format!("no thread to look its host name {host} up in: {error}"));
    }
    let mut found = match timeout(LOOKUP_PATIENCE, answered).await {
        Ok(Ok(Ok(found))) => found,
        Ok(Ok(Err(error))) => return Err(format!("its host name {host} is unknown for now ({error})")),
        _ => return Err(format!("its host name {host} was not resolved within {LOOKUP_PATIENCE:?}")),
    };
    found.sort_by_key(SocketAddr::is_ipv6);
    match found.is_empty() {
        true => Err(format!("its host name {host} has no address")),
        false => Ok(found),
    }
}

/// Tries all of a name's addresses, each a little later than the one before.
#[cfg(feature = "zmq")]
async fn first_that_answers(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let attempts = addresses.iter().take(MAX_TRIED).zip(0..).map(|(&address, place)| {
        Box::pin(async move {
            tokio::time::sleep(STAGGER * place).await;
            TcpStream::connect(address).await.map(|_| address)
        })
    });
    let first = futures::future::select_ok(attempts);
    timeout(LOOKUP_PATIENCE, first).await.ok()?.ok().map(|(address, _)| address)
}

#[cfg(all(test, feature = "zmq"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_address_that_answers_is_chosen() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        // Nobody listens there: the number was free a moment ago, and is on another address.
        let shut = SocketAddr::from(([127, 0, 0, 77], open.port()));
        assert_eq!(first_that_answers(&[shut, open]).await, Some(open));
        assert_eq!(first_that_answers(&[shut]).await, None);
    }

    #[tokio::test]
    async fn a_name_that_is_unknown_is_told_apart_from_a_wrong_one() {
        let lookups = Lookups::default();
        let unknown = Address::parse("tcp://no-such-host.invalid:5").unwrap();
        let reason = lookups.find(&unknown, true).await.unwrap_err();
        assert!(reason.contains("no-such-host.invalid"), "{reason}");
        let number = Address::parse("tcp://127.0.0.1:5").unwrap();
        assert_eq!(lookups.find(&number, false).await, Ok(SocketAddr::from(([127, 0, 0, 1], 5))));
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_names_do_not_hold_up_others() {
        let lookups = Lookups::default();
        let hanging: Vec<_> =
            (0..STRANGERS_LOOKUPS).map(|_| lookups.strangers.try_acquire().unwrap()).collect();
        let number = Address::parse("tcp://127.0.0.1:5").unwrap();
        assert!(lookups.find(&number, false).await.is_err());
        assert!(lookups.own.try_acquire().is_ok());
        drop(hanging);
    }
}
