//! What the tests of the real binary share: a desk (sample configuration and a data directory), its daemon, its
//! commands, and an SMTP client.

// Each test binary uses a part of this.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod client;
pub mod daemon;
pub mod mail;
pub mod sink;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use self::daemon::Daemon;
use self::mail::Sent;

/// How long a test waits for anything: long, because machines that test are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The sample configuration of `config/`, and a data directory of its own.
pub struct Desk {
    home: TempDir,
    data: PathBuf,
}

impl Desk {
    pub fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        copy_tree(&manifest("config"), &home.path().join("config"));
        let data = home.path().join("data");
        Self { home, data }
    }

    /// A desk whose data lie elsewhere.
    pub fn with_data(data: &Path) -> Self {
        Self { data: data.to_owned(), ..Self::new() }
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A file of the configuration.
    pub fn config(&self, name: &str) -> PathBuf {
        self.home.path().join("config").join(name)
    }

    /// Puts `new` where the configuration file says `old`.
    pub fn change_config(&self, name: &str, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.config(name)).unwrap();
        assert!(text.contains(old), "{name} does not say `{old}`");
        std::fs::write(self.config(name), text.replace(old, new)).unwrap();
    }

    /// `postern WORDS --config … --data …`
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(words).arg("--config").arg(self.config("postern.toml")).arg("--data").arg(&self.data);
        command.env_remove("POSTERN_LOG").current_dir(self.home.path()).stdin(Stdio::null());
        command
    }

    pub fn start(&self) -> Daemon {
        self.start_at("127.0.0.1:0")
    }

    pub fn start_at(&self, address: &str) -> Daemon {
        Daemon::start(self.command(&["serve", "--listen", address]))
    }

    /// A daemon whose process is changed before it starts.
    pub fn start_with(&self, change: impl FnOnce(&mut Command)) -> Daemon {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        change(&mut command);
        Daemon::start(command)
    }

    /// Has a smarthost on this machine take the mail.
    pub fn send_to(&self, port: u16) {
        let smarthost =
            format!("[delivery.smarthost]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n");
        self.change_config("postern.toml", "#[delivery.smarthost]", &smarthost);
    }

    /// Runs a command to its end.
    pub fn run(&self, words: &[&str]) -> Answer {
        Answer::of(self.command(words).output().unwrap())
    }

    /// The same, with something on standard input.
    pub fn run_with(&self, words: &[&str], input: &[u8]) -> Answer {
        run_with(self.command(words), input)
    }

    /// The JSON that a command prints; it must have ended well.
    pub fn json(&self, words: &[&str]) -> Value {
        let answer = self.run(&[words, &["--json"]].concat());
        answer.expect(0);
        answer.json()
    }

    pub fn audit(&self) -> Value {
        self.json(&["audit"])
    }

    /// Waits until every accepted mail is decided; the books must balance then.
    pub fn settled(&self) -> Value {
        let audit = wait_for("every mail to be decided", || Some(self.audit()).filter(|a| a["pending"] == 0));
        assert_eq!(audit["balanced"], true, "{audit:#}");
        audit
    }

    /// Waits until every mail is decided and every notification sent, and gives those sent so far.
    pub fn quiet(&self) -> Vec<Sent> {
        self.settled();
        wait_for("every notification to be sent", || {
            let outbox = self.audit()["outbox"].clone();
            (outbox["queued"].is_null() && outbox["sending"].is_null()).then_some(())
        });
        mail::sent(&self.data.join("outgoing"))
    }
}

/// What a command answered.
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the command was killed"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// One value per line.
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs a command that reads `input`.
pub fn run_with(mut command: Command, input: &[u8]) -> Answer {
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // A command that fails early reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input);
    Answer::of(child.wait_with_output().unwrap())
}

/// Asks until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A path in this repository.
pub fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}
