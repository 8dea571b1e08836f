//! The 64 bytes that each side sends first: signature, version, mechanism.

use super::error::{HandshakeError, printable};

/// Length of a greeting, in bytes.
pub(super) const LEN: usize = 64;
/// Bytes 10 and 11 are the version, 12 to 31 the mechanism, 32 is the server flag; zeros follow.
const MAJOR_AT: usize = 10;
const MINOR_AT: usize = 11;
const MECHANISM_AT: usize = 12;
const MECHANISM_LEN: usize = 20;
const SERVER_AT: usize = 32;
/// The newest version that this side speaks.
const MAJOR: u8 = 3;
const MINOR: u8 = 1;

/// Our greeting.
pub(super) fn encode(mechanism: &'static str, as_server: bool) -> [u8; LEN] {
    let mut greeting = [0; LEN];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[MAJOR_AT] = MAJOR;
    greeting[MINOR_AT] = MINOR;
    let name = mechanism.as_bytes();
    greeting[MECHANISM_AT..MECHANISM_AT + name.len()].copy_from_slice(name);
    greeting[SERVER_AT] = u8::from(as_server);
    greeting
}

/// Checks as much of the peer's greeting as has come, and gives the minor version when all of it
/// has: 0 or 1, whatever newer one the peer speaks.
///
/// A stranger is known by its first wrong byte, and is not waited for. The server flag is not
/// looked at: libzmq never sets it.
pub(super) fn decode(input: &[u8], mechanism: &'static str) -> Result<Option<u8>, HandshakeError> {
    for (at, is_right) in [(0, (|b| b == 0xff) as fn(u8) -> bool), (9, |b| b & 1 == 1)] {
        match input.get(at) {
            Some(&found) if !is_right(found) => return Err(HandshakeError::Signature { at, found }),
            _ => {}
        }
    }
    if let Some(&major) = input.get(MAJOR_AT)
        && major < MAJOR
    {
        return Err(HandshakeError::Version { major });
    }
    let Some(greeting) = input.first_chunk::<LEN>() else { return Ok(None) };
    let theirs = &greeting[MECHANISM_AT..MECHANISM_AT + MECHANISM_LEN];
    let end = theirs.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    if &theirs[..end] != mechanism.as_bytes() {
        return Err(HandshakeError::Mechanism { ours: mechanism, theirs: printable(&theirs[..end]) });
    }
    let is_newer = greeting[MAJOR_AT] > MAJOR;
    Ok(Some(if is_newer { MINOR } else { greeting[MINOR_AT].min(MINOR) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 23/ZMTP and 37/ZMTP, "The greeting": signature, version, mechanism, as-server, filler.
    fn golden(minor: u8, mechanism: &[u8], as_server: u8) -> Vec<u8> {
        let mut greeting = b"\xff\0\0\0\0\0\0\0\0\x7f\x03".to_vec();
        greeting.push(minor);
        greeting.extend_from_slice(mechanism);
        greeting.resize(32, 0);
        greeting.push(as_server);
        greeting.resize(64, 0);
        greeting
    }

    #[test]
    fn our_greeting_is_that_of_the_specification() {
        assert_eq!(encode("NULL", false).as_slice(), golden(1, b"NULL", 0));
        assert_eq!(encode("PLAIN", true).as_slice(), golden(1, b"PLAIN", 1));
        assert_eq!(encode("CURVE", true).as_slice(), golden(1, b"CURVE", 1));
    }

    #[test]
    fn versions_from_3_0_on_are_spoken_and_older_ones_named() {
        for (minor, spoken) in [(0, 0), (1, 1), (2, 1), (255, 1)] {
            assert_eq!(decode(&golden(minor, b"NULL", 0), "NULL"), Ok(Some(spoken)));
        }
        let mut newer = golden(0, b"NULL", 0);
        newer[MAJOR_AT] = 4;
        assert_eq!(decode(&newer, "NULL"), Ok(Some(1)));
        for major in 0..3 {
            // A peer of ZMTP 2.0 sends less than 64 bytes: its version has to be enough.
            let mut older = golden(0, b"NULL", 0);
            older[MAJOR_AT] = major;
            older.truncate(11);
            assert_eq!(decode(&older, "NULL"), Err(HandshakeError::Version { major }));
        }
    }

    #[test]
    fn a_stranger_is_known_by_its_first_wrong_byte() {
        assert_eq!(decode(b"G", "NULL"), Err(HandshakeError::Signature { at: 0, found: b'G' }));
        let unversioned = b"\xff\0\0\0\0\0\0\0\x01\0";
        assert_eq!(decode(unversioned, "NULL"), Err(HandshakeError::Signature { at: 9, found: 0 }));
        for short in 0..LEN {
            assert_eq!(decode(&golden(1, b"NULL", 0)[..short], "NULL"), Ok(None));
        }
    }

    #[test]
    fn another_mechanism_is_named_with_ours() {
        let theirs = |found: &[u8]| match decode(&golden(1, found, 0), "CURVE") {
            Err(HandshakeError::Mechanism { ours: "CURVE", theirs }) => theirs,
            other => panic!("{other:?}"),
        };
        assert_eq!(theirs(b"NULL"), "NULL");
        assert_eq!(theirs(b"CURVE\0x"), "CURVE?x");
        assert_eq!(theirs(b"CURVES"), "CURVES");
        assert_eq!(theirs(b""), "nothing");
    }
}
