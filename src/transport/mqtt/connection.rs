//! One TCP connection to the broker: the handshake, the two buffers, and which messages are still in them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{Connect, ConnectReturnCode, Packet, Publish};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::address::BrokerAddress;
use super::decode::{Decoded, Decoder};
use super::outgoing::Outgoing;
use crate::transport::under_way::Counted;

/// Above this many bytes waiting to be written no more messages are encoded.
const WRITE_HIGH_WATER: usize = 256 * 1024;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The other side closed.
    #[error("the other side closed the connection")]
    Ended,
    /// Bytes that are not MQTT 3.1.1.
    #[error("it does not speak MQTT 3.1.1: {0}")]
    Protocol(String),
    /// A CONNACK that says no.
    #[error("the broker refused the connection: {0:?}")]
    Refused(ConnectReturnCode),
    /// Nothing came for longer than the keep-alive time allows.
    #[error("the broker has been silent for too long")]
    Silent,
}

impl From<CodecError> for ConnectionError {
    fn from(error: CodecError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// An established connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    out: Outgoing,
    /// How many bytes were ever written to the socket.
    written: u64,
    /// The messages in `out` of which it matters when they went out.
    unwritten: VecDeque<Unwritten>,
}

#[derive(Debug)]
struct Unwritten {
    /// Where it ends, counted as `written` is.
    end: u64,
    /// Whether nothing else will tell that it went out: it has QoS 0.
    unacknowledged: bool,
    /// Makes it count as under way.
    _counted: Option<Counted>,
}

impl Connection {
    /// Connects and shakes hands. Says, too, whether the broker kept the session's state.
    pub(super) async fn open(
        address: &BrokerAddress,
        hello: &Connect,
        max_packet: usize,
    ) -> Result<(Self, bool), ConnectionError> {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            decoder: Decoder::new(max_packet),
            out: Outgoing::default(),
            written: 0,
            unwritten: VecDeque::new(),
        };
        let mut greeting = BytesMut::new();
        hello.write(&mut greeting)?;
        connection.stream.write_all_buf(&mut greeting).await?;
        loop {
            match connection.decoder.next()? {
                Some(Decoded::Packet(Packet::ConnAck(answer)))
                    if answer.code == ConnectReturnCode::Success =>
                {
                    return Ok((connection, answer.session_present));
                }
                Some(Decoded::Packet(Packet::ConnAck(answer))) => {
                    return Err(ConnectionError::Refused(answer.code));
                }
                Some(_) => return Err(ConnectionError::Protocol("its first packet is not a CONNACK".into())),
                None => {}
            }
            if connection.stream.read_buf(connection.decoder.buffer()).await? == 0 {
                return Err(ConnectionError::Ended);
            }
        }
    }

    /// The next packet of those that were read.
    pub(super) fn next(&mut self) -> Result<Option<Decoded>, ConnectionError> {
        Ok(self.decoder.next()?)
    }

    /// Waits until something was read, if `read` is asked for, or until what waits to be written can be. `true` if
    /// something was read: one buffer at most. Cancel-safe.
    pub(super) async fn progress(&mut self, read: bool) -> Result<bool, ConnectionError> {
        // Reading itself, rather than waiting until it is possible, saves the system call that would find nothing left.
        poll_fn(|context| {
            if read {
                match pin!(self.stream.read_buf(self.decoder.buffer())).poll(context) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(ConnectionError::Ended)),
                    Poll::Ready(count) => return Poll::Ready(count.map(|_| true).map_err(Into::into)),
                    Poll::Pending => {}
                }
            }
            if self.out.is_empty() {
                return Poll::Pending;
            }
            self.stream.poll_write_ready(context).map(|ready| ready.map(|()| false).map_err(Into::into))
        })
        .await
    }

    /// Whether another message may be encoded.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < WRITE_HIGH_WATER
    }

    /// Encodes a packet that is no PUBLISH.
    pub(super) fn send(&mut self, packet: &Packet) -> Result<(), ConnectionError> {
        Ok(self.out.push(packet)?)
    }

    /// Encodes a message, which counts as under way until it is written.
    pub(super) fn publish(
        &mut self,
        publish: &Publish,
        counted: Option<Counted>,
    ) -> Result<(), ConnectionError> {
        self.out.push_publish(publish)?;
        let unacknowledged = publish.pkid == 0;
        if unacknowledged || counted.is_some() {
            let end = self.written + self.out.len() as u64;
            self.unwritten.push_back(Unwritten { end, unacknowledged, _counted: counted });
        }
        Ok(())
    }

    /// How many QoS 0 messages have not been written to the socket entirely.
    pub(super) fn unwritten(&self) -> usize {
        self.unwritten.iter().filter(|message| message.unacknowledged).count()
    }

    /// Whether everything encoded was written.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Writes as much as the socket takes now.
    pub(super) fn flush(&mut self) -> Result<(), ConnectionError> {
        while !self.out.is_empty() {
            match self.out.write_with(|slices| self.stream.try_write_vectored(slices)) {
                Ok(count) => self.written += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        while self.unwritten.front().is_some_and(|message| message.end <= self.written) {
            self.unwritten.pop_front();
        }
        Ok(())
    }

    /// Says goodbye and waits until the broker has closed its side, so that it has read everything. A socket closed
    /// with unread bytes in it would take back what the broker has not read yet.
    pub(super) async fn disconnect(mut self) -> Result<(), ConnectionError> {
        self.send(&Packet::Disconnect)?;
        while !self.is_flushed() {
            self.flush()?;
            self.stream.writable().await?;
        }
        self.stream.shutdown().await?;
        let mut rest = [0; 4096];
        while self.stream.read(&mut rest).await? > 0 {}
        Ok(())
    }
}
