//! The admin listener of a live daemon: every metric of the table is there and sound, health and readiness say what is so, and
//! nothing that is asked here gets in the way of mail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use postern::telemetry::metrics::{Kind, METRICS, Metric};
use support::daemon::Daemon;
use support::mail::{AGENT, SUPPORT, compose};
use support::{Desk, PATIENCE, wait_for};

const CUSTOMER: &str = "rita@customer.example";

/// A desk whose daemon shows metrics at `address`.
fn desk(address: &str) -> Desk {
    let desk = Desk::new();
    let setting = "#address = \"127.0.0.1:9125\"";
    desk.change_config("postern.toml", setting, &format!("address = \"{address}\""));
    desk
}

/// A daemon, and where it can be asked.
fn start(desk: &Desk) -> (Daemon, SocketAddr) {
    let daemon = desk.start();
    let admin = daemon.listeners.split(", ").find_map(|listener| listener.strip_prefix("admin "));
    let address = admin.expect("an admin listener").parse().unwrap();
    (daemon, address)
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

fn get(address: SocketAddr, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\r\nHost: desk\r\n\r\n")).expect("an answer")
}

/// `None` if the connection is closed without one.
fn ask(address: SocketAddr, request: &str) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that has seen enough closes before all is sent.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}

/// One scrape: the value of each series by its name with labels, and the type of each metric.
#[derive(Debug)]
struct Scrape {
    series: BTreeMap<String, f64>,
    types: BTreeMap<String, String>,
    helps: BTreeSet<String>,
}

impl Scrape {
    /// Reads the text format by its grammar; anything else is a failure.
    fn of(address: SocketAddr) -> Self {
        let answer = get(address, "/metrics");
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
        assert!(answer.head.contains("connection: close"), "{}", answer.head);
        let mut scrape = Self { series: BTreeMap::new(), types: BTreeMap::new(), helps: BTreeSet::new() };
        for line in answer.body.lines().filter(|line| !line.is_empty()) {
            if let Some(help) = line.strip_prefix("# HELP ") {
                scrape.helps.insert(help.split_once(' ').unwrap().0.to_owned());
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                scrape.types.insert(name.to_owned(), kind.to_owned());
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("`{line}`"));
                check_series(series);
                let value: f64 = value.parse().unwrap_or_else(|error| panic!("`{line}`: {error}"));
                assert!(
                    scrape.series.insert(series.to_owned(), value).is_none(),
                    "`{series}` is there twice"
                );
            }
        }
        scrape
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no `{series}` in {:#?}", self.series))
    }

    /// Series of one metric, a histogram's parts included.
    fn of_metric(&self, metric: &Metric) -> Vec<(&str, f64)> {
        let base = |series: &str| {
            let name = series.split('{').next().unwrap().to_owned();
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            histogram
                .filter(|_| matches!(metric.kind, Kind::Histogram(_)))
                .map_or(name.clone(), str::to_owned)
        };
        let found = self.series.iter().filter(|(series, _)| base(series) == metric.name);
        found.map(|(series, value)| (series.as_str(), *value)).collect()
    }
}

/// `name` or `name{label="value",…}`, with the values free of whatever belongs to a person.
fn check_series(series: &str) {
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').expect(series)),
        None => (series, ""),
    };
    assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{series}");
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (key, value) = label.split_once('=').expect(series);
        assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{series}");
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect(series);
        assert!(!value.contains(['"', '\\', '@', ' ']), "{series}");
    }
}

/// Mails of several fates, a refusal, a notification that is sent.
fn do_some_work(desk: &Desk, daemon: &Daemon) {
    let mut client = daemon.connect();
    for number in 1..=3 {
        let mail = compose(CUSTOMER, SUPPORT, &format!("{number}@customer.example"), "Help", "It burns.");
        let reply = client.mail(CUSTOMER, SUPPORT, &mail).unwrap();
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let again = compose(CUSTOMER, SUPPORT, "1@customer.example", "Help", "It burns.");
    assert!(client.mail(CUSTOMER, SUPPORT, &again).unwrap().starts_with("250 "));
    let refused = client.begin(CUSTOMER, "nobody@elsewhere.example").unwrap();
    assert!(refused.unwrap().starts_with("550 "));
    client.say("QUIT", "221").unwrap();
    daemon.event("smtp.session");
    assert!(desk.quiet().iter().any(|sent| sent.is_to(AGENT)));
}

#[test]
fn every_metric_is_there_after_some_mails_and_agrees_with_the_books() {
    let desk = desk("127.0.0.1:0");
    let (daemon, admin) = start(&desk);
    do_some_work(&desk, &daemon);
    // The first proof of the books is made at the start.
    let scrape = wait_for("the books to be proved", || {
        let scrape = Scrape::of(admin);
        scrape.series.contains_key("postern_books_balanced").then_some(scrape)
    });

    // What needs a trouble to occur has no series without one, where its labels are not known before.
    let troubles = ["postern_smtp_accept_failures_total"];
    for metric in METRICS.iter().filter(|metric| !troubles.contains(&metric.name)) {
        let series = scrape.of_metric(metric);
        assert!(!series.is_empty(), "no series of `{}`", metric.name);
        for (name, value) in series {
            assert!(value.is_finite() && value >= 0.0, "`{name}` is {value}");
        }
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        assert_eq!(scrape.types.get(metric.name).map(String::as_str), Some(kind), "{}", metric.name);
        assert!(scrape.helps.contains(metric.name), "{} has no help", metric.name);
    }
    let known: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    let unknown: Vec<_> = scrape.types.keys().filter(|name| !known.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "not in the table: {unknown:?}");

    let audit = desk.audit();
    for (series, expected) in [
        ("postern_mails_accepted_total{entrance=\"smtp\"}", 4.0),
        ("postern_journal_mails{state=\"pending\"}", audit["pending"].as_f64().unwrap()),
        ("postern_journal_mails{state=\"done\"}", audit["done"].as_f64().unwrap()),
        ("postern_journal_mails{state=\"discarded\"}", 1.0),
        ("postern_mails_decided_total{outcome=\"public\",rule=\"end-user\"}", 3.0),
        ("postern_mails_decided_total{outcome=\"duplicate\",rule=\"none\"}", 1.0),
        ("postern_outbox_results_total{result=\"sent\"}", audit["outbox"]["sent"].as_f64().unwrap()),
        ("postern_outbox_mails{state=\"queued\"}", 0.0),
        ("postern_smtp_sessions_open{entrance=\"smtp\"}", 0.0),
        ("postern_smtp_sessions_ended_total{entrance=\"smtp\",reason=\"quit\"}", 1.0),
        ("postern_smtp_refused_total{entrance=\"smtp\",refusal=\"no_such_recipient\"}", 1.0),
        ("postern_smtp_in_flight_bytes", 0.0),
        ("postern_stage_seconds_count{stage=\"accept\"}", 4.0),
        ("postern_stage_seconds_count{stage=\"parse\"}", 4.0),
        ("postern_pending_oldest_age_seconds", 0.0),
        ("postern_books_balanced", 1.0),
        ("postern_ready", 1.0),
        ("postern_store_troubles_total", 0.0),
    ] {
        assert_eq!(scrape.value(series), expected, "{series}");
    }
    assert!(scrape.value("postern_jobs_total") >= scrape.value("postern_commits_total"));
    assert!(scrape.value("postern_wal_pages") <= scrape.value("postern_wal_cap_pages"));
    assert!(scrape.value("process_open_fds") <= scrape.value("process_max_fds"));
    assert!(scrape.value("process_start_time_seconds") > 1_700_000_000.0);
    let buckets =
        |le: &str| scrape.value(&format!("postern_stage_seconds_bucket{{stage=\"accept\",le=\"{le}\"}}"));
    assert_eq!(buckets("+Inf"), 4.0);
    assert!(buckets("0.0001") <= buckets("0.01") && buckets("0.01") <= buckets("+Inf"));
    daemon.stop();
}

#[test]
fn health_and_readiness_are_answered_and_nothing_else_is() {
    let desk = desk("127.0.0.1:0");
    let (daemon, admin) = start(&desk);
    for path in ["/healthz", "/readyz"] {
        let answer = wait_for("readiness", || Some(get(admin, path)).filter(|answer| answer.status == 200));
        assert_eq!(answer.body, "ok\n");
    }
    assert_eq!(get(admin, "/").status, 404);
    assert_eq!(ask(admin, "POST /metrics HTTP/1.1\r\nHost: desk\r\n\r\n").unwrap().status, 405);
    daemon.stop();
}

#[test]
fn readiness_ends_with_a_stop_while_a_mail_is_still_coming_in() {
    let desk = desk("127.0.0.1:0");
    let (mut daemon, admin) = start(&desk);
    let mut client = daemon.connect();
    assert_eq!(client.begin(CUSTOMER, SUPPORT).unwrap(), None);
    daemon.terminate();
    let answer =
        wait_for("unreadiness", || Some(get(admin, "/readyz")).filter(|answer| answer.status == 503));
    assert_eq!(answer.body, "stopping\n");
    assert_eq!(get(admin, "/healthz").status, 200, "a daemon that stops in order is not to be killed");
    client.send(&compose(CUSTOMER, SUPPORT, "1@customer.example", "Help", "It burns.")).unwrap();
    assert!(client.finish().unwrap().starts_with("250 "));
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn those_who_ask_are_bounded_and_never_in_the_way_of_mail() {
    let desk = desk("127.0.0.1:0");
    let (daemon, admin) = start(&desk);
    // More silent connections than there are places: whoever asks next waits, and mail does not.
    let silent: Vec<_> = (0..12).map(|_| TcpStream::connect(admin).unwrap()).collect();
    let mut client = daemon.connect();
    let mail = compose(CUSTOMER, SUPPORT, "1@customer.example", "Help", "It burns.");
    assert!(client.mail(CUSTOMER, SUPPORT, &mail).unwrap().starts_with("250 "));
    drop(silent);
    assert_eq!(get(admin, "/healthz").status, 200);
    // A request without end is cut off: by an answer that says so, or by none.
    let endless = format!("GET /metrics HTTP/1.1\r\nHost: desk\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024));
    assert!(ask(admin, &endless).is_none_or(|answer| answer.status >= 400));
    assert_eq!(get(admin, "/healthz").status, 200);
    daemon.stop();
}

#[test]
fn a_silent_client_loses_its_place_by_itself() {
    let desk = desk("127.0.0.1:0");
    let (daemon, admin) = start(&desk);
    let silent: Vec<_> = (0..8).map(|_| TcpStream::connect(admin).unwrap()).collect();
    assert_eq!(get(admin, "/healthz").status, 200, "all places were taken for ever");
    drop(silent);
    daemon.stop();
}

#[test]
fn a_port_that_is_taken_stops_the_metrics_and_not_the_mail() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let desk = desk(&taken.local_addr().unwrap().to_string());
    let daemon = desk.start();
    let trouble = daemon.event("admin.trouble");
    assert!(trouble["doing"].as_str().unwrap().starts_with("listening on 127.0.0.1:"), "{trouble}");
    let mut client = daemon.connect();
    let mail = compose(CUSTOMER, SUPPORT, "1@customer.example", "Help", "It burns.");
    assert!(client.mail(CUSTOMER, SUPPORT, &mail).unwrap().starts_with("250 "));
    daemon.stop();
}

#[test]
fn nothing_listens_unless_the_file_says_so() {
    let desk = Desk::new();
    let daemon = desk.start();
    assert!(!daemon.listeners.contains("admin"), "{}", daemon.listeners);
    daemon.stop();
}
