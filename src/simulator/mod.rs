//! Fake providers with a memory, for the demo, tests and benchmarks: people edit segments here, and HTTP answers follow.
//!
//! A wing of its own: it imports nothing of the rest of the crate, because it judges it, and has its own wall clock for the
//! same reason. Inside, each file imports from those above it in this table, and `Provider` and `Settings` from here:
//!
//! | file | work |
//! |---|---|
//! | `limits`, `gzip`, `wire`, `world` | exact windows · packing · connections that can misbehave · who remembers what |
//! | `statsig`, `octave` | each provider's segments and their JSON |
//! | `routes` | what a request asks for |
//! | `arrivals`, `faults`, `answers` | the log · misbehaviour on request · the true answers |
//! | `serve` | from a request to an answer |
//! | `mod` | the handle |
//! | `lively` | a cast of segments and a script of edits for the demo |
//!
//! Must never happen here: a simulator more lenient than the real thing, or one that listens beyond loopback.

mod answers;
mod arrivals;
mod faults;
mod gzip;
mod limits;
pub mod lively;
pub mod octave;
mod routes;
mod serve;
pub mod statsig;
mod wire;
mod world;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use self::arrivals::Arrival;
pub use self::faults::{Fault, Moment, On, Times};
pub use self::limits::{Limit, worst_window};
pub use self::routes::{Asked, Page};
pub use self::world::{Account, Edited, Missing, Model, Person, Stamp};

use self::arrivals::Arrivals;
use self::faults::Faults;
use self::serve::{Keys, Shared, serve};
use self::wire::{Tap, Wires};

/// The key that Statsig's side accepts by default.
pub const STATSIG_KEY: &str = "console-simulated-statsig-key";
/// The key that Octave's side accepts by default.
pub const OCTAVE_KEY: &str = "simulated-octave-key";

/// The providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Provider {
    /// Statsig's Console API.
    Statsig,
    /// Octave's API v2.
    Octave,
}

/// How a simulator behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Statsig's side.
    pub statsig: Side,
    /// Octave's side.
    pub octave: Side,
    /// Whether answers carry a weak ETag and `If-None-Match` is honoured.
    pub etags: bool,
    /// Whether answers are gzipped for those who accept it.
    pub gzip: bool,
    /// The most items on a page, whatever is asked for.
    pub max_page: usize,
    /// Whether Octave's list has soft-deleted segments.
    pub list_soft_deleted: bool,
    /// The form of Octave's list.
    pub octave_list: OctaveList,
}

/// One provider's keys and limits.
#[derive(Clone)]
pub struct Side {
    /// The keys that are accepted; each has the limits for itself.
    pub keys: Vec<String>,
    /// The limits; empty for none.
    pub limits: Vec<Limit>,
}

/// Forms of Octave's list that were seen or must be expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OctaveList {
    /// With `hasNext` and `total`, both right.
    Proper,
    /// `hasNext` is always true, also on an empty page.
    AlwaysHasNext,
    /// Without `hasNext` and `total`.
    NoHasNext,
    /// Nothing but the array.
    BareArray,
}

impl Default for Settings {
    fn default() -> Self {
        let side = |key: &str| Side { keys: vec![key.to_owned()], limits: Limit::published() };
        Self {
            statsig: side(STATSIG_KEY),
            octave: side(OCTAVE_KEY),
            etags: false,
            gzip: false,
            max_page: 100,
            list_soft_deleted: false,
            octave_list: OctaveList::Proper,
        }
    }
}

impl Settings {
    /// The same with these limits on both sides; empty for none.
    pub fn limited(mut self, limits: &[Limit]) -> Self {
        self.statsig.limits = limits.to_vec();
        self.octave.limits = limits.to_vec();
        self
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Side({} keys, {:?})", self.keys.len(), self.limits)
    }
}

/// Both providers on one port of loopback. Dropping it ends every connection soon; [`Simulator::stop`] waits for that.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// Where no port can be had.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            statsig: Account::statsig(),
            octave: Account::octave(),
            arrivals: Arrivals::new(settings.statsig.limits.clone(), settings.octave.limits.clone()),
            faults: Faults::default(),
            keys: Keys::new(&settings),
            host: address.to_string(),
            stop: stop.clone(),
            settings,
        });
        let app = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        let wires = Wires { listener, stop: stop.clone() };
        let server = axum::serve(wires, app.into_make_service_with_connect_info::<Tap>());
        let server = server.with_graceful_shutdown(stop.cancelled_owned());
        let task = tokio::spawn(async move {
            // It ends by the stop only: failed accepts are retried.
            server.await.ok();
        });
        Ok(Self { shared, address, task: Some(task) })
    }

    /// Stops listening, ends every connection, and waits until they are gone.
    pub async fn stop(mut self) {
        self.shared.stop.cancel();
        if let Some(task) = self.task.take() {
            // It cannot be cancelled by others, and a panic in it has been printed.
            task.await.ok();
        }
    }

    /// The base URL of a provider, without a final slash.
    pub fn base_url(&self, _provider: Provider) -> String {
        format!("http://{}", self.address)
    }

    /// Statsig's segments, to be edited.
    pub fn statsig(&self) -> &Account<statsig::Segment> {
        &self.shared.statsig
    }

    /// Octave's segments, to be edited.
    pub fn octave(&self) -> &Account<octave::Segment> {
        &self.shared.octave
    }

    /// Accepts these keys from now on, and no others.
    pub fn set_keys(&self, provider: Provider, keys: &[&str]) {
        self.shared.keys.set(provider, keys.iter().map(|&key| key.to_owned()).collect());
    }

    /// Asks for misbehaviour. The first wish in the queue that fits a request with a good key is used on it.
    pub fn misbehave(&self, provider: Provider, on: On, times: Times, fault: Fault) {
        self.shared.faults.wish(provider, on, times, fault);
    }

    /// From now on the provider behaves.
    pub fn behave(&self, provider: Provider) {
        self.shared.faults.clear(provider);
    }

    /// How many wishes for misbehaviour are not used up yet.
    pub fn faults_left(&self, provider: Provider) -> usize {
        self.shared.faults.waiting(provider)
    }

    /// Every request so far, in order of arrival.
    pub fn arrivals(&self) -> Vec<Arrival> {
        self.shared.arrivals.all()
    }

    /// Requests for what no provider serves.
    pub fn strays(&self) -> Vec<Arrival> {
        self.arrivals().into_iter().filter(|arrival| arrival.asked == Asked::Stray).collect()
    }

    /// Waits until so many requests have arrived since the start; returns all there are then.
    pub async fn arrivals_reach(&self, count: usize) -> Vec<Arrival> {
        self.arrivals_until(|arrivals| arrivals.len() >= count).await
    }

    /// Waits until the log is as wanted; asked again at each arrival and each answer.
    pub async fn arrivals_until(&self, enough: impl Fn(&[Arrival]) -> bool) -> Vec<Arrival> {
        self.shared.arrivals.until(enough).await
    }

    /// Requests that broke a limit.
    pub fn violations(&self) -> usize {
        self.shared.arrivals.violations()
    }

    /// The most requests that one account of the provider made in any closed window of this length: a count over the log,
    /// independent of the limits.
    pub fn worst_window(&self, provider: Provider, per: Duration) -> usize {
        self.shared.arrivals.worst_window(provider, per)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
