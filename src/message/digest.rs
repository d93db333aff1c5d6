//! Is this the same mail again (DESIGN §1, *Duplicate*).

use sha2::{Digest, Sha256};

use super::fields::Fields;

/// What the author wrote; trace fields differ between two deliveries of one mail.
const AUTHORED: &[&str] = &["from", "to", "cc", "date", "subject"];

/// SHA-256 over the authored fields and the body. Each piece stands behind its length, so that none can run
/// into the next; blank lines at the end of the body, which relays add and remove, do not count.
pub(super) fn of(fields: &Fields, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for name in AUTHORED {
        put(&mut hash, &fields.count(name).to_be_bytes());
        for value in fields.all(name) {
            put(&mut hash, value.as_bytes());
        }
    }
    let end = body.iter().rposition(|byte| !byte.is_ascii_whitespace()).map_or(0, |at| at + 1);
    put(&mut hash, body.get(..end).unwrap_or_default());
    hash.finalize().into()
}

fn put(hash: &mut Sha256, piece: &[u8]) {
    hash.update((piece.len() as u64).to_be_bytes());
    hash.update(piece);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mails_are_the_same_if_author_recipients_date_subject_and_body_are() {
        let digest = |head: &str, body: &str| of(&Fields::read(head.as_bytes()), body.as_bytes());
        let base = digest("From: a\nTo: b\nSubject: c d\n", "text\n");
        let same = |head, body| assert_eq!(digest(head, body), base, "{head:?} {body:?}");
        let other = |head, body| assert_ne!(digest(head, body), base, "{head:?} {body:?}");
        same("Received: x\nfrom: a\nTO: b\nSubject: c\n d\nMessage-ID: <1@x>\n", "text\n\n\n");
        other("From: a\nTo: b\nSubject: c d\n", "text.\n");
        other("From: a\nTo: b\nCc: c\nSubject: c d\n", "text\n");
        other("From: a\nFrom: a\nTo: b\nSubject: c d\n", "text\n");
        other("From: a\nTo: bc\nSubject:  d\n", "text\n");
        other("From: a\nTo: b\nSubject: c d\nDate: today\n", "text\n");
    }
}
