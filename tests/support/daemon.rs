//! A running `postern serve`: ready when this value is there, killed when it is dropped.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Client;
use super::{PATIENCE, wait_for};

pub struct Daemon {
    child: Child,
    /// Where its first listener is.
    pub address: SocketAddr,
    /// Its listeners as `daemon.started` names them: `smtp 127.0.0.1:2525, …`.
    pub listeners: String,
    /// What was logged before that.
    pub early: Vec<Value>,
    /// From the start of the process until it was ready.
    pub start_time: Duration,
    log: Receiver<Value>,
}

impl Daemon {
    pub(super) fn start(mut command: Command) -> Self {
        let started = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (tell, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                // A test that is over listens no more; the pipe must be read on all the same.
                let _ = tell.send(event);
            }
        });
        let (event, early) = next(&log, "daemon.started");
        let listeners = event["listeners"].as_str().unwrap().to_owned();
        let address = listeners.split([' ', ',']).nth(1).unwrap().parse().unwrap();
        Self { child, address, listeners, early, start_time: started.elapsed(), log }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address).unwrap()
    }

    /// The next log line with this event; those before it are passed over.
    pub fn event(&self, name: &str) -> Value {
        next(&self.log, name).0
    }

    /// The lines logged so far, and not read yet.
    pub fn logged(&self) -> Vec<Value> {
        self.log.try_iter().collect()
    }

    /// `kill -9`
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub fn ended(&mut self) -> ExitStatus {
        wait_for("the daemon to end", || self.child.try_wait().unwrap())
    }

    /// SIGTERM, and a clean end.
    pub fn stop(mut self) {
        self.terminate();
        assert_eq!(self.ended().code(), Some(0));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next event with this name, and those before it.
fn next(log: &Receiver<Value>, name: &str) -> (Value, Vec<Value>) {
    let until = Instant::now() + PATIENCE;
    let mut passed = Vec::new();
    loop {
        match log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(event) if event["message"] == name => return (event, passed),
            Ok(event) => passed.push(event),
            Err(_) => panic!("no `{name}` in the log: {passed:#?}"),
        }
    }
}
