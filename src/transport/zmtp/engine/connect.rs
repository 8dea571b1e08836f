//! Connecting to a peer by all of the addresses that its name has.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::session::Session;
use super::stream::Stream;
use crate::transport::zmq::address::Address;
use crate::transport::zmq::ipc::IpcAddress;

/// How long one attempt at all addresses may take: a host that is gone would hold it for the system's two minutes.
const PATIENCE: Duration = Duration::from_secs(5);
/// After the first address each further one is tried after this, or as soon as one has failed (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// So many addresses of a name are tried.
const MAX_TRIED: usize = 8;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// What has to change first, in words for the user.
    Obstacle(String),
    /// Nobody answers, for now.
    Unanswered,
}

/// Connects. A name that strangers gave waits behind others of theirs, not behind `wanted` ones.
///
/// # Errors
/// [`Failure`].
pub(super) async fn connect(session: &Session, endpoint: &Endpoint, wanted: bool) -> Result<Stream, Failure> {
    match endpoint {
        Endpoint::Tcp(address) => by_tcp(session, address, wanted).await,
        Endpoint::Ipc(address) => by_ipc(address).await,
    }
}

#[cfg(unix)]
async fn by_ipc(address: &IpcAddress) -> Result<Stream, Failure> {
    match super::unix::connect(address).await {
        Ok(stream) => Ok(Stream::Unix(stream)),
        Err(error) if is_want_of_descriptors(&error) => Err(without_descriptors(&error)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let reason = format!("this user may not connect to {}", address.endpoint());
            Err(Failure::Obstacle(reason))
        }
        Err(_) => Err(Failure::Unanswered),
    }
}

#[cfg(not(unix))]
async fn by_ipc(_address: &IpcAddress) -> Result<Stream, Failure> {
    Err(Failure::Obstacle("this system has no Unix sockets".into()))
}

async fn by_tcp(session: &Session, address: &Address, wanted: bool) -> Result<Stream, Failure> {
    let addresses = match address.ip() {
        Some(ip) => vec![SocketAddr::new(ip.to_canonical(), address.port)],
        None => interleaved(session.lookups.all(address, wanted).await.map_err(Failure::Obstacle)?),
    };
    match timeout(PATIENCE, first(&addresses)).await {
        Ok(Ok(stream)) => Ok(Stream::Tcp(stream)),
        Ok(Err(error)) if is_want_of_descriptors(&error) => Err(without_descriptors(&error)),
        _ => Err(Failure::Unanswered),
    }
}

fn without_descriptors(error: &io::Error) -> Failure {
    let reason = format!("no file descriptor is left for it ({error}): raise the limit (ulimit -n)");
    Failure::Obstacle(reason)
}

/// Whether the process, or the system, has too many descriptors open.
pub(super) fn is_want_of_descriptors(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}

/// Both families in turns, so that neither has to be waited for.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv4);
    let most = v4.len().max(v6.len());
    (0..most).flat_map(|place| [v4.get(place), v6.get(place)]).flatten().copied().take(MAX_TRIED).collect()
}

/// The first address that accepts a connection.
async fn first(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut next = addresses.iter();
    let mut attempts = FuturesUnordered::new();
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        let more = next.next().map(|&address| attempts.push(TcpStream::connect(address))).is_some();
        if !more && attempts.is_empty() {
            return Err(last);
        }
        // Until there is an answer, or it is the next one's turn.
        let answer = match more {
            true => timeout(STAGGER, attempts.next()).await.ok().flatten(),
            false => attempts.next().await,
        };
        match answer {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => last = error,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let of = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let found = of(&["10.0.0.1:5", "10.0.0.2:5", "10.0.0.3:5", "[::1]:5"]);
        assert_eq!(interleaved(found), of(&["10.0.0.1:5", "[::1]:5", "10.0.0.2:5", "10.0.0.3:5"]));
    }

    #[tokio::test]
    async fn the_address_that_answers_is_taken() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        // Nobody listens there: the number is that of another address.
        let shut = SocketAddr::from(([127, 0, 0, 77], open.port()));
        let stream = first(&[shut, shut, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        assert!(first(&[shut, shut]).await.is_err());
    }
}
