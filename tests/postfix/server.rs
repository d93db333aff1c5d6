//! A Postfix of its own: its configuration, its queue, its mailboxes.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::support::client::Client;
use crate::support::mail::compose;
use crate::support::wait_for;

/// A Postfix of its own, stopped and removed when this is dropped.
pub struct Postfix {
    home: tempfile::TempDir,
    address: SocketAddr,
}

impl Postfix {
    /// A port that was free a moment ago; Postfix cannot be asked for any.
    pub fn reserve() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    /// Starts it: mail for each of these domains goes by its transport, mail for customers and agents into mailboxes.
    /// `services` are further lines of master.cf.
    pub fn start(
        address: SocketAddr,
        home: tempfile::TempDir,
        transports: &[(&str, &str)],
        services: &str,
    ) -> Self {
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
        let domains: Vec<_> = transports.iter().map(|(domain, _)| *domain).collect();
        let map: String = transports.iter().map(|(domain, way)| format!(" {{{domain} = {way}}}")).collect();
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
            ("relay_domains", domains.join(" ")),
            ("transport_maps", format!("inline:{{{map} }}")),
            // What was deferred is tried again at once, so that a test need not wait.
            ("minimal_backoff_time", "1s".to_owned()),
            ("maximal_backoff_time", "1s".to_owned()),
            ("queue_run_delay", "1s".to_owned()),
            ("transport_retry_time", "1s".to_owned()),
            ("postern_destination_recipient_limit", "1".to_owned()),
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
        std::fs::write(config.join("master.cf"), master(address) + services).unwrap();
        postfix.control("start");
        wait_for("Postfix to listen", || Client::connect(address).ok());
        postfix
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn control(&self, word: &str) {
        run("postfix", &["-c", self.path("config").to_str().unwrap(), word]);
    }

    pub fn send(&self, from: &str, to: &str, id: &str, text: &str) {
        let mail = compose(from, to, id, "My printer is on fire", text);
        let reply = Client::connect(self.address).unwrap().mail(from, to, &mail).unwrap();
        assert!(reply.starts_with("250 "), "{reply}");
    }

    /// Mails that Postfix holds.
    pub fn queue(&self) -> String {
        let config = self.path("config");
        let answer = Command::new("postqueue").arg("-c").arg(config).arg("-j").output().unwrap();
        assert!(answer.status.success(), "{}", String::from_utf8_lossy(&answer.stderr));
        String::from_utf8(answer.stdout).unwrap()
    }

    /// The mails in the mailbox of all customers and agents.
    pub fn delivered(&self, to: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path("boxes/all/new")) else { return Vec::new() };
        let mails = entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
        mails.filter(|mail| mail.contains(&format!("Delivered-To: {to}\n"))).collect()
    }

    pub fn log(&self) -> String {
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
         lmtp unix - - n - - lmtp\n\
         showq unix n - n - - showq\n\
         error unix - - n - - error\n\
         retry unix - - n - - error\n\
         virtual unix - n n - - virtual\n\
         anvil unix - - n - 1 anvil\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    )
}

pub fn run(program: &str, words: &[&str]) {
    let answer = Command::new(program).args(words).output().unwrap();
    assert!(answer.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&answer.stderr));
}
