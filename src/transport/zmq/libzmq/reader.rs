//! Reading the sockets: messages into events, control frames and monitors' reports into what the session knows.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ahash::HashMap;

use super::control::Control;
use super::dealer::Dealer;
use super::drops::dropped;
use super::frames::{self, Directed};
use super::monitor::LinkEvent;
use super::prefix;
use super::socket::Interest;
use super::state::{MAX_WAITING_EVENTS, Session};
use crate::transport::{Event, Locator, Origin};

/// So many messages are taken from one socket before the next has its turn.
const DRAIN: usize = 256;
/// So many peers' names are remembered as locators.
const REMEMBERED: usize = 4096;

/// Reads all sockets of a session in turns. Every call says whether there may be more to read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    dealers: Vec<Arc<Dealer>>,
    /// Which state of the set of DEALERs `dealers` is; 0 is none.
    dealers_at: u64,
    /// Which socket has the first turn.
    first: usize,
    names: Names,
}

impl Reader {
    /// Reads what is told about connections and subscriptions, unless the receiving half does not take note of it.
    pub(super) fn read_links(&mut self, session: &Session, interest: Interest) -> bool {
        if session.events().len() >= MAX_WAITING_EVENTS {
            return true;
        }
        self.follow_dealers(session);
        let mut links = Vec::new();
        let mut more = session.sockets.feeds.read(interest, &mut links);
        for link in links.drain(..) {
            session.on_feed_link(&link);
        }
        for dealer in &self.dealers {
            more |= dealer.monitor.read(interest, &mut links);
            for LinkEvent { change, .. } in links.drain(..) {
                session.on_dealer_link(dealer, change);
            }
        }
        more | session.sockets.publisher.read(interest, DRAIN, |socket, frame| {
            if frames::skip_rest(socket, &frame) > 0 {
                dropped("not a subscription", &frame.len());
            } else if let Some(filter) = frame.strip_prefix(&[1]).and_then(prefix::interest) {
                session.report(Event::Interest(filter));
            }
            ControlFlow::Continue(())
        })
    }

    /// Reads messages until `events` holds `full`: topics, what peers sent to our ROUTER, their answers on our DEALERs;
    /// another one first each time.
    pub(super) fn read_all(
        &mut self,
        session: &Session,
        interest: Interest,
        events: &mut Vec<Event>,
        full: usize,
    ) -> bool {
        self.follow_dealers(session);
        let sources = 2 + self.dealers.len();
        self.first = (self.first + 1) % sources;
        let mut more = false;
        for turn in 0..sources {
            let room = full.saturating_sub(events.len());
            if room == 0 {
                return true;
            }
            let limit = DRAIN.min(room);
            more |= match (self.first + turn) % sources {
                0 => read_topics(session, interest, events, limit),
                1 => self.read_router(session, interest, events, limit),
                source => read_dealer(session, &self.dealers[source - 2], interest, events, limit),
            };
        }
        more
    }

    /// As [`read_all`](Self::read_all), but for publications.
    pub(super) fn read_directed(&mut self, session: &Session, events: &mut Vec<Event>, full: usize) {
        self.follow_dealers(session);
        let limit = |events: &Vec<Event>| DRAIN.min(full.saturating_sub(events.len()));
        let room = limit(events);
        self.read_router(session, Interest::Passing, events, room);
        for dealer in &self.dealers {
            let room = limit(events);
            read_dealer(session, dealer, Interest::Passing, events, room);
        }
    }

    fn follow_dealers(&mut self, session: &Session) {
        let changes = session.dealer_changes.load(Ordering::Acquire);
        if changes != self.dealers_at {
            self.dealers_at = changes;
            self.dealers = session.peers().dealers();
        }
    }

    fn read_router(
        &mut self,
        session: &Session,
        interest: Interest,
        events: &mut Vec<Event>,
        limit: usize,
    ) -> bool {
        let mut controls = Vec::new();
        let sink = router_sink(session, &mut self.names, events, &mut controls);
        let more = session.sockets.router.read(interest, limit, sink);
        // Answering takes the socket again: not while it is being read.
        for (from, control) in controls {
            session.on_router_control(&from, control);
        }
        more
    }
}

fn read_topics(session: &Session, interest: Interest, events: &mut Vec<Event>, limit: usize) -> bool {
    let mut filters = session.filters();
    let sink = frames::topic_sink(&mut filters, session.setup.options.max_payload, events);
    session.sockets.subscriber.read(interest, limit, sink)
}

fn read_dealer(
    session: &Session,
    dealer: &Dealer,
    interest: Interest,
    events: &mut Vec<Event>,
    limit: usize,
) -> bool {
    let mut controls = Vec::new();
    let more = dealer.socket.read(interest, limit, dealer_sink(session, dealer, events, &mut controls));
    for control in controls {
        session.on_dealer_control(dealer, control);
    }
    more
}

/// Takes what comes in through our ROUTER: a routing id, then what the peer sent.
fn router_sink<'a>(
    session: &'a Session,
    names: &'a mut Names,
    events: &'a mut Vec<Event>,
    controls: &'a mut Vec<(Locator, Control)>,
) -> impl FnMut(&mut ::zmq::Socket, ::zmq::Message) -> ControlFlow<()> + 'a {
    let limit = session.setup.options.max_payload;
    move |socket, id| {
        let directed = frames::read_directed(socket, id.get_more(), limit);
        let Some(from) = names.locator(&id) else {
            dropped("no locator for a name", &id.len());
            return ControlFlow::Continue(());
        };
        match directed {
            Directed::Control(control) => controls.push((from, control)),
            other => deliver(other, from, events),
        }
        ControlFlow::Continue(())
    }
}

/// Takes what a peer sent back on our own connection to it.
fn dealer_sink<'a>(
    session: &'a Session,
    dealer: &'a Dealer,
    events: &'a mut Vec<Event>,
    controls: &'a mut Vec<Control>,
) -> impl FnMut(&mut ::zmq::Socket, ::zmq::Message) -> ControlFlow<()> + 'a {
    let limit = session.setup.options.max_payload;
    move |socket, head| {
        match frames::parse_directed(socket, head, limit) {
            Directed::Control(control) => controls.push(control),
            other => deliver(other, dealer.peer.clone(), events),
        }
        ControlFlow::Continue(())
    }
}

fn deliver(directed: Directed, from: Locator, events: &mut Vec<Event>) {
    match directed {
        Directed::Data(payload) => events.push(Event::Message { from: Origin::Peer(from), payload }),
        Directed::Oversize(size) => {
            dropped("oversize", &(from, size));
            events.push(Event::Lagged(1));
        }
        Directed::Garbage(cause) => dropped(cause, &from),
        Directed::Control(_) => {}
    }
}

/// Routing ids as locators. They were checked once, and are shared from then on.
#[derive(Debug, Default)]
struct Names(HashMap<Box<[u8]>, Locator>);

impl Names {
    /// `None` if the id is not a locator of this transport: a stranger.
    fn locator(&mut self, id: &[u8]) -> Option<Locator> {
        if let Some(known) = self.0.get(id) {
            return Some(known.clone());
        }
        let locator = Locator::new(std::str::from_utf8(id).ok()?).ok()?;
        super::address::Address::of_peer(&locator).ok()?;
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        self.0.insert(id.into(), locator.clone());
        Some(locator)
    }
}
