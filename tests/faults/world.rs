//! A desk whose daemon meets faults, and what became of the mails that were sent to it.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;

use postern::store::Store;

use crate::support::client::Client;
use crate::support::daemon::Daemon;
use crate::support::mail::{SUPPORT, compose};
use crate::support::{Desk, manifest, wait_for};

/// The library that makes calls fail, built once.
fn library() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let library =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("inject-{}.so", std::process::id()));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library);
        let built = cc.arg(manifest("tests/faults/inject.c")).args(["-lpthread"]).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        library
    })
}

pub struct World {
    pub desk: Desk,
    home: tempfile::TempDir,
}

/// A mail as its sender keeps it until it was taken.
#[derive(Clone, Debug)]
pub struct Letter {
    pub message_id: String,
    from: String,
    text: String,
    /// The last thing that was said to it; none if the connection ended.
    pub told: Option<String>,
}

impl Letter {
    pub fn new(name: &str, lines: usize) -> Self {
        let (from, message_id) = (format!("{name}@customer.example"), format!("{name}@m.example"));
        let text = "A line of what a customer has to say.\n".repeat(lines);
        let text = compose(&from, SUPPORT, &message_id, "Help", &format!("{name}\n{text}"));
        Self { message_id, from, text, told: None }
    }

    /// With an attachment, which becomes a blob when the mail is decided.
    pub fn with_attachment(name: &str) -> Self {
        let mut letter = Self::new(name, 1);
        letter.text = format!(
            "From: <{from}>\nTo: <{SUPPORT}>\nSubject: Help\nMessage-ID: <{id}>\nMIME-Version: 1.0\n\
             Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\n\nSee the file.\n\
             --b\nContent-Type: application/pdf; name=a.pdf\nContent-Disposition: attachment; filename=a.pdf\n\n\
             {name} has bytes of its own\n--b--\n",
            from = letter.from,
            id = letter.message_id,
        );
        letter
    }

    pub fn send(&mut self, daemon: &Daemon) {
        let sent = Client::connect(daemon.address)
            .and_then(|mut client| client.mail(&self.from, SUPPORT, &self.text));
        self.told = sent.ok();
    }

    pub fn was_told(&self, code: &str) -> bool {
        self.told.as_ref().is_some_and(|told| told.starts_with(code))
    }
}

impl World {
    pub fn new() -> Self {
        Self { desk: Desk::new(), home: tempfile::tempdir().unwrap() }
    }

    /// From now on these rules hold, and no others.
    pub fn inject(&self, rules: &str) {
        let next = self.home.path().join("next");
        std::fs::write(&next, rules).unwrap();
        std::fs::rename(next, self.control()).unwrap();
    }

    pub fn heal(&self) {
        self.inject("");
    }

    /// How often a rule struck.
    pub fn strokes(&self) -> usize {
        let fired = self.control().with_extension("fired");
        std::fs::read_to_string(fired).map_or(0, |text| text.lines().count())
    }

    pub fn start(&self) -> Daemon {
        self.desk.start_with(|command| self.prepare(command))
    }

    /// A start that is expected to fail.
    pub fn serve(&self) -> Output {
        let mut command = self.desk.command(&["serve", "--listen", "127.0.0.1:0"]);
        self.prepare(&mut command);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap()
    }

    /// How a start ended; none if it came as far as its control socket, which is the last thing to be made.
    pub fn start_or_end(&self) -> Option<ExitStatus> {
        let mut command = self.desk.command(&["serve", "--listen", "127.0.0.1:0"]);
        self.prepare(&mut command);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let socket = self.desk.data().join("control.sock");
        let ended = wait_for("a start to end", || match child.try_wait().unwrap() {
            Some(ended) => Some(Some(ended)),
            None => socket.exists().then_some(None),
        });
        let _ = child.kill();
        let _ = child.wait();
        ended
    }

    fn prepare(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("POSTERN_FAULTS", self.control());
    }

    fn control(&self) -> PathBuf {
        self.home.path().join("faults")
    }

    /// A daemon without faults: what was not taken is sent again, and then each mail is there once.
    pub fn aftermath(&self, letters: &mut [Letter]) {
        let daemon = self.desk.start();
        let kept = |letters: &[Letter]| -> Vec<String> {
            letters
                .iter()
                .filter(|letter| letter.was_told("250"))
                .map(|letter| letter.message_id.clone())
                .collect()
        };
        self.desk.settled();
        let comments = self.comments();
        for message_id in kept(letters) {
            assert_eq!(times(&comments, &message_id), 1, "answered with 250, and not there: {message_id}");
        }
        for letter in letters.iter_mut().filter(|letter| !letter.was_told("250")) {
            letter.send(&daemon);
            assert!(letter.was_told("250"), "{:?}", letter.told);
        }
        self.desk.settled();
        let comments = self.comments();
        for letter in &*letters {
            assert_eq!(times(&comments, &letter.message_id), 1, "{}", letter.message_id);
        }
        assert_eq!(comments.len(), letters.len(), "{comments:?}");
        let audit = self.desk.json(&["audit", "--deep"]);
        assert_eq!(audit["balanced"], true, "{audit:#}");
        daemon.stop();
    }

    /// The Message-IDs of the mails that became comments.
    fn comments(&self) -> Vec<String> {
        let store = Store::open_read_only(self.desk.data()).unwrap();
        let sql = "SELECT message_id FROM comments JOIN journal ON journal.id = comments.journal";
        store.ask(|db| db.prepare(sql)?.query_map([], |row| row.get(0))?.collect()).unwrap()
    }
}

fn times(all: &[String], one: &str) -> usize {
    all.iter().filter(|other| *other == one).count()
}
