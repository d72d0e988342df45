//! Reads `[http]`: where the local API listens, and who may ask it.
//!
//! Must never accept an address that other machines reach without a token.

use std::net::SocketAddr;

use super::{HOST, HTTP, Http, LISTEN, Listen, Section, TOKEN, host_name, key_ref, listen};

/// The usual address: loopback only.
const USUAL: Listen = Listen::Tcp(SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7464));

/// What the cache may hold unless the file says otherwise, in bytes.
const CACHE: u64 = 64 << 20;

impl Default for Http {
    fn default() -> Self {
        Self { listen: USUAL, token: None, hosts: Vec::new(), cache: CACHE }
    }
}

/// Reads `[http]`.
pub(super) fn http(root: &Section<'_>) -> Option<Http> {
    let table = root.get("http")?.section(&HTTP, &format!("the table {}", HTTP.heading))?;
    let usual = Http::default();
    let listen = table.get("listen").and_then(|field| field.read(LISTEN, listen)).unwrap_or(usual.listen);
    let token = table.get("token");
    // One that is wrong has had its line already.
    if token.is_none() && !listen.is_private() {
        let what = "missing; an address that other machines reach needs one, so that not everybody may ask";
        table.wrong("token", what.to_owned());
    }
    let token = token.and_then(|field| key_ref(&field, &TOKEN, "token"));
    let hosts = table.get("hosts").and_then(|field| field.list(HOST)).unwrap_or_default();
    let hosts = hosts.iter().filter_map(|host| host.read(HOST, host_name)).collect();
    let cache = table.get("cache").and_then(|field| field.size()).unwrap_or(usual.cache);
    Some(Http { listen, token, hosts, cache })
}
