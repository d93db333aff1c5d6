//! The commands that agents write on top of a mail.
//!
//! Holds: every text gives a block; what is left of the text was in it; reading it again says the same; the wish for privacy is
//! never lost.

use postern::commands::{PrivacyCommand, parse};

pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let block = parse(&text);
    assert_eq!(parse(&text), block, "the same text gives another block");
    assert!(block.body.len() <= text.len(), "the text grew");
    assert!(block.commands.len() <= text.lines().count(), "{} commands", block.commands.len());
    for line in block.body.lines() {
        assert!(text.contains(line.trim_end()), "`{line}` was not written");
    }
    if block.commands.is_empty() {
        assert_eq!(block.body, text.trim());
    }
    // With CRLF, or behind empty lines, a mail says what it said before.
    let lf = text.replace("\r\n", "\n");
    if !lf.contains('\r') {
        let crlf = parse(&lf.replace('\n', "\r\n"));
        assert_eq!(crlf.commands, parse(&lf).commands, "line ends make other commands");
    }
    assert_eq!(parse(&format!("\n\n{text}")).commands, block.commands, "empty lines make other commands");
    // Whatever follows, a note stays a note.
    let noted = parse(&format!("#note\n{text}"));
    assert_eq!(noted.privacy_command(), PrivacyCommand::Note, "{text:?} undoes a note");
    let _ = block.lookup();
}
