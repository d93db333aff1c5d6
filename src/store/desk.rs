//! What commands and the start of the daemon ask of the store beyond one row.

use super::outbox::{self, Retry};
use super::people::{self, PeopleIds, SyncError, SyncReport};
use super::{FreshIds, Priority, Store, StoreError, WriteError, rows};
use crate::domain::ids::{CommentId, Fresh, GroupId, OrganizationId, OutboxId, TicketId, UserId};
use crate::domain::people::People;
use crate::domain::plan::NotificationContent;
use crate::domain::time::Timestamp;

/// What came of the wish to send a mail again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryAnswer {
    Queued,
    Refused(String),
}

/// A mail rendered late: subject, text, HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderedLate {
    pub subject: String,
    pub text: String,
    pub html: String,
}

impl PeopleIds for FreshIds {
    fn user(&mut self) -> UserId {
        Fresh::user(self)
    }
    fn group(&mut self) -> GroupId {
        Self::group(self)
    }
    fn organization(&mut self) -> OrganizationId {
        Self::organization(self)
    }
}

impl Store {
    /// Makes the stored people equal to what the files say.
    ///
    /// # Errors
    /// If the files contradict themselves, or the database fails; then nothing was changed.
    pub fn sync_people(&self, people: &People, now: Timestamp) -> Result<SyncReport, WriteError<SyncError>> {
        let people = people.clone();
        let mut ids = self.fresh().map_err(WriteError::Store)?;
        self.write(Priority::Other, move |tx| people::sync(tx, &people, &mut ids, now))
    }

    /// When the newest mail was accepted.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn newest_acceptance(&self) -> Result<Option<Timestamp>, StoreError> {
        self.ask(|db| {
            let sql = "SELECT accepted_at FROM journal ORDER BY id DESC LIMIT 1";
            rows::first(db, sql, [], |row| row.get(0).map(Timestamp))
        })
    }

    /// The ticket a comment is on.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub fn ticket_of_comment(&self, comment: CommentId) -> Result<Option<TicketId>, StoreError> {
        self.ask(|db| {
            let sql = "SELECT ticket FROM comments WHERE id = ?1";
            rows::first(db, sql, [comment.0], |row| row.get(0).map(TicketId))
        })
    }

    /// Queues a mail again; one whose text is still owed is rendered by `render` from its frozen values first.
    ///
    /// # Errors
    /// If the database fails.
    pub fn retry_outbox<E: std::fmt::Display>(
        &self,
        id: OutboxId,
        now: Timestamp,
        render: impl FnOnce(&str, &str, &serde_json::Value) -> Result<RenderedLate, E>,
    ) -> Result<RetryAnswer, StoreError> {
        let notification = match self.tell(move |db| outbox::retry(db, id, now))? {
            Retry::Queued => return Ok(RetryAnswer::Queued),
            Retry::Refused => return Ok(refused(format!("mail `{id}` was sent, or is being sent now"))),
            Retry::Unknown => return Ok(refused(format!("there is no outbox mail `{id}`"))),
            Retry::Unrendered(notification) => notification,
        };
        let owed = self.ask(|db| rows::mail::notification(db, notification))?;
        let Some(NotificationContent::Unrendered { subject_template, body_template, values, .. }) =
            owed.map(|notification| notification.content)
        else {
            return Ok(refused(format!("the text of mail `{id}` is not owed any more: try again")));
        };
        match render(&subject_template, &body_template, &values) {
            Err(error) => Ok(refused(format!("the template of mail `{id}` still fails: {error}"))),
            Ok(RenderedLate { subject, text, html }) => {
                self.tell(move |db| outbox::set_rendered(db, notification, &subject, &text, &html))?;
                Ok(RetryAnswer::Queued)
            }
        }
    }
}

fn refused(why: String) -> RetryAnswer {
    RetryAnswer::Refused(why)
}

/// A new folder only this user can read, for a store that is thrown away.
///
/// # Errors
/// If it cannot be made.
pub fn temporary_directory() -> std::io::Result<std::path::PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let mut unique = [0; 8];
    getrandom::fill(&mut unique).map_err(std::io::Error::other)?;
    let path = std::env::temp_dir().join(format!("postern-{:016x}", u64::from_be_bytes(unique)));
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}
