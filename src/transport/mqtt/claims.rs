//! Two sessions under one name: finding that out, and who gives way.
//!
//! A broker lets a newcomer in and throws the session out that had the name; that one comes back and throws the newcomer out,
//! and so on. Neither sees the other: each one's last will has cleared its announcement by the time at which the other is
//! back. So a session that is thrown out twice in a short time leaves a claim, a retained message that no will clears, with
//! its nonce and its age. A foreign claim in its place, on the next connection, was written after its own: its writer lives.
//! The older session stays, and the younger one ends.

use std::time::Duration;

use bytes::Bytes;
use rumqttc::{Packet, Publish, QoS, Subscribe};
use tokio::time::{Instant, timeout};

use super::connection::{Connection, ConnectionError};
use super::event_loop::{EventLoop, GOODBYE};
use super::sending::send_own;
use crate::error::ErrorKind;
use crate::transport::Event;

/// Two connections that the broker closes within this time are suspicious.
const SOON: Duration = Duration::from_secs(10);

/// After so many foreign claims each session takes itself for the older one: then their nonces decide.
const ROUNDS: u32 = 8;

/// The longest claim that is read, in bytes.
const MAX_LEN: usize = 64;

/// What a session knows of another one under its name.
#[derive(Debug)]
pub(super) struct Claims {
    opened: Instant,
    /// When the broker last closed a connection, unless it was away since.
    closed: Option<Instant>,
    /// It closed two in a short time: the next connection looks for a claim and leaves one.
    suspects: bool,
    /// A claim was left on an earlier connection.
    left: bool,
    /// On the present one, too.
    leaves: bool,
    /// The subscription to claims on the present one, until it is confirmed.
    looks: Option<u16>,
    /// How many foreign claims were found in its place.
    rounds: u32,
}

/// What follows from a claim.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing: it is this session's, or of an earlier life.
    Nothing,
    /// Another session has the name, and is younger.
    Stay,
    /// Another session has had the name for longer.
    GiveWay,
}

impl Claims {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            opened: now,
            closed: None,
            suspects: false,
            left: false,
            leaves: false,
            looks: None,
            rounds: 0,
        }
    }

    /// A connection was lost.
    fn lost(&mut self, now: Instant, by_the_broker: bool) {
        self.left |= std::mem::take(&mut self.leaves);
        self.looks = None;
        let again = self.closed.is_some_and(|before| now - before < SOON);
        self.suspects = by_the_broker && again;
        self.closed = by_the_broker.then_some(now);
    }

    /// There is no broker: that is why connections were lost.
    pub(super) fn is_away(&mut self) {
        (self.closed, self.suspects) = (None, false);
    }

    /// The session's own claim.
    fn claim(&self, nonce: &Bytes, now: Instant) -> String {
        format!("{} {}", String::from_utf8_lossy(nonce), (now - self.opened).as_millis())
    }

    fn judge(&mut self, claim: &[u8], own: &Bytes, now: Instant) -> Verdict {
        let read = std::str::from_utf8(claim).ok().filter(|claim| claim.len() <= MAX_LEN);
        let Some((nonce, age)) = read.and_then(|claim| claim.split_once(' ')) else {
            return Verdict::Nothing;
        };
        let Ok(age) = age.parse::<u64>() else { return Verdict::Nothing };
        if nonce.as_bytes() == &own[..] || !self.left {
            return Verdict::Nothing;
        }
        self.rounds += 1;
        let is_older = u128::from(age) > (now - self.opened).as_millis();
        let decides = self.rounds > ROUNDS && nonce.as_bytes() > &own[..];
        if is_older || decides { Verdict::GiveWay } else { Verdict::Stay }
    }
}

impl EventLoop {
    /// The connection was lost.
    pub(super) fn note_lost_name(&mut self, error: &ConnectionError) {
        let by_the_broker = matches!(error, ConnectionError::Ended | ConnectionError::Io(_));
        self.claims.lost(Instant::now(), by_the_broker);
    }

    /// Looks for a claim on this connection, if the last ones were lost as if another session had the name, and leaves one.
    pub(super) fn claim_name(&mut self, link: &mut Connection) -> Result<(), ConnectionError> {
        let looks = self.claims.leaves || self.claims.looks.is_some();
        if !self.claims.suspects || looks || self.closing.is_some() {
            return Ok(());
        }
        let mut packet = Subscribe::new(&self.settings.claim_topic, QoS::AtLeastOnce);
        packet.pkid = self.window.next_id();
        self.claims.looks = Some(packet.pkid);
        link.send(&Packet::Subscribe(packet))
    }

    /// The broker has confirmed a subscription. Behind that to claims the session leaves its own: a broker that looks for
    /// what it keeps a little later (rumqttd) would find that in the place of a foreign one.
    pub(super) fn leave_claim(
        &mut self,
        confirmed: u16,
        link: &mut Connection,
    ) -> Result<(), ConnectionError> {
        if self.claims.looks != Some(confirmed) || self.closing.is_some() {
            return Ok(());
        }
        (self.claims.looks, self.claims.leaves) = (None, true);
        let topic = self.settings.claim_topic.clone();
        let claim = self.claims.claim(&self.settings.nonce, Instant::now());
        let mut publish = Publish::new(topic, QoS::AtLeastOnce, claim);
        publish.retain = true;
        send_own(publish, link, &mut self.window)
    }

    /// Whether a claim of this session may still be kept by the broker.
    pub(super) fn has_claimed(&self) -> bool {
        self.claims.left || self.claims.leaves
    }

    /// Takes a claim.
    ///
    /// # Errors
    /// [`ConnectionError::NameTaken`] if this session has to give way.
    pub(super) fn take_claim(&mut self, claim: &[u8]) -> Result<(), ConnectionError> {
        match self.claims.judge(claim, &self.settings.nonce, Instant::now()) {
            Verdict::Nothing => {}
            Verdict::Stay => self.tell_namesake(),
            Verdict::GiveWay => return Err(ConnectionError::NameTaken),
        }
        Ok(())
    }

    /// Another session uses this one's name. Told once.
    pub(super) fn tell_namesake(&mut self) {
        if std::mem::replace(&mut self.namesake_told, true) {
            return;
        }
        let (broker, name) = (self.settings.broker.to_string(), self.settings.hello.client_id.clone());
        tracing::warn!(%broker, client_id = %name, "another session uses this client id: give each session its own");
        self.staged.push_back(Event::NameTaken { broker, name, ends: false });
    }

    /// Leaves the name to the session that had it before, without the last will: its topic is that session's, too.
    pub(super) async fn give_way(&mut self, link: Connection) {
        let (broker, name) = (self.settings.broker.to_string(), self.settings.hello.client_id.clone());
        tracing::warn!(%broker, client_id = %name, "another session has had this client id for longer: this one ends");
        let why = ErrorKind::NameTaken { name: name.clone(), by: broker.clone() };
        self.denial.begin(why.clone());
        self.fail_proof(why.into());
        self.staged.push_back(Event::NameTaken { broker, name, ends: true });
        if timeout(GOODBYE, link.disconnect()).await.is_err() {
            tracing::debug!("the broker did not answer the goodbye");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn suspicious(now: Instant, opened: Instant) -> Claims {
        let mut claims = Claims::new(opened);
        claims.lost(now, true);
        assert!(!claims.suspects);
        claims.lost(now + SECOND / 10, true);
        assert!(claims.suspects);
        claims
    }

    #[test]
    fn losses_are_suspicious_only_close_to_each_other_and_while_the_broker_is_there() {
        let now = Instant::now();
        suspicious(now, now);
        let mut claims = Claims::new(now);
        claims.lost(now, true);
        claims.lost(now + SOON, true);
        assert!(!claims.suspects);
        claims.is_away();
        claims.lost(now + SOON + SECOND, true);
        assert!(!claims.suspects, "it was away in between");
        claims.lost(now + SOON + SECOND * 2, false);
        assert!(!claims.suspects, "this side has given it up");
    }

    #[test]
    fn a_foreign_claim_counts_once_ones_own_was_there_and_the_older_stays() {
        let (old, now) = (Instant::now(), Instant::now() + 60 * SECOND);
        let (mut claims, own) = (suspicious(now, old), Bytes::from("b"));
        assert_eq!(claims.judge(b"a 1", &own, now), Verdict::Nothing, "it may be of an earlier life");
        claims.leaves = true;
        claims.lost(now, true);
        assert_eq!(claims.judge(claims.claim(&own, now).as_bytes(), &own, now), Verdict::Nothing);
        assert_eq!(claims.judge(b"a 1", &own, now), Verdict::Stay);
        assert_eq!(claims.judge(b"a 99000000", &own, now), Verdict::GiveWay);
        for garbage in [&b""[..], b"a", b"a x", b"\xff 1", &[b'1'; MAX_LEN + 1]] {
            assert_eq!(claims.judge(garbage, &own, now), Verdict::Nothing, "{garbage:?}");
        }
    }

    #[test]
    fn of_two_that_each_take_themselves_for_older_one_gives_way() {
        let now = Instant::now();
        let ends = |own: &'static str, other: &str| {
            let mut claims = suspicious(now, now);
            claims.left = true;
            let other = format!("{other} 0");
            (0..=ROUNDS)
                .any(|_| claims.judge(other.as_bytes(), &Bytes::from(own), now + SECOND) == Verdict::GiveWay)
        };
        assert!(ends("a", "b"));
        assert!(!ends("b", "a"));
    }
}
