//! Writes a configuration back as TOML, with every default filled in.
//!
//! What is written reads back as the same configuration. It names where API keys come from; it cannot hold one.

use std::fmt::Write;

use super::{Config, Http, KeyRef, Segment, Segments, Source, show_duration, show_size};

impl Config {
    /// The configuration as it is in effect.
    pub fn show(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "[store]\npath = {}\nkeep_polls = {}\n",
            text(&self.store.path.to_string_lossy()),
            text(&show_duration(self.store.keep_polls)),
        );
        if let Some(kept) = self.store.keep_versions {
            let _ = writeln!(out, "keep_versions = {}", text(&show_duration(kept)));
        }
        if let Some(http) = &self.http {
            let _ = http.write(&mut out);
        }
        let (level, format) = (text(self.log.level.as_str()), text(self.log.format.as_str()));
        let _ = write!(out, "\n[log]\nlevel = {level}\nformat = {format}\n");
        for source in &self.sources {
            let _ = source.write(&mut out);
        }
        out
    }
}

impl Http {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n[http]\nlisten = {}", text(&self.listen.to_string()))?;
        if let Some(token) = &self.token {
            writeln!(out, "token = {}", key_ref(token))?;
        }
        writeln!(out, "hosts = {}", list(self.hosts.iter().cloned()))?;
        writeln!(out, "cache = {}", text(&show_size(self.cache)))
    }
}

impl Source {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n[[source]]")?;
        writeln!(out, "name = {}", text(self.name.as_str()))?;
        writeln!(out, "provider = {}", text(self.provider))?;
        writeln!(out, "base_url = {}", text(self.base_url.as_str().trim_end_matches('/')))?;
        writeln!(out, "api_key = {}", key_ref(&self.api_key))?;
        let limits = self
            .limits
            .iter()
            .map(|limit| format!("{{ requests = {}, per = {} }}", limit.requests, text(&show_duration(limit.per))));
        writeln!(out, "limits = [{}]", limits.collect::<Vec<_>>().join(", "))?;
        writeln!(out, "share = {:?}", self.share)?;
        writeln!(out, "burst = {}", self.burst)?;
        writeln!(out, "fetch = {}", text(self.fetch.as_str()))?;
        writeln!(out, "every = {}", text(&show_duration(self.every)))?;
        writeln!(out, "timeout = {}", text(&show_duration(self.timeout)))?;
        writeln!(out, "concurrency = {}", self.concurrency)?;
        writeln!(out, "stale_after = {}", text(&format!("{}x", self.stale_after)))?;
        writeln!(out, "ignore = {}", list(self.ignore.iter().map(ToString::to_string)))?;
        writeln!(out, "max_body = {}", text(&show_size(self.max_body)))?;
        let segments = match &self.segments {
            Segments::All { own } => {
                writeln!(out, "segments = \"all\"")?;
                own
            }
            Segments::Named(named) => {
                writeln!(out, "segments = {}", list(named.iter().map(|segment| segment.id.to_string())))?;
                named
            }
        };
        segments.iter().try_for_each(|segment| segment.write(out))
    }
}

impl Segment {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Some(every) = self.every else { return Ok(()) };
        writeln!(out, "\n[[source.segment]]\nid = {}\nevery = {}", text(&self.id), text(&show_duration(every)))
    }
}

fn key_ref(from: &KeyRef) -> String {
    let (kind, place) = match from {
        KeyRef::Env(name) => ("env", name.clone()),
        KeyRef::File(path) => ("file", path.to_string_lossy().into_owned()),
        KeyRef::Credential(name) => ("credential", name.clone()),
    };
    format!("{{ {kind} = {} }}", text(&place))
}

/// A TOML string on one line.
fn text(text: &str) -> String {
    // JSON's escapes are TOML's too, except that TOML also wants DEL escaped.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|item| text(&item)).collect::<Vec<_>>().join(", "))
}
