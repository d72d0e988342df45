//! The only outgoing HTTP. A send consumes a [`Permit`] and happens once: nothing here retries, redirects or reads on
//! beyond the cap.
//!
//! What leaves this room as text is scrubbed of the key. Bodies of status 200 leave as they came.

mod told;

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{ACCEPT, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use url::Url;

use crate::budget::{End, Permit, Standing};
use crate::clock::Clock;
use crate::secret::ApiKey;

pub use told::{remaining, retry_after};

/// Everything but the characters that no URL gives a meaning to (RFC 3986 "unreserved").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// How much of a body is read that only explains a refusal.
const REFUSAL_BODY: u64 = 64 * 1024;

/// Validators longer than this are not kept.
const LONGEST_ETAG: usize = 256;

/// One request, as a provider describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Path below the base URL, each segment as plain text.
    pub path: Vec<String>,
    /// Query parameters as plain text.
    pub query: Vec<(&'static str, String)>,
    /// The header that carries the key.
    pub key_header: &'static str,
    /// Further headers.
    pub headers: &'static [(&'static str, &'static str)],
    /// The validator of the last answer.
    pub if_none_match: Option<String>,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body's validator, if it is of use.
    pub etag: Option<String>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// How the account stands with it.
    pub standing: Standing,
    /// The decoded body.
    pub body: Result<Vec<u8>, BodyError>,
}

/// Why there is no whole body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is larger than the source's `max_body`.
    #[error("body is larger than {0} bytes")]
    TooLarge(u64),
    /// It ended early or is not what its headers say.
    #[error("body ended early: {0}")]
    Broken(String),
    /// It did not end in time, or the connection was reset.
    #[error("{0}")]
    Lost(String),
}

/// Why there is no answer, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(String);

/// Why no requests can be sent at all.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The machine has no certificates to check a provider's certificate against.
    #[error("set up TLS: {0}; install the system's CA certificates (on Debian: apt install ca-certificates)")]
    Tls(String),
}

/// Sends the requests of one source.
#[derive(Clone)]
pub struct Transport {
    client: reqwest::Client,
    base: Url,
    key: ApiKey,
    timeout: Duration,
    max_body: u64,
    clock: Clock,
}

/// Where and how a source sends.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The provider's base URL; a path in it is kept as a prefix.
    pub base_url: Url,
    /// Covers connecting, the headers and the whole body.
    pub timeout: Duration,
    /// The largest decoded body, in bytes.
    pub max_body: u64,
}

impl Transport {
    /// Prepares to send. Fails where the machine has no CA certificates and the base URL needs them.
    pub fn new(settings: Settings, key: ApiKey, clock: Clock) -> Result<Self, SetupError> {
        choose_algorithms();
        let client = reqwest::Client::builder()
            .user_agent(concat!("segsync/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        // Plain HTTP is loopback only: no proxy belongs in between, and no certificates are needed.
        let client = if settings.base_url.scheme() == "http" { client.no_proxy().tls_certs_only([]) } else { client };
        let client = client.build().map_err(|error| SetupError::Tls(causes(&error)))?;
        let Settings { base_url, timeout, max_body } = settings;
        Ok(Self { client, base: base_url, key, timeout, max_body, clock })
    }

    /// The key, for scrubbing what a provider says.
    pub fn key(&self) -> &ApiKey {
        &self.key
    }

    /// Sends `request` once and reads the answer. The permit counts from here on unless the request cannot be built.
    pub async fn send(&self, permit: Permit, request: &Request) -> Result<Answer, NoAnswer> {
        let url = self.url(request)?;
        let headers = self.headers(request)?;
        let send = self.client.get(url).headers(headers).timeout(self.timeout);
        let sending = permit.spend();
        let response = match send.send().await {
            Ok(response) => response,
            Err(error) => {
                drop(sending);
                return Err(NoAnswer(self.reason(error)));
            }
        };
        let status = response.status().as_u16();
        let now = self.clock.now().wall;
        let retry_after = retry_after(response.headers(), now);
        let remaining = remaining(response.headers(), now);
        let etag = self.etag(response.headers());
        let body = self.body(response).await;
        // 200 and 304 tell what was asked for, whatever else they ask.
        let refused = status == 429 || (![200, 304].contains(&status) && retry_after.is_some());
        let standing = sending.end(match refused {
            true => End::Refused { retry_after, remaining },
            false => End::Accepted { retry_after, remaining },
        });
        Ok(Answer { status, etag, retry_after, standing, body })
    }

    /// The request's URL; refuses what URL rules would turn into another path.
    fn url(&self, request: &Request) -> Result<Url, NoAnswer> {
        let mut path = self.base.path().trim_end_matches('/').to_owned();
        for segment in &request.path {
            path.push('/');
            path.extend(utf8_percent_encode(segment, SEGMENT));
        }
        let mut url = self.base.clone();
        url.set_path(&path);
        if url.path() != path || request.path.iter().any(String::is_empty) {
            return Err(NoAnswer("the id cannot be part of a URL".to_owned()));
        }
        if !request.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&request.query);
        }
        Ok(url)
    }

    fn headers(&self, request: &Request) -> Result<HeaderMap, NoAnswer> {
        let value = |text: &str| HeaderValue::from_str(text).map_err(|_| NoAnswer("a header is not ASCII".to_owned()));
        let mut key = value(self.key.expose())?;
        key.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(request.key_header, key);
        for (name, text) in request.headers {
            headers.insert(*name, HeaderValue::from_static(text));
        }
        if let Some(etag) = &request.if_none_match {
            headers.insert(IF_NONE_MATCH, value(etag)?);
        }
        Ok(headers)
    }

    /// Reads the body up to the cap, counted after decompression.
    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, BodyError> {
        let cap = if response.status().as_u16() == 200 { self.max_body } else { self.max_body.min(REFUSAL_BODY) };
        let told = response.content_length().unwrap_or(0).min(cap);
        let mut body = Vec::with_capacity(usize::try_from(told).unwrap_or(0));
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if (body.len() + chunk.len()) as u64 > cap => return Err(BodyError::TooLarge(cap)),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(body),
                Err(error) if error.is_timeout() || is_reset(&error) => {
                    return Err(BodyError::Lost(self.reason(error)));
                }
                Err(error) => return Err(BodyError::Broken(self.reason(error))),
            }
        }
    }

    fn etag(&self, headers: &HeaderMap) -> Option<String> {
        let etag = headers.get(ETAG)?.to_str().ok()?;
        let is_kept = etag.len() <= LONGEST_ETAG && self.key.scrub(etag) == etag;
        is_kept.then(|| etag.to_owned())
    }

    fn reason(&self, error: reqwest::Error) -> String {
        let text = if error.is_timeout() {
            format!("no whole answer within {}", humantime::format_duration(self.timeout))
        } else {
            causes(&error.without_url())
        };
        self.key.excerpt(&text)
    }
}

/// Has TLS use ring's algorithms in this process, unless others have been chosen before. Needed before the first client.
pub fn choose_algorithms() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// An error and its causes in one line, each said once.
fn causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    text.replace(['\r', '\n'], " ")
}

/// Whether the peer cut the connection, as opposed to ending the body early in good order.
fn is_reset(error: &reqwest::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    let mut cause = error.source();
    while let Some(next) = cause {
        if let Some(error) = next.downcast_ref::<io::Error>()
            && matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
        {
            return true;
        }
        cause = next.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(base: &str) -> Transport {
        let base_url = Url::parse(base).expect("a URL");
        let settings = Settings { base_url, timeout: Duration::from_secs(1), max_body: 1000 };
        Transport::new(settings, ApiKey::new("console-0123456789").expect("a key"), Clock::system()).expect("a client")
    }

    fn request(id: &str) -> Request {
        let path = vec!["v1".to_owned(), "segments".to_owned(), id.to_owned()];
        Request { path, query: Vec::new(), key_header: "x-key", headers: &[], if_none_match: None }
    }

    #[test]
    fn an_id_never_reaches_another_path() {
        let transport = transport("http://127.0.0.1:1/prefix/");
        let path = |id: &str| transport.url(&request(id)).map(|url| url.path().to_owned());
        for (id, expected) in [
            ("beta_users", "beta_users"),
            ("a/b", "a%2Fb"),
            ("../x", "..%2Fx"),
            ("%2e%2e", "%252e%252e"),
            ("a?b#c", "a%3Fb%23c"),
            ("a b;c&d\\e", "a%20b%3Bc%26d%5Ce"),
            ("ü", "%C3%BC"),
            ("a\nb", "a%0Ab"),
            ("...", "..."),
        ] {
            assert_eq!(path(id), Ok(format!("/prefix/v1/segments/{expected}")), "{id}");
        }
        for id in ["", ".", ".."] {
            assert!(path(id).is_err(), "{id}");
        }
    }

    #[test]
    fn query_values_are_encoded() {
        let mut request = request("x");
        request.query = vec![("oId", "a&b=c#d e".to_owned())];
        let url = transport("http://127.0.0.1:1").url(&request).expect("a URL");
        assert_eq!(url.query(), Some("oId=a%26b%3Dc%23d+e"));
    }

    #[test]
    fn debug_shows_no_key() {
        let text = format!("{:?}", transport("https://example.org"));
        assert!(!text.contains("0123456789"), "{text}");
    }
}
