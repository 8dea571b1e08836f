//! The two halves of a connection's socket.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// What the connection's task reads from.
#[derive(Debug)]
pub(super) enum Reader {
    /// TCP.
    Tcp(OwnedReadHalf),
}

/// What every task that has a message writes to. The peer sees the end when it is dropped.
#[derive(Debug)]
pub(super) enum Writer {
    /// TCP.
    Tcp(OwnedWriteHalf),
}

/// Readies a socket for a session and takes it apart.
pub(super) fn split(stream: TcpStream, peer_timeout: Duration) -> io::Result<(Reader, Writer)> {
    stream.set_nodelay(true)?;
    notice_the_dead(&stream, peer_timeout)?;
    let (reader, writer) = stream.into_split();
    Ok((Reader::Tcp(reader), Writer::Tcp(writer)))
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
        }
    }
}

impl Writer {
    /// Writes as much as the system takes at once.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if it takes nothing now.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write_vectored(slices),
        }
    }

    /// Waits until something can be written, perhaps. Cancel-safe.
    pub(super) async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.writable().await,
        }
    }
}
