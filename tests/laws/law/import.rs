//! Lines of observations: a file is taken as a whole or not at all, and what was taken is a whole history.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use segsync::clock::Clock;
use segsync::model::SourceName;
use segsync::poll::{Configured, Import, ImportError, Imported, import};
use segsync::store::{Reader, Store};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// A place for one file at a time, and what a fresh one holds.
pub(super) struct Bench {
    folder: TempDir,
    fresh: Vec<u8>,
    runtime: Runtime,
    clock: Clock,
}

thread_local! {
    static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
}

impl Bench {
    pub(super) fn new() -> Self {
        // Every input is a file of its own: in memory, where that can be had.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let bench = Self { folder: folder.expect("a folder"), fresh: Vec::new(), runtime, clock: Clock::system() };
        bench.runtime.block_on(bench.open().close()).expect("closed");
        Self { fresh: std::fs::read(bench.path()).expect("a file"), ..bench }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("x.db")
    }

    fn open(&self) -> Store {
        Store::open(self.path(), &self.clock, Duration::from_secs(1)).expect("opened")
    }

    /// An empty history.
    fn begin(&self) -> Store {
        for beside in ["x.db-wal", "x.db-shm"] {
            std::fs::remove_file(self.folder.path().join(beside)).ok();
        }
        std::fs::write(self.path(), &self.fresh).expect("written");
        self.open()
    }

    /// Makes it the file of these lines.
    pub(super) fn holds(&self, lines: &[u8], versions: u64) {
        let store = self.begin();
        assert_eq!(self.import(&store, lines, false).expect("imported").versions, versions);
        self.runtime.block_on(store.close()).expect("closed");
    }

    fn import(&self, store: &Store, data: &[u8], partial: bool) -> Result<Imported, ImportError> {
        let configured = [("s", "statsig"), ("o", "octave")].map(|(name, provider)| Configured {
            name: SourceName::new(name),
            provider,
            base_url: "https://provider.example".to_owned(),
            ignore: Vec::new(),
        });
        let names_its_own = data.windows(8).any(|part| part == b"\"source\"");
        let source = (!names_its_own).then(|| SourceName::new("s"));
        let how = Import { source, configured: configured.into(), partial };
        import(store, self.clock.now(), &mut &*data, how, &mut |_, _| ())
    }

    /// The number of versions in the file, which is whole.
    fn versions(&self) -> u64 {
        let reader = Reader::open(self.path()).expect("opened");
        let verified = reader.verify(&mut |_| (), &mut |finding| panic!("{finding:?}")).expect("read");
        verified.versions
    }
}

/// Any bytes are a file of lines.
pub fn any(data: &[u8]) {
    BENCH.with_borrow_mut(|bench| is_taken_whole_or_not_at_all(bench.get_or_insert_with(Bench::new), data));
}

fn is_taken_whole_or_not_at_all(bench: &Bench, data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let store = bench.begin();
    match bench.import(&store, data, false) {
        Ok(done) => {
            assert!(
                done.versions <= done.lines && done.lines <= lines.len() as u64 && done.stopped.is_none(),
                "{done:?}"
            );
            assert_eq!((done.bytes, bench.versions()), (data.len() as u64, done.versions));
            let again = bench.import(&store, data, false).expect("a file can be imported twice");
            assert_eq!((again.versions, again.lines), (0, done.lines));
            assert_eq!(bench.versions(), done.versions);
        }
        Err(ImportError::Line(bad)) => {
            let line = usize::try_from(bad.line).expect("small");
            assert!(
                (1..=lines.len()).contains(&line) && (1..=lines[line - 1].len() + 1).contains(&bad.column),
                "{bad}"
            );
            assert_eq!(bench.versions(), 0, "a part was imported");
            let part = bench.import(&store, data, true).expect("what comes before");
            assert_eq!(part.stopped.as_ref(), Some(&bad));
            assert_eq!(bench.versions(), part.versions);
        }
        Err(other) => panic!("{other}"),
    }
    bench.runtime.block_on(store.close()).expect("closed");
}
