//! The address of a session, opaque to everything but its own transport.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::text::{redacted, serde_as_text};

/// The longest locator, in bytes.
pub const MAX_LOCATOR_LEN: usize = 255;

/// The longest name of a Unix socket, in bytes: the system's, without a zero byte.
const MAX_IPC_LEN: usize = 107;

/// Where a session is reached: `memory:a`, `zmq+tcp://10.0.0.1:5556`, `zmq+ipc:///run/a.sock`, `mqtt:node-7`.
///
/// The part before the first colon is the scheme; what follows it is the transport's own affair, so that records
/// about peers do not depend on the transport. `tcp://HOST:PORT` is read as `zmq+tcp://HOST:PORT`,
/// and `ipc://NAME` as `zmq+ipc://NAME`, where the name is an absolute path or begins with `@`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locator(Arc<str>);

serde_as_text!(Locator, "a locator", told);

impl Locator {
    /// Checks and takes a locator.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidAddress`], which says what would be right, if there is no scheme (`127.0.0.1:5556`), one by which
    /// no session is reached (`http://..`), not `//HOST:PORT` after `zmq+tcp:`, neither a path nor `@NAME` of at most 107 bytes after
    /// `zmq+ipc://`, nothing after it, a control character or white space,
    /// credentials (`//USER:PASSWORD@`, which are not repeated), or more than [`MAX_LOCATOR_LEN`] bytes.
    pub fn new(text: impl AsRef<str>) -> Result<Self> {
        let text = text.as_ref();
        match check(text).and_then(|()| check_scheme(text)) {
            Ok(Scheme::Known) => Ok(Self(text.into())),
            Ok(Scheme::Zmq) => Ok(Self(format!("zmq+{text}").into())),
            Ok(Scheme::Ipc(name)) => Ok(Self(format!("zmq+ipc://{name}").into())),
            Err(reason) => {
                let shown = if is_ipc(text) { text.into() } else { redacted(text) };
                let address = shown.chars().take(80).collect();
                Err(ErrorKind::InvalidAddress { address, reason: reason.into_owned() }.into())
            }
        }
    }

    /// The locator as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As peers are told. Builds before `ipc://` refuse its two slashes, and with them the message that they are in; without
    /// them the locator is one of a transport that they do not have.
    fn told(&self) -> Cow<'_, str> {
        match self.0.strip_prefix("zmq+ipc://") {
            Some(name) => format!("zmq+ipc:{name}").into(),
            None => Cow::Borrowed(&self.0),
        }
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

type Reason = Cow<'static, str>;

/// How a locator is taken.
enum Scheme<'a> {
    /// As it was written.
    Known,
    /// As one of ZeroMQ's.
    Zmq,
    /// As a Unix socket of this name.
    Ipc(&'a str),
}

/// What stands before `//` in addresses of other things than sessions.
const FOREIGN: &[&str] = &[
    "http",
    "https",
    "ws",
    "wss",
    "ssl",
    "tls",
    "mqtts",
    "amqp",
    "amqps",
    "nats",
    "udp",
    "inproc",
    "pgm",
    "epgm",
    "zmq",
    "zmqtcp",
    "zmq+udp",
    "zmq+inproc",
    "zmq+ws",
    "zmq+tls",
];

/// Refuses what only looks like a locator: an address without scheme, or of another kind.
fn check_scheme(text: &str) -> Result<Scheme<'_>, Reason> {
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    match scheme {
        "zmq+tcp" => check_host_and_port(rest).map(|()| Scheme::Known),
        "tcp" => check_host_and_port(rest).map(|()| Scheme::Zmq),
        "zmq+ipc" | "ipc" => {
            let name = rest.strip_prefix("//").unwrap_or(rest);
            check_ipc(name).map(|()| Scheme::Ipc(name))
        }
        "mqtt" if rest.starts_with("//") => {
            Err("that is a broker's address, for MqttTransport::new: a session at a broker is mqtt:NAME".into())
        }
        scheme if rest.starts_with("//") && FOREIGN.contains(&scheme) => Err(format!(
            "no session is reached by {scheme}: write zmq+tcp://HOST:PORT, or mqtt:NAME for a session at a broker"
        )
        .into()),
        host if rest.parse::<u16>().is_ok()
            && (host == "localhost" || host.contains('.') || host.starts_with(|c: char| c.is_ascii_digit())) =>
        {
            Err(format!("it has no scheme: write zmq+tcp://{text}").into())
        }
        _ => Ok(Scheme::Known),
    }
}

fn check_host_and_port(rest: &str) -> Result<(), Reason> {
    let host_and_port = rest.strip_prefix("//").and_then(|rest| rest.rsplit_once(':'));
    match host_and_port.map(|(host, port)| (host, port.parse::<u16>())) {
        None | Some(("", _)) => {
            Err("write zmq+tcp://HOST:PORT, for instance zmq+tcp://127.0.0.1:5556".into())
        }
        Some((_, Ok(1..))) => Ok(()),
        Some((_, _)) => Err("its port is not a number of 1 to 65535".into()),
    }
}

/// Whether an address is that of a Unix socket.
fn is_ipc(text: &str) -> bool {
    text.strip_prefix("zmq+").unwrap_or(text).starts_with("ipc:")
}

/// Checks the name of a Unix socket.
pub(in crate::transport) fn check_ipc(name: &str) -> Result<(), Reason> {
    let is_named = name.len() > 1 && (name.starts_with('/') || name.starts_with('@'));
    let refused = if !is_named {
        "write ipc:///PATH with an absolute path, for instance ipc:///run/ringbus.sock, or ipc://@NAME"
    } else if name.starts_with("//") {
        "its path begins with two slashes"
    } else if has_blanks(name) {
        "it holds white space or a control character"
    } else if name.len() > MAX_IPC_LEN {
        return Err(format!("a Unix socket has a name of at most {MAX_IPC_LEN} bytes").into());
    } else {
        return Ok(());
    };
    Err(refused.into())
}

fn check(text: &str) -> Result<(), Reason> {
    let (scheme, rest) = match text.split_once(':') {
        // An IPv6 address.
        Some(("[", _)) => return Err(format!("it has no scheme: write zmq+tcp://{text}").into()),
        Some(parts) => parts,
        None => return Err("it has no scheme: write for instance zmq+tcp://127.0.0.1:5556".into()),
    };
    let refused = if text.len() > MAX_LOCATOR_LEN {
        Err("it is longer than 255 bytes")
    } else if scheme.is_empty() || !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
        Err("its scheme is not made of letters, digits, '+', '-' and '.'")
    } else if rest.is_empty() {
        Err("nothing follows its scheme")
    } else if rest.starts_with("//") && rest.contains('@') && !is_ipc(text) {
        // A locator is told to peers and logged.
        Err("credentials do not belong into a locator: leave what stands before the '@' out")
    } else if has_blanks(text) {
        Err("it holds white space or a control character")
    } else {
        Ok(())
    };
    refused.map_err(Reason::from)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_looks_like_a_locator_is_refused_with_what_would_be_right() {
        for (text, right) in [
            ("127.0.0.1:5556", "write zmq+tcp://127.0.0.1:5556"),
            ("localhost:5556", "write zmq+tcp://localhost:5556"),
            ("node.example:5556", "write zmq+tcp://node.example:5556"),
            ("[::1]:5556", "write zmq+tcp://[::1]:5556"),
            ("5556", "zmq+tcp://127.0.0.1:5556"),
            ("udp://127.0.0.1:5556", "no session is reached by udp: write zmq+tcp://HOST:PORT"),
            ("http://h", "no session is reached by http"),
            ("mqtts://h:8883", "no session is reached by mqtts"),
            ("mqtt://h:1883", "a session at a broker is mqtt:NAME"),
            ("zmq://h:1", "no session is reached by zmq"),
            ("zmq+tcp:h:1", "write zmq+tcp://HOST:PORT"),
            ("zmq+tcp://h", "write zmq+tcp://HOST:PORT"),
            ("zmq+tcp://:1", "write zmq+tcp://HOST:PORT"),
            ("tcp://h:0", "its port is not a number of 1 to 65535"),
            ("tcp://h:65536", "its port is not a number of 1 to 65535"),
        ] {
            let error = Locator::new(text).unwrap_err();
            let ErrorKind::InvalidAddress { address, reason } = error.kind() else { panic!("{error}") };
            assert!(address == text && reason.contains(right), "{text}: {reason}");
        }
    }

    #[test]
    fn a_unix_socket_is_told_as_builds_before_it_take_a_locator() {
        for (text, told) in [("ipc:///run/x", "zmq+ipc:/run/x"), ("zmq+ipc://@x", "zmq+ipc:@x")] {
            let locator = Locator::new(text).unwrap();
            let bytes = postcard::to_allocvec(&locator).unwrap();
            assert_eq!(&bytes[1..], told.as_bytes());
            assert_eq!(postcard::from_bytes::<Locator>(&bytes).unwrap(), locator);
        }
    }

    #[test]
    fn locators_of_every_transport_are_taken_and_tcp_is_one_of_zeromq() {
        for text in [
            "memory:a",
            "memory:1",
            "mqtt:node-7",
            "mqtt:5556",
            "mqtt:a.b:1",
            "zmq+tcp://10.0.0.1:5556",
            "zmq+tcp://[::1]:1",
            "carrier-pigeon:coop",
            "uds:/run/x",
            "uds:7",
            "quic://h:1",
        ] {
            assert_eq!(Locator::new(text).unwrap().as_str(), text);
        }
        for text in ["ipc:///run/x.sock", "zmq+ipc:///run/x.sock", "ipc://@name", "zmq+ipc:/run/x.sock"] {
            let locator = Locator::new(text).unwrap();
            assert!(locator.as_str().starts_with("zmq+ipc://") && locator.scheme() == "zmq+ipc", "{locator}");
        }
        let (written, meant) = (Locator::new("tcp://h:1").unwrap(), Locator::new("zmq+tcp://h:1").unwrap());
        assert_eq!((&written, written.scheme()), (&meant, "zmq+tcp"));
    }
}
