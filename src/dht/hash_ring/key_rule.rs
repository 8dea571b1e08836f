//! Where keys lie on the circle: by which hash, and of which part of a key.

use std::fmt;
use std::str::FromStr;

use super::mode::Wide;
use super::{hash, md5, mode};
use crate::error::{Error, ErrorKind};

/// How the keys of a ring are placed on the circle of 2^32 positions: which part of a key is hashed, and by what.
///
/// As text it is the hash's name, and the two characters of the tag behind a colon if there is one:
///
/// ```
/// use ringbus::dht::hash_ring::{KeyHash, KeyRule};
///
/// let rule: KeyRule = "fnv1a_64:{}".parse().unwrap();
/// assert_eq!(rule, KeyRule::new(KeyHash::Fnv1a64).with_tag(b'{', b'}'));
/// assert_eq!(rule.position(b"user:{17}:name"), KeyRule::new(KeyHash::Fnv1a64).position(b"17"));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct KeyRule {
    hash: KeyHash,
    tag: Option<[u8; 2]>,
}

/// A hash of keys. All but the last two have the names that twemproxy's `hash` has for them, and its results, to the bit: its 64-bit hashes are cut to their lower halves, and bytes from 128 up are negative where it reads C's `char`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyHash {
    /// The first little-endian word of the MD5 digest: `md5`.
    #[default]
    Md5,
    /// Jenkins's one-at-a-time hash, which is also libmemcached's default: `one_at_a_time`.
    OneAtATime,
    /// `crc16`.
    Crc16,
    /// 15 bits of CRC-32: `crc32`.
    Crc32,
    /// The whole of CRC-32, which is also nginx's: `crc32a`.
    Crc32a,
    /// `fnv1_64`.
    Fnv1_64,
    /// twemproxy's default: `fnv1a_64`.
    Fnv1a64,
    /// `fnv1_32`.
    Fnv1_32,
    /// `fnv1a_32`.
    Fnv1a32,
    /// Hsieh's SuperFastHash: `hsieh`.
    Hsieh,
    /// MurmurHash2: `murmur`.
    Murmur,
    /// Jenkins's lookup3: `jenkins`.
    Jenkins,
    /// HAProxy's default, the hash of sdbm and an avalanche of Jenkins's: `sdbm_avalanche`.
    SdbmAvalanche,
    /// Envoy's: `xx_hash_64`. Of its 64 bits a [position](KeyRule::position) has the upper half; a ring in
    /// [`Mode::Envoy`](super::Mode::Envoy) tells keys apart by all of them.
    XxHash64,
}

impl KeyHash {
    /// All hashes.
    pub const ALL: [Self; 14] = [
        Self::Md5,
        Self::OneAtATime,
        Self::Crc16,
        Self::Crc32,
        Self::Crc32a,
        Self::Fnv1_64,
        Self::Fnv1a64,
        Self::Fnv1_32,
        Self::Fnv1a32,
        Self::Hsieh,
        Self::Murmur,
        Self::Jenkins,
        Self::SdbmAvalanche,
        Self::XxHash64,
    ];

    /// Its name, as in `fnv1a_64`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::OneAtATime => "one_at_a_time",
            Self::Crc16 => "crc16",
            Self::Crc32 => "crc32",
            Self::Crc32a => "crc32a",
            Self::Fnv1_64 => "fnv1_64",
            Self::Fnv1a64 => "fnv1a_64",
            Self::Fnv1_32 => "fnv1_32",
            Self::Fnv1a32 => "fnv1a_32",
            Self::Hsieh => "hsieh",
            Self::Murmur => "murmur",
            Self::Jenkins => "jenkins",
            Self::SdbmAvalanche => "sdbm_avalanche",
            Self::XxHash64 => "xx_hash_64",
        }
    }

    fn of(self, bytes: &[u8]) -> u32 {
        match self {
            Self::Md5 => md5::position(bytes),
            Self::OneAtATime => hash::one_at_a_time(bytes),
            Self::Crc16 => hash::crc16(bytes),
            Self::Crc32 => hash::crc32(bytes),
            Self::Crc32a => hash::crc32a(bytes),
            Self::Fnv1_64 => hash::fnv1_64(bytes),
            Self::Fnv1a64 => hash::fnv1a_64(bytes),
            Self::Fnv1_32 => hash::fnv1_32(bytes),
            Self::Fnv1a32 => hash::fnv1a_32(bytes),
            Self::Hsieh => hash::hsieh(bytes),
            Self::Murmur => hash::murmur(bytes),
            Self::Jenkins => hash::jenkins(bytes),
            Self::SdbmAvalanche => mode::full_hash(hash::sdbm(bytes)),
            Self::XxHash64 => (hash::xx64(bytes) >> 32) as u32,
        }
    }
}

impl KeyRule {
    /// Hashes whole keys.
    pub const fn new(hash: KeyHash) -> Self {
        Self { hash, tag: None }
    }

    /// Hashes of a key what stands between the first `open` and the first `close` after it, as twemproxy's `hash_tag`
    /// does; the whole key if it has not both, or nothing between them.
    pub const fn with_tag(self, open: u8, close: u8) -> Self {
        Self { tag: Some([open, close]), ..self }
    }

    /// The hash.
    pub const fn hash(self) -> KeyHash {
        self.hash
    }

    /// The bytes around what is hashed.
    pub const fn tag(self) -> Option<[u8; 2]> {
        self.tag
    }

    /// Where a key lies.
    #[inline]
    pub fn position(self, key: &[u8]) -> u32 {
        if self.is_plain() { md5::position(key) } else { self.hash.of(self.hashed(key)) }
    }

    /// Whether it is the MD5 of whole keys, which batches are digested by.
    #[inline]
    pub(super) const fn is_plain(self) -> bool {
        matches!(self.hash, KeyHash::Md5) && self.tag.is_none()
    }

    /// Where a key lies in a ring whose points are wide.
    pub(super) fn position_in(self, wide: &Wide, key: &[u8]) -> u32 {
        match self.hash {
            KeyHash::XxHash64 => wide.position(hash::xx64(self.hashed(key))),
            _ => self.position(key),
        }
    }

    fn hashed(self, key: &[u8]) -> &[u8] {
        let Some([open, close]) = self.tag else { return key };
        let find = |bytes: &[u8], wanted| bytes.iter().position(|&byte| byte == wanted);
        let tagged = find(key, open).and_then(|start| {
            let rest = &key[start + 1..];
            find(rest, close).map(|end| &rest[..end])
        });
        tagged.filter(|tagged| !tagged.is_empty()).unwrap_or(key)
    }
}

impl fmt::Display for KeyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tag {
            None => f.pad(self.hash.name()),
            Some(tag) => f.pad(&format!("{}:{}", self.hash.name(), tag.escape_ascii())),
        }
    }
}

impl FromStr for KeyRule {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for anything but the name of a hash, and a tag that is not two ASCII characters.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |reason: String| {
            let value = text.chars().take(32).collect();
            Error::from(ErrorKind::InvalidArgument { what: "hash of keys", value, reason })
        };
        let (name, tag) = text.split_once(':').map_or((text, None), |(name, tag)| (name, Some(tag)));
        let hash = KeyHash::ALL.into_iter().find(|hash| hash.name() == name).ok_or_else(|| {
            let names = KeyHash::ALL.map(KeyHash::name).join(", ");
            wrong(format!("use one of {names}; a tag goes behind a colon, as in fnv1a_64:{{}}"))
        })?;
        match tag.map(str::as_bytes) {
            None => Ok(Self::new(hash)),
            Some(&[open, close]) if open.is_ascii() && close.is_ascii() => {
                Ok(Self::new(hash).with_tag(open, close))
            }
            Some(_) => Err(wrong("a tag is two characters of ASCII, as in fnv1a_64:{}".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_back() {
        for hash in KeyHash::ALL {
            for rule in [KeyRule::new(hash), KeyRule::new(hash).with_tag(b'$', b'$')] {
                assert_eq!(rule.to_string().parse::<KeyRule>().unwrap(), rule);
            }
        }
        for (text, expected) in [
            ("sha1", "use one of md5, one_at_a_time"),
            ("md5:", "two characters"),
            ("md5:{}}", "two characters"),
            ("md5:é", "two characters"),
        ] {
            let error = text.parse::<KeyRule>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_tagged_is_hashed() {
        let rule = KeyRule::default().with_tag(b'{', b'}');
        for (key, hashed) in [
            ("a{b}c", "b"),
            ("{b}", "b"),
            ("a}{b}", "b"),
            ("a{b}{c}", "b"),
            ("a{{b}}", "{b"),
            ("a{}c{d}", "a{}c{d}"),
            ("a{bc", "a{bc"),
            ("abc", "abc"),
            ("", ""),
        ] {
            assert_eq!(rule.hashed(key.as_bytes()), hashed.as_bytes(), "{key}");
        }
        let both = KeyRule::default().with_tag(b'$', b'$');
        assert_eq!(both.hashed(b"a$b$c$"), b"b");
    }
}
