//! The two halves of a connection's socket.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
#[cfg(unix)]
use tokio::net::{UnixStream, unix};

/// The most that a Unix socket is given at once, in bytes: it copies what it takes into one piece of memory, and takes ten
/// times as long over twice as much.
#[cfg(unix)]
const UNIX_AT_ONCE: usize = 64 << 10;

/// A connection that has just been made.
#[derive(Debug)]
pub(super) enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(UnixStream),
}

/// What the connection's task reads from.
#[derive(Debug)]
pub(super) enum Reader {
    /// TCP.
    Tcp(OwnedReadHalf),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(unix::OwnedReadHalf),
}

/// What every task that has a message writes to. The peer sees the end when it is dropped.
#[derive(Debug)]
pub(super) enum Writer {
    /// TCP.
    Tcp(OwnedWriteHalf),
    /// A Unix socket.
    #[cfg(unix)]
    Unix(unix::OwnedWriteHalf),
}

/// Readies a socket for a session and takes it apart.
pub(super) fn split(stream: Stream, peer_timeout: Duration) -> io::Result<(Reader, Writer)> {
    match stream {
        Stream::Tcp(stream) => {
            stream.set_nodelay(true)?;
            notice_the_dead(&stream, peer_timeout)?;
            let (reader, writer) = stream.into_split();
            Ok((Reader::Tcp(reader), Writer::Tcp(writer)))
        }
        // Its host is this one: nothing is lost on the way, and a process that ends is noticed at once.
        #[cfg(unix)]
        Stream::Unix(stream) => {
            let (reader, writer) = stream.into_split();
            Ok((Reader::Unix(reader), Writer::Unix(writer)))
        }
    }
}

/// Lets the system give a connection up whose other end is silent, or does not take what is sent. PINGs find the same out
/// where the peer answers them; a peer of ZMTP 3.0 does not.
#[cfg(target_os = "linux")]
fn notice_the_dead(stream: &TcpStream, peer_timeout: Duration) -> io::Result<()> {
    use rustix::net::sockopt;
    let second = Duration::from_secs(1);
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, (peer_timeout / 2).max(second))?;
    sockopt::set_tcp_keepintvl(stream, (peer_timeout / 6).max(second))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    let millis = u32::try_from(peer_timeout.as_millis()).unwrap_or(u32::MAX).max(100);
    Ok(sockopt::set_tcp_user_timeout(stream, millis)?)
}

#[cfg(not(target_os = "linux"))]
fn notice_the_dead(_stream: &TcpStream, _peer_timeout: Duration) -> io::Result<()> {
    Ok(())
}

impl Reader {
    /// Reads what is there into the free part of `input`, which must have one; 0 at the end. Cancel-safe.
    pub(super) async fn read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read_buf(input).await,
            #[cfg(unix)]
            Self::Unix(stream) => stream.read_buf(input).await,
        }
    }
}

impl Writer {
    /// The most that is well written at once, in bytes.
    pub(super) fn at_once(&self) -> usize {
        match self {
            Self::Tcp(_) => usize::MAX,
            #[cfg(unix)]
            Self::Unix(_) => UNIX_AT_ONCE,
        }
    }

    /// Writes as much as the system takes at once.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if it takes nothing now.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
            #[cfg(unix)]
            Self::Unix(stream) => stream.try_write_vectored(slices),
        }
    }

    /// Waits until something can be written, perhaps. Cancel-safe.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
            #[cfg(unix)]
            Self::Unix(stream) => stream.writable().await,
        }
    }
}
