//! The program against providers whose certificates are wrong: no key is sent, what is known stays, and a good
//! certificate heals it.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rusqlite::Connection;
use segsync::simulator::{OCTAVE_KEY, Provider, STATSIG_KEY, Settings, Simulator, octave, statsig};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Turns a hang into a failure; nothing takes so long.
const GUARD: Duration = Duration::from_secs(60);

/// A maker of certificates.
struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let own = params.self_signed(&key).unwrap().pem();
        Self(Issuer::new(params, key), own)
    }

    /// A server of this name, valid for these years.
    fn server(&self, name: &str, years: std::ops::Range<i32>) -> ServerConfig {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate: CertificateDer<'static> = params.signed_by(&key, &self.0).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()
    }
}

/// Ends TLS in front of the simulator, until it is dropped.
struct Front {
    port: u16,
    tasks: JoinSet<()>,
}

impl Front {
    async fn new(config: ServerConfig, simulator: &Simulator) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = simulator.base_url(Provider::Statsig);
        let behind = url.strip_prefix("http://").unwrap().split('/').next().unwrap().to_owned();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                connections.spawn(async move {
                    // A client that turns its back on the certificate is what the tests are about.
                    let Ok(mut client) = acceptor.accept(client).await else { return };
                    let mut server = TcpStream::connect(&behind).await.unwrap();
                    drop(copy_bidirectional(&mut client, &mut server).await);
                });
            }
        });
        Self { port, tasks }
    }
}

/// One segment of each provider, their file, and the authority that the machine trusts.
struct Desk {
    fetch: &'static str,
    folder: TempDir,
    simulator: Simulator,
    trusted: Authority,
}

impl Desk {
    async fn new(fetch: &'static str) -> Self {
        let simulator = Simulator::start(Settings::default().limited(&[])).await.unwrap();
        simulator.statsig().add(statsig::Segment::new("staff", "rule_based"));
        simulator.octave().add(octave::Segment::new("banks", "Banks"));
        let desk = Self { fetch, folder: TempDir::new().unwrap(), simulator, trusted: Authority::new() };
        std::fs::write(desk.folder.path().join("ca.pem"), &desk.trusted.1).unwrap();
        std::fs::write(desk.folder.path().join("staff"), STATSIG_KEY).unwrap();
        std::fs::write(desk.folder.path().join("banks"), OCTAVE_KEY).unwrap();
        desk
    }

    /// One pass against this base URL: its exit code and what it complained of.
    async fn sync(&self, base_url: &str) -> (i32, String) {
        let mut text = "[store]\npath = \"x.db\"\n".to_owned();
        for (provider, segment) in [("statsig", "staff"), ("octave", "banks")] {
            text += &format!(
                "[[source]]\nname = {provider:?}\nprovider = {provider:?}\nbase_url = {base_url:?}\n\
                 api_key = {{ file = {:?} }}\nfetch = {:?}\nsegments = [{segment:?}]\n",
                self.folder.path().join(segment),
                self.fetch,
            );
        }
        std::fs::write(self.folder.path().join("segsync.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_segsync"));
        command.args(["sync", "-c", "segsync.toml"]).current_dir(self.folder.path()).kill_on_drop(true);
        command.env("SSL_CERT_FILE", "ca.pem").env_remove("SSL_CERT_DIR").env("NO_PROXY", "*");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let output = timeout(GUARD, command.output()).await.unwrap().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    async fn sync_through(&self, config: ServerConfig) -> (i32, String) {
        let front = Front::new(config, &self.simulator).await;
        let ended = self.sync(&format!("https://localhost:{}", front.port)).await;
        drop(front.tasks);
        ended
    }

    fn query(&self, sql: &str) -> String {
        let file = Connection::open(self.folder.path().join("x.db")).unwrap();
        file.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_the_providers_gets_no_key() {
    for fetch in ["each", "list"] {
        certificates(Desk::new(fetch).await).await;
    }
}

async fn certificates(desk: Desk) {
    let good = || desk.trusted.server("localhost", 2020..2090);
    assert_eq!(desk.sync_through(good()).await, (0, String::new()));
    assert_eq!(desk.simulator.arrivals().len(), 2);

    for (what, config) in [
        ("expired", desk.trusted.server("localhost", 2000..2010)),
        ("not valid yet", desk.trusted.server("localhost", 2090..2099)),
        ("of another host", desk.trusted.server("elsewhere.example", 2020..2090)),
        ("of an unknown authority", Authority::new().server("localhost", 2020..2090)),
    ] {
        let (code, complaint) = desk.sync_through(config).await;
        assert_eq!((code, complaint.lines().count()), (1, 2), "{what}: {complaint}");
        assert!(complaint.lines().all(|line| line.contains("certificate")), "{what}: {complaint}");
        let last = "SELECT group_concat(told) FROM
            (SELECT outcome || ' ' || ifnull(http_status, '-') AS told FROM polls ORDER BY id DESC LIMIT 2)";
        assert_eq!(desk.query(last), "failed -,failed -", "{what}");
    }
    assert_eq!(desk.simulator.arrivals().len(), 2, "no request came through");

    assert_eq!(desk.sync_through(good()).await, (0, String::new()));
    assert_eq!(desk.query("SELECT group_concat(state || version || failures) FROM segments"), "present10,present10");
    assert_eq!(desk.query("SELECT count(*) || '' FROM polls"), "12");
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_told_in_one_line() {
    for fetch in ["each", "list"] {
        unreachable(Desk::new(fetch).await).await;
    }
}

async fn unreachable(desk: Desk) {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refused = format!("https://localhost:{}", free.local_addr().unwrap().port());
    drop(free);
    // No such name can exist (RFC 6761).
    let unknown = "https://segsync.invalid".to_owned();
    let plain = desk.simulator.base_url(Provider::Statsig).replace("http://127.0.0.1", "https://localhost");
    for (what, url) in [("refused", refused), ("no such host", unknown), ("no TLS", plain)] {
        let (code, complaint) = desk.sync(&url).await;
        assert_eq!((code, complaint.lines().count()), (1, 2), "{what}: {complaint}");
        assert!(complaint.contains("statsig/staff: failed: "), "{what}: {complaint}");
        assert!(complaint.contains("octave/banks: failed: "), "{what}: {complaint}");
        assert!(!complaint.contains(STATSIG_KEY) && !complaint.contains(OCTAVE_KEY), "{what}: {complaint}");
    }
    assert_eq!(desk.query("SELECT count(*) || group_concat(DISTINCT outcome) FROM polls"), "6failed");
    assert_eq!(desk.query("SELECT group_concat(state || version) FROM segments"), "pending0,pending0");
}
