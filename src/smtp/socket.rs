//! Listening sockets: bound here, or bound by systemd and handed over.

use std::fs::{self, Permissions};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixSocket};

use super::stream::Plain;
use crate::domain::endpoint::Endpoint;

/// A good length for the queue of connections not yet accepted. The default of 128 is too short: a client that
/// finds it full believes it is connected and waits for ever for a greeting that nobody will send.
const BACKLOG: u32 = 4096;

/// A socket that takes connections.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// The file, if it is ours to remove.
        file: Option<SocketFile>,
    },
}

/// A Unix socket's file, which goes when it is dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nothing depends on it: the next start replaces a file that nobody listens on.
        let _ = fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Opens a listening socket; `mode` is for a Unix socket's file.
    ///
    /// # Errors
    /// The address is taken, not ours, or not allowed.
    pub fn bind(endpoint: &Endpoint, mode: u32) -> io::Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => bind_tcp(*address).map(Self::Tcp),
            Endpoint::Unix(path) => bind_unix(path, mode),
        }
    }

    /// Takes over a TCP socket that listens already.
    ///
    /// # Errors
    /// If it cannot be used without blocking.
    pub fn of_tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    /// Takes over a Unix socket that listens already; its file stays with whoever made it.
    ///
    /// # Errors
    /// If it cannot be used without blocking.
    pub fn of_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Ok(Self::Unix { listener: UnixListener::from_std(listener)?, file: None })
    }

    /// Where it is found.
    ///
    /// # Errors
    /// If the system does not say, or the socket has no address that clients could use.
    pub fn endpoint(&self) -> io::Result<Endpoint> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Endpoint::Tcp),
            Self::Unix { listener, .. } => {
                let address = listener.local_addr()?;
                let path = address.as_pathname().ok_or_else(|| io::Error::other("the socket has no path"))?;
                Ok(Endpoint::Unix(path.to_owned()))
            }
        }
    }

    /// The next connection, and the address it comes from if it has one.
    pub(super) async fn accept(&self) -> io::Result<(Plain, Option<IpAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Replies go out as they are; if it fails the connection is gone, and the first read says so.
                let _ = stream.set_nodelay(true);
                Ok((Plain::Tcp(stream), Some(peer.ip().to_canonical())))
            }
            Self::Unix { listener, .. } => Ok((Plain::Unix(listener.accept().await?.0), None)),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the last run to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<Socket> {
    make_way(path)?;
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    let file = Some(SocketFile(path.to_owned()));
    // Before it listens, nobody can connect: nobody comes in while its mode is not yet the one wanted.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(Socket::Unix { listener: socket.listen(BACKLOG)?, file })
}

/// Removes a socket that nobody listens on, left by a process that died. Anything else is not ours to remove.
fn make_way(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let in_use = |what: &str| io::Error::new(io::ErrorKind::AddrInUse, what.to_owned());
    if !found.file_type().is_socket() {
        return Err(in_use("there is a file of that name that is no socket, expected none"));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(in_use("another process listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Binds `name` in a fresh directory that `prepare` was let into.
    fn bind(prepare: impl FnOnce(&Path)) -> (tempfile::TempDir, io::Result<Socket>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("smtp.sock");
        prepare(&path);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let _entered = runtime.enter();
        let bound = Socket::bind(&Endpoint::Unix(path), 0o640);
        (folder, bound)
    }

    #[test]
    fn a_socket_has_the_mode_that_was_wanted_and_goes_with_its_listener() {
        let (folder, bound) = bind(|_| {});
        let path = folder.path().join("smtp.sock");
        let bound = bound.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(bound.endpoint().unwrap(), Endpoint::Unix(path.clone()));
        drop(bound);
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_that_nobody_listens_on_is_replaced() {
        let (_folder, bound) = bind(|path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()));
        bound.unwrap();
    }

    #[test]
    fn a_socket_that_somebody_listens_on_and_a_file_are_left_alone() {
        let mut alive = None;
        let (_folder, bound) =
            bind(|path| alive = Some(std::os::unix::net::UnixListener::bind(path).unwrap()));
        assert_eq!(bound.unwrap_err().to_string(), "another process listens there");
        let (folder, bound) = bind(|path| fs::write(path, "dear diary").unwrap());
        let told = "there is a file of that name that is no socket, expected none";
        assert_eq!(bound.unwrap_err().to_string(), told);
        assert_eq!(fs::read(folder.path().join("smtp.sock")).unwrap(), b"dear diary");
    }
}
