//! The keys of CURVE and the accounts of PLAIN.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use dryoc::classic::crypto_core::crypto_scalarmult_base;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::error::HandshakeError;
use super::z85;

/// Who a side is: what others may know. Its text is 40 characters of Z85.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::transport) struct PublicKey(pub(super) [u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&z85::encode(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = String;

    /// # Errors
    /// What is wrong with the text.
    fn from_str(text: &str) -> Result<Self, String> {
        z85::decode(text).map(|key| Self(*key))
    }
}

/// A pair of a secret and its public key. The secret is wiped when the pair is let go of, and is
/// printed by [`secret_text`](Self::secret_text) alone.
#[derive(Clone)]
pub(in crate::transport) struct KeyPair {
    public: PublicKey,
    secret: SecretKey,
}

/// A secret key of X25519.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct SecretKey(pub(super) [u8; 32]);

impl KeyPair {
    /// A new pair, from the system's random numbers.
    ///
    /// # Errors
    /// [`HandshakeError::Entropy`] if the system gives none.
    pub(in crate::transport) fn generate() -> Result<Self, HandshakeError> {
        random().map(|secret| Self::from_secret(SecretKey(secret)))
    }

    /// The pair of a secret key in Z85.
    ///
    /// # Errors
    /// What is wrong with the text, which is not repeated.
    pub(in crate::transport) fn from_secret_text(text: &str) -> Result<Self, String> {
        z85::decode(text).map(|secret| Self::from_secret(SecretKey(*secret)))
    }

    /// The secret key in Z85, to be kept where nobody else reads it.
    pub(in crate::transport) fn secret_text(&self) -> Zeroizing<String> {
        z85::encode(&self.secret.0)
    }

    /// The public key.
    pub(in crate::transport) const fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) const fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// This secret, with a public key that is not its own.
    #[cfg(test)]
    pub(super) fn claiming(self, public: PublicKey) -> Self {
        Self { public, ..self }
    }

    pub(super) fn from_secret(secret: SecretKey) -> Self {
        let mut public = [0; 32];
        crypto_scalarmult_base(&mut public, &secret.0);
        Self { public: PublicKey(public), secret }
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Which clients a CURVE server lets in.
#[derive(Debug, Clone)]
pub(in crate::transport) enum AllowedClients {
    /// Each that knows the server's public key: encryption, and no authentication.
    Any,
    /// Those of these public keys.
    Only(HashSet<PublicKey>),
}

impl AllowedClients {
    pub(super) fn allow(&self, client: &PublicKey) -> bool {
        match self {
            Self::Any => true,
            Self::Only(keys) => keys.contains(client),
        }
    }
}

/// A user and a password of PLAIN, at most 255 bytes each. The password is wiped when it is let go
/// of, and is never printed.
#[derive(Clone)]
pub(in crate::transport) struct Account {
    user: String,
    password: Zeroizing<String>,
}

impl Account {
    /// # Errors
    /// Which of the two is too long.
    pub(in crate::transport) fn new(user: String, password: String) -> Result<Self, String> {
        let password = Zeroizing::new(password);
        for (what, len) in [("user", user.len()), ("password", password.len())] {
            if len > usize::from(u8::MAX) {
                return Err(format!("a {what} of {len} bytes; PLAIN carries 255"));
            }
        }
        Ok(Self { user, password })
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// Whether these are its user and password. How long it takes tells the lengths alone.
    pub(super) fn is(&self, user: &[u8], password: &[u8]) -> bool {
        let same = |ours: &str, theirs: &[u8]| {
            let differ = ours.bytes().zip(theirs).fold(0, |differ, (a, b)| differ | (a ^ b));
            ours.len() == theirs.len() && std::hint::black_box(differ) == 0
        };
        same(&self.user, user) & same(&self.password, password)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Random bytes of the system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], HandshakeError> {
    use rand::TryRngCore;
    let mut bytes = [0; N];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|_| HandshakeError::Entropy)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pair that pyzmq's and libzmq's tests use.
    const SECRET: &str = "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6";
    const PUBLIC: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";

    #[test]
    fn a_secret_key_has_the_public_key_of_libzmq() {
        let pair = KeyPair::from_secret_text(SECRET).unwrap();
        assert_eq!(pair.public().to_string(), PUBLIC);
        assert_eq!(*pair.secret_text(), SECRET);
        assert_eq!(PUBLIC.parse(), Ok(pair.public()));
        assert_ne!(KeyPair::generate().unwrap().public(), KeyPair::generate().unwrap().public());
    }

    #[test]
    fn no_secret_is_printed() {
        let pair = KeyPair::from_secret_text(SECRET).unwrap();
        let account = Account::new("user".to_owned(), "pass-word".to_owned()).unwrap();
        let printed = format!("{pair:?} {pair:#?} {account:?} {account:#?}");
        assert!(printed.contains(PUBLIC) && printed.contains("user"), "{printed}");
        for secret in [SECRET, "pass-word", &format!("{:?}", &pair.secret().0[..4])] {
            assert!(!printed.contains(secret), "{printed}");
        }
        let wrong = KeyPair::from_secret_text(&SECRET[1..]).unwrap_err();
        assert!(!wrong.contains(&SECRET[1..9]), "{wrong}");
    }

    #[test]
    fn an_account_is_its_user_and_its_password() {
        let account = Account::new("user".to_owned(), "secret".to_owned()).unwrap();
        assert!(account.is(b"user", b"secret"));
        for (user, password) in
            [("user", "secreT"), ("user", "secre"), ("user", "secrets"), ("use", "secret"), ("", "")]
        {
            assert!(!account.is(user.as_bytes(), password.as_bytes()), "{user} {password}");
        }
        let long = "x".repeat(256);
        assert!(Account::new(long.clone(), String::new()).is_err());
        let error = Account::new(String::new(), long).unwrap_err();
        assert_eq!(error, "a password of 256 bytes; PLAIN carries 255");
    }
}
