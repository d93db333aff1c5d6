//! The daemon, built for release, and clients that send it mail as fast as it takes it.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postern::domain::endpoint::Endpoint;
use postern::smtp::listener::Socket;
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;

use super::{folder, mail};

pub const SPAN: Duration = Duration::from_secs(3);
pub const SIZE: usize = 10_000;
const MAILS_A_CONNECTION: usize = 100;

/// Mails taken, and how long that took.
pub struct Load {
    pub mails: usize,
    pub took: Duration,
}

pub struct Daemon {
    process: Child,
    smtp: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
}

impl Daemon {
    /// Starts it over a data directory that `prepare` may fill.
    pub fn start(prepare: impl FnOnce(&Path)) -> Self {
        let folder = folder();
        let data = folder.path().join("data");
        prepare(&data);
        let [smtp, admin] = free_ports();
        let config = format!(
            "[[support_addresses]]\naddress = \"support@acme.example\"\n\
             [[listeners]]\nname = \"smtp\"\naddress = \"{smtp}\"\n[admin]\naddress = \"{admin}\"\n"
        );
        std::fs::write(folder.path().join("postern.toml"), config).unwrap();
        std::fs::write(folder.path().join("triggers.toml"), "").unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_postern"))
            .args(["serve", "--config"])
            .arg(folder.path().join("postern.toml"))
            .arg("--data")
            .arg(&data)
            .stdout(std::fs::File::create(folder.path().join("log")).unwrap())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let daemon = Self { process, smtp, admin, folder };
        until(|| TcpStream::connect(smtp).is_ok() && TcpStream::connect(admin).is_ok());
        daemon
    }

    /// Loads it, and answers how many flushes it made for a mail until the last was accepted.
    pub fn flushes_a_mail(&self, sessions: usize) -> f64 {
        let before = self.flushes();
        let Load { mails, .. } = load(self.smtp, sessions, SPAN, SIZE);
        (self.flushes() - before) / mails as f64
    }

    /// Loads it, and answers how many mails a second it took until the last was decided.
    pub fn rate(&self, sessions: usize) -> f64 {
        let started = Instant::now();
        let Load { mails, .. } = load(self.smtp, sessions, SPAN, SIZE);
        let data = self.folder.path().join("data/postern.db");
        let db = Connection::open_with_flags(data, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let pending = "SELECT COUNT(*) FROM journal WHERE state = 'pending'";
        until(|| db.query_row(pending, [], |row| row.get::<_, i64>(0)).unwrap() == 0);
        mails as f64 / started.elapsed().as_secs_f64()
    }

    /// The writer's commits so far.
    fn flushes(&self) -> f64 {
        let mut admin = TcpStream::connect(self.admin).unwrap();
        admin.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        admin.read_to_string(&mut page).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix("postern_flushes_total "));
        line.unwrap().trim().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The data directory goes too: nothing is worth an orderly end.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

pub fn tcp_address(socket: &Socket) -> SocketAddr {
    match socket.endpoint().unwrap() {
        Endpoint::Tcp(address) => address,
        Endpoint::Unix(_) => panic!("a TCP socket was bound"),
    }
}

/// Sends mails over so many sessions for `span`.
pub fn load(server: SocketAddr, sessions: usize, span: Duration, size: usize) -> Load {
    static NUMBER: AtomicUsize = AtomicUsize::new(1);
    let started = Instant::now();
    let clients: Vec<_> = (0..sessions)
        .map(|_| {
            thread::spawn(move || {
                let mut sent = 0;
                while started.elapsed() < span {
                    let mut client = Client::connect(server);
                    for _ in 0..MAILS_A_CONNECTION {
                        if started.elapsed() >= span {
                            break;
                        }
                        client.send(&mail(NUMBER.fetch_add(1, Ordering::Relaxed), size));
                        sent += 1;
                    }
                    client.say(b"QUIT\r\n", "221");
                }
                sent
            })
        })
        .collect();
    let mails = clients.into_iter().map(|client| client.join().unwrap()).sum();
    Load { mails, took: started.elapsed() }
}

/// The middle of so many figures.
pub fn median(runs: usize, mut figure: impl FnMut() -> f64) -> f64 {
    let mut figures: Vec<f64> = (0..runs).map(|_| figure()).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap()
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = Self { stream: BufReader::new(stream) };
        client.hear("220");
        client.say(b"EHLO client.example\r\n", "250");
        client
    }

    fn send(&mut self, mail: &[u8]) {
        self.say(b"MAIL FROM:<rita@example.net>\r\n", "250");
        self.say(b"RCPT TO:<support@acme.example>\r\n", "250");
        self.say(b"DATA\r\n", "354");
        self.say(&[mail, b".\r\n"].concat(), "250");
    }

    fn say(&mut self, bytes: &[u8], answer: &str) {
        self.stream.get_mut().write_all(bytes).unwrap();
        self.hear(answer);
    }

    fn hear(&mut self, answer: &str) {
        let mut line = String::new();
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            assert!(line.starts_with(answer), "expected {answer}, found `{line}`");
            if line.as_bytes().get(3) != Some(&b'-') {
                return;
            }
        }
    }
}

fn free_ports() -> [SocketAddr; 2] {
    // Both are held until both are known.
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(120), "waited two minutes in vain");
        thread::sleep(Duration::from_millis(5));
    }
}
