//! A running `postern serve`: ready when this value is there, killed when it is dropped.

use std::cell::RefCell;
use std::collections::VecDeque;
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
    /// Names and endpoints of all its listeners, as the log has them.
    pub listeners: String,
    /// From the start of the process until it was ready.
    pub start_time: Duration,
    log: Receiver<Value>,
    /// Lines from before it was ready, and not read yet.
    early: RefCell<VecDeque<Value>>,
}

impl Daemon {
    pub fn start(mut command: Command) -> Self {
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
        let mut early = VecDeque::new();
        let event = next(&log, "daemon.started", &mut early);
        let listeners = event["listeners"].as_str().unwrap().to_owned();
        let address = listeners.split([' ', ',']).nth(1).unwrap().parse().unwrap();
        let early = RefCell::new(early);
        Self { child, address, listeners, start_time: started.elapsed(), log, early }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address).unwrap()
    }

    /// The next log line with this event; those before it are passed over.
    pub fn event(&self, name: &str) -> Value {
        let mut early = self.early.borrow_mut();
        while let Some(event) = early.pop_front() {
            if event["message"] == name {
                return event;
            }
        }
        next(&self.log, name, &mut VecDeque::new())
    }

    /// The lines logged so far, and not read yet.
    pub fn logged(&self) -> Vec<Value> {
        self.early.take().into_iter().chain(self.log.try_iter()).collect()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn terminate(&self) {
        self.signal("TERM");
    }

    pub fn signal(&self, name: &str) {
        let arguments = [format!("-{name}"), self.id().to_string()];
        assert!(Command::new("kill").args(arguments).status().unwrap().success());
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

fn next(log: &Receiver<Value>, name: &str, passed: &mut VecDeque<Value>) -> Value {
    let until = Instant::now() + PATIENCE;
    loop {
        match log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(event) if event["message"] == name => return event,
            Ok(event) => passed.push_back(event),
            Err(_) => panic!("no `{name}` in the log: {passed:#?}"),
        }
    }
}
