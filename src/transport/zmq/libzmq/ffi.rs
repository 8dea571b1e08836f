//! What crate `zmq` has no safe call for. The only unsafe code of this transport.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use bytes::Bytes;

/// Makes an XPUB answer EAGAIN where it would drop.
pub(super) fn set_nodrop(socket: &mut ::zmq::Socket) -> ::zmq::Result<()> {
    set_int(socket, zmq_sys::ZMQ_XPUB_NODROP, 1)
}

/// For how long, in milliseconds, sent data may stay unacknowledged before the system gives the connection up. Without
/// effect where the system has no such option.
pub(super) fn set_tcp_max_retransmit(socket: &mut ::zmq::Socket, millis: c_int) -> ::zmq::Result<()> {
    set_int(socket, zmq_sys::ZMQ_TCP_MAXRT, millis)
}

/// Ends the reports on a socket's connections.
pub(super) fn stop_monitor(socket: &mut ::zmq::Socket) -> ::zmq::Result<()> {
    // SAFETY: the socket is open for as long as it is borrowed; no address means that the monitor is closed.
    let rc = unsafe { zmq_sys::zmq_socket_monitor(socket.as_mut_ptr(), std::ptr::null(), 0) };
    if rc == -1 { Err(last_error()) } else { Ok(()) }
}

fn set_int(socket: &mut ::zmq::Socket, option: u32, value: c_int) -> ::zmq::Result<()> {
    // SAFETY: the socket is open for as long as it is borrowed, and the value is an `int` of the size stated, which
    // libzmq reads during the call.
    let rc = unsafe {
        zmq_sys::zmq_setsockopt(
            socket.as_mut_ptr(),
            option as c_int,
            (&raw const value).cast(),
            size_of::<c_int>(),
        )
    };
    if rc == -1 { Err(last_error()) } else { Ok(()) }
}

/// A descriptor of one's own for the socket's readiness.
///
/// It outlives the socket, so that the reactor never watches a number that was closed, and perhaps given away again,
/// behind its back.
pub(super) fn readiness_fd(socket: &::zmq::Socket) -> io::Result<OwnedFd> {
    let fd = socket.get_fd().map_err(io::Error::from)?;
    // SAFETY: libzmq keeps the descriptor open while the socket is, and the socket is borrowed during this call.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()
}

/// Sends a frame without copying it: libzmq holds on to `payload` until it is written to every connection, or dropped
/// with the last. Then `guard` is dropped, perhaps on a thread of libzmq's; also if the frame is refused.
pub(super) fn send_shared<G: Send + 'static>(
    socket: &mut ::zmq::Socket,
    payload: Bytes,
    guard: G,
    flags: i32,
) -> ::zmq::Result<()> {
    let (data, len) = (payload.as_ptr(), payload.len());
    let owner = Box::into_raw(Box::new(Owner { _payload: payload, _guard: guard }));
    let mut message = zmq_sys::zmq_msg_t::default();
    // SAFETY: `data` and `len` describe the bytes that `owner` keeps alive and unmoved (a `Bytes` does not move what it
    // points to), libzmq only reads them, and `release` is called once, when it no longer does.
    let rc = unsafe {
        zmq_sys::zmq_msg_init_data(
            &mut message,
            data.cast_mut().cast(),
            len,
            Some(release::<G>),
            owner.cast(),
        )
    };
    if rc == -1 {
        let error = last_error();
        // SAFETY: libzmq did not take the owner, so it is still ours, made by `Box::into_raw` above.
        drop(unsafe { Box::from_raw(owner) });
        return Err(error);
    }
    // SAFETY: the message is initialised, the socket open.
    let sent = unsafe { zmq_sys::zmq_msg_send(&mut message, socket.as_mut_ptr(), flags) };
    if sent == -1 {
        let error = last_error();
        // SAFETY: a message that was not sent is still ours; closing it releases the payload.
        unsafe { zmq_sys::zmq_msg_close(&mut message) };
        return Err(error);
    }
    Ok(())
}

/// What libzmq holds on to.
struct Owner<G> {
    _payload: Bytes,
    _guard: G,
}

/// Called by libzmq, perhaps on its own thread, when it has no more need of a payload.
unsafe extern "C" fn release<G: Send>(_data: *mut c_void, owner: *mut c_void) {
    // SAFETY: `owner` is the box that `send_shared` gave away, and libzmq calls this once. `Bytes` and `G` are Send.
    drop(unsafe { Box::from_raw(owner.cast::<Owner<G>>()) });
}

pub(super) fn last_error() -> ::zmq::Error {
    // SAFETY: it reads a thread-local number.
    ::zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() })
}
