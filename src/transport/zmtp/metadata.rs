//! The properties that READY and INITIATE carry.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest routing id, in bytes.
pub(in crate::transport) const MAX_IDENTITY: usize = 255;
/// The most properties of one peer.
const MAX_PROPERTIES: usize = 32;

const SOCKET_TYPE: &str = "Socket-Type";
const IDENTITY: &str = "Identity";

/// A peer's properties, in its order. They are copies: they hold no read buffer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::transport) struct Metadata {
    properties: Vec<(Bytes, Bytes)>,
}

impl Metadata {
    /// The first property of this name, letters compared without regard to case.
    pub(in crate::transport) fn get(&self, name: &str) -> Option<&Bytes> {
        let found = |(theirs, _): &&(Bytes, Bytes)| theirs.eq_ignore_ascii_case(name.as_bytes());
        self.properties.iter().find(found).map(|(_, value)| value)
    }

    /// Its Socket-Type; empty if it says none.
    pub(super) fn socket_type(&self) -> &[u8] {
        self.get(SOCKET_TYPE).map_or(&[], |value| value)
    }

    /// Its routing id; empty if it says none.
    pub(super) fn identity(&self) -> Bytes {
        self.get(IDENTITY).cloned().unwrap_or_default()
    }

    /// Reads a list of properties: a byte of length and a name, four bytes of length and a value.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(mut input: &[u8]) -> Result<Self, &'static str> {
        let mut properties = Vec::new();
        while let Some((len, rest)) = input.split_first() {
            let (name, rest) =
                rest.split_at_checked(usize::from(*len)).ok_or("a property's name is cut short")?;
            let (len, rest) = rest.split_first_chunk().ok_or("the length of a property is cut short")?;
            let len = usize::try_from(u32::from_be_bytes(*len)).unwrap_or(usize::MAX);
            let (value, rest) = rest.split_at_checked(len).ok_or("a property is cut short")?;
            if name.is_empty() {
                return Err("a property has no name");
            }
            if properties.len() == MAX_PROPERTIES {
                return Err("it has more than 32 properties");
            }
            if name.eq_ignore_ascii_case(IDENTITY.as_bytes()) && value.len() > MAX_IDENTITY {
                return Err("the identity is longer than 255 bytes");
            }
            properties.push((Bytes::copy_from_slice(name), Bytes::copy_from_slice(value)));
            input = rest;
        }
        Ok(Self { properties })
    }
}

/// What this side says of itself. What is over [`MAX_IDENTITY`] is cut.
pub(super) fn encode(socket_type: &str, identity: &[u8]) -> BytesMut {
    let mut output = BytesMut::with_capacity(64 + identity.len());
    put(SOCKET_TYPE, socket_type.as_bytes(), &mut output);
    put(IDENTITY, &identity[..identity.len().min(MAX_IDENTITY)], &mut output);
    output
}

fn put(name: &str, value: &[u8], output: &mut BytesMut) {
    output.put_u8(name.len() as u8);
    output.put_slice(name.as_bytes());
    output.put_u32(value.len() as u32);
    output.put_slice(value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What libzmq 4.3.5 sends as a DEALER with the routing id "me".
    const DEALER: &[u8] = b"\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x02me";

    #[test]
    fn properties_are_those_of_libzmq() {
        assert_eq!(encode("DEALER", b"me"), DEALER);
        let read = Metadata::decode(DEALER).unwrap();
        assert_eq!(read.socket_type(), b"DEALER");
        assert_eq!(read.identity(), "me");
        assert_eq!(read.get("IDENTITY"), Some(&Bytes::from_static(b"me")));
        assert_eq!(read.get("Resource"), None);
        assert_eq!(Metadata::decode(b"").unwrap().identity(), "");
    }

    #[test]
    fn what_is_cut_short_or_too_much_is_refused() {
        for short in 1..DEALER.len() {
            let is_whole = short == b"\x0bSocket-Type\0\0\0\x06DEALER".len();
            assert_eq!(Metadata::decode(&DEALER[..short]).is_ok(), is_whole, "{short}");
        }
        assert!(Metadata::decode(b"\0\0\0\0\0").is_err(), "without a name");
        assert!(Metadata::decode(b"\x01a\xff\xff\xff\xff").is_err());
        let most = b"\x01a\0\0\0\0".repeat(MAX_PROPERTIES);
        assert!(Metadata::decode(&most).is_ok());
        assert!(Metadata::decode(&[&most[..], b"\x01a\0\0\0\0"].concat()).is_err());
        assert!(Metadata::decode(&encode("SUB", &[b'i'; MAX_IDENTITY])).is_ok());
        let mut longer = BytesMut::new();
        put("identity", &[b'i'; MAX_IDENTITY + 1], &mut longer);
        assert!(Metadata::decode(&longer).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_make_no_more_than_they_are(input in any::<Vec<u8>>()) {
            if let Ok(read) = Metadata::decode(&input) {
                let held = read.properties.iter().map(|(name, value)| name.len() + value.len() + 5);
                prop_assert_eq!(held.sum::<usize>(), input.len());
            }
        }
    }
}
