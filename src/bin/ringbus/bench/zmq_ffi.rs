//! What crate `zmq` has no safe call for.
#![allow(unsafe_code)]

use std::ffi::c_int;

/// Makes a publisher wait for a slow subscriber where it would drop.
pub(super) fn set_nodrop(socket: &mut zmq::Socket) -> zmq::Result<()> {
    let value: c_int = 1;
    // SAFETY: the socket is open for as long as it is borrowed, and the value is an `int` of the size stated, which
    // libzmq reads during the call.
    let rc = unsafe {
        zmq_sys::zmq_setsockopt(
            socket.as_mut_ptr(),
            zmq_sys::ZMQ_XPUB_NODROP as c_int,
            (&raw const value).cast(),
            size_of::<c_int>(),
        )
    };
    if rc == -1 {
        // SAFETY: it reads a thread-local number.
        return Err(zmq::Error::from_raw(unsafe { zmq_sys::zmq_errno() }));
    }
    Ok(())
}
