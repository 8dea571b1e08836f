//! The programs that put and get, and their books: what they may find.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::dht::key::Key;
use crate::dht::successor::message::Message;
use crate::time::Mono;

/// After how long an unanswered request is repeated, unchanged.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// What the clients know about a key.
#[derive(Debug)]
pub(super) struct Book {
    /// What may be stored: the value acknowledged last, and those sent since. `None`: nothing.
    pub(super) allowed: Vec<Option<Arc<str>>>,
    /// The answer to the last get that was answered.
    pub(super) found: Option<Option<Arc<str>>>,
    /// Everything that was ever put there.
    ever: BTreeSet<Arc<str>>,
    open_put: Option<u64>,
    open_get: Option<u64>,
    put_sent: Mono,
    get_sent: Option<Mono>,
}

impl Default for Book {
    fn default() -> Self {
        let (open_put, open_get, put_sent, get_sent) = (None, None, Mono::ZERO, None);
        let ever = BTreeSet::new();
        Self { allowed: vec![None], found: None, ever, open_put, open_get, put_sent, get_sent }
    }
}

#[derive(Debug)]
struct Request {
    key: Key,
    what: What,
}

#[derive(Debug)]
enum What {
    Put {
        value: Arc<str>,
        /// Whether it is repeated until it is acknowledged.
        patient: bool,
    },
    Get {
        /// An acknowledged put came before it, and no answer to an earlier get can be mistaken for its own.
        must_find: bool,
    },
}

/// All clients of a world. They share a connection, and each key has one writer.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) books: BTreeMap<Key, Book>,
    /// How many gets that had to find something were told that there is nothing.
    pub(super) missed: u32,
    /// How many gets that had to find something were answered.
    pub(super) found: u32,
    open: BTreeMap<u64, Request>,
    requests: u64,
    /// How long the medium may still deliver what was sent.
    memory: Duration,
    /// Whether the medium may deliver in another order.
    reorders: bool,
}

impl Clients {
    pub(super) fn new(memory: Duration, reorders: bool) -> Self {
        let (books, open) = (BTreeMap::new(), BTreeMap::new());
        Self { books, missed: 0, found: 0, open, requests: 0, memory, reorders }
    }

    pub(super) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn open(&self) -> impl Iterator<Item = String> {
        self.open.iter().map(|(number, request)| format!("c{number} {request:?}"))
    }

    /// Whether the key may be written now.
    ///
    /// The protocol's puts bear no versions: the owner takes whatever comes last. So a writer waits for the
    /// acknowledgement of its last put, and, where the medium reorders, until no repetition of that put can be on its
    /// way any more: it would be taken for a newer value.
    pub(super) fn may_put(&self, now: Mono, key: Key) -> bool {
        self.books.get(&key).is_none_or(|book| {
            let forgotten = !self.reorders || book.ever.is_empty() || now > book.put_sent + self.memory;
            book.open_put.is_none() && forgotten
        })
    }

    pub(super) fn may_get(&self, key: Key) -> bool {
        self.books.get(&key).is_none_or(|book| book.open_get.is_none())
    }

    /// Begins a put; an impatient one is given up when its time is over.
    pub(super) fn put(&mut self, key: Key, text: &str, patient: bool) -> u64 {
        let value: Arc<str> = text.into();
        let number = self.open_request(key, What::Put { value: value.clone(), patient });
        let book = self.books.entry(key).or_default();
        book.allowed.push(Some(value.clone()));
        book.ever.insert(value);
        book.open_put = Some(number);
        number
    }

    pub(super) fn get(&mut self, now: Mono, key: Key) -> u64 {
        let memory = self.memory;
        let book = self.books.entry(key).or_default();
        let quiet = book.get_sent.is_none_or(|at| now > at + memory * 4);
        let must_find = quiet && !book.allowed.contains(&None);
        let number = self.open_request(key, What::Get { must_find });
        self.books.entry(key).or_default().open_get = Some(number);
        number
    }

    fn open_request(&mut self, key: Key, what: What) -> u64 {
        self.requests += 1;
        self.open.insert(self.requests, Request { key, what });
        self.requests
    }

    /// What is to be published for a request that is due, if it is still open.
    pub(super) fn due(&mut self, now: Mono, number: u64, first: bool) -> Option<Message> {
        let request = self.open.get(&number)?;
        let key = request.key;
        let book = self.books.entry(key).or_default();
        match &request.what {
            What::Put { patient: false, .. } if !first => {
                book.open_put = None;
                self.open.remove(&number);
                None
            }
            What::Put { value, .. } => {
                book.put_sent = now;
                Some(Message::Put { client: format!("c{number}").into(), key, value: value.clone() })
            }
            What::Get { .. } => {
                book.get_sent = Some(now);
                Some(Message::Get(key))
            }
        }
    }

    pub(super) fn hear(&mut self, message: &Message) {
        match message {
            Message::AckPut { client, .. } => self.acknowledged(client),
            Message::ResGet { key, value } => {
                let ever = self.books.get(key).is_some_and(|book| book.ever.contains(value));
                assert!(ever, "{value:?} was never put at {key}");
                self.answered(*key, Some(value.clone()));
            }
            Message::ErrGet(key) => self.answered(*key, None),
            _ => {}
        }
    }

    fn acknowledged(&mut self, client: &str) {
        let number = client.strip_prefix('c').and_then(|number| number.parse::<u64>().ok());
        let Some(request) = number.and_then(|number| self.open.remove(&number)) else { return };
        let What::Put { value, .. } = request.what else { panic!("a get is acknowledged") };
        let book = self.books.entry(request.key).or_default();
        book.open_put = None;
        book.allowed = vec![Some(value)];
    }

    fn answered(&mut self, key: Key, value: Option<Arc<str>>) {
        let Some(book) = self.books.get_mut(&key) else { return };
        let Some(request) = book.open_get.take().and_then(|number| self.open.remove(&number)) else { return };
        if matches!(request.what, What::Get { must_find: true }) {
            self.found += u32::from(value.is_some());
            self.missed += u32::from(value.is_none());
        }
        book.found = Some(value);
    }
}
