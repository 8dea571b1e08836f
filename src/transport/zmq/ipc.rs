//! Addresses of Unix sockets.

use super::address::invalid;
use crate::error::Result;
use crate::transport::Locator;
use crate::transport::locator::check_ipc;

/// The absolute path of a socket file, or an abstract name of Linux behind `@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::transport) struct IpcAddress(String);

impl IpcAddress {
    /// Reads `ipc://NAME` and `zmq+ipc://NAME`; `None` if the scheme is another.
    pub(in crate::transport) fn parse(text: &str) -> Option<Result<Self>> {
        let name = text.strip_prefix("zmq+").unwrap_or(text).strip_prefix("ipc://")?;
        Some(match check_ipc(name) {
            Ok(()) => Ok(Self(name.to_owned())),
            Err(reason) => Err(invalid(text, &reason)),
        })
    }

    /// The path or, behind `@`, the abstract name.
    #[cfg(feature = "zmtp")]
    pub(in crate::transport) fn name(&self) -> &str {
        &self.0
    }

    /// As libzmq writes it.
    pub(in crate::transport) fn endpoint(&self) -> String {
        format!("ipc://{}", self.0)
    }

    /// As peers write it.
    #[cfg(feature = "zmtp")]
    pub(in crate::transport) fn locator(&self) -> Result<Locator> {
        Locator::new(format!("zmq+ipc://{}", self.0))
    }

    /// An address that nothing else has, beside this one: whoever reaches this one can reach that one, too.
    pub(in crate::transport) fn beside(&self) -> Result<Self> {
        let name = format!("{}.{:08x}", self.0, rand::random::<u32>());
        check_ipc(&name).map_err(|reason| invalid(&format!("ipc://{name}"), &reason))?;
        Ok(Self(name))
    }
}

/// Whether a locator is that of a Unix socket.
pub(in crate::transport) fn is_ipc(locator: &Locator) -> bool {
    locator.scheme() == "zmq+ipc"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn both_spellings_parse_and_other_schemes_are_not_its_own() {
        for name in ["/run/x.sock", "@feeds", "/run/user@1/x"] {
            let address = IpcAddress::parse(&format!("ipc://{name}")).unwrap().unwrap();
            assert_eq!(IpcAddress::parse(&format!("zmq+ipc://{name}")).unwrap().unwrap(), address);
            assert_eq!(address.endpoint(), format!("ipc://{name}"));
            let beside = address.beside().unwrap();
            assert!(beside.0.starts_with(name) && beside != address, "{beside:?}");
        }
        assert!(IpcAddress::parse("tcp://127.0.0.1:1").is_none());
    }

    #[test]
    fn nonsense_is_named() {
        let long = format!("ipc:///{}", "x".repeat(107));
        for (bad, right) in [
            ("ipc://", "ipc:///PATH"),
            ("ipc://relative.sock", "ipc:///PATH"),
            ("ipc://*", "ipc:///PATH"),
            ("ipc://@", "ipc:///PATH"),
            ("ipc:////two", "begins with two slashes"),
            ("ipc:///a b", "white space"),
            (long.as_str(), "at most 107 bytes"),
        ] {
            let error = IpcAddress::parse(bad).unwrap().unwrap_err();
            let ErrorKind::InvalidAddress { address, reason } = error.kind() else { panic!("{error}") };
            assert!(bad.starts_with(address) && reason.contains(right), "{bad}: {reason}");
        }
        assert!(IpcAddress::parse(&long[..long.len() - 1]).unwrap().is_ok());
    }
}
