//! What the service manager is told, and what it asks for (sd_notify(3)). Without a manager every call does nothing.

use std::time::Duration;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use sd_notify::NotifyState;

/// The database is open and the schedule stands; or a reload has ended, well or not.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// A reload has begun. `Type=notify-reload` (systemd 253) takes the two fields together only.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("failed to tell the service manager of the reload: {error}"),
    }
}

/// One line on how things are.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// The daemon is on its way out.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Everything that has to move has moved since the last time.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The start goes on, and takes so much longer at most.
pub fn extend(by: Duration) {
    tell(&[NotifyState::ExtendTimeoutUsec(u32::try_from(by.as_micros()).unwrap_or(u32::MAX))]);
}

/// How often [`alive`] has to be called at least, if the manager watches.
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("failed to notify the service manager: {error}");
    }
}

/// A socket that the service manager opened for this process.
#[derive(Debug)]
pub enum Socket {
    /// On an address.
    Tcp(TcpListener),
    /// In the file system, or unnamed.
    Unix(UnixListener),
}

/// Takes the sockets that were passed (sd_listen_fds(3)): once, before there are other threads, as it takes the variables
/// that tell of them out of the environment.
pub fn sockets() -> io::Result<Vec<Socket>> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::with_capacity(passed.len());
    for at in 0..passed.len() {
        // One of the wrong kind is left for the next try.
        let tcp = passed.take_tcp_listener(at).ok().flatten().map(Socket::Tcp);
        let socket = match tcp {
            Some(tcp) => Some(tcp),
            None => passed.take_unix_listener(at)?.map(Socket::Unix),
        };
        sockets.extend(socket);
    }
    Ok(sockets)
}
