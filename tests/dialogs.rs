//! Plays each `fixtures/smtp/*.dialog` twice against the session (whole lines, then byte by byte) and, where it needs
//! no TLS, once over a socket. `fixtures/smtp/README.md` describes the form of the files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod smtp_support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use postern::domain::mail::Envelope;
use postern::smtp::Refused;
use postern::smtp::listener::ListenerConfig;
use postern::smtp::policy::{Limits, Login, Logins, Protocol, Refusal, SessionConfig, TlsPolicy};
use postern::smtp::session::{Channel, Session, Step};
use smtp_support::{Client, NOW, Recorder, TestServer, listener_config, session_config};

/// What the server says without being asked by the client, with where that is shown.
const NOT_IN_A_DIALOG: &[(Refusal, &str)] = &[
    (Refusal::TooManyConnections, "the listener says it: tests/smtp_listener.rs"),
    (Refusal::TooManyFromNetwork, "the listener says it: tests/smtp_session.rs has the reply"),
    (Refusal::TooSlow, "the listener says it: tests/smtp_session.rs has the reply"),
    (Refusal::TimedOut, "the listener says it: tests/smtp_listener.rs"),
];

/// How each reply that refuses nothing begins. That of a shutdown is in tests/smtp_session.rs.
const REPLIES: &[&str] = &[
    "220 mail.desk.example ESMTP Postern",
    "220 mail.desk.example LMTP Postern",
    "250 mail.desk.example",
    "250-mail.desk.example",
    "250 2.0.0 ok",
    "250 2.1.0 sender ok",
    "250 2.1.5 recipient ok",
    "250 2.0.0 chunk received",
    "250 2.0.0 kept as ",
    "354 end data",
    "220 2.0.0 ready to start TLS",
    "334 ",
    "235 2.7.0 authenticated",
    "214 2.0.0 commands: ",
    "252 2.0.0 cannot verify",
    "221 2.0.0 goodbye",
];

#[derive(Debug)]
struct Dialog {
    config: SessionConfig,
    channel: Channel,
    verdicts: Vec<Refused>,
    turns: Vec<Turn>,
    mails: Vec<ExpectedMail>,
    closed: bool,
}

/// What the client sends at once, and all the server says to it.
#[derive(Debug, Default)]
struct Turn {
    client: Vec<u8>,
    server: String,
    refusals: Vec<String>,
}

#[derive(Debug, Default, PartialEq)]
struct ExpectedMail {
    envelope: String,
    raw: Vec<u8>,
}

#[test]
fn every_dialog_goes_as_written() {
    let dialogs = read_dialogs();
    let mut over_sockets = 0;
    for (file, dialog) in &dialogs {
        play_session(file, dialog, usize::MAX);
        play_session(file, dialog, 1);
        if !dialog.needs_tls() {
            play_socket(file, dialog);
            over_sockets += 1;
        }
    }
    assert!(dialogs.len() > 80, "only {} dialogs were found", dialogs.len());
    println!("{} dialogs, each played twice, and {over_sockets} over a socket", dialogs.len());
}

#[test]
fn every_refusal_and_every_reply_is_in_a_dialog() {
    let dialogs = read_dialogs();
    let turns = || dialogs.iter().flat_map(|(_, dialog)| &dialog.turns);
    let shown: BTreeSet<&str> = turns().flat_map(|turn| &turn.refusals).map(String::as_str).collect();
    for refusal in Refusal::ALL {
        let elsewhere = NOT_IN_A_DIALOG.iter().any(|(other, _)| other == refusal);
        assert!(shown.contains(refusal.name()) != elsewhere, "{}", refusal.name());
    }
    for reply in REPLIES {
        assert!(turns().any(|turn| turn.server.lines().any(|line| line.starts_with(reply))), "{reply}");
    }
}

impl Dialog {
    /// Whether some of it is said through TLS: the session knows of TLS only that it is there, a socket needs it.
    fn needs_tls(&self) -> bool {
        let handshake = self.turns.iter().any(|turn| turn.server.contains("ready to start TLS"));
        self.channel == Channel::Secure || handshake
    }
}

fn read_dialogs() -> Vec<(PathBuf, Dialog)> {
    let mut files: Vec<PathBuf> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/smtp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "dialog"))
        .collect();
    files.sort();
    let read = |file: PathBuf| {
        let dialog = read_dialog(&file);
        (file, dialog)
    };
    files.into_iter().map(read).collect()
}

fn read_dialog(file: &Path) -> Dialog {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.starts_with("# "), "{}: the first line must say what the dialog shows", file.display());
    let mut dialog = Dialog {
        config: session_config(Limits::default()),
        channel: Channel::Plain,
        verdicts: Vec::new(),
        turns: vec![Turn::default()],
        mails: Vec::new(),
        closed: false,
    };
    let mut logins = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let place = format!("{}:{}", file.display(), index + 1);
        let (key, value) = line.split_at(line.len().min(3));
        match key {
            "C: " => client_turn(&mut dialog).extend([&unescape(value, &place)[..], b"\r\n"].concat()),
            "C> " => client_turn(&mut dialog).extend(unescape(value, &place)),
            "S: " => {
                let said = String::from_utf8(unescape(value, &place)).unwrap();
                dialog.turns.last_mut().unwrap().server += &format!("{said}\r\n");
            }
            "R: " => dialog.turns.last_mut().unwrap().refusals.push(value.to_owned()),
            "M: " => dialog.mails.push(ExpectedMail { envelope: value.to_owned(), raw: Vec::new() }),
            "M| " => {
                let mail = dialog.mails.last_mut().unwrap_or_else(|| panic!("{place}: text of no mail"));
                mail.raw.extend([&unescape(value, &place)[..], b"\r\n"].concat());
            }
            _ if line == "S. closes" => dialog.closed = true,
            _ if line.starts_with("@ login ") => logins.push(login(line, &place)),
            _ if line.starts_with('@') => setting(&mut dialog, line.trim_start_matches('@').trim(), &place),
            _ if line.starts_with('#') || line.trim().is_empty() => {}
            _ => {
                panic!(
                    "{place}: found `{line}`, expected a line that starts with C:, C>, S:, R:, M:, M|, @ or #"
                )
            }
        }
    }
    dialog.config.logins = Logins::new(&logins);
    dialog
}

/// `@ login USERNAME PASSWORD`
fn login(line: &str, place: &str) -> Login {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, _, username, password] = words[..] else {
        panic!("{place}: found `{line}`, expected `@ login USERNAME PASSWORD`");
    };
    Login { username: username.into(), password: password.into() }
}

/// Where the client's next bytes go: they open a new turn once the server has spoken.
fn client_turn(dialog: &mut Dialog) -> &mut Vec<u8> {
    if dialog.turns.last().is_some_and(|turn| !turn.server.is_empty()) {
        dialog.turns.push(Turn::default());
    }
    &mut dialog.turns.last_mut().unwrap().client
}

fn setting(dialog: &mut Dialog, text: &str, place: &str) {
    let words: Vec<&str> = text.split_whitespace().collect();
    let limits = &mut dialog.config.limits;
    match words[..] {
        ["lmtp"] => dialog.config.protocol = Protocol::Lmtp,
        ["starttls", "offered"] => dialog.config.tls = TlsPolicy::Offered,
        ["starttls", "required"] => dialog.config.tls = TlsPolicy::Required,
        ["tls"] => dialog.channel = Channel::Secure,
        ["refuse", "storage"] => dialog.verdicts.push(Refused::Storage),
        ["refuse", "full"] => dialog.verdicts.push(Refused::Full),
        ["refuse", "busy"] => dialog.verdicts.push(Refused::Busy),
        ["max_line_length", number] => limits.max_line_length = number.parse().unwrap(),
        ["max_message_size", number] => limits.max_message_size = number.parse().unwrap(),
        ["max_headers", number] => limits.max_headers = number.parse().unwrap(),
        ["max_header_size", number] => limits.max_header_size = number.parse().unwrap(),
        ["max_auth_failures", number] => limits.max_auth_failures = number.parse().unwrap(),
        ["max_recipients", number] => limits.max_recipients = number.parse().unwrap(),
        ["max_errors", number] => limits.max_errors = number.parse().unwrap(),
        ["max_commands", number] => limits.max_commands = number.parse().unwrap(),
        _ => panic!(
            "{place}: found `{text}`, expected a limit and its number, lmtp, tls, starttls offered or required, \
             or refuse storage, full or busy"
        ),
    }
}

/// `\r`, `\n`, `\0`, `\\`, `\xHH`, and `\*N(text)` for `text` N times.
fn unescape(text: &str, place: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let mut used = 1;
        match after.as_bytes().first() {
            Some(b'r') => bytes.push(b'\r'),
            Some(b'n') => bytes.push(b'\n'),
            Some(b'0') => bytes.push(0),
            Some(b'\\') => bytes.push(b'\\'),
            Some(b'x') => {
                bytes.push(u8::from_str_radix(&after[1..3], 16).unwrap());
                used = 3;
            }
            Some(b'*') => {
                let (count, tail) = after[1..].split_once('(').unwrap();
                let (repeated, _) = tail.split_once(')').unwrap();
                bytes.extend(unescape(repeated, place).repeat(count.parse().unwrap()));
                used = 1 + count.len() + 1 + repeated.len() + 1;
            }
            found => {
                panic!("{place}: found `{found:?}` after a backslash, expected r, n, 0, x, * or a backslash")
            }
        }
        rest = &after[used..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn play_session(file: &Path, dialog: &Dialog, chunk: usize) {
    let recorder = recorder(dialog);
    let mut session =
        Session::new(Arc::new(dialog.config.clone()), Some([127, 0, 0, 1].into()), dialog.channel);
    let mut closed = false;
    for (number, turn) in dialog.turns.iter().enumerate() {
        let mut said = Vec::new();
        let pieces = turn.client.chunks(chunk.min(turn.client.len().max(1)));
        'turn: for mut piece in pieces.chain([[].as_slice()]) {
            loop {
                let step = session.handle(&mut piece, NOW);
                said.extend(session.take_replies());
                match step {
                    Step::NeedInput(_) => break,
                    Step::Accept { envelope, raw } => session.answer(recorder.take(*envelope, raw)),
                    // What is left of the turn has come before the handshake, and is thrown away.
                    Step::StartTls => {
                        session.secured();
                        break 'turn;
                    }
                    Step::Close(_) => {
                        closed = true;
                        break;
                    }
                }
            }
        }
        compare(file, number, turn, &said);
        let refusals: Vec<&str> = session.take_refusals().into_iter().map(Refusal::name).collect();
        assert_eq!(refusals, turn.refusals, "{} turn {number}: refusals", file.display());
    }
    assert_eq!(closed, dialog.closed, "{}: closed by the server", file.display());
    compare_mails(file, dialog, &recorder);
}

fn play_socket(file: &Path, dialog: &Dialog) {
    let recorder = Arc::new(recorder(dialog));
    let session = Arc::new(dialog.config.clone());
    let server = TestServer::start(ListenerConfig { session, ..listener_config() }, Arc::clone(&recorder));
    let mut client: Client = server.connect();
    for (number, turn) in dialog.turns.iter().enumerate() {
        client.send(&turn.client);
        let mut said = String::new();
        while said.len() < turn.server.len() {
            let line = client.line();
            assert!(!line.is_empty(), "{}: closed in turn {number} after {said:?}", file.display());
            said += &format!("{line}\r\n");
        }
        compare(file, number, turn, said.as_bytes());
    }
    if !dialog.closed {
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }
    assert_eq!(client.rest(), "", "{}: the server said more", file.display());
    drop(client);
    assert_eq!(server.stop().cut_off, 0);
    compare_mails(file, dialog, &recorder);
}

fn recorder(dialog: &Dialog) -> Recorder {
    let recorder = Recorder::default();
    recorder.refusals.lock().unwrap().extend(dialog.verdicts.iter().copied());
    recorder
}

fn compare(file: &Path, number: usize, turn: &Turn, said: &[u8]) {
    let said = String::from_utf8_lossy(said);
    assert_eq!(
        said,
        turn.server,
        "{} turn {number}: {:?}",
        file.display(),
        String::from_utf8_lossy(&turn.client)
    );
}

fn compare_mails(file: &Path, dialog: &Dialog, recorder: &Recorder) {
    let mails = recorder.mails.lock().unwrap();
    let found: Vec<ExpectedMail> = mails
        .iter()
        .map(|(envelope, raw)| ExpectedMail { envelope: describe(envelope), raw: raw.clone() })
        .collect();
    assert_eq!(found, dialog.mails, "{}: the mails that were kept", file.display());
    for (envelope, _) in mails.iter() {
        assert_eq!(envelope.accepted_at, NOW);
        assert_eq!(envelope.client, Some([127, 0, 0, 1].into()));
        assert_eq!(envelope.entrance.name, "test");
    }
}

/// `HELO <from> <to> <to>`
fn describe(envelope: &Envelope) -> String {
    let from = envelope.reverse_path.as_ref().map_or(String::new(), ToString::to_string);
    let to: String = envelope.recipients.iter().map(|address| format!(" <{address}>")).collect();
    format!("{} <{from}>{to}", envelope.helo.as_deref().unwrap_or("-"))
}
