//! What callers must not be able to do, whoever they are: ask through somebody's browser, hold the daemon up, or take
//! its memory and descriptors.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use segsync::cache::Cache;
use segsync::clock::Clock;
use segsync::config::Listen;
use segsync::events::Events;
use segsync::http::{Api, Asking, Desk, Limits, Listener, Settings, Wiring, serve};
use segsync::live::Live;
use segsync::metrics::{Gauges, Metrics};
use segsync::model::{SegmentKey, UnixMs};
use segsync::store::Readers;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::common::{Bench, in_time};

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// No daemon.
struct Nobody;

impl Desk for Nobody {
    fn ask(&self, _: &SegmentKey) -> Result<Asking, String> {
        Err("nobody polls".to_owned())
    }

    fn waiting(&self) -> usize {
        0
    }
}

/// An API without a daemon or a file.
fn api_of(metrics: &Metrics, hosts: Vec<String>) -> Api {
    let readers = Readers::new(Path::new("nowhere"));
    let cache = Cache::new(readers.clone(), 1, metrics.clone());
    let settings = Settings { token: None, hosts, cache, desk: Box::new(Nobody), sources: HashMap::new() };
    let (events, live, metrics) = (Events::default(), Live::default(), metrics.clone());
    Api::new(Wiring { readers, events, live, metrics, clock: Clock::system() }, settings)
}

/// A server of its own, on loopback, with these limits.
struct Server {
    address: String,
    metrics: Metrics,
    stop: CancellationToken,
    ended: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(limits: Limits) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        Self::of(Listener::from(socket), address, limits)
    }

    fn of(listener: Listener, address: String, limits: Limits) -> Self {
        let (metrics, stop) = (Metrics::new(UnixMs(0)), CancellationToken::new());
        let api = api_of(&metrics, vec!["segsync.example.org".to_owned()]);
        let ended = tokio::spawn(serve(listener, api, limits, stop.clone()));
        Self { address, metrics, stop, ended }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).await.unwrap()
    }

    /// What comes back to one text on a connection of its own, which is to be closed then.
    async fn tell(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        // The server may have closed before it has read all.
        stream.write_all(text.as_bytes()).await.unwrap_or(());
        rest(&mut stream).await
    }

    async fn ask(&self, method: &str, headers: &str) -> String {
        self.tell(&format!("{method} /healthz HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")).await
    }

    fn open(&self) -> String {
        let page = self.metrics.page(Gauges::default());
        page.lines().find(|line| line.starts_with("segsync_http_connections ")).unwrap().to_owned()
    }

    async fn end(self) {
        self.stop.cancel();
        in_time("the server's end", self.ended).await.unwrap();
    }
}

/// Everything until the other side closes.
async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let read = async {
        let mut some = [0; 4096];
        loop {
            match stream.read(&mut some).await {
                Ok(0) => return,
                Ok(read) => all.extend_from_slice(&some[..read]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("{error}"),
            }
        }
    };
    in_time("the connection's end", read).await;
    String::from_utf8(all).unwrap()
}

/// One whole answer on a connection that stays open.
async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let read = async {
        while !all.ends_with(b"\r\n\r\nok\n") {
            all.push(stream.read_u8().await.unwrap());
        }
    };
    in_time("an answer", read).await;
    String::from_utf8(all).unwrap()
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

#[tokio::test]
async fn only_names_of_this_server_are_answered() {
    let server = Server::start(Limits::default()).await;
    for (host, expected) in [
        ("localhost", "200"),
        ("localhost:9", "200"),
        ("127.0.0.1:7464", "200"),
        ("[::1]:7464", "200"),
        ("SEGSYNC.example.org", "200"),
        ("evil.example", "421"),
        ("localhost.evil.example:7464", "421"),
        ("192.0.2.1", "421"),
        ("user@localhost", "400"),
        ("local host", "400"),
        ("", "400"),
    ] {
        let told = server.ask("GET", &format!("Host: {host}\r\n")).await;
        assert_eq!(status(&told), expected, "{host}: {told}");
        assert!(told.contains("\r\nx-content-type-options: nosniff\r\n"), "{told}");
    }
    assert_eq!(status(&server.ask("GET", "").await), "400");
    assert_eq!(status(&server.ask("GET", "Host: localhost\r\nHost: localhost\r\n").await), "400");
    let whole = "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(status(&server.tell(whole).await), "421", "what the URL names is what is meant");
    server.end().await;
}

#[tokio::test]
async fn a_web_page_of_another_site_gets_nothing() {
    let server = Server::start(Limits::default()).await;
    for (header, expected) in [
        ("Origin: http://evil.example", "403"),
        ("Origin: null", "403"),
        ("Origin: http://localhost:8080", "403"),
        ("Origin: http://localhost", "200"),
        ("Sec-Fetch-Site: cross-site", "403"),
        ("Sec-Fetch-Site: same-site", "403"),
        ("Sec-Fetch-Site: none", "200"),
        ("Sec-Fetch-Site: same-origin", "200"),
        ("Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site", "403"),
    ] {
        for method in ["GET", "POST", "OPTIONS"] {
            let told = server.ask(method, &format!("Host: localhost\r\n{header}\r\n")).await;
            let expected = if method != "GET" && expected == "200" { "405" } else { expected };
            assert_eq!(status(&told), expected, "{method} {header}: {told}");
            assert!(!told.to_lowercase().contains("access-control"), "{told}");
            assert!(told.contains("\r\ncross-origin-resource-policy: same-origin\r\n"), "{told}");
        }
    }
    server.end().await;
}

#[tokio::test]
async fn requests_are_bounded_in_size() {
    let server = Server::start(Limits::default()).await;
    let of = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n")
    };
    let long = "x".repeat(9_000);
    assert_eq!(status(&server.tell(&of(&format!("/{long}"), "")).await), "414");
    assert_eq!(status(&server.tell(&of(&format!("/healthz?{long}"), "")).await), "414");
    assert_eq!(status(&server.tell(&of("/healthz", &format!("X: {}\r\n", "x".repeat(40_000)))).await), "431");
    assert_eq!(status(&server.tell(&of("/healthz", &"X: y\r\n".repeat(101))).await), "431");
    let posted = "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000000\r\n\r\n";
    assert_eq!(status(&server.tell(posted).await), "413", "and the connection is closed");
    for nonsense in
        ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\u{0}\u{1}"]
    {
        assert_eq!(status(&server.tell(nonsense).await), "400", "{nonsense:?}");
    }
    assert_eq!(status(&server.tell(&of("/healthz", "")).await), "200");
    server.end().await;
}

#[tokio::test]
async fn who_sends_no_whole_request_in_time_is_hung_up_on() {
    let server = Server::start(Limits { head: Duration::from_millis(50), ..Limits::default() }).await;
    for begun in ["", "GET", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"] {
        assert_eq!(server.tell(begun).await, "", "{begun:?}");
    }
    let mut stream = server.connect().await;
    answer(&mut stream, GET).await;
    assert_eq!(rest(&mut stream).await, "", "after an answer as well");
    server.end().await;
}

#[tokio::test]
async fn who_takes_no_answers_is_hung_up_on() {
    let limits = Limits { stalled: Duration::from_millis(50), ..Limits::default() };
    let server = Server::start(limits).await;
    let mut stream = server.connect().await;
    // Asks on and on and reads nothing, until nothing more fits between the two.
    let error = async {
        loop {
            if let Err(error) = stream.write_all(GET.repeat(100).as_bytes()).await {
                return error;
            }
        }
    };
    let error = in_time("the connection's end", error).await;
    assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    server.end().await;
}

#[tokio::test]
async fn no_more_connections_are_open_than_allowed() {
    let server = Server::start(Limits { connections: 2, ..Limits::default() }).await;
    let (mut first, mut second, mut third) = (server.connect().await, server.connect().await, server.connect().await);
    answer(&mut first, GET).await;
    answer(&mut second, GET).await;
    assert_eq!(server.open(), "segsync_http_connections 2");
    third.write_all(GET.as_bytes()).await.unwrap();
    answer(&mut first, GET).await;
    assert_eq!(server.open(), "segsync_http_connections 2", "the third waits");
    drop(second);
    assert!(answer(&mut third, "").await.starts_with("HTTP/1.1 200 OK\r\n"));
    server.end().await;
}

#[tokio::test]
async fn an_end_waits_for_no_idle_connection_and_not_long_for_others() {
    let server = Server::start(Limits { grace: Duration::from_millis(50), ..Limits::default() }).await;
    let (mut silent, mut served) = (server.connect().await, server.connect().await);
    answer(&mut served, GET).await;
    silent.write_all(b"GET").await.unwrap();
    answer(&mut served, GET).await;
    server.stop.cancel();
    assert_eq!(rest(&mut served).await, "");
    let address = server.address.clone();
    server.end().await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn hundreds_of_silent_and_slow_callers_do_not_stop_polling() {
    let mut bench = Bench::new().await;
    bench.written.http = "listen = \"127.0.0.1:0\"".to_owned();
    bench.written.poll = "every = \"100ms\"".to_owned();
    bench
        .run(async |running| {
            for _ in 0..2 {
                running.events.recv().await.unwrap();
            }
            let address = running.api.trim_start_matches("http://").to_owned();
            let mut callers = Vec::new();
            for number in 0..300 {
                let mut stream = TcpStream::connect(&address).await.unwrap();
                if number % 2 == 0 {
                    stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Slow: ").await.unwrap();
                }
                callers.push(stream);
            }
            for round in 0..3 {
                bench.describe(&format!("round {round}"));
                for _ in 0..2 {
                    assert_eq!(running.events.recv().await.unwrap().seq, round + 2);
                }
                for slow in callers.iter_mut().step_by(2) {
                    slow.write_all(b"x").await.unwrap();
                }
            }
            let mut caller = TcpStream::connect(&address).await.unwrap();
            answer(&mut caller, GET).await;
        })
        .await;
}

async fn bind(path: &Path) -> Result<Listener, String> {
    Listener::bind(&Listen::Unix(path.to_owned())).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_socket_in_the_file_system_comes_and_goes_with_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    let server = Server::of(bind(&path).await.unwrap(), String::new(), Limits::default());
    let mut caller = UnixStream::connect(&path).await.unwrap();
    let told = answer(&mut caller, "GET /healthz HTTP/1.1\r\nHost: whatever\r\n\r\n").await;
    assert_eq!(status(&told), "200", "no browser comes this way, so any name will do");
    assert_eq!(bind(&path).await.unwrap_err(), "another process listens there");
    server.end().await;
    assert!(!path.exists());
}

#[tokio::test]
async fn only_a_dead_socket_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("api.sock");
    // A process that was killed leaves its file.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let listener = bind(&path).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    drop(listener);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious", "what is not its own stays");
    assert_eq!(bind(&path).await.unwrap_err(), "there is a file that is no socket; it stays");
    assert!(bind(&folder.path().join("no/api.sock")).await.is_err());
}

#[tokio::test]
async fn sockets_that_others_reach_need_a_token() {
    let mut bench = Bench::new().await;
    bench.written.http = "listen = \"systemd\"".to_owned();
    let wiring = |listener| segsync::daemon::Wiring {
        clock: bench.clock.clone(),
        events: Events::default(),
        live: Live::default(),
        manager: segsync::daemon::Manager::default(),
        listener,
        reloads: tokio::sync::mpsc::channel(1).1,
        shutdown: CancellationToken::new(),
    };
    let open = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let given = wiring(Some(Listener::from(open)));
    let error = segsync::daemon::run(bench.prepared(), given, || panic!("it is not ready")).await.unwrap_err();
    let error = format!("{error:#}");
    assert!(error.ends_with("other machines reach it, so [http] needs a token"), "{error}");
    let error = segsync::daemon::run(bench.prepared(), wiring(None), || panic!("it is not ready")).await.unwrap_err();
    assert!(format!("{error:#}").contains("listen on systemd for the HTTP API"), "{error:#}");
}
