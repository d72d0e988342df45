//! Everything that can be wrong before something runs: keys, certificates, sources that contradict each other.

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::budget::Terms;
use crate::clock::Clock;
use crate::config::{Config, Http, Listen, Source};
use crate::http;
use crate::model::SourceName;
use crate::provider::{self, Provider};
use crate::secret::KeyPrint;
use crate::transport::{Settings, Transport};

/// A configuration whose keys have been read: nothing in it can fail any more.
#[derive(Debug)]
pub struct Prepared {
    pub(super) config: Config,
    pub(super) accounts: Vec<PreparedAccount>,
    token: Option<KeyPrint>,
}

/// Sources that share one budget.
#[derive(Debug)]
pub(super) struct PreparedAccount {
    pub(super) terms: Terms,
    pub(super) sources: Vec<PreparedSource>,
}

/// A source that can send.
pub(super) struct PreparedSource {
    pub(super) config: Source,
    pub(super) provider: &'static dyn Provider,
    pub(super) transport: Transport,
    print: KeyPrint,
}

impl Prepared {
    /// Reads the keys of `config` and sets up its connections. All missing keys are told together.
    pub fn new(config: Config, clock: &Clock) -> Result<Self> {
        let token = config.http.as_ref().map(Http::read_token).transpose();
        let prepared = Self::of_sources(config, clock, |_| true);
        match (prepared, token) {
            (Ok(prepared), Ok(token)) => {
                Ok(Self { token: token.flatten().map(|token| token.fingerprint()), ..prepared })
            }
            (Err(error), Ok(_)) => Err(error),
            (Ok(_), Err(error)) => Err(error.into()),
            (Err(keys), Err(token)) => bail!("{keys:#}\n{token}"),
        }
    }

    /// The same for some of the sources; the keys of the others are not read, nor the token of the local API.
    pub fn of_sources(config: Config, clock: &Clock, wanted: impl Fn(&SourceName) -> bool) -> Result<Self> {
        let sources = config.sources.iter().filter(|source| wanted(&source.name));
        let (prepared, problems): (Vec<_>, Vec<_>) =
            sources.map(|source| prepare(source, clock)).partition(Result::is_ok);
        let problems: Vec<String> =
            problems.into_iter().filter_map(std::result::Result::err).map(|e| format!("{e:#}")).collect();
        if !problems.is_empty() {
            bail!("{}", problems.join("\n"));
        }
        let accounts = accounts(prepared.into_iter().filter_map(Result::ok).collect())?;
        Ok(Self { config, accounts, token: None })
    }

    /// Where the local API is to listen.
    pub(super) fn listen(&self) -> Option<&Listen> {
        self.config.http.as_ref().map(|http| &http.listen)
    }

    /// What callers of the local API must send, if anything.
    pub(super) fn token(&self) -> Option<KeyPrint> {
        self.token
    }

    /// Further names that the local API goes by.
    pub(super) fn hosts(&self) -> Vec<String> {
        self.config.http.as_ref().map(|http| http.hosts.clone()).unwrap_or_default()
    }

    /// The sources as the local API knows them.
    pub(super) fn served(&self) -> HashMap<SourceName, http::Source> {
        let sources = self.accounts.iter().flat_map(|account| &account.sources);
        let served = |source: &PreparedSource| http::Source { provider: source.provider, key: source.print };
        sources.map(|source| (source.config.name.clone(), served(source))).collect()
    }

    /// The configuration it was made of.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

fn prepare(source: &Source, clock: &Clock) -> Result<PreparedSource> {
    let key = source.read_key()?;
    let provider = provider::by_name(source.provider).context("a provider of the catalogue")?;
    let settings = Settings { base_url: source.base_url.clone(), timeout: source.timeout, max_body: source.max_body };
    let print = key.fingerprint();
    let transport = Transport::new(settings, key, clock.clone()).with_context(|| format!("source {}", source.name))?;
    Ok(PreparedSource { config: source.clone(), provider, transport, print })
}

/// Groups sources by account: the same provider, base URL and key.
fn accounts(sources: Vec<PreparedSource>) -> Result<Vec<PreparedAccount>> {
    let mut accounts: Vec<PreparedAccount> = Vec::new();
    for source in sources {
        match accounts.iter_mut().find(|account| account.sources[0].shares_account(&source)) {
            Some(account) => account.join(source)?,
            None => accounts.push(PreparedAccount { terms: terms(&source.config), sources: vec![source] }),
        }
    }
    Ok(accounts)
}

/// What binds the account of a source.
pub fn terms(source: &Source) -> Terms {
    Terms {
        limits: source.limits.clone(),
        share: source.share,
        burst: NonZeroU32::new(source.burst).unwrap_or(NonZeroU32::MIN),
        timeout: source.timeout,
    }
}

impl PreparedAccount {
    /// Whether a source that is not among its own can be of this account, as far as can be told without its key.
    pub(super) fn may_include(&self, provider: &str, base_url: &str) -> bool {
        let own = &self.sources[0].config;
        provider == own.provider && base_url == own.base_url.as_str()
    }

    fn join(&mut self, source: PreparedSource) -> Result<()> {
        let (first, own) = (&self.sources[0].config.name, terms(&source.config));
        let same_but_timeout = Terms { timeout: self.terms.timeout, ..own.clone() };
        if same_but_timeout != self.terms {
            bail!(
                "sources {first} and {} are one account (same provider, base_url and key) and share its budget: \
                 give both the same limits, share and burst",
                source.config.name
            );
        }
        self.terms.timeout = self.terms.timeout.max(own.timeout);
        self.sources.push(source);
        Ok(())
    }
}

impl PreparedSource {
    fn shares_account(&self, other: &Self) -> bool {
        let url = |source: &Self| (source.config.provider, source.config.base_url.clone());
        self.print == other.print && url(self) == url(other)
    }
}

impl fmt::Debug for PreparedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreparedSource").field(&self.config.name).finish()
    }
}

/// The longest time that a request of this configuration may take.
pub(super) fn longest_timeout(config: &Config) -> Duration {
    config.sources.iter().map(|source| source.timeout).max().unwrap_or_default()
}
