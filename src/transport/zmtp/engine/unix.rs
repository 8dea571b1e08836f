//! Unix sockets: binding where another process may have left its file, and connecting.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use crate::error::{Error, ErrorKind, Result};
use crate::transport::zmq::ipc::IpcAddress;

/// How long a process that may listen at a socket file is waited for.
const ANSWER: Duration = Duration::from_secs(1);
/// Between two looks whether another process has bound in the same directory, and how often it is looked.
const TURN_PAUSE: Duration = Duration::from_millis(10);
const TURNS: u32 = 500;

/// A bound Unix socket. Dropping it removes its file.
#[derive(Debug)]
pub(super) struct Port {
    // Dropped before the socket: a file that is there has a listener.
    _file: Option<SocketFile>,
    listener: UnixListener,
}

impl Port {
    /// Waits for a connection. Cancel-safe.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

/// Binds. The file of a process that is gone is replaced.
///
/// # Errors
/// [`AddressInUse`](ErrorKind::AddressInUse) if a process listens there, [`InvalidAddress`](ErrorKind::InvalidAddress),
/// or the system's own.
pub(super) async fn bind(address: &IpcAddress) -> Result<Port> {
    let path = path(address).map_err(|error| failed(address, error))?;
    if address.name().starts_with('@') {
        let listener = UnixListener::bind(path).map_err(|error| failed(address, error))?;
        return Ok(Port { _file: None, listener });
    }
    // Between the bind and the listen of one process its file looks left over to another.
    let turn = turn(&path).await.map_err(|error| failed(address, error))?;
    let listener = match UnixListener::bind(&path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            make_room(address, &path).await?;
            UnixListener::bind(&path)
        }
        bound => bound,
    };
    let listener = listener.map_err(|error| failed(address, error))?;
    let file = SocketFile::of(path).map_err(|error| failed(address, error))?;
    drop(turn);
    Ok(Port { _file: Some(file), listener })
}

/// Removes a socket file at which nobody listens.
async fn make_room(address: &IpcAddress, path: &Path) -> Result<()> {
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(address, error)),
    };
    if !metadata.file_type().is_socket() {
        let reason = "what stands there is no socket: choose another path".into();
        return Err(ErrorKind::InvalidAddress { address: address.endpoint(), reason }.into());
    }
    let in_use = || Err(ErrorKind::AddressInUse { address: address.endpoint() }.into());
    match timeout(ANSWER, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // One whose queue of connections is full listens, too.
        _ => return in_use(),
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(address, error)),
        _ => Ok(()),
    }
}

/// The right to bind in the directory of `path`, among processes of this library, until it is dropped. There is none where
/// the directory cannot be locked.
async fn turn(path: &Path) -> io::Result<Option<File>> {
    let Some(directory) = path.parent() else { return Ok(None) };
    let directory = match File::open(directory) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error),
    };
    for _ in 0..TURNS {
        match directory.try_lock() {
            Ok(()) => return Ok(Some(directory)),
            Err(TryLockError::WouldBlock) => sleep(TURN_PAUSE).await,
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "another process holds a lock of its directory"))
}

/// The file of a socket, removed with it unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn of(path: PathBuf) -> io::Result<Self> {
        let metadata = std::fs::symlink_metadata(&path)?;
        Ok(Self { path, device: metadata.dev(), inode: metadata.ino() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == (self.device, self.inode));
        if is_ours {
            // One that cannot be removed is replaced by the next that binds.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Connects.
///
/// # Errors
/// The system's.
pub(super) async fn connect(address: &IpcAddress) -> io::Result<UnixStream> {
    UnixStream::connect(path(address)?).await
}

/// The address as the system takes it: an abstract name begins with a zero byte.
fn path(address: &IpcAddress) -> io::Result<PathBuf> {
    match address.name().strip_prefix('@') {
        None => Ok(address.name().into()),
        Some(name) if cfg!(any(target_os = "linux", target_os = "android")) => Ok(format!("\0{name}").into()),
        Some(_) => Err(io::Error::new(io::ErrorKind::Unsupported, "abstract names are Linux's")),
    }
}

fn failed(address: &IpcAddress, error: io::Error) -> Error {
    let invalid = |reason: &str| {
        let reason = reason.to_owned();
        ErrorKind::InvalidAddress { address: address.endpoint(), reason }
    };
    let kind = match error.kind() {
        io::ErrorKind::AddrInUse => ErrorKind::AddressInUse { address: address.endpoint() },
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            invalid("its directory does not exist: make it, or choose another")
        }
        io::ErrorKind::PermissionDenied => {
            invalid("permission denied: choose a directory that this user may write to")
        }
        io::ErrorKind::Unsupported => invalid("abstract names are Linux's: write ipc:///PATH"),
        io::ErrorKind::InvalidInput => invalid("this system takes no name so long: write a shorter one"),
        _ => ErrorKind::Transport {
            transport: "zmq+ipc",
            operation: "binding",
            reason: format!("{}: {error}", address.endpoint()),
        },
    };
    Error::with_source(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(path: &Path) -> IpcAddress {
        IpcAddress::parse(&format!("ipc://{}", path.display())).unwrap().unwrap()
    }

    /// A file as a process leaves it that was killed.
    fn leave_over(path: &Path) {
        drop(std::os::unix::net::UnixListener::bind(path).unwrap());
        assert!(path.exists());
    }

    #[test]
    fn one_of_many_replaces_what_a_dead_process_has_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        for _ in 0..5 {
            leave_over(&path);
            let address = address(&path);
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    let address = address.clone();
                    std::thread::spawn(move || {
                        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                        let runtime = runtime.unwrap();
                        let bound = runtime.block_on(bind(&address));
                        // A port needs its runtime.
                        (bound, runtime)
                    })
                })
                .collect();
            let bound: Vec<_> = racers.into_iter().map(|racer| racer.join().unwrap()).collect();
            let winners = bound.iter().filter(|(bound, _)| bound.is_ok()).count();
            assert_eq!(winners, 1, "{bound:?}");
            for error in bound.iter().filter_map(|(bound, _)| bound.as_ref().err()) {
                assert!(matches!(error.kind(), ErrorKind::AddressInUse { .. }), "{error}");
            }
            drop(bound);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn what_is_not_its_own_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.sock");
        std::fs::write(&path, "a file").unwrap();
        let error = bind(&address(&path)).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidAddress { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
        std::fs::remove_file(&path).unwrap();
        let port = bind(&address(&path)).await.unwrap();
        // Another one takes its place.
        std::fs::rename(&path, directory.path().join("kept")).unwrap();
        leave_over(&path);
        drop(port);
        assert!(path.exists());
    }
}
