//! The modes: whose placement a ring reproduces, each as a row of [`Rules`] and a [`KeyRule`].

mod counts;
mod envoy;
mod haproxy;
mod libmemcached;
mod nginx;
mod rules;

use std::fmt;
use std::str::FromStr;

use super::key_rule::{KeyHash, KeyRule};
use crate::error::{Error, ErrorKind};
use counts::Counts;
pub(super) use envoy::Wide;
pub(super) use haproxy::full_hash;
pub use rules::Rule;
use rules::{Label, Search, Tie};
pub(super) use rules::{PointHash, Rules};

/// See [`HashRing::MOST_POINTS`](super::HashRing::MOST_POINTS).
pub(super) const MOST_POINTS: usize = counts::MOST as usize;

/// Whose placement a [`HashRing`](super::HashRing) reproduces. `docs/migrating-rings.md` lists clients by their modes.
///
/// A mode says which points a node has, which node has a point on which two meet, and whose a key is that lies exactly
/// on a point; and by which hash keys are placed, unless [`HashRing::with_key_rule`](super::HashRing::with_key_rule)
/// gives another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// Python's package `hash_ring` 1.3.1: ⌊40·n·w / W⌋ digests in `f64`, three words each; a key belongs to the first
    /// point strictly greater; the node listed last has a shared point. The only mode that ringbus's own rings use.
    #[default]
    HashRing,
    /// `libketama` (the C library of Last.fm): ⌊w/W · 40·n⌋ digests with the share and the product rounded to `f32`,
    /// four words each; a key belongs to the first point not less than it; the node listed first has a shared point.
    ///
    /// In C the weights are whole numbers of megabytes and names have at most 21 bytes; neither limit is kept here.
    Ketama,
    /// twemproxy (nutcracker) 0.5.0 with `distribution: ketama` and `hash: md5`: the ring of
    /// [`LibmemcachedWeighted`](Self::LibmemcachedWeighted), but that a shared point goes to the shortest name, of these
    /// to the least, since the pool sorts its servers.
    ///
    /// Its other hashes, of which `fnv1a_64` is its default, and its `hash_tag` are a [`KeyRule`] of the ring.
    Twemproxy,
    /// libmemcached's `MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED`, and all that is made of it: as libketama, but computed in
    /// `f32` throughout and in another order; the port of a name that ends in `:11211` is left out of `{node}-{j}`.
    LibmemcachedWeighted,
    /// libmemcached's plain `MEMCACHED_BEHAVIOR_KETAMA`: points and keys by Jenkins's one-at-a-time hash, 100 points a
    /// node, without a `:11211`. As soon as one weight is over 1, the points are those of
    /// [`LibmemcachedWeighted`](Self::LibmemcachedWeighted), and keys stay where they are.
    Libmemcached,
    /// npm's `hashring` 3.2.0: as libketama, with shares and counts in `f64`.
    NpmHashring,
    /// npm's `memcached` 2.2.2: as [`NpmHashring`](Self::NpmHashring), without a `:11211`.
    NpmMemcached,
    /// nginx's `hash ... consistent` (http and stream), and Perl's Cache::Memcached::Fast with `ketama_points => 160`:
    /// 160 points for each unit of weight, whatever the others weigh, by a chain of CRC-32 over host and port.
    Nginx,
    /// HAProxy 2.6's `balance` with `hash-type consistent`: it knows servers by number, which is what stands behind a `#`
    /// at the end of a name (`web#7`, for `id 7`), or else the number of its line. 16 points for each
    /// unit of weight; a key belongs to the nearest point, on either side.
    Haproxy,
    /// Envoy 1.40's `RING_HASH` with its default sizes: at least 1,024 points for all hosts together, by xxHash64, of
    /// names that are `ADDRESS:PORT`.
    Envoy,
}

impl Mode {
    /// All modes, the default first.
    pub const ALL: [Self; 10] = [
        Self::HashRing,
        Self::Ketama,
        Self::Twemproxy,
        Self::LibmemcachedWeighted,
        Self::Libmemcached,
        Self::NpmHashring,
        Self::NpmMemcached,
        Self::Nginx,
        Self::Haproxy,
        Self::Envoy,
    ];

    /// What it is called on the command line, as in `libmemcached-weighted`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HashRing => "hash_ring",
            Self::Ketama => "ketama",
            Self::Twemproxy => "twemproxy",
            Self::LibmemcachedWeighted => "libmemcached-weighted",
            Self::Libmemcached => "libmemcached",
            Self::NpmHashring => "npm-hashring",
            Self::NpmMemcached => "npm-memcached",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// How its program hashes keys, unless it is configured otherwise.
    pub const fn key_rule(self) -> KeyRule {
        KeyRule::new(match self {
            Self::Libmemcached => KeyHash::OneAtATime,
            Self::Nginx => KeyHash::Crc32a,
            Self::Haproxy => KeyHash::SdbmAvalanche,
            Self::Envoy => KeyHash::XxHash64,
            _ => KeyHash::Md5,
        })
    }

    /// By which rules nodes of these weights get their points.
    pub(super) fn rules(self, weights: &[f64]) -> Rules {
        // What most of them have in common.
        let ketama = Rules {
            label: Label::Name,
            counts: Counts::Ketama,
            points: PointHash::Md5 { words: 4 },
            search: Search::NotLess,
            tie: Tie::FirstListed,
        };
        let libmemcached = Rules { label: Label::WithoutPort, counts: Counts::Libmemcached, ..ketama };
        match self {
            Self::HashRing => Rules {
                counts: Counts::HashRing,
                points: PointHash::Md5 { words: 3 },
                search: Search::Greater,
                tie: Tie::LastListed,
                ..ketama
            },
            Self::Ketama => ketama,
            Self::Twemproxy => Rules { tie: Tie::ShortestName, ..libmemcached },
            Self::LibmemcachedWeighted => libmemcached,
            // A client that adds a server of another weight becomes a weighted one by that.
            Self::Libmemcached if weights.iter().any(|&weight| weight > 1.0) => libmemcached,
            Self::Libmemcached => {
                Rules { counts: Counts::Hundred, points: PointHash::OneAtATime, ..libmemcached }
            }
            Self::NpmHashring => Rules { counts: Counts::Npm, ..ketama },
            Self::NpmMemcached => Rules { counts: Counts::Npm, ..libmemcached },
            Self::Nginx => Rules { counts: Counts::Nginx, points: PointHash::Crc32Chain, ..ketama },
            Self::Haproxy => Rules {
                label: Label::Number,
                counts: Counts::Haproxy,
                points: PointHash::Jenkins,
                search: Search::Nearest,
                ..ketama
            },
            Self::Envoy => Rules { counts: Counts::Envoy, points: PointHash::Xx64, ..ketama },
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = Error;

    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for anything but a [name](Self::name), or `npm` for `npm-hashring`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let name = if text == "npm" { "npm-hashring" } else { text };
        Self::ALL.into_iter().find(|mode| mode.name() == name).ok_or_else(|| {
            let (value, names) = (text.chars().take(32).collect(), Self::ALL.map(Self::name).join(", "));
            ErrorKind::InvalidArgument { what: "mode", value, reason: format!("use one of {names}") }.into()
        })
    }
}

#[cfg(test)]
mod tests;
