//! What a node stores, and how two versions of a pair become one.

use std::sync::Arc;

use md5::{Digest, Md5};

use crate::dht::key::Key;

/// A value with its standing.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) value: Arc<str>,
    pub(super) digest: u64,
    /// 0 if it came from a plain peer.
    pub(super) version: u64,
    /// The successor that keeps this version for this node, the owner.
    pub(super) held_by: Option<Key>,
    /// The successor is known to have this value already.
    pub(super) known_at: Option<Key>,
    /// The nodes that count on this copy; nearly always one at most.
    pub(super) held_for: Vec<Key>,
    /// Told with every question about it: answers to earlier ones do not count.
    pub(super) turn: u64,
    /// This node has owned it, and has not yet heard that another owner has it safely.
    pub(super) mine: bool,
    /// A client has put it while this node, a newcomer, is still being handed what there was before: whatever the former
    /// owner's clock says, that is older.
    pub(super) fresh: bool,
    /// Nobody else can have accepted a later put.
    pub(super) sure: bool,
    /// It has been handed over, and not been found lacking since.
    pub(super) offered: bool,
}

impl Pair {
    pub(super) fn new(value: Arc<str>, version: u64) -> Self {
        Self {
            digest: digest(&value),
            value,
            version,
            held_by: None,
            known_at: None,
            held_for: Vec::new(),
            turn: 0,
            mine: false,
            fresh: false,
            sure: true,
            offered: false,
        }
    }

    /// Takes another value, of a later version.
    pub(super) fn replace(&mut self, value: Arc<str>, version: u64) {
        self.digest = digest(&value);
        self.value = value;
        self.version = version;
        self.held_by = None;
        self.known_at = None;
        self.sure = true;
    }

    /// Another node counts on this copy.
    pub(super) fn hold_for(&mut self, owner: Key) {
        self.mine = false;
        if !self.held_for.contains(&owner) {
            self.held_for.push(owner);
        }
    }

    /// Whether another copy supersedes this one. The same version twice can only come of a fault; the digests then
    /// decide alike at every node.
    pub(super) fn is_before(&self, version: u64, digest: u64) -> bool {
        !self.fresh && (version, digest) > (self.version, self.digest)
    }

    /// Another node holds the same value, or an earlier one, under this version.
    pub(super) fn raise(&mut self, version: u64) {
        if version > self.version {
            self.version = version;
            self.held_by = None;
        }
    }
}

/// Sixty-four bits of a value's MD5: tells values apart without sending them.
pub(super) fn digest(value: &str) -> u64 {
    let digest: [u8; 16] = Md5::digest(value.as_bytes()).into();
    let (words, _) = digest.as_chunks();
    words.first().map_or(0, |word| u64::from_be_bytes(*word))
}
