//! The sample configuration says what the code does, and faults are told as documented.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};

use postern::config::{Config, Protocol, TlsMode, TlsUse, describe, load};
use postern::domain::endpoint::Endpoint;
use postern::domain::mail::TrustSource;
use postern::domain::people::{CommentPermission, TicketAccess};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/config/postern.toml");

/// A directory with these files; the first is the one to load.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn main(&self) -> PathBuf {
        self.0.path().join("postern.toml")
    }

    fn load(&self) -> Config {
        load(Some(&self.main())).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// The faults, without the directory.
    fn faults(&self) -> Vec<String> {
        let errors = load(Some(&self.main())).expect_err("a fault");
        let directory = format!("{}/", self.0.path().display());
        errors.to_string().lines().map(|line| line.replace(&directory, "")).collect()
    }
}

fn loaded(text: &str) -> Config {
    Folder::new(&[("postern.toml", text)]).load()
}

#[track_caller]
fn check_faults(text: &str, expected: &[&str]) {
    assert_eq!(Folder::new(&[("postern.toml", text)]).faults(), expected);
}

#[track_caller]
fn check_people_faults(people: &str, expected: &[&str]) {
    assert_eq!(Folder::new(&[("postern.toml", ""), ("people.toml", people)]).faults(), expected);
}

/// The sample's text with every commented-out setting in force.
fn uncommented(text: &str) -> String {
    let is_setting = |line: &str| {
        let key = line.split(" = ").next().unwrap_or_default();
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        line.starts_with('[') || (is_key && line.contains(" = "))
    };
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if is_setting(setting) => format!("{setting}\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn the_sample_differs_from_the_defaults_only_where_it_says_so() {
    let sample = load(Some(Path::new(SAMPLE))).unwrap_or_else(|errors| panic!("{errors}"));
    let mut expected = Config::default();
    assert_eq!(expected.listeners[0].trust, TrustSource::None, "nobody is believed by default");
    expected.listeners[0].trust = TrustSource::Upstream;
    expected.people = sample.people.clone();
    expected.files = sample.files.clone();
    assert_eq!(sample, expected);
    assert_eq!(sample.warnings(), [""; 0]);
}

#[test]
fn the_people_of_the_tour_are_there() {
    let people = load(Some(Path::new(SAMPLE))).unwrap().people;
    let person = |address: &str| {
        let address = postern::domain::address::Address::parse(address).unwrap();
        people.people.iter().find(|person| person.addresses.contains(&address)).unwrap().clone()
    };
    assert_eq!(person("agent@localhost").role.key, "admin");
    assert_eq!(person("light@localhost").role.key, "light-agent");
    assert_eq!(people.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["Support"]);
}

#[test]
fn every_commented_out_setting_of_the_sample_is_at_its_default() {
    let text = fs::read_to_string(SAMPLE).unwrap();
    // Examples of what has no default, or none here: whose word counts, where to send.
    let examples = [
        "mode",
        "certificate",
        "key = ",
        "proxies",
        "authserv_id",
        "relays",
        "spool",
        "[[listeners.logins]]",
        "username",
        "password_file",
        "ca_file",
        "host = ",
    ];
    let without_examples: String = uncommented(&text)
        .lines()
        .filter(|line| !examples.iter().any(|example| line.starts_with(example)))
        .map(|line| {
            if line == "[delivery.smarthost]" { "[delivery.smarthost]\nhost = \"h\"\n" } else { line }
                .to_owned()
                + "\n"
        })
        .filter(|line| !line.starts_with("directory = \"./outgoing\""))
        .collect();
    let mut config = loaded(&without_examples);
    let smarthost = config.delivery.smarthost.take().expect("the example");
    assert_eq!((smarthost.port, smarthost.tls), (587, TlsMode::Starttls));
    assert_eq!(smarthost.timeout.as_secs(), 60);
    let example = "127.0.0.1:9125".parse().unwrap();
    assert_eq!(config.admin.address.take(), Some(example), "nobody can ask by default");

    let mut expected = Config::default();
    expected.listeners[0].trust = TrustSource::Upstream;
    expected.files.clone_from(&config.files);
    assert_eq!(config, expected);
}

#[test]
fn the_sample_has_every_setting_there_is() {
    let sample = uncommented(&fs::read_to_string(SAMPLE).unwrap());
    let effective =
        describe(&loaded("[delivery.smarthost]\nhost = \"h\"\nusername = \"u\"\npassword = \"p\"\n"));
    for line in effective.lines().filter(|line| !line.is_empty()) {
        let wanted = line.split(" = ").next().unwrap_or_default();
        // The sample keeps the password in a file.
        let wanted = if wanted == "password" { "password_file" } else { wanted };
        assert!(sample.lines().any(|line| line.starts_with(wanted)), "the sample lacks `{wanted}`");
    }
}

#[test]
fn every_commented_out_entry_of_people_is_sound() {
    let text = fs::read_to_string(Path::new(SAMPLE).with_file_name("people.toml")).unwrap();
    let people = Folder::new(&[("postern.toml", ""), ("people.toml", &uncommented(&text))]).load().people;
    assert_eq!(people.organizations[0].domains, ["acme.example"]);
    assert_eq!(people.people[1].organization.as_deref(), Some("acme"));
}

#[test]
fn without_a_file_the_safe_defaults_hold() {
    let config = Config::default();
    let loopback = Endpoint::Tcp(([127, 0, 0, 1], 2525).into());
    assert!(config.listeners.iter().all(|listener| listener.address == loopback));
    assert_eq!(config.deliver, TrustSource::None);
    assert_eq!(config.delivery.smarthost, None);
    assert_eq!(config.settings.support_addresses[0].address.to_string(), "support@localhost");
    assert_eq!(config.data, Path::new("./data"));
    assert!(!config.triggers.is_empty(), "the standard triggers have no fault");
    assert_eq!(Config { files: Vec::new(), ..loaded("") }, config);
}

#[test]
fn what_is_described_is_a_file_that_says_the_same() {
    let text = r#"
        [account]
        mail_domain = "bücher.example"
        [[support_addresses]]
        address = "help@desk.example"
        takes_suffix = false
        [[listeners]]
        name = "mx"
        address = "[::1]:25"
        trust = "authserv-id"
        authserv_id = "mx.desk.example"
        relays = ["192.0.2.25", "2001:db8::/64"]
        [deliver]
        trust = "upstream"
        [notifications]
        delimiter = ""
        [server]
        data_timeout_secs = 7
        unlimited_networks = ["192.0.2.0/24", "2001:db8::1"]
        [delivery]
        directory = "/var/spool/out"
        [collaborators]
        cc_blocklist = ["Spam.Example", "Eve@X.example"]
    "#;
    let config = loaded(text);
    assert_eq!(config.settings.account.mail_domain, "xn--bcher-kva.example");
    assert_eq!(config.settings.notifications.delimiter, None);
    assert_eq!(config.settings.collaborators.cc_blocklist, ["spam.example", "eve@x.example"]);
    let again = loaded(&describe(&config));
    assert_eq!(Config { files: Vec::new(), ..again }, Config { files: Vec::new(), ..config });
}

#[test]
fn a_password_is_read_from_a_file_and_never_shown() {
    let main =
        "[delivery.smarthost]\nhost = \"mail.example.net\"\nusername = \"u\"\npassword_file = \"secret\"\n";
    let config = Folder::new(&[("postern.toml", main), ("secret", "hunter2\n")]).load();
    let credentials = config.delivery.smarthost.as_ref().unwrap().credentials.as_ref().unwrap();
    assert_eq!(credentials.password.expose(), "hunter2");
    assert!(!describe(&config).contains("hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn an_authority_of_ones_own_is_read_from_a_file_and_checked() {
    let authority = include_str!("mailer/tls/ca.pem");
    let main = "[delivery.smarthost]\nhost = \"mail.example.net\"\nca_file = \"ca.pem\"\n";
    let two = format!("{authority}{authority}");
    for good in [authority, &two] {
        let config = Folder::new(&[("postern.toml", main), ("ca.pem", good)]).load();
        let known = config.delivery.smarthost.as_ref().unwrap().authority.as_ref().unwrap();
        assert_eq!(known.pem, good.as_bytes());
        assert!(describe(&config).contains("ca_file = \"ca.pem\""));
    }
    let fault = |text: &str, file: Option<&str>| {
        let files: Vec<_> =
            [("postern.toml", text)].into_iter().chain(file.map(|file| ("ca.pem", file))).collect();
        Folder::new(&files).faults().join("\n")
    };
    let cut = authority.replacen("MII", "MIJ", 1);
    let key = include_str!("mailer/tls/server.key");
    for bad in ["", "no certificate", key, &cut] {
        let told = fault(main, Some(bad));
        assert!(told.contains(":3: delivery.smarthost.ca_file: `"), "{told}");
        assert!(told.ends_with("holds no certificates, expected some in PEM form"), "{told}");
    }
    assert!(fault(main, None).contains("ca.pem` cannot be read"));
    let plain = fault(&format!("{main}tls = \"none\"\n"), Some(authority));
    assert!(plain.contains("delivery.smarthost.ca_file: has no effect here"), "{plain}");
}

#[test]
fn all_faults_of_all_files_are_told_at_once() {
    let main =
        "[privacy]\nfollower_replies = \"mirrored\"\n[server]\nmax_recipient = 5\nmax_line_length = 100\n";
    let people = "[[people]]\nkey = \"ada\"\nname = \"Ada\"\naddresses = [\"ada\"]\nrole = \"agent\"\n";
    assert_eq!(
        Folder::new(&[("postern.toml", main), ("people.toml", people)]).faults(),
        [
            "postern.toml:2: privacy.follower_replies: unknown value `mirrored`, did you mean `mirror`? (expected one of `private`, `mirror`, `as_agent`)",
            "postern.toml:4: server.max_recipient: unknown key `max_recipient`, did you mean `max_recipients`? (expected one of `hostname`, `max_message_size`, `max_headers`, `max_header_size`, `max_recipients`, `max_connections`, `max_connections_per_network`, `unlimited_networks`, `max_bytes_in_flight`, `max_errors`, `max_commands`, `max_auth_failures`, `max_line_length`, `command_timeout_secs`, `data_timeout_secs`, `message_timeout_secs`, `min_data_rate`, `shutdown_grace_secs`)",
            "postern.toml:5: server.max_line_length: `100` is too small, expected at least 512",
            "people.toml:4: people.addresses: `ada` is not a mail address: there is no `@`, expected `name@domain`",
        ]
    );
}

#[test]
fn triggers_are_read_from_the_file_beside() {
    let config = Folder::new(&[("postern.toml", ""), ("triggers.toml", "")]).load();
    assert_eq!(config.triggers, [], "an empty file has none; without the file there is the standard set");
    let faults = Folder::new(&[("postern.toml", ""), ("triggers.toml", "[[trigger]]\nnme = 1\n")]).faults();
    assert!(faults.iter().all(|fault| fault.starts_with("triggers.toml:")), "{faults:?}");
}

#[test]
fn values_that_are_not_sound_are_refused() {
    check_faults(
        "[account]\nmail_domain = \"a b\"\ntime_zone = \"Mars/Olympus\"\nlocale = \"xx\"\n[collaborators]\ncc_blocklist = [\"a@\"]\n",
        &[
            "postern.toml:2: account.mail_domain: `a b` is not a domain, expected one like `example.net`",
            "postern.toml:3: account.time_zone: `Mars/Olympus` is not a known time zone, expected an IANA name like `Europe/Berlin`",
            "postern.toml:4: account.locale: unknown value `xx`, expected `en`",
            "postern.toml:6: collaborators.cc_blocklist: `a@` is not a mail address: the part after `@` is not a domain, expected `name@domain`",
        ],
    );
}

#[test]
fn support_addresses_are_checked_against_each_other_and_against_their_suffix() {
    let long = "a".repeat(30);
    let entry = |address: &str| format!("[[support_addresses]]\naddress = \"{address}\"\n");
    let text: String = [
        format!("{long}@x.example"),
        "b@x.example".into(),
        "B@X.example".into(),
        "bounce@x.example".into(),
        "a+b@x.example".into(),
    ]
    .iter()
    .map(|address| entry(address))
    .collect();
    let suffix = "cannot take the suffix `+id…` (at most 29 octets, no `+`, no quotes), expected `takes_suffix = false`";
    check_faults(
        &text,
        &[
            &format!("postern.toml:2: support_addresses.address: `{long}` {suffix}"),
            "postern.toml:6: support_addresses.address: `B@x.example` is listed twice, expected once",
            "postern.toml:8: support_addresses.address: `bounce@x.example` is where undeliverable mail comes back, expected another address",
            &format!("postern.toml:10: support_addresses.address: `a+b` {suffix}"),
        ],
    );
    loaded(&format!("{}takes_suffix = false\n", entry(&format!("{long}@x.example"))));
    loaded(&entry(&format!("{}@x.example", "a".repeat(29))));
    check_faults(
        "support_addresses = []",
        &["postern.toml:1: support_addresses: there is none, expected at least one"],
    );
}

#[test]
fn listeners_have_names_and_addresses_of_their_own() {
    let listener =
        |name: &str, address: &str| format!("[[listeners]]\nname = \"{name}\"\naddress = \"{address}\"\n");
    let text =
        [listener("a", "127.0.0.1:25"), listener("a", "127.0.0.1:25"), listener("deliver", "127.0.0.1:26")];
    check_faults(
        &text.concat(),
        &[
            "postern.toml:5: listeners.name: `a` is taken, expected a name that no other entrance has",
            "postern.toml:6: listeners.address: `127.0.0.1:25` is taken, expected an address that no other listener has",
            "postern.toml:8: listeners.name: `deliver` is taken, expected a name that no other entrance has",
        ],
    );
    assert_eq!(loaded(&[listener("a", "[::1]:0"), listener("b", "[::1]:0")].concat()).listeners.len(), 2);
}

const CERTIFICATE: &str = include_str!("mailer/tls/server.pem");
const KEY: &str = include_str!("mailer/tls/server.key");

/// `postern.toml` with one listener at `address` that has these lines, and beside it a certificate, its key, an
/// authority and a password.
fn listener(address: &str, lines: &str) -> Folder {
    let main = format!("[[listeners]]\nname = \"mx\"\naddress = \"{address}\"\n{lines}");
    Folder::new(&[
        ("postern.toml", &main),
        ("mx.pem", CERTIFICATE),
        ("mx.key", KEY),
        ("ca.pem", include_str!("mailer/tls/ca.pem")),
        ("secret", "hunter2\n"),
    ])
}

const SHOWN: &str = "certificate = \"mx.pem\"\nkey = \"mx.key\"\n";

#[test]
fn a_listener_has_a_protocol_a_certificate_proxies_and_logins() {
    let login = "[[listeners.logins]]\nusername = \"relay\"\npassword_file = \"secret\"\n";
    for (word, begins) in
        [("starttls", TlsUse::Offered), ("required", TlsUse::Required), ("implicit", TlsUse::Implicit)]
    {
        let lines = format!(
            "protocol = \"lmtp\"\ntls = \"{word}\"\n{SHOWN}proxies = [\"192.0.2.80\", \"2001:db8::/64\"]\n{login}"
        );
        let folder = listener("127.0.0.1:24", &lines);
        let config = folder.load();
        let found = &config.listeners[0];
        let tls = found.tls.as_ref().unwrap();
        assert_eq!((found.protocol, tls.begins), (Protocol::Lmtp, begins));
        assert_eq!(found.logins[0].password.expose(), "hunter2");
        assert_eq!(found.proxies.len(), 2);

        let described = describe(&config);
        assert!(!described.contains("hunter2") && !format!("{config:?}").contains("hunter2"));
        fs::write(folder.main(), described).unwrap();
        let again = folder.load();
        assert_eq!((&again.listeners[0].tls, &again.listeners[0].proxies), (&found.tls, &found.proxies));
    }
}

#[test]
fn a_listener_may_be_a_unix_socket() {
    let config = listener("unix:/run/postern/mx.sock", "mode = \"0666\"\nprotocol = \"lmtp\"\n").load();
    let found = &config.listeners[0];
    assert_eq!((&found.address, found.mode), (&Endpoint::Unix("/run/postern/mx.sock".into()), 0o666));
    let again = loaded(&describe(&config));
    assert_eq!(again.listeners, config.listeners);
    assert_eq!(listener("unix:/run/mx", "").load().listeners[0].mode, 0o660);
    let login = "[[listeners.logins]]\nusername = \"u\"\npassword = \"p\"\n";
    assert_eq!(listener("unix:/run/mx", login).load().listeners[0].logins.len(), 1);
}

#[test]
fn what_makes_no_sense_for_a_listener_is_refused_with_its_reason() {
    let check = |address: &str, lines: &str, expected: &[&str]| {
        assert_eq!(listener(address, lines).faults(), expected, "{address}\n{lines}");
    };
    let tcp = "127.0.0.1:2525";
    check(
        "localhost:25",
        "",
        &[
            "postern.toml:3: listeners.address: `localhost:25` is not an address, expected one like `127.0.0.1:2525` or `unix:/path`",
        ],
    );
    check(
        "[::1]:25",
        "protocol = \"lmtp\"\n",
        &[
            "postern.toml:3: listeners.address: port 25 is for SMTP only (RFC 2033 §5), expected another port for `lmtp`",
        ],
    );
    check(
        tcp,
        "mode = \"0999\"\n",
        &["postern.toml:4: listeners.mode: `0999` is not a file mode, expected one like `0660`"],
    );
    check(
        tcp,
        "mode = \"0600\"\n",
        &[
            "postern.toml:4: listeners.mode: has no effect here, expected an `address` that begins with `unix:`",
        ],
    );
    check(
        tcp,
        "tls = \"starttls\"\ncertificate = \"mx.pem\"\n",
        &[
            "postern.toml:4: listeners.tls: needs a certificate to show, expected `certificate` and `key` beside it",
        ],
    );
    let beside =
        "has no effect here, expected `tls = \"starttls\"`, `\"required\"` or `\"implicit\"` beside it";
    check(
        tcp,
        SHOWN,
        &[
            &format!("postern.toml:4: listeners.certificate: {beside}"),
            &format!("postern.toml:5: listeners.key: {beside}"),
        ],
    );
    check(
        tcp,
        "tls = \"implicit\"\ncertificate = \"ca.pem\"\nkey = \"mx.key\"\n",
        &[
            "postern.toml:6: listeners.key: `mx.key` is not the key of the certificate in `ca.pem`, expected its own",
        ],
    );
    check(
        tcp,
        "tls = \"implicit\"\ncertificate = \"mx.key\"\nkey = \"mx.key\"\n",
        &[
            "postern.toml:5: listeners.certificate: `mx.key` holds no certificate chain, expected the server's certificate and those it stands on, in PEM form",
        ],
    );
    let machine = "has no effect here, expected an `address` with a port: what comes by a Unix socket comes from this machine";
    check(
        "unix:/run/mx",
        "proxies = [\"192.0.2.1\"]\n",
        &[&format!("postern.toml:4: listeners.proxies: {machine}")],
    );
    check(
        "unix:/run/mx",
        &format!("tls = \"required\"\n{SHOWN}"),
        &[&format!("postern.toml:4: listeners.tls: {machine}")],
    );
    check(
        tcp,
        "[[listeners.logins]]\nusername = \"u\"\npassword = \"p\"\n[[listeners.logins]]\nusername = \"u\"\n",
        &[
            "postern.toml:5: listeners.logins.username: the password would come in the clear, expected `tls` for this listener",
            "postern.toml:8: listeners.logins.username: `u` is taken, expected a name used once",
            "postern.toml:8: listeners.logins.username: the password would come in the clear, expected `tls` for this listener",
            "postern.toml:8: listeners.logins.username: there is no password, expected `password` or `password_file`",
        ],
    );
}

#[test]
fn trust_in_results_needs_to_know_whose() {
    check_faults(
        "[deliver]\ntrust = \"authserv-id\"\nauthserv_id = \"mx\"\n",
        &[
            "postern.toml:2: deliver.trust: `authserv-id` needs to know whose word counts, expected `authserv_id` and `relays` beside it",
        ],
    );
    check_faults(
        "[deliver]\nauthserv_id = \"mx\"\nrelays = [\"192.0.2.1\"]\n",
        &[
            "postern.toml:2: deliver.authserv_id: has no effect here, expected `trust = \"authserv-id\"` beside it",
            "postern.toml:3: deliver.relays: has no effect here, expected `trust = \"authserv-id\"` beside it",
        ],
    );
}

#[test]
fn a_password_is_not_sent_in_the_clear() {
    let smarthost = |host: &str| {
        format!(
            "[delivery.smarthost]\nhost = \"{host}\"\ntls = \"none\"\nusername = \"u\"\npassword = \"p\"\n"
        )
    };
    check_faults(
        &smarthost("mail.example.net"),
        &[
            "postern.toml:5: delivery.smarthost.password: would be sent in the clear, expected `tls = \"starttls\"` or `tls = \"tls\"`",
        ],
    );
    for host in ["localhost", "127.0.0.1", "::1"] {
        loaded(&smarthost(host));
    }
}

#[test]
fn a_smarthost_has_a_whole_login_or_none() {
    let smarthost = |lines: &str| format!("[delivery.smarthost]\nhost = \"h\"\n{lines}");
    check_faults(
        &smarthost("username = \"u\"\n"),
        &[
            "postern.toml:3: delivery.smarthost.username: there is no password, expected `password` or `password_file`",
        ],
    );
    check_faults(
        &smarthost("password = \"p\"\n"),
        &["postern.toml:3: delivery.smarthost.password: there is no `username`, expected both"],
    );
    check_faults(
        "[delivery]\ndirectory = \"out\"\n[delivery.smarthost]\n",
        &["postern.toml:3: delivery.smarthost: the key `host` is missing"],
    );
    check_faults(
        "[delivery]\ndirectory = \"out\"\n[delivery.smarthost]\nhost = \"h\"\n",
        &[
            "postern.toml:2: delivery.directory: has no effect beside `delivery.smarthost`, expected one of the two",
        ],
    );
}

#[test]
fn people_refer_to_what_there_is_and_share_nothing() {
    check_people_faults(
        r#"[[groups]]
key = "support"
name = "Support"
[[groups]]
key = "support"
name = "SUPPORT"
[[people]]
key = "ada"
name = "Ada"
addresses = ["ada@x.example", "support+x@localhost"]
role = "agnt"
groups = ["suport"]
organization = "acme"
[[people]]
key = "Bob"
name = "Bob"
addresses = ["ADA@x.example"]
role = "agent"
[[people]]
key = "eve"
name = "Eve"
addresses = []
role = "agent"
[[roles]]
key = "admin"
"#,
        &[
            "people.toml:5: groups.key: `support` is taken, expected a key used once",
            "people.toml:15: people.key: `Bob` is not a key, expected lower-case letters, digits, `-` and `_`",
            "people.toml:6: groups.name: `SUPPORT` is taken, expected a name used once",
            "people.toml:10: people.addresses: `support+x@localhost` is an address of the help desk, expected a person's own",
            "people.toml:17: people.addresses: `ADA@x.example` is taken, expected an address of one person only",
            "people.toml:20: people.addresses: there is none, expected at least one",
            "people.toml:25: roles.key: `admin` is a built-in role, expected another key",
            "people.toml:12: people.groups: there is no `suport`, did you mean `support`? (expected `support`)",
            "people.toml:13: people.organization: there is no `acme`, this file has none",
            "people.toml:11: people.role: there is no `agnt`, did you mean `agent`? (expected `admin` or `agent` or `end-user` or `light-agent`)",
        ],
    );
}

#[test]
fn a_custom_role_is_an_agents_with_what_it_says_changed() {
    let people = r#"
        [[roles]]
        key = "contractor"
        ticket_access = "groups"
        comments = "private-only"
        [[people]]
        key = "cora"
        name = "Cora"
        addresses = ["cora@x.example"]
        role = "contractor"
    "#;
    let config = Folder::new(&[("postern.toml", ""), ("people.toml", people)]).load();
    let role = &config.people.people[0].role;
    assert_eq!((role.ticket_access, role.comments), (TicketAccess::Groups, CommentPermission::PrivateOnly));
    assert!(role.mail_commands && role.edit_ticket_properties && role.assignable);
}

#[test]
fn agents_whom_nobody_can_authenticate_and_agents_in_no_group_are_warned_about() {
    let people =
        "[[people]]\nkey = \"ada\"\nname = \"Ada\"\naddresses = [\"ada@x.example\"]\nrole = \"agent\"\n";
    let warnings = Folder::new(&[("postern.toml", ""), ("people.toml", people)]).load().warnings();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("no entrance can authenticate them"), "{warnings:?}");
    assert!(warnings[1].contains("`ada` is in no group"), "{warnings:?}");
    let main = "[deliver]\ntrust = \"upstream\"\n";
    let warnings = Folder::new(&[("postern.toml", main), ("people.toml", people)]).load().warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_size_that_never_finds_room_is_warned_about() {
    let warnings = loaded("[server]\nmax_bytes_in_flight = 65536\n").warnings();
    assert!(warnings[0].contains("is put off each time it comes"), "{warnings:?}");
}

#[test]
fn a_named_file_that_is_not_there_is_a_fault() {
    let faults = Folder::new(&[]).faults();
    assert!(faults[0].starts_with("postern.toml: cannot be read: "), "{faults:?}");
}

#[test]
fn metrics_are_shown_to_everybody_only_if_the_file_says_so() {
    for address in ["127.0.0.1:9125", "192.168.1.2:9125", "[::1]:9125", "[fd00::1]:9125"] {
        let config = loaded(&format!("[admin]\naddress = \"{address}\"\n"));
        assert_eq!(config.admin.address, address.parse().ok());
    }
    for address in ["0.0.0.0:9125", "192.0.2.1:9125", "[::]:9125", "[2001:db8::1]:9125"] {
        let text = format!("[admin]\naddress = \"{address}\"\n");
        let fault = format!(
            "postern.toml:2: admin.address: `{address}` can be reached from anywhere and asks for no password, expected \
             an address of this machine or of a private network, or `public = true` beside it"
        );
        check_faults(&text, &[&fault]);
        let config = loaded(&format!("{text}public = true\n"));
        assert_eq!(config.admin.address, address.parse().ok());
    }
}

#[test]
fn more_mails_on_their_way_than_the_store_has_room_for_are_refused() {
    let faults = Folder::new(&[("postern.toml", "[delivery]\nconcurrency = 257\n")]).faults();
    assert_eq!(faults, ["postern.toml:2: delivery.concurrency: `257` is too large, expected at most 256"]);
}
