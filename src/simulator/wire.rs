//! The connections, and what can go wrong on them below HTTP: pauses, early ends, resets, bytes that are no answer.
//!
//! Every response is whole when it gets here; its [`Tap`] says how much of it goes out and what happens then. HTTP/1 only.
//! Must never happen here: a connection that outlives the simulator.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// What happens to a body on its way; what is left after the last step passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Pass(usize),
    Wait(Duration),
    Close,
    Reset,
}

/// The handler's hand on the connection that its request came by.
#[derive(Clone)]
pub(super) struct Tap(Arc<Valve>);

#[derive(Default)]
struct Valve {
    reset: AtomicBool,
    plan: Mutex<Plan>,
}

#[derive(Default)]
struct Plan {
    /// Goes out in place of the answer.
    instead: Option<Vec<u8>>,
    /// How much of the blank line that ends the headers was seen last.
    blank: usize,
    steps: VecDeque<Step>,
}

const BLANK: &[u8] = b"\r\n\r\n";

impl Tap {
    /// Says what happens to the body of the answer that comes next.
    pub(super) fn plan(&self, steps: impl IntoIterator<Item = Step>) {
        *self.lock() = Plan { instead: None, blank: 0, steps: steps.into_iter().collect() };
    }

    /// Sends these bytes in place of the answer that comes next, and closes.
    pub(super) fn instead(&self, bytes: Vec<u8>) {
        *self.lock() = Plan { instead: Some(bytes), ..Plan::default() };
    }

    /// Resets the connection in place of the answer that comes next.
    pub(super) fn reset(&self) {
        self.0.reset.store(true, Ordering::Relaxed);
        self.instead(Vec::new());
    }

    fn lock(&self) -> MutexGuard<'_, Plan> {
        self.0.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

impl Plan {
    /// How many of these bytes still belong to the headers; `None` once they are over.
    fn headers_in(&self, bytes: &[u8]) -> Option<usize> {
        let mut blank = self.blank;
        if blank == BLANK.len() {
            return None;
        }
        for (place, &byte) in bytes.iter().enumerate() {
            blank = after(blank, byte);
            if blank == BLANK.len() {
                return Some(place + 1);
            }
        }
        Some(bytes.len())
    }

    fn headers_went(&mut self, bytes: &[u8]) {
        self.blank = bytes.iter().fold(self.blank, |blank, &byte| after(blank, byte));
    }

    /// The step that is due; steps that are over are dropped.
    fn due(&mut self) -> Option<Step> {
        while self.steps.front() == Some(&Step::Pass(0)) {
            self.steps.pop_front();
        }
        self.steps.front().copied()
    }
}

fn after(blank: usize, byte: u8) -> usize {
    if BLANK.get(blank) == Some(&byte) { blank + 1 } else { usize::from(byte == b'\r') }
}

/// Accepts connections that obey their [`Tap`] and end with the simulator.
pub(super) struct Wires {
    pub(super) listener: TcpListener,
    pub(super) stop: CancellationToken,
}

impl Listener for Wires {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Without it, small pieces wait for each other; a stream too broken for it shows so soon enough.
        stream.set_nodelay(true).ok();
        let stop = Box::pin(self.stop.clone().cancelled_owned());
        (Wire { stream, tap: Tap(Arc::default()), pause: None, stop }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Wires>> for Tap {
    fn connect_info(stream: IncomingStream<'_, Wires>) -> Self {
        stream.io().tap.clone()
    }
}

pub(super) struct Wire {
    stream: TcpStream,
    tap: Tap,
    pause: Option<Pin<Box<Sleep>>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Wire {
    /// Polled first everywhere, so that a stop wakes whatever waits.
    fn alive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.stop.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }

    /// Carries out pauses and ends that are due; says how much of the body may pass next.
    fn steps(&mut self, cx: &mut Context<'_>, plan: &mut Plan) -> Poll<io::Result<usize>> {
        loop {
            match plan.due() {
                None => return Poll::Ready(Ok(usize::MAX)),
                Some(Step::Pass(left)) => return Poll::Ready(Ok(left)),
                Some(Step::Wait(time)) => {
                    let pause = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(time)));
                    ready!(pause.as_mut().poll(cx));
                    self.pause = None;
                    plan.steps.pop_front();
                }
                Some(Step::Close) => return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
                Some(Step::Reset) => {
                    self.tap.0.reset.store(true, Ordering::Relaxed);
                    return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
                }
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.tap.0.reset.load(Ordering::Relaxed) {
            // A close with zero linger is a reset; if even this fails, the plain close is abrupt enough.
            self.stream.set_zero_linger().ok();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.alive(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        this.alive(cx)?;
        let tap = this.tap.clone();
        let mut plan = tap.lock();
        if let Some(instead) = &mut plan.instead {
            while !instead.is_empty() {
                let sent = ready!(Pin::new(&mut this.stream).poll_write(cx, instead))?;
                instead.drain(..sent);
            }
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if let Some(headers) = plan.headers_in(buf) {
            let some = buf.get(..headers).unwrap_or(buf);
            let sent = ready!(Pin::new(&mut this.stream).poll_write(cx, some))?;
            plan.headers_went(some.get(..sent).unwrap_or(some));
            return Poll::Ready(Ok(sent));
        }
        let most = ready!(this.steps(cx, &mut plan))?;
        let sent = ready!(Pin::new(&mut this.stream).poll_write(cx, buf.get(..most).unwrap_or(buf)))?;
        if let Some(Step::Pass(left)) = plan.steps.front_mut() {
            *left -= sent.min(*left);
        }
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        this.alive(cx)?;
        let tap = this.tap.clone();
        let mut plan = tap.lock();
        // An end may be due although no byte of a body follows that could run into it.
        if plan.blank == BLANK.len() && matches!(plan.due(), Some(Step::Close | Step::Reset)) {
            ready!(this.steps(cx, &mut plan))?;
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_end_is_found_wherever_the_writes_are_cut() {
        let answer = b"HTTP/1.1 200 OK\r\na: \r\r\nb: c\r\n\r\nbody\r\n\r\n";
        let end = answer.windows(4).position(|w| w == BLANK).unwrap() + 4;
        for cut in 0..end {
            let mut plan = Plan::default();
            let (first, second) = answer.split_at(cut);
            assert_eq!(plan.headers_in(first), Some(cut));
            plan.headers_went(first);
            assert_eq!(plan.headers_in(second), Some(end - cut));
            plan.headers_went(&second[..end - cut]);
            assert_eq!(plan.headers_in(b"body"), None);
        }
    }
}
