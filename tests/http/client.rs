//! A caller of the local API.

use reqwest::{Client, Method, Response, header};
use segsync::transport::choose_algorithms;
use serde_json::Value;

use crate::common::until;

/// A caller, perhaps with a token.
pub struct Caller {
    client: Client,
    base: String,
    token: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub headers: header::HeaderMap,
    pub text: String,
}

impl Caller {
    pub fn new(base: &str) -> Self {
        choose_algorithms();
        Self { client: Client::new(), base: base.to_owned(), token: None }
    }

    pub fn with_token(base: &str, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::new(base) }
    }

    /// Asks; the headers are the caller's.
    pub async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> reqwest::Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await
    }

    pub async fn get(&self, path: &str) -> Told {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Told {
        Told::of(self.ask(Method::GET, path, headers).await.unwrap()).await
    }

    /// Waits until the segment at this path is told with this version.
    pub async fn sees(&self, path: &str, version: i64) {
        let is_so = async || self.get(path).await.json()["version"] == version;
        until(&format!("version {version} at {path}"), is_so).await;
    }

    pub async fn send(&self, method: Method, path: &str) -> Told {
        Told::of(self.ask(method, path, &[]).await.unwrap()).await
    }
}

impl Told {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.unwrap() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }

    /// The copy's age is there, and no more than the test has run.
    pub fn is_young(&self) -> bool {
        self.header("age").and_then(|age| age.parse::<u64>().ok()).is_some_and(|age| age < 120)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The detail of a problem, with its status; everything about it must fit.
    pub fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], self.status, "{self:?}");
        assert_eq!(body["type"], "about:blank");
        (self.status, body["detail"].as_str().unwrap().to_owned())
    }
}
