//! A real Postfix in front of us and behind us: it forwards mail to us, sends what we send, and its bounces come back.
//!
//! Runs where `POSTERN_POSTFIX` is set, Postfix is installed and the user is root. Everything of it lies in a temporary
//! directory; it listens on a high port of the loopback only, and nothing leaves the machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use support::client::Client;
use support::mail::{Sent, compose};
use support::{Desk, wait_for};

const SUPPORT: &str = "support@desk.example";
const RITA: &str = "rita@customer.example";
/// Postfix takes mail for it and finds out later that nobody is there.
const GONE: &str = "gone@nowhere.example";

/// A Postfix of its own, stopped and removed when this is dropped.
struct Postfix {
    home: tempfile::TempDir,
    address: SocketAddr,
}

impl Postfix {
    /// A port that was free a moment ago; Postfix cannot be asked for any.
    fn reserve() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Starts it: mail for the desk goes to `desk`, mail for customers and agents into mailboxes.
    fn start(address: SocketAddr, desk: SocketAddr) -> Self {
        let home = tempfile::tempdir().unwrap();
        let postfix = Self { home, address };
        let dir = |name: &str| {
            let path = postfix.path(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        std::fs::set_permissions(postfix.home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let (config, queue, data, boxes) = (dir("config"), dir("queue"), dir("data"), dir("boxes"));
        run("chown", &["postfix", data.to_str().unwrap()]);
        run("chown", &["nobody", boxes.to_str().unwrap()]);
        let owner = |flag| {
            let answer = Command::new("id").args([flag, "nobody"]).output().unwrap();
            String::from_utf8(answer.stdout).unwrap().trim().to_owned()
        };
        let to_desk = format!("smtp:[127.0.0.1]:{}", desk.port());
        let main = [
            ("compatibility_level", "3.6".to_owned()),
            ("queue_directory", queue.display().to_string()),
            ("data_directory", data.display().to_string()),
            ("maillog_file", postfix.path("log").display().to_string()),
            ("maillog_file_prefixes", postfix.home.path().display().to_string()),
            ("myhostname", "mx.desk.example".to_owned()),
            ("inet_interfaces", "127.0.0.1".to_owned()),
            ("inet_protocols", "ipv4".to_owned()),
            ("mydestination", String::new()),
            ("mynetworks", "127.0.0.0/8".to_owned()),
            ("alias_maps", String::new()),
            ("local_recipient_maps", String::new()),
            ("recipient_delimiter", "+".to_owned()),
            ("relay_domains", "desk.example".to_owned()),
            ("relay_transport", to_desk.clone()),
            // The desk does not know that domain and refuses it, so Postfix has a mail to give back.
            ("transport_maps", format!("inline:{{ {{nowhere.example = {to_desk}}} }}")),
            ("default_transport", "error:5.4.4 nothing leaves this machine".to_owned()),
            ("virtual_mailbox_domains", "customer.example agents.example".to_owned()),
            ("virtual_mailbox_base", boxes.display().to_string()),
            ("virtual_mailbox_maps", "static:all/".to_owned()),
            ("virtual_minimum_uid", "1".to_owned()),
            ("virtual_uid_maps", format!("static:{}", owner("-u"))),
            ("virtual_gid_maps", format!("static:{}", owner("-g"))),
            ("smtpd_tls_security_level", "none".to_owned()),
            ("smtpd_peername_lookup", "no".to_owned()),
        ];
        let lines: String = main.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        std::fs::write(config.join("main.cf"), lines).unwrap();
        std::fs::write(config.join("master.cf"), master(address)).unwrap();
        postfix.control("start");
        wait_for("Postfix to listen", || Client::connect(address).ok());
        postfix
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn control(&self, word: &str) {
        run("postfix", &["-c", self.path("config").to_str().unwrap(), word]);
    }

    fn send(&self, from: &str, to: &str, id: &str, text: &str) {
        let mail = compose(from, to, id, "My printer is on fire", text);
        let reply = Client::connect(self.address).unwrap().mail(from, to, &mail).unwrap();
        assert!(reply.starts_with("250 "), "{reply}");
    }

    /// Mails that Postfix holds.
    fn queue(&self) -> String {
        let config = self.path("config");
        let answer = Command::new("postqueue").arg("-c").arg(config).arg("-j").output().unwrap();
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).unwrap()
    }

    /// The mails in the mailbox of all customers and agents.
    fn delivered(&self, to: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("boxes/all/new")) else { return Vec::new() };
        let mails = entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
        mails.filter(|mail| mail.contains(&format!("Delivered-To: {to}\n"))).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the log of Postfix:\n{}\nits queue: {}", self.log(), self.queue());
        }
        let _ = Command::new("postfix").arg("-c").arg(self.path("config")).arg("stop").output();
    }
}

/// The services that take, forward, deliver and bounce mail.
fn master(address: SocketAddr) -> String {
    format!(
        "{address} inet n - n - - smtpd\n\
         pickup unix n - n 60 1 pickup\n\
         cleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\n\
         rewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\n\
         defer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\n\
         verify unix - - n - 1 verify\n\
         flush unix n - n 1000 0 flush\n\
         proxymap unix - - n - - proxymap\n\
         smtp unix - - n - - smtp\n\
         showq unix n - n - - showq\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         virtual unix - n n - - virtual\n\
         anvil unix - - n - 1 anvil\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}

fn run(program: &str, words: &[&str]) {
    let answer = Command::new(program).args(words).output().unwrap();
    assert!(answer.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&answer.stderr));
}

/// A desk that takes mail for `desk.example` and sends by Postfix.
fn desk(smarthost: SocketAddr) -> Desk {
    let desk = Desk::new();
    let settings = format!(
        "[[support_addresses]]\naddress = \"{SUPPORT}\"\n\n\
         [[listeners]]\nname = \"smtp\"\naddress = \"127.0.0.1:0\"\n\n\
         [delivery.smarthost]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        smarthost.port()
    );
    std::fs::write(desk.config("postern.toml"), settings).unwrap();
    desk.change_config("people.toml", "@localhost", "@agents.example");
    desk
}

fn as_sent(text: &str) -> Sent {
    Sent { path: Path::new("mailbox").to_owned(), text: text.replace('\n', "\r\n") }
}

#[test]
fn a_real_postfix_forwards_to_us_sends_for_us_and_its_bounces_are_taken() {
    if std::env::var_os("POSTERN_POSTFIX").is_none() {
        println!("skipped: POSTERN_POSTFIX is not set");
        return;
    }
    let address = Postfix::reserve();
    let desk = desk(address);
    let daemon = desk.start();
    let postfix = Postfix::start(address, daemon.address);

    // A customer's mail becomes a ticket; she and the agent are told.
    postfix.send(RITA, SUPPORT, "1@customer.example", "Smoke comes out of it.");
    let received = wait_for("the confirmation", || postfix.delivered(RITA).pop());
    wait_for("the agent's mail", || postfix.delivered("agent@agents.example").pop());
    assert_eq!(desk.json(&["ticket", "show", "1"])["requester"], RITA);

    // Her answer comes back to the address that carries the reference.
    let reply_to = as_sent(&received).reply_to();
    assert!(reply_to.starts_with("support+id"), "{reply_to}");
    postfix.send(RITA, &reply_to, "2@customer.example", "It is dark now.");
    wait_for("her second comment", || {
        (desk.json(&["ticket", "show", "1"])["comments"].as_array().unwrap().len() == 2).then_some(())
    });

    // Nobody is where the confirmation of this one goes: it bounces, from `<>`, to the recipient's own return address.
    postfix.send(GONE, SUPPORT, "3@nowhere.example", "You cannot reach me.");
    let bounced = wait_for("the bounce", || {
        let outbox = desk.json(&["outbox", "list"]);
        outbox.as_array().unwrap().iter().find(|mail| !mail["bounced_at"].is_null()).cloned()
    });
    assert_eq!(json!([bounced["recipient"], bounced["state"], bounced["ticket"]]), json!([GONE, "sent", 2]));

    let audit = desk.settled();
    assert_eq!(
        json!([audit["accepted"], audit["done"], audit["discarded"]]),
        json!([4, 3, { "own_bounce": 1 }])
    );
    assert_eq!(desk.json(&["suspended", "list"]), Value::Array(Vec::new()));
    wait_for("Postfix to have nothing left", || postfix.queue().is_empty().then_some(()));

    // While we are down mail waits in its queue, and nothing is lost.
    let ours = daemon.address.to_string();
    daemon.stop();
    postfix.send(RITA, SUPPORT, "4@customer.example", "Are you there?");
    wait_for("the mail to be deferred", || postfix.queue().contains("Connection refused").then_some(()));
    assert_eq!(desk.audit()["accepted"], 4);
    let _daemon = desk.start_at(&ours);
    run("postqueue", &["-c", postfix.path("config").to_str().unwrap(), "-f"]);
    wait_for("the mail that waited", || (desk.audit()["done"] == 4).then_some(()));
    wait_for("Postfix to have nothing left", || postfix.queue().is_empty().then_some(()));
}
