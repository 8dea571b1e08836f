//! `ringbus place --like`: clients of memcached and proxies, and the modes that place keys as they do.

use ringbus::Mode;
use ringbus::dht::hash_ring::{KeyHash, KeyRule};

use super::table::table;

/// How a client places keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Like {
    pub(super) mode: Mode,
    /// If otherwise than the mode does.
    pub(super) keys: Option<KeyRule>,
    /// What `--like` prints beside the ring.
    pub(super) note: Option<&'static str>,
}

/// A client that places keys by a ring: its name and settings, the versions that were seen, and how.
type Client = (&'static str, &'static str, Mode, Option<KeyHash>, Option<&'static str>);

const BY_NAME: &str = "spymemcached hashes NAME/IP:PORT of a server given by name: list it so";
const UHASHRING: &str =
    "keys on a point, points on which two nodes meet, and 61, 122, ... equal nodes go otherwise there";
const EQUAL: &str = "for equal weights alone: with others that crate makes 160 points for each unit";
const NUMBERS: &str =
    "for 'hash-type consistent' alone; servers in the order of the file, NAME#ID of those with an id";
const DEFAULT_SIZES: &str = "for ADDRESS:PORT, the default sizes of the ring, and one hash policy";
const IPS: &str = "for servers given by address; see 'spymemcached by name' for others";

const CLIENTS: &[Client] = &[
    ("hash_ring", "1.3.1", Mode::HashRing, None, None),
    ("PyPI hashring", "1.5.1", Mode::HashRing, None, None),
    ("npm hashring compatibility hash_ring", "3.2.0", Mode::HashRing, None, None),
    ("libketama", "0.1.1", Mode::Ketama, None, None),
    ("PyPI ketama", "0.1.1", Mode::Ketama, None, None),
    ("uhashring ketama", "2.5", Mode::Ketama, None, Some(UHASHRING)),
    ("crate ketama", "0.0.2", Mode::Ketama, None, Some(EQUAL)),
    ("spymemcached", "2.12.3", Mode::Ketama, None, Some(IPS)),
    ("spymemcached by name", "2.12.3", Mode::Ketama, None, Some(BY_NAME)),
    ("libmemcached ketama_weighted", "1.0.16, 1.1.4", Mode::LibmemcachedWeighted, None, None),
    ("pylibmc ketama_weighted", "1.6.3", Mode::LibmemcachedWeighted, None, None),
    ("PHP memcached libketama_compatible", "3.2.0", Mode::LibmemcachedWeighted, None, None),
    ("spymemcached libmemcached", "2.12.3", Mode::LibmemcachedWeighted, None, None),
    ("libmemcached ketama", "1.0.16, 1.1.4", Mode::Libmemcached, None, None),
    ("pylibmc ketama", "1.6.3", Mode::Libmemcached, None, None),
    ("pylibmc distribution consistent", "1.6.3", Mode::Libmemcached, None, None),
    ("PHP memcached distribution_consistent", "3.2.0", Mode::Libmemcached, None, None),
    ("twemproxy", "0.5.0", Mode::Twemproxy, Some(KeyHash::Fnv1a64), None),
    ("twemproxy md5", "0.5.0", Mode::Twemproxy, None, None),
    ("npm hashring", "3.2.0", Mode::NpmHashring, None, None),
    ("npm memcached", "2.2.2", Mode::NpmMemcached, None, None),
    ("nginx", "1.22.1", Mode::Nginx, None, None),
    ("Cache::Memcached::Fast ketama_points 160", "0.28", Mode::Nginx, None, None),
    ("pingora-ketama", "0.9.1", Mode::Nginx, None, None),
    ("HAProxy", "2.6.12", Mode::Haproxy, None, Some(NUMBERS)),
    ("Envoy ring_hash", "1.40.0", Mode::Envoy, None, Some(DEFAULT_SIZES)),
];

/// Clients whose placement no mode has, and why.
const OTHERS: &[(&str, &str)] = &[
    (
        "libmemcached",
        "by default it takes a key's hash modulo the number of servers; see 'libmemcached ketama'",
    ),
    ("pylibmc", "by default it takes a key's hash modulo the number of servers; see 'pylibmc ketama'"),
    ("PHP memcached", "by default it takes a key's hash modulo the number of servers"),
    ("memjs", "it takes a key's hash modulo the number of servers"),
    ("Cache::Memcached::Fast", "without ketama_points it takes a key's hash modulo the number of buckets"),
    ("pymemcache", "it places by rendezvous hashing"),
    ("uhashring", "its default is a ring of its own; see 'uhashring ketama'"),
    ("tooz", "it has a ring of its own"),
    ("dalli", "it has a ring of its own"),
    ("npm ketama", "it makes 50 points a server by SHA-1"),
    ("npm consistent-hashing", "it has a ring of its own"),
    ("npm consistent-hash", "its points are random: no two of its rings place keys alike"),
    ("envoy maglev", "it has a table of its own, and no ring"),
    ("jump hash", "it numbers the nodes, and has no ring"),
];

/// What a client's name and settings on the command line mean, as in `pylibmc ketama`, with or without a version.
pub(super) fn parse(text: &str) -> Result<Like, String> {
    let (asked, version) = words(text);
    let known = |name: &str| words(name).0 == asked;
    if let Some(&(name, versions, mode, keys, note)) = CLIENTS.iter().find(|client| known(client.0)) {
        if version.as_ref().is_some_and(|version| !versions.split(", ").any(|seen| seen == version)) {
            return Err(format!(
                "seen of {name} was {versions} alone: leave the version out if yours places keys as that does"
            ));
        }
        return Ok(Like { mode, keys: keys.map(KeyRule::new), note });
    }
    if let Some(&(_, why)) = OTHERS.iter().find(|other| known(other.0)) {
        return Err(format!("no mode places keys as this does: {why}"));
    }
    // twemproxy with any of its hashes, by their names.
    if let Some(hash) = KeyHash::ALL.into_iter().find(|hash| known(&format!("twemproxy {}", hash.name()))) {
        return Ok(Like { mode: Mode::Twemproxy, keys: Some(KeyRule::new(hash)), note: None });
    }
    let alike = CLIENTS.iter().map(|client| client.0).filter(|name| words(name).0[0] == asked_first(&asked));
    let alike = alike.map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    Err(match alike.as_str() {
        "" => "no such client is known: ringbus place --clients lists those that are".into(),
        alike => format!("no such client is known; there are {alike}"),
    })
}

fn asked_first(asked: &[String]) -> &str {
    asked.first().map_or("", String::as_str)
}

/// The words of a client's name, and its version if there is one. `nutcracker` is what twemproxy's program is called.
fn words(text: &str) -> (Vec<String>, Option<String>) {
    let text = text.to_lowercase().replace("nutcracker", "twemproxy");
    let is_version =
        |word: &&str| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit());
    let version = text.split_whitespace().find(is_version).map(str::to_owned);
    let named = text.split_whitespace().filter(|word| !is_version(word));
    let parts = named.flat_map(|word| word.split(|letter: char| !letter.is_ascii_alphanumeric()));
    (parts.filter(|word| !word.is_empty()).map(str::to_owned).collect(), version)
}

/// The table of clients, and the list of those that no mode is like.
pub(super) fn list() -> String {
    let mut table = table(&["--like", "versions seen", "--mode", "--hash", "note"]);
    for &(name, versions, mode, keys, note) in CLIENTS {
        let hash = keys.map_or(mode.key_rule().hash(), |hash| hash).name();
        table.add_row([name, versions, mode.name(), hash, note.unwrap_or("")]);
    }
    let others = OTHERS.iter().map(|(name, why)| format!("  {name}: {why}\n"));
    format!("{table}\n\nNo mode is like these:\n{}", others.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_one_clients() {
        let names = CLIENTS.iter().map(|client| client.0).chain(OTHERS.iter().map(|other| other.0));
        let names: Vec<_> = names.map(|name| words(name).0).collect();
        let mut distinct = names.clone();
        distinct.sort();
        distinct.dedup();
        assert_eq!(distinct.len(), names.len());
        assert!(names.iter().all(|name| !name.is_empty()));
    }

    #[test]
    fn names_are_read_with_their_settings_and_versions() {
        let mode = |text: &str| parse(text).map(|like| (like.mode, like.keys.map(|keys| keys.hash())));
        for text in ["pylibmc ketama", "pylibmc 1.6.3 ketama", "Pylibmc  KETAMA"] {
            assert_eq!(mode(text), Ok((Mode::Libmemcached, None)), "{text}");
        }
        assert_eq!(mode("pylibmc ketama_weighted"), Ok((Mode::LibmemcachedWeighted, None)));
        assert_eq!(mode("nutcracker 0.5.0"), Ok((Mode::Twemproxy, Some(KeyHash::Fnv1a64))));
        assert_eq!(mode("twemproxy fnv1a_32"), Ok((Mode::Twemproxy, Some(KeyHash::Fnv1a32))));
        for (text, expected) in [
            ("pylibmc ketama 9.9.9", "seen of pylibmc ketama was 1.6.3 alone"),
            ("pymemcache", "rendezvous"),
            ("pylibmc", "modulo"),
            ("pylibmc nope", "there are 'pylibmc ketama_weighted', 'pylibmc ketama', "),
            ("nope", "--clients"),
            ("", "--clients"),
        ] {
            let error = mode(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
