//! NaCl's boxes: X25519, XSalsa20 and Poly1305.

use std::fmt;

use bytes::{BufMut, BytesMut};
use dryoc::classic::crypto_box;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::TAG;
use crate::transport::zmtp::keys::{PublicKey, SecretKey};

/// 24 bytes that no two boxes of one key may share.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nonce([u8; 24]);

impl Nonce {
    /// A purpose, and a counter of one connection.
    #[inline]
    pub(super) fn counted(purpose: &[u8; 16], counter: u64) -> Self {
        let mut nonce = [0; 24];
        nonce[..16].copy_from_slice(purpose);
        nonce[16..].copy_from_slice(&counter.to_be_bytes());
        Self(nonce)
    }

    /// A purpose, and random bytes that go with the box.
    pub(super) fn random(purpose: &[u8; 8], random: &[u8; 16]) -> Self {
        let mut nonce = [0; 24];
        nonce[..8].copy_from_slice(purpose);
        nonce[8..].copy_from_slice(random);
        Self(nonce)
    }
}

/// A key that seals and opens boxes. It is wiped when it is let go of.
#[derive(Clone, ZeroizeOnDrop)]
pub(super) struct BoxKey([u8; 32]);

impl BoxKey {
    /// The key that the owners of these two have in common. `None` for a public key of low order,
    /// with which it would be one that all the world knows.
    pub(super) fn agreed(public: &PublicKey, secret: &SecretKey) -> Option<Self> {
        crypto_box::crypto_box_beforenm(&public.0, &secret.0).ok().map(Self)
    }

    /// A key that one side alone has.
    pub(super) const fn own(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// Appends a box of `plain`.
    pub(super) fn seal(&self, nonce: Nonce, plain: &[u8], output: &mut BytesMut) {
        let start = output.len();
        output.put_bytes(0, TAG);
        output.put_slice(plain);
        if let Some((tag, body)) = output[start..].split_first_chunk_mut() {
            self.seal_in_place(nonce, tag, body);
        }
    }

    /// Encrypts `body` and writes its tag.
    #[inline]
    pub(super) fn seal_in_place(&self, nonce: Nonce, tag: &mut [u8; TAG], body: &mut [u8]) {
        crypto_box::crypto_box_detached_afternm_inplace(body, tag, &nonce.0, &self.0);
    }

    /// What is in a box; `None` if it is not one of this key and nonce.
    pub(super) fn open(&self, nonce: Nonce, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (tag, body) = sealed.split_first_chunk()?;
        let mut plain = Zeroizing::new(body.to_vec());
        self.open_in_place(nonce, tag, &mut plain).then_some(plain)
    }

    /// Decrypts `body`, if the tag is right; otherwise leaves it as it is and says no.
    #[inline]
    pub(super) fn open_in_place(&self, nonce: Nonce, tag: &[u8; TAG], body: &mut [u8]) -> bool {
        crypto_box::crypto_box_open_detached_afternm_inplace(body, tag, &nonce.0, &self.0).is_ok()
    }
}

impl fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().as_chunks::<2>().0;
        digits.iter().map(|two| u8::from_str_radix(str::from_utf8(two).unwrap(), 16).unwrap()).collect()
    }

    fn key(text: &str) -> [u8; 32] {
        hex(text).try_into().unwrap()
    }

    /// The example of "Cryptography in NaCl" (Bernstein 2009), which libsodium's tests have, too:
    /// Alice's secret key, Bob's public key, a nonce, a text, and the box of it.
    #[test]
    fn the_box_of_nacl_is_met() {
        let secret = SecretKey(key("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a"));
        let public = PublicKey(key("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"));
        let agreed = BoxKey::agreed(&public, &secret).unwrap();
        assert_eq!(agreed.0, key("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389"));
        let nonce = Nonce(hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37").try_into().unwrap());
        let plain = hex("be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a\
             1ac728d45e6c61296cdc3c01233561f41db66cce314adb310e3be8250c46f06dceea3a7fa1348057\
             e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040\
             e082f937763848645e0705");
        let sealed = hex("f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4\
             476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738\
             b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de\
             56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5");
        let mut output = BytesMut::from(&b"before"[..]);
        agreed.seal(nonce, &plain, &mut output);
        assert_eq!(output[6..], sealed);
        assert_eq!(*agreed.open(nonce, &sealed).unwrap(), plain);
    }

    #[test]
    fn a_box_that_is_not_the_one_that_was_sealed_stays_shut() {
        let (key, nonce) = (BoxKey::own([7; 32]), Nonce::counted(b"CurveZMQMESSAGEC", 3));
        for len in [0, 1, 31, 32, 33, 63, 64, 65, 255, 256, 257, 1023, 4096, 65_537] {
            let plain: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
            let mut sealed = BytesMut::new();
            key.seal(nonce, &plain, &mut sealed);
            assert_eq!(*key.open(nonce, &sealed).unwrap(), plain, "{len}");
            assert!(key.open(Nonce::counted(b"CurveZMQMESSAGEC", 4), &sealed).is_none());
            assert!(key.open(Nonce::counted(b"CurveZMQMESSAGES", 3), &sealed).is_none());
            assert!(BoxKey::own([8; 32]).open(nonce, &sealed).is_none());
            for at in [0, TAG - 1, TAG, sealed.len() / 2, sealed.len() - 1] {
                if at < sealed.len() {
                    let mut damaged = sealed.clone();
                    damaged[at] ^= 1;
                    assert!(key.open(nonce, &damaged).is_none(), "{len} {at}");
                }
            }
            assert!(key.open(nonce, &sealed[..sealed.len() - 1]).is_none());
        }
        assert!(key.open(nonce, &[0; TAG - 1]).is_none());
    }

    #[test]
    fn a_public_key_of_low_order_agrees_on_nothing() {
        let mut one = [0; 32];
        for first in [0, 1] {
            one[0] = first;
            assert!(BoxKey::agreed(&PublicKey(one), &SecretKey([9; 32])).is_none());
        }
    }
}
