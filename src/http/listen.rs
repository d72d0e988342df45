//! The sockets that accept connections.
//!
//! Must never bind anything but what the configuration names, nor remove a file that is not its own dead socket.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::either::Either;

use crate::config::Listen;
use crate::systemd;

/// How long whoever listens on a socket's path may take to show that he does.
const LOOK: Duration = Duration::from_secs(1);

/// One connection.
pub(super) type Stream = Either<TcpStream, UnixStream>;

/// How a connection came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Via {
    /// To this address of ours.
    Tcp(SocketAddr),
    /// Through the file system.
    Unix,
}

/// Sockets that accept connections for the API.
#[derive(Debug)]
pub struct Listener(Vec<Socket>);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix { listener: UnixListener, _file: Option<Bound> },
}

/// A socket's file, removed when nobody listens on it any more.
#[derive(Debug)]
struct Bound {
    path: PathBuf,
    file: (u64, u64),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self(vec![Socket::Tcp(listener)])
    }
}

impl Listener {
    /// Binds where the configuration says.
    pub async fn bind(listen: &Listen) -> io::Result<Self> {
        let socket = match listen {
            Listen::Tcp(address) => Socket::Tcp(TcpListener::bind(address).await?),
            Listen::Unix(path) => {
                make_way(path).await?;
                let listener = UnixListener::bind(path)?;
                Socket::Unix { listener, _file: Some(Bound { path: path.clone(), file: identity(path)? }) }
            }
            Listen::Systemd => {
                return Err(io::Error::other("systemd passes sockets at the start only: restart segsync.socket"));
            }
        };
        Ok(Self(vec![socket]))
    }

    /// Takes over sockets that listen already; there is at least one.
    pub fn passed(sockets: Vec<systemd::Socket>) -> io::Result<Self> {
        let take = |socket| match socket {
            systemd::Socket::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Socket::Tcp)
            }
            systemd::Socket::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Socket::Unix { listener: UnixListener::from_std(listener)?, _file: None })
            }
        };
        sockets.into_iter().map(take).collect::<io::Result<_>>().map(Self)
    }

    /// Whether only this machine reaches it.
    pub fn is_private(&self) -> bool {
        let is_private = |socket: &Socket| match socket {
            Socket::Tcp(listener) => listener.local_addr().is_ok_and(|at| at.ip().to_canonical().is_loopback()),
            Socket::Unix { .. } => true,
        };
        self.0.iter().all(is_private)
    }

    /// Waits for the next connection of any of the sockets.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Via)> {
        poll_fn(|context| {
            let ready = self.0.iter().find_map(|socket| match socket.poll_accept(context) {
                Poll::Ready(accepted) => Some(accepted),
                Poll::Pending => None,
            });
            ready.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

impl Socket {
    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(Stream, Via)>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(context).map(|accepted| {
                let (stream, _) = accepted?;
                // An answer is small: waiting for more would only delay it.
                stream.set_nodelay(true)?;
                let via = Via::Tcp(stream.local_addr()?);
                Ok((Either::Left(stream), via))
            }),
            Self::Unix { listener, .. } => listener.poll_accept(context).map(|accepted| {
                let (stream, _) = accepted?;
                Ok((Either::Right(stream), Via::Unix))
            }),
        }
    }
}

/// Where it listens, for people, with the port that it was given.
impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, socket) in self.0.iter().enumerate() {
            f.write_str(if position == 0 { "" } else { ", " })?;
            match socket {
                Socket::Tcp(listener) => match listener.local_addr() {
                    Ok(address) => write!(f, "http://{address}")?,
                    Err(_) => f.write_str("an unknown address")?,
                },
                Socket::Unix { listener, .. } => match listener.local_addr() {
                    Ok(address) if address.as_pathname().is_some() => {
                        write!(f, "unix:{}", address.as_pathname().unwrap_or(Path::new("")).display())?;
                    }
                    _ => f.write_str("an unnamed Unix socket")?,
                },
            }
        }
        Ok(())
    }
}

/// Removes the socket that a killed process left at `path`; anything else there stays, and is an error.
async fn make_way(path: &Path) -> io::Result<()> {
    let taken = |what| Err(io::Error::new(io::ErrorKind::AddrInUse, what));
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return taken("there is a file that is no socket; it stays"),
        Ok(_) => {}
    }
    match timeout(LOOK, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Ok(Err(error)) => Err(error),
        Ok(Ok(_)) | Err(_) => taken("another process listens there"),
    }
}

/// Which file a path names.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

impl Drop for Bound {
    fn drop(&mut self) {
        // By now the path may be another process's.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // One that stays is removed at the next start.
            std::fs::remove_file(&self.path).unwrap_or(());
        }
    }
}
