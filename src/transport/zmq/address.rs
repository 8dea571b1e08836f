//! TCP endpoints: what a user writes, what a locator says and what libzmq wants to hear.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::time::Instant;

use super::lookup::{LOOKUP_PATIENCE, look_up};
use crate::error::{Error, ErrorKind, Result};
use crate::transport::Locator;

/// What every locator of this transport begins with.
pub(in crate::transport) const SCHEME: &str = "zmq+tcp:";

/// Between two look-ups of a name that is waited for.
const LOOKUP_PAUSE: Duration = Duration::from_millis(250);

/// A host and a port; port 0 asks for a free one. An IPv6 host has its brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::transport) struct Address {
    pub(in crate::transport) host: String,
    pub(in crate::transport) port: u16,
}

impl Address {
    /// Parses `tcp://HOST:PORT` and `zmq+tcp://HOST:PORT`; the port may be `*`, which means 0.
    pub(in crate::transport) fn parse(text: &str) -> Result<Self> {
        let rest = text
            .strip_prefix("zmq+tcp://")
            .or_else(|| text.strip_prefix("tcp://"))
            .ok_or_else(|| invalid(text, "write tcp://HOST:PORT, for instance tcp://127.0.0.1:5556"))?;
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| invalid(text, "its port is missing"))?;
        check_host(host).map_err(|reason| invalid(text, reason))?;
        let port = match port {
            "*" => 0,
            port => port.parse().map_err(|_| invalid(text, "its port is not a number of 0 to 65535"))?,
        };
        Ok(Self { host: host.to_owned(), port })
    }

    /// The address of a peer: one that can be connected to.
    ///
    /// A locator of another scheme is foreign; one without a port, or of no host in particular, is invalid.
    pub(in crate::transport) fn of_peer(locator: &Locator) -> Result<Self> {
        if super::ipc::is_ipc(locator) {
            let reason = "the libzmq engine connects by tcp alone: choose the native engine";
            return Err(invalid(locator.as_str(), reason));
        }
        locator.expect_scheme(SCHEME)?;
        let address = Self::parse(locator.as_str())?;
        if address.port == 0 {
            return Err(invalid(locator.as_str(), "its port is 0: name the port that the peer listens on"));
        }
        if address.is_unspecified() {
            return Err(invalid(locator.as_str(), "it is the address of every host: name one"));
        }
        Ok(address)
    }

    /// Whether the host stands for all interfaces of a machine, so that nobody can connect to it.
    pub(in crate::transport) fn is_unspecified(&self) -> bool {
        self.host == "*" || self.ip().is_some_and(|ip| ip.is_unspecified())
    }

    /// Whether the host is written as an IPv6 address.
    pub(in crate::transport) fn is_ipv6(&self) -> bool {
        self.host.starts_with('[')
    }

    /// The host, if it is written as a number.
    pub(in crate::transport) fn ip(&self) -> Option<IpAddr> {
        match self.host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            None => self.host.parse().ok(),
        }
    }

    /// The same port on another host.
    pub(in crate::transport) fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port }
    }

    /// As libzmq writes it.
    pub(in crate::transport) fn endpoint(&self) -> String {
        format!("tcp://{}:{}", self.host, self.port)
    }

    /// As peers write it.
    pub(in crate::transport) fn locator(&self) -> Result<Locator> {
        Locator::new(format!("zmq+tcp://{}:{}", self.host, self.port))
    }

    /// An address of this machine's with a number for a name: libzmq binds to numbers only.
    pub(in crate::transport) async fn resolve(self) -> Result<Self> {
        if self.ip().is_some() || self.host == "*" {
            return Ok(self);
        }
        match look_up(&self, None).await {
            Ok(found) => Ok(Self::of_number(found[0])),
            Err(reason) => Err(invalid(&self.endpoint(), &reason)),
        }
    }

    /// The address of a peer with a number for a name. A name that is unknown is looked up again for a while: it may be
    /// a machine that has just been started.
    pub(in crate::transport) async fn resolve_patiently(self) -> Result<Self> {
        if self.ip().is_some() {
            return Ok(self);
        }
        let begun = Instant::now();
        loop {
            match look_up(&self, None).await {
                Ok(found) => return Ok(Self::of_number(found[0])),
                Err(reason) if begun.elapsed() >= LOOKUP_PATIENCE => {
                    return Err(ErrorKind::Unreachable { address: self.endpoint(), reason }.into());
                }
                Err(_) => tokio::time::sleep(LOOKUP_PAUSE).await,
            }
        }
    }

    /// The address whose host is that number.
    pub(in crate::transport) fn of_number(number: SocketAddr) -> Self {
        Self { host: host_of(number.ip()), port: number.port() }
    }

    /// A free port on the local address from which the system would reach `server`. Nothing is sent.
    pub(in crate::transport) fn towards(server: &Self) -> Result<Self> {
        let text = server.endpoint();
        let unreachable = |e: std::io::Error| {
            let reason = format!("no route to it: {e}");
            Error::with_source(ErrorKind::Unreachable { address: text.clone(), reason }, e)
        };
        let any = if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let probe = UdpSocket::bind(any).map_err(unreachable)?;
        // Connecting a datagram socket only asks the routing table.
        probe.connect((server.host.trim_matches(['[', ']']), server.port)).map_err(unreachable)?;
        let local = probe.local_addr().map_err(unreachable)?;
        Ok(Self { host: host_of(local.ip()), port: 0 })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.endpoint())
    }
}

/// A host name or number as it stands in front of a port.
pub(in crate::transport) fn check_host(host: &str) -> Result<(), &'static str> {
    if let Some(rest) = host.strip_prefix('[') {
        let number = rest.strip_suffix(']').ok_or("its host has an opening bracket without a closing one")?;
        return number.parse::<Ipv6Addr>().map(drop).map_err(|_| "its host is not an IPv6 address");
    }
    if host == "*" {
        return Ok(());
    }
    if host.is_empty() {
        return Err("its host is missing");
    }
    if host.len() > 200 || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b)) {
        return Err("its host is not a name or number (an IPv6 address needs brackets)");
    }
    Ok(())
}

pub(in crate::transport) fn invalid(address: &str, reason: &str) -> Error {
    let address = address.chars().take(80).collect();
    ErrorKind::InvalidAddress { address, reason: reason.to_owned() }.into()
}

fn host_of(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_both_wildcards_parse() {
        let expected = Address { host: "127.0.0.1".into(), port: 5556 };
        assert_eq!(Address::parse("tcp://127.0.0.1:5556").unwrap(), expected);
        assert_eq!(Address::parse("zmq+tcp://127.0.0.1:5556").unwrap(), expected);
        assert_eq!(Address::parse("tcp://127.0.0.1:*").unwrap().port, 0);
        assert!(Address::parse("tcp://0.0.0.0:1").unwrap().is_unspecified());
        assert!(Address::parse("tcp://*:1").unwrap().is_unspecified());
        assert!(Address::parse("tcp://[::]:1").unwrap().is_unspecified());
        assert_eq!(Address::parse("tcp://[::1]:7").unwrap().endpoint(), "tcp://[::1]:7");
    }

    #[test]
    fn nonsense_is_named() {
        for bad in [
            "",
            "127.0.0.1:5556",
            "udp://127.0.0.1:5556",
            "tcp://127.0.0.1",
            "tcp://:5556",
            "tcp://a b:1",
            "tcp://h:65536",
            "tcp://h:-1",
            "tcp://[::1:5",
            "tcp://::1:5",
        ] {
            let error = Address::parse(bad).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::InvalidAddress { address, .. } if address == bad),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_peer_needs_a_host_and_a_port() {
        let of = |text: &str| Address::of_peer(&Locator::new(text).unwrap());
        assert!(of("zmq+tcp://10.0.0.1:5556").is_ok());
        for bad in ["zmq+tcp://0.0.0.0:5", "zmq+tcp://*:5", "zmq+tcp://[::1:5"] {
            assert!(matches!(of(bad).unwrap_err().kind(), ErrorKind::InvalidAddress { .. }), "{bad}");
        }
        assert!(matches!(
            of("mqtt:node-7").unwrap_err().kind(),
            ErrorKind::ForeignLocator { expected: "zmq+tcp:", .. }
        ));
    }

    #[test]
    fn the_way_to_loopback_begins_at_loopback() {
        let server = Address::parse("tcp://127.0.0.1:5556").unwrap();
        assert_eq!(Address::towards(&server).unwrap(), Address { host: "127.0.0.1".into(), port: 0 });
    }
}
