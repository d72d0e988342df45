//! Watches the write-ahead log: a reader that keeps a transaction open lets it grow, and only the reader can end that.

use std::time::Duration;

use tracing::{info, warn};

use crate::store::{self, Store};

/// How often the log is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A log above this is told of, in bytes.
const LARGE: u64 = 64 * 1024 * 1024;

/// What has been told of the log.
#[derive(Debug, Default)]
pub(super) struct LogWatch {
    is_large: bool,
}

/// What is worth telling.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Large,
    SmallAgain,
}

impl LogWatch {
    /// Looks, and logs what is new.
    pub(super) async fn look(&mut self, store: &Store) {
        let bytes = store.wal_bytes();
        match self.news(bytes) {
            Some(News::Large) => {
                // Commits do not tell when what they wrote cannot be moved on.
                let moved = store.checkpoint().await;
                let readers = store.readers();
                warn!(wal_bytes = bytes, readers = ?readers, "{}", large(bytes, &readers, moved.err().as_ref()));
            }
            Some(News::SmallAgain) => info!(wal_bytes = bytes, "the write-ahead log is small again"),
            None => (),
        }
    }

    /// Each turn is told once. A log that stays at the mark does not turn.
    fn news(&mut self, bytes: u64) -> Option<News> {
        match self.is_large {
            false if bytes > LARGE => self.is_large = true,
            true if bytes < LARGE / 2 => self.is_large = false,
            _ => return None,
        }
        Some(if self.is_large { News::Large } else { News::SmallAgain })
    }
}

fn large(bytes: u64, readers: &[u32], failure: Option<&store::Error>) -> String {
    let mib = bytes / 1024 / 1024;
    if let Some(failure) = failure {
        return format!(
            "the write-ahead log has grown to {mib} MiB, for it cannot be moved into the database: failed to {failure}; \
             nothing is lost; it shrinks once that works"
        );
    }
    let who = match readers {
        [] => "an unknown process keeps a transaction open".to_owned(),
        [one] => format!("process {one} keeps a transaction open"),
        more => {
            let pids: Vec<String> = more.iter().map(u32::to_string).collect();
            format!("the processes {} have transactions open", pids.join(", "))
        }
    };
    format!("the write-ahead log has grown to {mib} MiB, for {who}; nothing is lost; it shrinks once that is ended")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_turn_is_told_once() {
        let mut watch = LogWatch::default();
        let news: Vec<_> = [0, LARGE, LARGE + 1, LARGE * 2, LARGE, LARGE / 2, LARGE / 2 - 1, 0, LARGE + 1]
            .map(|bytes| watch.news(bytes))
            .into_iter()
            .enumerate()
            .filter_map(|(at, news)| Some((at, news?)))
            .collect();
        assert_eq!(news, [(2, News::Large), (6, News::SmallAgain), (8, News::Large)]);
    }

    #[test]
    fn a_large_log_is_told_with_who_keeps_it() {
        let said = large(70 * 1024 * 1024, &[4711], None);
        assert_eq!(
            said,
            "the write-ahead log has grown to 70 MiB, for process 4711 keeps a transaction open; nothing is lost; \
             it shrinks once that is ended"
        );
        assert!(large(LARGE, &[3, 5], None).contains("the processes 3, 5 have transactions open"));
        assert!(large(LARGE, &[], None).contains("an unknown process keeps"));
        let full = store::Error::Full { path: std::path::Path::new("/x/a.db").into() };
        assert_eq!(
            large(LARGE, &[4711], Some(&full)),
            "the write-ahead log has grown to 64 MiB, for it cannot be moved into the database: failed to write to \
             /x/a.db: the disk is full; nothing is lost; it shrinks once that works"
        );
    }
}
