//! Misbehaviour on request: what a test or a demo may ask a provider to do wrong, and the queues of such wishes.
//!
//! Must never happen here: a fault that fires twice when it was asked for once.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Provider;
use super::routes::Asked;

/// Which requests a fault is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// Whichever comes.
    Any,
    /// Those for this segment.
    Segment(String),
    /// Those for a page of the list.
    List,
}

/// How often a fault fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// On the next request that fits, and so on, so many times.
    Next(usize),
    /// Until the faults are cleared.
    Always,
}

/// One wrong answer. Made from the true one and bent: what is not asked for stays true.
#[derive(Clone)]
pub struct Fault {
    pub(super) wait: Duration,
    pub(super) gate: Option<CancellationToken>,
    pub(super) status: Option<u16>,
    pub(super) body: Body,
    pub(super) headers: Vec<(String, String)>,
    pub(super) delivery: Delivery,
}

#[derive(Clone)]
pub(super) enum Body {
    /// The true one.
    True,
    /// Other text, of this content type. `{key}` stands for the key that was sent.
    Text(&'static str, String),
    /// The true one with another id, or none.
    Id(Option<String>),
    /// The true one behind so many mebibytes of blanks.
    Padded { mebibytes: usize, packing: Packing },
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    ContentLength,
    Chunked,
    Gzip,
}

#[derive(Clone)]
pub(super) enum Delivery {
    Whole,
    /// Half of the body, then a close, although more was announced.
    Truncated,
    /// So many bytes of the body, then a close, although more was announced.
    Cut(usize),
    /// A reset at this moment.
    Reset(Moment),
    /// So many pieces of the body with a pause before each.
    Drip {
        pieces: usize,
        pause: Duration,
    },
    /// These bytes instead of an HTTP answer, then a close.
    Raw(Vec<u8>),
}

/// When a connection is reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the first byte of the answer.
    BeforeHeaders,
    /// After the last header.
    AfterHeaders,
    /// After half of the body.
    MidBody,
}

impl Fault {
    /// The true answer, to be bent by the other methods.
    pub fn answer() -> Self {
        Self {
            wait: Duration::ZERO,
            gate: None,
            status: None,
            body: Body::True,
            headers: Vec::new(),
            delivery: Delivery::Whole,
        }
    }

    /// This status with an empty body.
    pub fn status(status: u16) -> Self {
        Self { status: Some(status), body: Body::Text("text/plain", String::new()), ..Self::answer() }
    }

    /// 429 with this Retry-After: seconds, an HTTP date or any text.
    pub fn retry_after(text: &str) -> Self {
        Self::status(429).header("retry-after", text)
    }

    /// 302 to this URL.
    pub fn redirect(url: &str) -> Self {
        Self::status(302).header("location", url)
    }

    /// This status, and the key that was sent in the body, in a header and in the ETag.
    pub fn echo_key(status: u16) -> Self {
        Self::status(status)
            .json(r#"{"status":500,"message":"cannot serve key {key}"}"#)
            .header("etag", "W/\"{key}\"")
            .header("x-echo", "{key}")
    }

    /// The true answer with another id in it.
    pub fn wrong_id(id: &str) -> Self {
        Self { body: Body::Id(Some(id.to_owned())), ..Self::answer() }
    }

    /// The true answer without its id.
    pub fn missing_id() -> Self {
        Self { body: Body::Id(None), ..Self::answer() }
    }

    /// The true answer behind so many MiB of blanks, with a Content-Length that tells, or chunked.
    pub fn huge(mebibytes: usize, told: bool) -> Self {
        let packing = if told { Packing::ContentLength } else { Packing::Chunked };
        Self { body: Body::Padded { mebibytes, packing }, ..Self::answer() }
    }

    /// The true answer behind so many MiB of blanks, gzipped to about a thousandth, asked for or not.
    pub fn gzip_bomb(mebibytes: usize) -> Self {
        Self { body: Body::Padded { mebibytes, packing: Packing::Gzip }, ..Self::answer() }
    }

    /// A reset connection.
    pub fn reset(moment: Moment) -> Self {
        Self { delivery: Delivery::Reset(moment), ..Self::answer() }
    }

    /// The true answer's first half under a Content-Length of the whole.
    pub fn truncated() -> Self {
        Self { delivery: Delivery::Truncated, ..Self::answer() }
    }

    /// The true answer's first `bytes` bytes under a Content-Length of the whole.
    pub fn cut(bytes: usize) -> Self {
        Self { delivery: Delivery::Cut(bytes), ..Self::answer() }
    }

    /// These bytes on the wire in place of an HTTP answer.
    pub fn garbage(bytes: &[u8]) -> Self {
        Self { delivery: Delivery::Raw(bytes.to_vec()), ..Self::answer() }
    }

    /// With this text as a JSON body, valid or not. `{key}` stands for the key that was sent, here and in headers.
    pub fn json(self, text: &str) -> Self {
        Self { body: Body::Text("application/json", text.to_owned()), ..self }
    }

    /// With this HTML body; the status stays (200 on [`Fault::answer`]).
    pub fn html(self, text: &str) -> Self {
        Self { body: Body::Text("text/html; charset=utf-8", text.to_owned()), ..self }
    }

    /// With this body of plain text.
    pub fn text(self, text: &str) -> Self {
        Self { body: Body::Text("text/plain", text.to_owned()), ..self }
    }

    /// With this header, which replaces a true one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// After this time before the first byte.
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// Not before the gate is opened (cancelled): a wait that a test ends itself.
    pub fn gated(self, gate: &CancellationToken) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    /// With the body in so many pieces and a pause before each.
    pub fn drip(self, pieces: usize, pause: Duration) -> Self {
        Self { delivery: Delivery::Drip { pieces, pause }, ..self }
    }
}

#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<Wish>>);

struct Wish {
    provider: Provider,
    on: On,
    times: Times,
    fault: Fault,
}

impl Faults {
    pub(super) fn wish(&self, provider: Provider, on: On, times: Times, fault: Fault) {
        if times != Times::Next(0) {
            self.lock().push(Wish { provider, on, times, fault });
        }
    }

    pub(super) fn clear(&self, provider: Provider) {
        self.lock().retain(|wish| wish.provider != provider);
    }

    pub(super) fn waiting(&self, provider: Provider) -> usize {
        self.lock().iter().filter(|wish| wish.provider == provider).count()
    }

    /// The first wish that fits, used once.
    pub(super) fn next(&self, provider: Provider, asked: &Asked) -> Option<Fault> {
        let mut wishes = self.lock();
        let place = wishes.iter().position(|wish| wish.provider == provider && wish.on.fits(asked))?;
        let wish = wishes.get_mut(place)?;
        let fault = wish.fault.clone();
        match &mut wish.times {
            Times::Always => {}
            Times::Next(left) if *left > 1 => *left -= 1,
            Times::Next(_) => drop(wishes.remove(place)),
        }
        Some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Wish>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl On {
    fn fits(&self, asked: &Asked) -> bool {
        match (self, asked) {
            (Self::Segment(wanted), Asked::StatsigSegment(id) | Asked::OctaveSegment(Some(id))) => wanted == id,
            (Self::Any, _) | (Self::List, Asked::StatsigList(_) | Asked::OctaveList(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fault({:?})", self.status)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faults({})", self.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(faults: &Faults, id: &str) -> Option<u16> {
        faults.next(Provider::Statsig, &Asked::StatsigSegment(id.to_owned())).and_then(|fault| fault.status)
    }

    #[test]
    fn wishes_are_used_in_order_and_as_often_as_asked() {
        let faults = Faults::default();
        let wish = |on, times, status| faults.wish(Provider::Statsig, on, times, Fault::status(status));
        wish(On::Segment("a".to_owned()), Times::Next(2), 500);
        wish(On::List, Times::Next(1), 501);
        wish(On::Any, Times::Next(0), 502);
        wish(On::Any, Times::Always, 503);
        let seen: Vec<_> = ["b", "a", "a", "a"].into_iter().map(|id| next(&faults, id)).collect();
        assert_eq!(seen, [Some(503), Some(500), Some(500), Some(503)]);
        assert!(faults.next(Provider::Octave, &Asked::OctaveKey).is_none());
        assert_eq!(faults.waiting(Provider::Statsig), 2);
        faults.clear(Provider::Statsig);
        assert_eq!(next(&faults, "a"), None);
    }
}
