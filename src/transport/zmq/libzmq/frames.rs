//! What a ZeroMQ frame holds: building it on the way out, taking it apart on the way in.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

use super::control::{Control, DATA, DATA_APART};
use super::drops::{self, dropped};
use super::ffi;
use super::prefix::{self, SEPARATOR};
use crate::topic::Topic;
use crate::transport::filters::{Filters, Verdict};
use crate::transport::under_way::UnderWay;
use crate::transport::{Event, Origin, Outbound};

/// Up to this size, in bytes, a copy costs less than sharing: on the way in a small frame would keep all of libzmq's
/// receive buffer alive.
const COPY_UP_TO: usize = 4096;

thread_local! {
    /// Where small frames are put together, so that each costs one allocation less.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Publishes one frame: topic, separator, payload. Where the three are in one piece of memory, they are shared rather than
/// copied, and count as under way until they are written.
pub(super) fn send_topic(
    socket: &mut ::zmq::Socket,
    topic: &Topic,
    outbound: &Outbound,
    under_way: &Arc<UnderWay>,
) -> ::zmq::Result<()> {
    match &outbound.framed {
        Some(framed) => ffi::send_shared(socket, framed.clone(), under_way.count(), ::zmq::DONTWAIT),
        None => send_joined(socket, &[topic.as_str().as_bytes(), &[SEPARATOR], &outbound.payload]),
    }
}

/// Sends a payload to the one peer that a DEALER is connected to, or to the one whose routing id went before.
pub(super) fn send_directed(socket: &mut ::zmq::Socket, payload: &Bytes) -> ::zmq::Result<()> {
    if payload.len() <= COPY_UP_TO {
        return send_joined(socket, &[&[DATA], payload]);
    }
    socket.send(&[DATA_APART][..], ::zmq::DONTWAIT | ::zmq::SNDMORE)?;
    ffi::send_shared(socket, payload.clone(), (), ::zmq::DONTWAIT)
}

fn send_joined(socket: &::zmq::Socket, parts: &[&[u8]]) -> ::zmq::Result<()> {
    let len = parts.iter().map(|part| part.len()).sum();
    if len <= COPY_UP_TO {
        return SCRATCH.with_borrow_mut(|frame| {
            frame.clear();
            parts.iter().for_each(|part| frame.extend_from_slice(part));
            socket.send(&frame[..], ::zmq::DONTWAIT)
        });
    }
    let mut frame = Vec::with_capacity(len);
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    // libzmq takes the vector over.
    socket.send(frame, ::zmq::DONTWAIT)
}

/// Takes publications: what no filter wants is passed over, what is no publication is dropped and counted.
pub(super) fn topic_sink<'a>(
    filters: &'a mut Filters,
    max_payload: usize,
    events: &'a mut Vec<Event>,
) -> impl FnMut(&mut ::zmq::Socket, ::zmq::Message) -> ControlFlow<()> + 'a {
    move |socket, frame| {
        if skip_rest(socket, &frame) > 0 {
            drops::several_frames(frame.len());
            return ControlFlow::Continue(());
        }
        let Some(end) = prefix::topic_end(&frame) else {
            drops::without_topic(frame.len());
            return ControlFlow::Continue(());
        };
        match filters.judge(&frame[..end]) {
            Verdict::Unwanted => {}
            Verdict::Malformed => dropped("publication to an invalid topic", &end),
            Verdict::Wanted(topic) => {
                let size = frame.len() - end - 1;
                if size > max_payload {
                    dropped("oversize", &(topic, size));
                    events.push(Event::Lagged(1));
                } else {
                    events.push(Event::Message {
                        from: Origin::Topic(topic),
                        payload: into_bytes(frame, end + 1),
                    });
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// What a peer sent to us alone.
#[derive(Debug)]
pub(super) enum Directed {
    Control(Control),
    Data(Bytes),
    /// A payload of so many bytes, over the limit.
    Oversize(usize),
    /// Something else, and why.
    Garbage(&'static str),
}

/// Reads what follows a routing id; `more` says whether anything does.
pub(super) fn read_directed(socket: &::zmq::Socket, more: bool, max_payload: usize) -> Directed {
    if !more {
        return Directed::Garbage("empty message");
    }
    match socket.recv_msg(::zmq::DONTWAIT) {
        Ok(head) => parse_directed(socket, head, max_payload),
        Err(_) => Directed::Garbage("empty message"),
    }
}

/// Takes a directed message apart, and reads its second frame where it has one.
pub(super) fn parse_directed(socket: &::zmq::Socket, head: ::zmq::Message, max_payload: usize) -> Directed {
    match (head.first(), head.get_more()) {
        (Some(&DATA), false) if head.len() > max_payload.saturating_add(1) => {
            Directed::Oversize(head.len() - 1)
        }
        (Some(&DATA), false) => Directed::Data(into_bytes(head, 1)),
        (Some(&DATA_APART), true) if head.len() == 1 => match socket.recv_msg(::zmq::DONTWAIT) {
            Ok(payload) if skip_rest(socket, &payload) > 0 => Directed::Garbage("too many frames"),
            Ok(payload) if payload.len() > max_payload => Directed::Oversize(payload.len()),
            Ok(payload) => Directed::Data(into_bytes(payload, 0)),
            Err(_) => Directed::Garbage("too few frames"),
        },
        (Some(_), false) if Control::is_control(&head) => match Control::read(&head) {
            Ok(control) => Directed::Control(control),
            Err(cause) => Directed::Garbage(cause),
        },
        _ => {
            skip_rest(socket, &head);
            Directed::Garbage("unknown kind of message")
        }
    }
}

/// Reads the rest of a message whose frame `frame` is, and says how many frames that were. libzmq hands over whole
/// messages, so they are all there.
pub(super) fn skip_rest(socket: &::zmq::Socket, frame: &::zmq::Message) -> usize {
    let mut skipped = 0;
    let mut more = frame.get_more();
    while more {
        skipped += 1;
        more = socket.recv_msg(::zmq::DONTWAIT).is_ok_and(|next| next.get_more());
    }
    skipped
}

/// The frame's bytes from `start` on: small ones copied, large ones shared.
fn into_bytes(frame: ::zmq::Message, start: usize) -> Bytes {
    struct Owner(::zmq::Message);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    if frame.len() <= COPY_UP_TO {
        Bytes::copy_from_slice(&frame[start..])
    } else {
        Bytes::from_owner(Owner(frame)).slice(start..)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What other ZeroMQ programs publish by convention, topic and payload in frames of their own.
    #[test]
    fn publications_of_several_frames_are_dropped_whole_and_warned_of_once() {
        let context = ::zmq::Context::new();
        let [sender, mut receiver] = [::zmq::PAIR; 2].map(|kind| context.socket(kind).unwrap());
        sender.bind("inproc://frames").unwrap();
        receiver.connect("inproc://frames").unwrap();
        for _ in 0..3 {
            sender.send_multipart(["t", "payload", "more"], 0).unwrap();
        }
        let (log, mut filters, mut events) = (Log::default(), Filters::default(), Vec::new());
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let mut sink = topic_sink(&mut filters, 1024, &mut events);
            for _ in 0..3 {
                let frame = receiver.recv_msg(0).unwrap();
                assert_eq!(&frame[..], b"t", "the frames of the one before are gone");
                assert!(sink(&mut receiver, frame).is_continue());
            }
        });
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!((log.matches("WARN").count(), events.len()), (1, 0), "{log}");
    }
}
