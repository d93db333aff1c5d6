//! Reads a message: raw bytes in, [`InboundMessage`] out. RFC 5322, RFC 2045 to 2049, RFC 2231, RFC 3676.
//!
//! Line ends are made LF once, at the door; everything below sees LF only. So the LF and the CRLF version of a
//! mail are one message by construction, and base64 content keeps the line ends it was encoded with. (A part in
//! `Content-Transfer-Encoding: binary` would lose its CRs; BINARYMIME, which it needs, is never offered.)
//!
//! What it deliberately does not do: sanitise HTML, unpack TNEF, open archives, verify signatures.
//!
//! **Invariant:** [`parse`] never fails and never panics; what could not be understood is in `defects`.
//! **Invariant:** the result depends on the bytes alone: no clock, no IO, no randomness.
//! **Invariant:** time and memory are bounded by the size of the input: see the limits in `guard`, `parts` and `html`.
//!
//! | file | question |
//! |---|---|
//! | `guard` | where do the headers of the message end, and what if reading panics |
//! | `fields` | which header fields stand in a block |
//! | `part_head` | where do the headers of a part end, and what do they say |
//! | `headers` | who wrote to whom, when, in answer to what |
//! | `multipart` | where does a multipart divide |
//! | `parts` | which MIME parts are there, and who is shown them |
//! | `decode` | which bytes and which characters does a part hold |
//! | `body` | which parts are the text |
//! | `html` | what does the HTML say as plain text |
//! | `quoting` | what is new, quoted, signature |
//! | `marks` | how do mail programs mark these |
//! | `attachments` | which parts are files |
//! | `automated` | did a machine write this |
//! | `digest` | is this the same mail again |

mod attachments;
mod automated;
mod body;
mod decode;
mod digest;
mod fields;
mod guard;
mod headers;
mod html;
mod marks;
mod multipart;
mod part_head;
mod parts;
mod quoting;

use std::collections::BTreeSet;

use crate::domain::mail::{Defect, InboundMessage};

pub use html::stripped;

/// What was found wrong on the way, each once.
type Defects = BTreeSet<Defect>;

/// Reads a message. Never fails: what could not be understood is listed in `defects`, in the order of
/// [`Defect`], each once.
#[must_use]
pub fn parse(raw: &[u8]) -> InboundMessage {
    let mut defects = Defects::new();
    let source = guard::open(raw, &mut defects);
    let mut message =
        guard::catch(&mut defects, |defects| headers::read(&source.fields, source.from_fields, defects));
    let mut parts = guard::catch(&mut defects, |defects| parts::split(&source, defects));
    let content = guard::catch(&mut defects, |defects| body::read(&mut parts, defects));
    message.text = guard::catch(&mut defects, |_| quoting::split(content.text));
    message.attachments = attachments::read(parts, content.html.as_deref());
    message.html = content.html;
    message.automation = guard::catch(&mut defects, |_| {
        automated::evidence(&source.fields, &message.subject, &message.attachments)
    });
    message.content_digest = digest::of(&source.fields, source.body());
    message.defects = defects.into_iter().collect();
    message
}

/// Only what places a message among others: its own Message-ID and those it refers to. For mail that the whole of
/// [`parse`] may have died of.
#[must_use]
pub fn thread(raw: &[u8]) -> InboundMessage {
    headers::thread(&guard::head(raw))
}

#[cfg(test)]
mod tests;
