//! `postern deliver`: the pipe transport. One mail on standard input; exit 0 means kept, 75 means try again.
//!
//! A mail goes to the daemon, or, when none runs, into the spool, where the next one finds it. Nothing is decided here.
//!
//! Any trouble is temporary: a mail server that gets another code would bounce the mail to a customer for a mistake that
//! an operator can mend. One that is stopped after the mail was kept, and before it was told, hands the mail over again;
//! duplicate detection is for that.

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};

use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Exit, Failure};
use super::{Place, world};
use crate::clock::Clock;
use crate::domain::address::Address;
use crate::spool::{Answer, Letter, Spool};

/// What Postfix says for the null reverse-path unless told otherwise (`null_sender` of pipe(8)).
const NULL_SENDER: &str = "MAILER-DAEMON";

/// What an mbox line may have on top of a mail of the largest size.
const LONGEST_TOP: usize = 4096;

#[derive(Debug, Args)]
pub struct Deliver {
    /// Envelope recipient; may be given several times [default: the first support address]
    #[arg(long = "recipient", value_name = "ADDR", allow_hyphen_values = true)]
    recipients: Vec<String>,
    /// Envelope sender; empty, `<>` or MAILER-DAEMON for the null reverse-path of bounces
    #[arg(long, value_name = "ADDR", default_value = "", allow_hyphen_values = true)]
    sender: String,
    /// What stood behind the `+` of the recipient, if the mail server has cut it off
    #[arg(long, value_name = "EXT", default_value = "", allow_hyphen_values = true)]
    extension: String,
    #[command(flatten)]
    place: Place,
    #[arg(long)]
    json: bool,
}

pub fn run(command: &Deliver) -> Result<Exit, Failure> {
    let temporary = |message: String| Failure::new(Exit::TEMPORARY, message);
    let kept = catch_unwind(AssertUnwindSafe(|| deliver(command)))
        .map_err(|_| temporary("a fault in Postern: the mail was not kept".to_owned()))?
        .map_err(|failure| temporary(failure.message))?;
    if command.json {
        // The mail is kept: that nobody reads the answer must not make the mail server send it again.
        let _ = output::print_json(&kept);
    }
    Ok(Exit::OK)
}

fn deliver(command: &Deliver) -> Result<Value, Failure> {
    let config = world::load_config(&command.place)?;
    let letter = Letter {
        reverse_path: reverse_path(&command.sender)?,
        recipients: recipients(&command.recipients, &command.extension)?,
        raw: read(std::io::stdin().lock(), config.server.max_message_size)?,
    };
    let spool = Spool::open(&config.spool_directory())?;
    match spool.hand_over(&letter) {
        Some(Ok(Answer::Kept(journal))) => Ok(json!({ "journal": journal })),
        Some(Ok(Answer::Trouble(why))) => Err(Failure::new(Exit::TEMPORARY, why)),
        Some(Err(error)) => Err(Failure::new(Exit::TEMPORARY, format!("the daemon did not answer: {error}"))),
        None => Ok(json!({ "spooled": spool.put(&letter, Clock::system().now())? })),
    }
}

fn address(text: &str) -> Result<Address, Failure> {
    Address::parse(text).map_err(|error| Failure::new(Exit::USAGE, error.to_string()))
}

fn reverse_path(sender: &str) -> Result<Option<Address>, Failure> {
    match sender.trim().trim_start_matches('<').trim_end_matches('>') {
        "" | NULL_SENDER => Ok(None),
        sender => address(sender).map(Some),
    }
}

/// The recipients; one without an extension gets that which the mail server has cut off.
fn recipients(given: &[String], extension: &str) -> Result<Vec<Address>, Failure> {
    let extended = |text: &String| {
        let recipient = address(text)?;
        match extension {
            "" => Ok(recipient),
            _ if recipient.detail().is_some() => Ok(recipient),
            extension => address(&format!("{}+{extension}@{}", recipient.local(), recipient.domain())),
        }
    };
    given.iter().map(extended).collect()
}

/// The limit is on the mail as it is kept and as the daemon counts it, not on the shorter one with the machine's line ends.
fn read(piped: impl Read, limit: usize) -> Result<Vec<u8>, Failure> {
    let most = limit.saturating_add(LONGEST_TOP);
    let mut raw = Vec::new();
    piped.take((most as u64).saturating_add(1)).read_to_end(&mut raw)?;
    let cut = raw.len() > most;
    let sent = as_sent(&raw);
    if cut || sent.len() > limit {
        let found = if cut { format!("over {limit} bytes") } else { format!("{} bytes", sent.len()) };
        let why = format!(
            "found a mail of {found}, counted with the line ends of mail (CRLF), expected at most \
             `max_message_size`, {limit}"
        );
        return Err(Failure::new(Exit::TEMPORARY, why));
    }
    Ok(sent)
}

/// The mail as it came over the wire: without the mbox line that pipes put on top (RFC 4155), and with the line ends
/// of mail where the mail server has made them the machine's (RFC 5321 §2.3.8).
fn as_sent(piped: &[u8]) -> Vec<u8> {
    let line_end =
        |bytes: &[u8]| bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
    let top = if piped.starts_with(b"From ") { line_end(piped) } else { 0 };
    let mail = piped.get(top..).unwrap_or_default();
    let is_local =
        mail.get(..line_end(mail)).is_some_and(|line| line.ends_with(b"\n") && !line.ends_with(b"\r\n"));
    if !is_local {
        return mail.to_vec();
    }
    let mut sent = Vec::with_capacity(mail.len() + mail.len() / 32);
    for line in mail.split_inclusive(|&byte| byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(text) => {
                sent.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                sent.extend_from_slice(b"\r\n");
            }
            None => sent.extend_from_slice(line),
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_kept_as_it_came_over_the_wire() {
        let check = |piped: &str, expected: &str| {
            assert_eq!(String::from_utf8(as_sent(piped.as_bytes())).unwrap(), expected, "{piped:?}");
        };
        check("A: 1\n\nx\n", "A: 1\r\n\r\nx\r\n");
        check("A: 1\r\n\r\nx\r\n", "A: 1\r\n\r\nx\r\n");
        check("From rita@x.example Sat Nov 21 10:12:00 2026\nA: 1\n\nx\n", "A: 1\r\n\r\nx\r\n");
        check("From rita@x.example Sat Nov 21 10:12:00 2026\r\nA: 1\r\n\r\nx\r\n", "A: 1\r\n\r\nx\r\n");
        check("From: rita@x.example\n\nFrom here on\n", "From: rita@x.example\r\n\r\nFrom here on\r\n");
        check(
            "A: 1\n\na line that came with CRLF\r\nno line end",
            "A: 1\r\n\r\na line that came with CRLF\r\nno line end",
        );
        check("no line end", "no line end");
        check("", "");
    }

    #[test]
    fn the_limit_is_on_the_mail_as_it_is_kept() {
        let size = |piped: &str, limit: usize| {
            let kept = read(piped.as_bytes(), limit);
            kept.map(|mail| mail.len()).map_err(|failure| failure.message)
        };
        assert_eq!(size("A: 1\n\nx\n", 11), Ok(11));
        let error = size("A: 1\n\nx\n", 10).unwrap_err();
        assert!(error.contains("11 bytes") && error.contains("`max_message_size`, 10"), "{error}");
        assert_eq!(size("From rita@x.example Sat Nov 21 10:12:00 2026\nA: 1\n\nx\n", 11), Ok(11));
        // Cut off by the reading, it would look small enough.
        assert!(size(&format!("From {}\nA: 1\n\nx\n", "x".repeat(5000)), 11).is_err());
    }

    #[test]
    fn an_extension_goes_to_recipients_that_have_none() {
        let check = |recipient: &str, extension: &str, expected: &str| {
            let found = recipients(&[recipient.to_owned()], extension).unwrap();
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
        };
        check("support@desk.example", "id4K2", "support+id4K2@desk.example");
        check("support+id4K2@desk.example", "other", "support+id4K2@desk.example");
        check("support@desk.example", "", "support@desk.example");
        assert!(recipients(&["support@desk.example".to_owned()], "two words").is_err());
    }

    #[test]
    fn the_null_reverse_path_has_many_names() {
        for sender in ["", " ", "<>", "MAILER-DAEMON"] {
            assert_eq!(reverse_path(sender).unwrap(), None, "`{sender}`");
        }
        let rita = Address::parse("rita@x.example").unwrap();
        assert_eq!(reverse_path("<rita@x.example>").unwrap(), Some(rita));
        assert!(reverse_path("rita").is_err());
    }
}
