//! Greeting a peer over a connection that was just made.

use std::io::{self, IoSlice};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::time::timeout;

use super::super::{Config, Established, Handshake, HandshakeError};
use super::stream::{self, Reader, Stream, Writer};

/// How long a connection may take to greet.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is read at once.
const CHUNK: usize = 512;

/// A connection whose peer has greeted.
#[derive(Debug)]
pub(super) struct Met {
    pub(super) reader: Reader,
    pub(super) writer: Writer,
    /// What has come behind the handshake.
    pub(super) input: BytesMut,
    pub(super) established: Established,
}

/// Why a connection is not one.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotMet {
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    #[error(transparent)]
    Refused(#[from] HandshakeError),
    #[error("the peer has not greeted within {PATIENCE:?}")]
    Silent,
}

/// Greets. Dropping it closes the connection.
///
/// # Errors
/// [`NotMet`]; the connection is closed.
pub(super) async fn handshake(
    stream: Stream,
    config: &Config,
    peer_timeout: Duration,
) -> Result<Met, NotMet> {
    let (reader, writer) = stream::split(stream, peer_timeout)?;
    timeout(PATIENCE, greet(reader, writer, config)).await.unwrap_or(Err(NotMet::Silent))
}

async fn greet(mut reader: Reader, writer: Writer, config: &Config) -> Result<Met, NotMet> {
    let mut handshake = Handshake::new(config);
    let (mut input, mut output) = (BytesMut::new(), BytesMut::new());
    loop {
        let step = handshake.advance(&mut input, &mut output);
        write_all(&writer, &mut output).await?;
        if let Some(established) = step? {
            return Ok(Met { reader, writer, input, established });
        }
        input.reserve(CHUNK);
        if reader.read(&mut input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

async fn write_all(writer: &Writer, output: &mut BytesMut) -> io::Result<()> {
    while !output.is_empty() {
        match writer.try_write(&[IoSlice::new(output)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => output.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => writer.writable().await?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
