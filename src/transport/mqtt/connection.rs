//! One TCP connection to the broker: the handshake, the two buffers, and which messages are still in them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{Connect, ConnectReturnCode, Packet, Publish};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::address::BrokerAddress;
use super::decode::{Decoded, Decoder};
use super::outgoing::Outgoing;
use crate::transport::under_way::Counted;

/// Above this many bytes waiting to be written no more messages are encoded.
const WRITE_HIGH_WATER: usize = 256 * 1024;

/// So many bytes of answers may wait for a broker that sends and does not read: as many as a hundred thousand
/// acknowledgements on top of all else.
const ANSWERS: usize = 512 * 1024;

/// So many bytes may be under way to a broker on this machine (the system doubles it for its own needs). There is no delay
/// that more would bridge; more only waits at the broker, and has left the processor's cache when its turn comes. A quarter of
/// it would be too little: where none of the loopback's segments fits, each waits for a delayed acknowledgement.
#[cfg(target_os = "linux")]
const LOCAL_SEND_BUFFER: usize = 128 * 1024;

/// Why there is no connection, or none any more.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    /// The socket failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The broker's name has no address, or cannot be looked up, now.
    #[error("its name was not found: {0}")]
    Lookup(io::Error),
    /// No connection and no greeting within the time that there was.
    #[error("no answer in time")]
    TimedOut,
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
    /// Another session has had this one's client id for longer: this one is to end.
    #[error("another session has had this client id for longer")]
    NameTaken,
    /// The broker sends what is to be answered and does not read the answers.
    #[error("the broker does not read its answers")]
    Unread,
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
    /// The largest packet either way, in bytes.
    max_packet: usize,
    out: Outgoing,
    /// A PUBACK or a PUBCOMP was read, and nothing written since that tells the broker's system so.
    unanswered: bool,
    /// How many bytes were ever written to the socket.
    written: u64,
    /// When the last ones were.
    written_at: Instant,
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
    /// Looks the broker's name up and tries each of its addresses, in order: each has its share of the time that is left,
    /// so that one that does not answer leaves some to the others. Says, too, whether the broker kept the session's state.
    pub(super) async fn open(
        address: &BrokerAddress,
        hello: &Connect,
        max_packet: usize,
        deadline: Instant,
    ) -> Result<(Self, bool), ConnectionError> {
        let lookup = tokio::net::lookup_host((address.host.as_str(), address.port));
        let found = timeout_at(deadline, lookup).await.map_err(|_| {
            ConnectionError::Lookup(io::Error::new(io::ErrorKind::TimedOut, "the look-up takes too long"))
        })?;
        let addresses: Vec<SocketAddr> = found.map_err(ConnectionError::Lookup)?.collect();
        Self::first_of(&addresses, hello, max_packet, deadline).await
    }

    async fn first_of(
        addresses: &[SocketAddr],
        hello: &Connect,
        max_packet: usize,
        deadline: Instant,
    ) -> Result<(Self, bool), ConnectionError> {
        let mut failure = ConnectionError::Lookup(io::ErrorKind::NotFound.into());
        for (tried, at) in addresses.iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            failure = match timeout(share, Self::greet(*at, hello, max_packet)).await {
                Ok(Ok(greeted)) => return Ok(greeted),
                // A broker has answered: its other addresses would say the same.
                Ok(Err(error @ ConnectionError::Refused(_))) => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => ConnectionError::TimedOut,
            };
        }
        Err(failure)
    }

    /// Connects and shakes hands.
    async fn greet(
        address: SocketAddr,
        hello: &Connect,
        max_packet: usize,
    ) -> Result<(Self, bool), ConnectionError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        if stream.peer_addr()?.ip().is_loopback() {
            keep_little_under_way(&stream);
        }
        let mut connection = Self {
            stream,
            decoder: Decoder::new(max_packet),
            max_packet,
            out: Outgoing::default(),
            unanswered: false,
            written: 0,
            written_at: Instant::now(),
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
        let next = self.decoder.next()?;
        // What else is acknowledged is so by an answer. After a message with QoS 0 it costs a round trip 6 µs of 90.
        self.unanswered |= matches!(next, Some(Decoded::Packet(Packet::PubAck(_) | Packet::PubComp(_))));
        Ok(next)
    }

    /// Waits until something was read, if `read` is asked for, or until what waits to be written can be. How many bytes
    /// were read: one buffer at most. Cancel-safe.
    pub(super) async fn progress(&mut self, read: bool) -> Result<usize, ConnectionError> {
        if std::mem::take(&mut self.unanswered) {
            acknowledge(&self.stream);
        }
        // Reading itself, rather than waiting until it is possible, saves the system call that would find nothing left.
        poll_fn(|context| {
            if read {
                match pin!(self.stream.read_buf(self.decoder.buffer())).poll(context) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(ConnectionError::Ended)),
                    Poll::Ready(count) => return Poll::Ready(count.map_err(Into::into)),
                    Poll::Pending => {}
                }
            }
            if self.out.is_empty() {
                return Poll::Pending;
            }
            self.stream.poll_write_ready(context).map(|ready| ready.map(|()| 0).map_err(Into::into))
        })
        .await
    }

    /// Whether another message may be encoded.
    pub(super) fn has_room(&self) -> bool {
        self.out.len() < WRITE_HIGH_WATER
    }

    /// Encodes a packet that is neither a PUBLISH nor an [answer](Self::answer).
    pub(super) fn send(&mut self, packet: &Packet) -> Result<(), ConnectionError> {
        Ok(self.out.push(packet)?)
    }

    /// Encodes the answer to a packet that was read.
    pub(super) fn answer(&mut self, packet: &Packet) -> Result<(), ConnectionError> {
        // One message may be on top of the high water mark, and what is let in is as large.
        if self.out.len() > WRITE_HIGH_WATER + self.max_packet + ANSWERS {
            return Err(ConnectionError::Unread);
        }
        self.send(packet)
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

    /// How long ago something was written.
    pub(super) fn since_written(&self) -> Duration {
        self.written_at.elapsed()
    }

    /// Whether everything encoded was written.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Writes as much as the socket takes now.
    pub(super) fn flush(&mut self) -> Result<(), ConnectionError> {
        while !self.out.is_empty() {
            match self.out.write_with(|slices| self.stream.try_write_vectored(slices)) {
                Ok(count) => {
                    self.written += count as u64;
                    self.written_at = Instant::now();
                    self.unanswered = false;
                }
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

/// Tells the broker's system now that its bytes have come, not in up to 40 ms: a broker without TCP_NODELAY, as
/// Mosquitto is by default, keeps its next small packet until then. The system forgets it with the next answer.
fn acknowledge(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_tcp_quickack(stream, true) {
        tracing::trace!(%error, "acknowledgements stay delayed");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// Bounds what the system takes from us before the broker has taken it.
fn keep_little_under_way(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::net::sockopt::set_socket_send_buffer_size(stream, LOCAL_SEND_BUFFER) {
        tracing::trace!(%error, "the send buffer stays as it is");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::{Duration, Instant};

    use tokio::net::TcpListener;
    use tokio::time::Instant as Deadline;

    use super::*;

    fn soon() -> Deadline {
        Deadline::now() + Duration::from_secs(10)
    }

    /// A broker with Nagle's algorithm that answers each ping by two small packets, and writes each alone.
    async fn echo(listener: TcpListener) -> io::Result<()> {
        let (mut stream, _) = listener.accept().await?;
        let (mut greeting, mut ping) = ([0; 256], [0; 2]);
        assert!(stream.read(&mut greeting).await? > 0);
        stream.write_all(&[0x20, 2, 0, 0]).await?;
        while stream.read_exact(&mut ping).await.is_ok() {
            stream.write_all(&[0x40, 2, 0, 1]).await?;
            stream.write_all(&[0xd0, 0]).await?;
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_small_packet_does_not_wait_for_a_delayed_acknowledgement() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = BrokerAddress { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        let broker = tokio::spawn(echo(listener));
        let (mut connection, _) =
            Connection::open(&address, &Connect::new("small"), 1024, soon()).await.unwrap();
        let mut times = Vec::new();
        for _ in 0..41 {
            let asked = Instant::now();
            connection.send(&Packet::PingReq).unwrap();
            connection.flush().unwrap();
            for _ in 0..2 {
                while connection.next().unwrap().is_none() {
                    connection.progress(true).await.unwrap();
                }
            }
            times.push(asked.elapsed());
        }
        // An acknowledgement is delayed each time; a busy machine is not late each time.
        times.sort_unstable();
        assert!(times[5] < Duration::from_millis(20), "{times:?}");
        drop(connection);
        broker.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_address_that_does_not_answer_leaves_time_to_the_others() {
        // One that nobody accepts at, one that refuses, and a broker.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refuses = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [silent.local_addr().unwrap(), refuses, listener.local_addr().unwrap()];
        let broker = tokio::spawn(echo(listener));
        let hello = Connect::new("several");
        let deadline = Deadline::now() + Duration::from_secs(3);
        let (connection, _) = Connection::first_of(&addresses, &hello, 1024, deadline).await.unwrap();
        drop(connection);
        broker.await.unwrap().unwrap();
        let soon = Deadline::now() + Duration::from_millis(100);
        let none = Connection::first_of(&addresses[..1], &hello, 1024, soon).await;
        assert!(matches!(none, Err(ConnectionError::TimedOut)), "{none:?}");
    }

    /// Accepts one client and reads until that closes; how many bytes it was.
    async fn swallow(listener: TcpListener) -> io::Result<usize> {
        let (mut stream, _) = listener.accept().await?;
        let mut buffer = vec![0; 64 * 1024];
        assert!(stream.read(&mut buffer).await? > 0);
        stream.write_all(&[0x20, 2, 0, 0]).await?;
        let mut bytes = 0;
        loop {
            match stream.read(&mut buffer).await? {
                0 => return Ok(bytes),
                more => bytes += more,
            }
        }
    }

    #[tokio::test]
    async fn little_is_under_way_to_a_broker_on_this_machine_and_it_does_not_stand_still() {
        const COUNT: usize = 50;
        let message = Publish::new("t", rumqttc::QoS::AtMostOnce, vec![0; 64 * 1024]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = BrokerAddress { host: "127.0.0.1".into(), port: listener.local_addr().unwrap().port() };
        let broker = tokio::spawn(swallow(listener));
        let (mut connection, _) =
            Connection::open(&address, &Connect::new("large"), 1024, soon()).await.unwrap();
        let size = rustix::net::sockopt::socket_send_buffer_size(&connection.stream).unwrap();
        assert!((LOCAL_SEND_BUFFER..=2 * LOCAL_SEND_BUFFER).contains(&size), "{size}");
        let mut times = Vec::new();
        for _ in 0..COUNT {
            let began = Instant::now();
            connection.publish(&message, None).unwrap();
            while !connection.is_flushed() {
                connection.flush().unwrap();
                connection.stream.writable().await.unwrap();
            }
            times.push(began.elapsed());
        }
        drop(connection);
        assert!(broker.await.unwrap().unwrap() > COUNT * message.payload.len());
        // With a buffer of 32 KiB each takes, on some kernels, as long as an acknowledgement may be delayed, 40 ms. Of all together
        // a busy machine may take more than that.
        times.sort_unstable();
        assert!(times[COUNT / 5] < Duration::from_millis(20), "{times:?}");
    }
}
