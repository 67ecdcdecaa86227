//! What a record store promises, asked of the file store and of etcd: what was saved is read back, a save on anything but the
//! newest record changes nothing, one of two savers wins, and the history has one line for each save.

use std::path::Path;

use serde_json::json;
use ucs_gateway::control::store::Token;
use ucs_gateway::control::store::etcd::{Commit, EtcdSettings, EtcdStore, SharedError, journal_key};
use ucs_gateway::control::store::file::RecordFile;
use ucs_gateway::control::store::local::LocalDir;
use ucs_gateway::policy::mode::{Mode, ModeRecord};

use super::{read, texts, token_of};
use crate::support::TempDir;
use crate::support::etcd::{Cluster, Node, Version, store, tokens_for};
use crate::support::{Gateway, Ucs, admin, eventually, nobody_listens, tool};

/// A store under test. A token is an opaque number here.
enum Subject {
    File(Option<Box<(RecordFile, LocalDir)>>, TempDir),
    Etcd(EtcdStore, EtcdSettings),
}

/// Until a program that another test has just started begins, it holds a copy of the lock that was released.
fn opened(dir: &Path) -> LocalDir {
    let mut opened = None;
    eventually("the lock is free", || {
        opened = LocalDir::open(dir).ok();
        opened.is_some()
    });
    opened.unwrap()
}

/// A token of nothing.
const NOTHING: Marked = Marked::Etcd(0);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Marked {
    File(Token),
    Etcd(i64),
}

impl Subject {
    fn file() -> Subject {
        let mut subject = Subject::File(None, TempDir::new());
        subject.reopen();
        subject
    }

    fn etcd(settings: EtcdSettings) -> Subject {
        Subject::Etcd(EtcdStore::open(settings.clone()).unwrap(), settings)
    }

    /// As after a restart.
    fn reopen(&mut self) {
        match self {
            Subject::File(open, dir) => {
                *open = None;
                let local = opened(dir.path());
                let mut files = RecordFile::in_dir(&local);
                files.load().unwrap();
                *open = Some(Box::new((files, local)));
            }
            Subject::Etcd(store, settings) => *store = EtcdStore::open(settings.clone()).unwrap(),
        }
    }

    async fn load(&mut self) -> Option<(ModeRecord, Marked)> {
        match self {
            Subject::File(..) => {
                self.reopen();
                let Subject::File(Some(open), _) = self else { unreachable!() };
                let saved = open.0.load().unwrap().record?;
                Some((saved.content().clone(), Marked::File(saved.token())))
            }
            Subject::Etcd(store, _) => {
                let value = read(store).await.values.remove("mode")?;
                Some((serde_json::from_slice(&value.bytes).unwrap(), Marked::Etcd(value.token)))
            }
        }
    }

    /// The token of the saved record, or `None` for a conflict.
    async fn save(&mut self, token: Marked, record: &ModeRecord) -> Option<Marked> {
        match self {
            Subject::File(open, _) => {
                let token = if let Marked::File(token) = token { token } else { Token::NOTHING };
                let saved = open.as_mut().unwrap().0.save(token, record).ok()?;
                Some(Marked::File(saved.token()))
            }
            Subject::Etcd(store, _) => {
                let Marked::Etcd(token) = token else { unreachable!() };
                match store.commit(saving(token, record)).await {
                    Ok(token) => Some(Marked::Etcd(token)),
                    Err(SharedError::Conflict) => None,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    /// The revisions in the history, newest first.
    async fn history(&self) -> Vec<u64> {
        let lines: Vec<String> = match self {
            Subject::File(_, dir) => {
                let text = std::fs::read_to_string(dir.path().join("journal.jsonl")).unwrap_or_default();
                text.lines().rev().map(str::to_owned).collect()
            }
            Subject::Etcd(store, _) => {
                let lines = store.history(100).await.unwrap();
                lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
            }
        };
        let revision = |line: &String| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["record"]["revision"].as_u64().unwrap()
        };
        lines.iter().map(revision).collect()
    }
}

/// The record with the line of its revision, on what `token` marks.
fn saving(token: i64, record: &ModeRecord) -> Commit {
    let line = json!({"record": record}).to_string().into_bytes();
    Commit {
        compare: vec![("mode".to_owned(), token), (journal_key(record.revision), 0)],
        put: vec![("mode".to_owned(), serde_json::to_vec(record).unwrap()), (journal_key(record.revision), line)],
        delete: Vec::new(),
    }
}

fn record(revision: u64, words: &str) -> ModeRecord {
    let now = "2026-11-29T20:00:00Z".parse().unwrap();
    let mut record = ModeRecord::first(Mode::Production, revision, "test", now);
    record.reason = Some(words.to_owned());
    record.unknown.insert("of_a_later_version".to_owned(), json!({"kept": [1, null]}));
    record
}

/// The contract. The store holds nothing yet.
async fn holds(mut subject: Subject) {
    assert!(subject.load().await.is_none() && subject.history().await.is_empty());
    let first = subject.save(NOTHING, &record(1, "first")).await.unwrap();
    assert!(subject.save(NOTHING, &record(2, "on nothing")).await.is_none(), "there is a record by now");
    let second = subject.save(first, &record(2, "second")).await.unwrap();
    assert!(subject.save(first, &record(3, "on an old one")).await.is_none());
    let (mut loaded, token) = subject.load().await.unwrap();
    loaded.journal_head = None;
    assert_eq!(loaded, record(2, "second"), "all of it, also what is not known");
    assert_eq!(token, second);
    subject.reopen();
    let long = "ü".repeat(100_000);
    let third = subject.save(second, &record(3, &long)).await.unwrap();
    assert_eq!(subject.load().await.unwrap().0.reason.unwrap(), long);
    assert!(subject.save(second, &record(4, "on an old one")).await.is_none());
    assert!(subject.save(third, &record(4, "fourth")).await.is_some());
    assert_eq!(subject.history().await, [4, 3, 2, 1], "a line for each save that took place, and no other");
}

/// Of what only a shared store has.
async fn is_shared(settings: EtcdSettings) {
    let open = || EtcdStore::open(settings.clone()).unwrap();
    let (one, other) = (open(), open());
    let before = read(&one).await;
    assert_eq!(before, read(&other).await, "one view");
    // Twenty at once: one wins.
    let token = token_of(&before, "mode");
    let savers: Vec<_> = (0..20)
        .map(|n| {
            let store = if n % 2 == 0 { one.clone() } else { other.clone() };
            tokio::spawn(async move { store.commit(saving(token, &record(5, &format!("saver {n}")))).await })
        })
        .collect();
    let mut won = 0;
    for saver in savers {
        match saver.await.unwrap() {
            Ok(_) => won += 1,
            Err(SharedError::Conflict) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won, 1);
    // A transaction is one: with a comparison that does not hold, nothing of it is written or deleted.
    let mixed = |token| Commit {
        compare: vec![("member/a".to_owned(), token), ("member/b".to_owned(), 0)],
        put: vec![("member/a".to_owned(), b"a".to_vec()), ("member/c".to_owned(), b"c".to_vec())],
        delete: vec!["member/b".to_owned()],
    };
    let token = one.commit(mixed(0)).await.unwrap();
    assert!(matches!(other.commit(mixed(0)).await, Err(SharedError::Conflict)));
    let contents = read(&other).await;
    assert_eq!((token_of(&contents, "member/a"), token_of(&contents, "member/c")), (token, token));
    assert!(!texts(&contents).keys().any(|key| key.starts_with("journal/")), "the journal only if asked for");
    let asked = one.read(vec![journal_key(5)]).await.unwrap();
    assert!(asked.values.contains_key(&journal_key(5)) && !asked.values.contains_key(&journal_key(4)));
    one.commit(Commit { delete: vec!["member/a".to_owned(), "member/c".to_owned()], ..Commit::default() })
        .await
        .unwrap();
    assert_eq!(token_of(&read(&other).await, "member/a"), 0);
}

async fn both(settings: EtcdSettings) {
    holds(Subject::etcd(settings.clone())).await;
    is_shared(settings).await;
}

fn at(url: &str) -> EtcdSettings {
    EtcdSettings::at(url.parse().unwrap())
}

#[tokio::test]
async fn files_keep_the_contract() {
    holds(Subject::file()).await;
}

#[test]
fn etcd_keeps_the_contract_with_one_node_and_with_three() {
    Version::each(async |version| {
        let (one, three) = (Cluster::begin(version, 1, &[]), Cluster::begin(version, 3, &[]));
        for cluster in [one, three] {
            cluster.wait_until_ready();
            both(at(&cluster.url("fleet"))).await;
            // Another name is another fleet, also one that begins alike.
            assert!(read(&store(&cluster.url("flee"))).await.values.is_empty());
            assert!(read(&store(&cluster.url("fleet2"))).await.values.is_empty());
        }
    });
}

#[test]
fn a_dead_first_endpoint_costs_time_and_nothing_else() {
    Version::each(async |version| {
        let cluster = Cluster::start(version, 1, &[]);
        let url = cluster.url("fleet").replace("etcd://", &format!("etcd://{},", nobody_listens()));
        both(at(&url)).await;
    });
}

#[test]
fn etcd_with_a_configuration_file_keeps_the_contract() {
    Version::each(async |version| {
        let cluster = Cluster::start(version, 1, &[]);
        // Read in place of all flags: so the flags of one that ran become the file.
        let mut node = { cluster }.nodes.remove(0);
        let dir = TempDir::new();
        node.use_file(&dir.path().join("etcd.yaml"), dir.path());
        both(at(&format!("etcd://{}/fleet", node.client))).await;
    });
}

/// Certificates of an authority, made by openssl: the server's for every address of the loopback network, and a client's.
struct Certificates {
    dir: TempDir,
}

impl Certificates {
    fn new(server: &str, user: &str) -> Certificates {
        let dir = TempDir::new();
        let script = format!(
            "set -e; new='openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
             $new -x509 -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
             for one in server client other; do
               case $one in server) name=etcd;; client) name={user};; other) name=stranger;; esac
               $new -subj /CN=$name -keyout $one.key -out $one.csr
               echo 'subjectAltName=IP:{server}' >$one.ext
               openssl x509 -req -days 2 -in $one.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile $one.ext -out $one.pem
             done"
        );
        let made = std::process::Command::new("sh").args(["-c", &script]).current_dir(dir.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Certificates { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The flags of etcd.
    fn flags(&self, clients: bool) -> Vec<String> {
        let mut flags =
            vec![format!("--cert-file={}", self.path("server.pem")), format!("--key-file={}", self.path("server.key"))];
        if clients {
            flags.extend(["--client-cert-auth".to_owned(), format!("--trusted-ca-file={}", self.path("ca.pem"))]);
        }
        flags
    }

    fn settings(&self, url: &str, client: Option<&str>) -> EtcdSettings {
        let certificate =
            client.map(|name| (self.path(&format!("{name}.pem")).into(), self.path(&format!("{name}.key")).into()));
        EtcdSettings { ca: Some(self.path("ca.pem").into()), certificate, ..at(&url.replace("etcd://", "etcds://")) }
    }

    /// etcdctl's flags, as the client of this name.
    fn ctl(&self, node: &Node, client: &str, arguments: &[&str]) -> String {
        let flags = [
            format!("--cacert={}", self.path("ca.pem")),
            format!("--cert={}", self.path(&format!("{client}.pem"))),
            format!("--key={}", self.path(&format!("{client}.key"))),
        ];
        node.must_ctl(&[&flags.each_ref().map(String::as_str)[..], arguments].concat())
    }
}

fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

#[test]
fn etcd_over_tls_keeps_the_contract_and_another_authority_is_refused() {
    Version::each(async |version| {
        let ip = Cluster::next_address();
        let (certificates, others) = (Certificates::new(&ip, "gateway"), Certificates::new(&ip, "gateway"));
        let cluster = Cluster::begin(version, 1, &strs(&certificates.flags(false)));
        let url = cluster.url("fleet");
        both_once_ready(certificates.settings(&url, None)).await;
        for (wrong, words) in [
            (others.settings(&url, None), "certificate"),
            (at(&url.replace("etcd://", "etcds://")), "--store-ca"),
            (at(&url), "cannot connect"),
        ] {
            let error = EtcdStore::open(wrong).unwrap().read(Vec::new()).await.unwrap_err();
            assert!(matches!(error, SharedError::NotDone(_)), "nothing was sent: {error}");
            assert!(error.to_string().contains(words), "{words}: {error}");
            assert!(error.to_string().matches("cannot connect").count() <= 1, "{error}");
        }
    });
}

/// For one that etcdctl cannot ask.
async fn both_once_ready(settings: EtcdSettings) {
    let store = EtcdStore::open(settings.clone()).unwrap();
    let patience = std::time::Instant::now() + crate::support::PATIENCE;
    while let Err(error) = store.read(Vec::new()).await {
        assert!(std::time::Instant::now() < patience, "{error}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    both(settings).await;
}

/// Users root and gateway, who may do everything below `fleet/`.
pub fn enable_users(ctl: impl Fn(&[&str]) -> String) {
    ctl(&["user", "add", "root:root"]);
    ctl(&["role", "add", "fleet"]);
    ctl(&["role", "grant-permission", "fleet", "--prefix=true", "readwrite", "fleet/"]);
    ctl(&["user", "add", "gateway:correct"]);
    ctl(&["user", "grant-role", "gateway", "fleet"]);
    ctl(&["user", "grant-role", "root", "root"]);
    ctl(&["auth", "enable"]);
}

#[test]
fn the_name_of_a_client_certificate_is_a_user_of_etcd() {
    Version::each(async |version| {
        let certificates = Certificates::new(&Cluster::next_address(), "gateway");
        let cluster = Cluster::begin(version, 1, &strs(&certificates.flags(true)));
        let url = cluster.url("fleet");
        let with = |client| certificates.settings(&url, client);
        let anybody = EtcdStore::open(with(Some("client"))).unwrap();
        while anybody.read(Vec::new()).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        enable_users(|arguments| certificates.ctl(&cluster.nodes[0], "client", arguments));
        both(with(Some("client"))).await;
        for stranger in [Some("other"), None] {
            let error = EtcdStore::open(with(stranger)).unwrap().read(Vec::new()).await.unwrap_err();
            assert!(matches!(error, SharedError::NotDone(_)), "{stranger:?}: {error}");
        }
        certificates.ctl(&cluster.nodes[0], "client", &["del", "--prefix", "fleet/"]);
        // On a thread without a runtime, as the stand-in has its own.
        let url = url.replace("etcd://", "etcds://");
        std::thread::scope(|scope| scope.spawn(|| serves_with(&url, &certificates)).join().unwrap());
    });
}

/// A gateway is a member by its certificate.
fn serves_with(url: &str, certificates: &Certificates) {
    let files = ["ca.pem", "client.pem", "client.key"].map(|name| certificates.path(name));
    let store = ["--store", url, "--store-ca", &files[0], "--store-cert", &files[1], "--store-key", &files[2]];
    let made = tool::run(&[&["fleet"], &store[..], &["init", "--mode", "production"]].concat());
    assert_eq!(made.code, Some(0), "{made:?}");
    let ucs = Ucs::usual();
    let alone = ["--node", "g0", "--upstream-mode", "off", "--schema-probe", "off"];
    let gateway = Gateway::start(ucs.address, &[&store[..], &alone].concat());
    eventually("it has joined", || admin::call(&gateway, "GET /mode", None).status == 200);
    assert_eq!(admin::set_mode(&gateway, &json!({"mode": "maintenance"})).status, 200);
}

/// The flags of etcd's two kinds of tokens, both for four seconds.
fn token_flags(dir: &Path) -> [Vec<String>; 2] {
    [vec!["--auth-token-ttl=4".to_owned()], vec![tokens_for("4s", dir)]]
}

#[test]
fn a_user_with_a_password_keeps_the_contract_and_gets_a_new_token_when_the_old_one_ends() {
    let dir = TempDir::new();
    let kinds = token_flags(dir.path());
    std::thread::scope(|scope| {
        for flags in &kinds {
            scope.spawn(move || Version::each(async |version| with_a_password(version, &strs(flags)).await));
        }
    });
}

async fn with_a_password(version: Version, flags: &[&str]) {
    let (cluster, dir) = (Cluster::start(version, 1, flags), TempDir::new());
    enable_users(|arguments| cluster.nodes[0].must_ctl(arguments));
    let with = |password: &str| {
        let credentials = Some(dir.secret(password, &format!("gateway:{password}\n")));
        EtcdSettings { credentials, ..at(&cluster.url("fleet")) }
    };
    let refused = async |settings, words| {
        let error = EtcdStore::open(settings).unwrap().commit(super::put("mode", 0, "x")).await.unwrap_err();
        assert!(matches!(&error, SharedError::NotDone(error) if error.to_string().contains(words)), "{error}");
    };
    refused(with("wrong"), "authentication failed").await;
    let idle = EtcdStore::open(with("correct")).unwrap();
    read(&idle).await;
    both(with("correct")).await;
    // A key of another fleet: no token is at fault.
    refused(EtcdSettings { address: cluster.url("foreign").parse().unwrap(), ..with("correct") }, "permission denied")
        .await;
    // A change of users makes tokens old, and their time ends them.
    cluster.nodes[0].must_ctl(&["--user=root:root", "user", "add", "another:one"]);
    super::overwrite(&idle, "member/idle", "after a change of users").await;
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    super::overwrite(&idle, "member/idle", "after the token has ended").await;
}
