//! The ticket reference that cannot be forged (DESIGN §5).

use super::ids::{TicketId, UserId};

/// What a token says: which ticket, for which recipient, and whether a private comment was in that mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TicketRef {
    pub ticket: TicketId,
    pub recipient: UserId,
    pub visibility: Rendered,
}

/// Which comments were rendered into the mail that carries the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rendered {
    None,
    Public,
    Private,
}

/// Where a token stands. A token of one purpose never verifies as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Address,
    Body,
    MessageId,
    Verp,
}
