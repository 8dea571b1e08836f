//! libzmq's context. Crate `zmq` has one too, but lets nobody raise the number of sockets.
#![allow(unsafe_code)]

use std::ffi::c_void;

/// More than there are peers; libzmq allocates a table of this size.
const MAX_SOCKETS: i32 = 4096;

/// A context. Dropping it waits until its sockets are closed: close them first.
pub(super) struct Context(*mut c_void);

// SAFETY: libzmq's contexts may be used from any thread (zmq_ctx_new(3): "A 0MQ context is thread safe").
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// A context with room for [`MAX_SOCKETS`], or for libzmq's limit if that is lower.
    pub(super) fn new() -> ::zmq::Result<Self> {
        // SAFETY: it takes nothing.
        let context = unsafe { zmq_sys::zmq_ctx_new() };
        if context.is_null() {
            return Err(super::ffi::last_error());
        }
        let context = Self(context);
        // SAFETY: the context is open, and the option is one that is read.
        let limit = unsafe { zmq_sys::zmq_ctx_get(context.0, zmq_sys::ZMQ_SOCKET_LIMIT as i32) };
        let most = if limit > 0 { MAX_SOCKETS.min(limit) } else { MAX_SOCKETS };
        // SAFETY: the context is open and has no sockets yet, when the option may be set.
        if unsafe { zmq_sys::zmq_ctx_set(context.0, zmq_sys::ZMQ_MAX_SOCKETS as i32, most) } == -1 {
            return Err(super::ffi::last_error());
        }
        Ok(context)
    }

    /// A new socket. It must be closed before the context is dropped.
    pub(super) fn socket(&self, kind: ::zmq::SocketType) -> ::zmq::Result<::zmq::Socket> {
        // SAFETY: the context is open.
        let socket = unsafe { zmq_sys::zmq_socket(self.0, kind as i32) };
        if socket.is_null() {
            return Err(super::ffi::last_error());
        }
        // SAFETY: the socket was just made, and nobody else has it.
        Ok(unsafe { ::zmq::Socket::from_raw(socket) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context is open; what is interrupted by a signal is done again.
        while unsafe { zmq_sys::zmq_ctx_term(self.0) } == -1 {
            if super::ffi::last_error() != ::zmq::Error::EINTR {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_more_sockets_than_libzmq_allows_by_itself() {
        let context = Context::new().unwrap();
        // Each has a descriptor, and a machine may allow a thousand.
        let sockets: Result<Vec<_>, _> = (0..64).map(|_| context.socket(::zmq::PAIR)).collect();
        drop(sockets.unwrap());
        // SAFETY: the context is open, and the option is one that is read.
        let most = unsafe { zmq_sys::zmq_ctx_get(context.0, zmq_sys::ZMQ_MAX_SOCKETS as i32) };
        assert_eq!(most, MAX_SOCKETS);
    }
}
