//! Where a broker is, and what a session may be called.

use std::fmt;

use rumqttc::Login;

use crate::error::{ErrorKind, Result};
use crate::text::redacted;
use crate::transport::Locator;

/// The scheme of MQTT locators, with its colon.
pub(super) const SCHEME: &str = "mqtt:";

/// The longest client id. It has to fit into a locator, a topic and one length byte.
pub(super) const MAX_CLIENT_ID_LEN: usize = 128;

const DEFAULT_PORT: u16 = 1883;

/// A broker's host and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BrokerAddress {
    /// A name, an IPv4 address, or an IPv6 address without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl BrokerAddress {
    /// Reads `mqtt://[USER[:PASSWORD]@]HOST[:PORT]`, or the same with `tcp://`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidAddress`], in which nothing of what stands before the `@` is repeated.
    pub(super) fn parse(url: &str) -> Result<(Self, Option<Login>)> {
        parse(url).map_err(|reason| {
            let address = redacted(url).chars().take(80).collect();
            ErrorKind::InvalidAddress { address, reason: reason.into() }.into()
        })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "mqtt://[{host}]:{port}")
        } else {
            write!(f, "mqtt://{host}:{port}")
        }
    }
}

fn parse(url: &str) -> Result<(BrokerAddress, Option<Login>), &'static str> {
    const SCHEMES: &str = "write mqtt://HOST:PORT or tcp://HOST:PORT, for instance mqtt://127.0.0.1:1883";
    let (scheme, rest) = url.split_once("://").ok_or(SCHEMES)?;
    match scheme {
        "mqtt" | "tcp" => {}
        "mqtts" | "ssl" | "tls" => {
            return Err(
                "TLS is not supported yet: write mqtt://HOST:PORT, over a tunnel where that is needed",
            );
        }
        "ws" | "wss" => return Err("WebSockets are not supported: write mqtt://HOST:PORT"),
        _ => return Err(SCHEMES),
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // The last one: a password that was written without percent-encoding may hold others.
    let (login, authority) = match rest.rsplit_once('@') {
        Some((user_info, authority)) => (Some(login(user_info)?), authority),
        None => (None, rest),
    };
    if authority.contains(['/', '?', '#']) {
        return Err("nothing may follow the port");
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("the bracket of its IPv6 address is not closed")?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').ok_or(SCHEMES)?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() || host.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it names no host");
    }
    let port = match port {
        None => DEFAULT_PORT,
        Some(text) => match text.parse() {
            Ok(port) if port != 0 => port,
            _ => return Err("its port is not a number from 1 to 65535"),
        },
    };
    Ok((BrokerAddress { host: host.to_owned(), port }, login))
}

/// What stands before the `@`: percent-encoded, the password behind the first colon.
fn login(user_info: &str) -> Result<Login, &'static str> {
    if user_info.contains(['/', '?', '#', '@']) {
        return Err("percent-encode '/', '?', '#' and '@' in its user and password: %2F, %3F, %23, %40");
    }
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    if user.is_empty() {
        return Err("a user belongs before the '@'");
    }
    Ok(Login::new(percent_decoded(user)?, percent_decoded(password)?))
}

fn percent_decoded(text: &str) -> Result<String, &'static str> {
    const BROKEN: &str = "its user or password is not percent-encoded: two hexadecimal digits follow each '%', write %25 for it";
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let mut digit =
                    || bytes.next().and_then(|digit| char::from(digit).to_digit(16)).ok_or(BROKEN);
                (digit()? * 16 + digit()?) as u8
            }
            byte => byte,
        };
        decoded.push(byte);
    }
    String::from_utf8(decoded).map_err(|_| "its user or password is not UTF-8 behind the percent-encoding")
}

/// Whether a client id can stand in a locator and as one level of a topic.
pub(super) fn is_client_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= MAX_CLIENT_ID_LEN
        && id.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'+' | b'#'))
}

/// The locator of the session with this client id.
pub(super) fn locator(client_id: &str) -> Result<Locator> {
    if !is_client_id(client_id) {
        return Err(ErrorKind::InvalidArgument {
            what: "MQTT client id",
            value: client_id.chars().take(80).collect(),
            reason: "use 1 to 128 visible ASCII characters other than '/', '+' and '#'".into(),
        }
        .into());
    }
    Locator::new(format!("{SCHEME}{client_id}"))
}

/// The client id in a locator of this transport.
pub(super) fn client_id(locator: &Locator) -> Result<&str> {
    let id = locator.expect_scheme(SCHEME)?;
    if is_client_id(id) {
        return Ok(id);
    }
    Err(ErrorKind::InvalidAddress {
        address: redacted(locator.as_str()).into_owned(),
        reason: "after mqtt: belongs a client id without '/', '+' and '#'".into(),
    }
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_ports() {
        let read = |url| BrokerAddress::parse(url).map(|(a, _)| (a.host, a.port)).unwrap();
        assert_eq!(read("mqtt://127.0.0.1:1884"), ("127.0.0.1".into(), 1884));
        assert_eq!(read("tcp://broker.example/"), ("broker.example".into(), 1883));
        assert_eq!(read("mqtt://[::1]:1"), ("::1".into(), 1));
        assert_eq!(read("mqtt://[::1]"), ("::1".into(), 1883));
    }

    #[test]
    fn refuses_what_it_cannot_reach() {
        for url in
            ["127.0.0.1:1883", "mqtts://h", "http://h:1", "mqtt://", "mqtt://h:0", "mqtt://h:x", "mqtt://u@"]
        {
            let error = BrokerAddress::parse(url).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidAddress { .. }), "{url}: {error}");
        }
    }

    #[test]
    fn credentials_are_percent_decoded() {
        let read = |url| BrokerAddress::parse(url).unwrap();
        let (address, login) = read("mqtt://dev:s%40cr%2fet%25@broker:1884/");
        assert_eq!((address.host.as_str(), address.port), ("broker", 1884));
        assert_eq!(login, Some(Login::new("dev", "s@cr/et%")));
        assert_eq!(read("mqtt://d%C3%A9v:a:b@[::1]").1, Some(Login::new("d\u{e9}v", "a:b")));
        assert_eq!(read("tcp://dev@h").1, Some(Login::new("dev", "")));
        assert_eq!(read("mqtt://h").1, None);
    }

    #[test]
    fn no_refusal_repeats_a_secret() {
        for url in [
            "mqtt://dev:s3cret@",
            "mqtt://dev:s3cret@h:0",
            "mqtt://dev:s3c@s3cret@h",
            "mqtt://dev:s3c/s3cret@h",
            "mqtt://dev:s3cret%@h",
            "mqtt://dev:s3cret%ff@h",
            "mqtt://:s3cret@h",
            "mqtts://dev:s3cret@h",
            "http://dev:s3cret@h",
            "dev:s3cret@h",
        ] {
            let error = BrokerAddress::parse(url).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("s3c") && !shown.contains("dev"), "{shown}");
        }
        let tls = BrokerAddress::parse("mqtts://h").unwrap_err().to_string();
        assert!(tls.contains("TLS is not supported yet"), "{tls}");
    }

    #[test]
    fn client_ids_are_one_topic_level() {
        for id in ["", "a/b", "a+", "#", "a b", "ä"] {
            assert!(locator(id).is_err(), "{id:?}");
        }
        assert_eq!(client_id(&locator("node-7").unwrap()).unwrap(), "node-7");
        assert!(locator(&"x".repeat(MAX_CLIENT_ID_LEN)).is_ok());
        assert!(locator(&"x".repeat(MAX_CLIENT_ID_LEN + 1)).is_err());
    }

    #[test]
    fn foreign_and_broken_locators_are_told_apart() {
        let foreign = client_id(&Locator::new("memory:a").unwrap()).unwrap_err();
        assert!(matches!(foreign.kind(), ErrorKind::ForeignLocator { .. }));
        let broken = client_id(&Locator::new("mqtt:a/b").unwrap()).unwrap_err();
        assert!(matches!(broken.kind(), ErrorKind::InvalidAddress { .. }));
    }
}
