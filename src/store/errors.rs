//! What can go wrong in the store. Where an error is born it is decided whether the disk is full or not.

use rusqlite::ErrorCode;

/// Why the store could not do something. Everything here is temporary for the sender of a mail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the disk is full")]
    Full,
    #[error("too many writes are waiting")]
    Busy,
    #[error("the store is closed")]
    Closed,
    #[error("the store was opened for reading only")]
    ReadOnly,
    #[error("it is not known whether a commit was kept: {0}")]
    InDoubt(String),
    #[error("the job panicked: {0}")]
    Panicked(String),
    /// What was kept is gone or is not what was kept: trying again will not bring it back.
    #[error("{0}")]
    Damaged(String),
    #[error("{0}")]
    Failed(String),
}

/// Why a job was not committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError<E> {
    /// The job itself said no; what it had written was undone.
    #[error("{0}")]
    Job(E),
    #[error(transparent)]
    Store(StoreError),
}

impl<E> WriteError<E>
where
    StoreError: From<E>,
{
    /// One error for callers to whom it is all the same who said no.
    pub(super) fn flatten(self) -> StoreError {
        match self {
            Self::Job(error) => error.into(),
            Self::Store(error) => error,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error {
            error if is_full(&error) => Self::Full,
            rusqlite::Error::FromSqlConversionFailure(..) => {
                Self::Damaged(format!("a row cannot be read: {error}"))
            }
            error => Self::Failed(format!("the database failed: {error}")),
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
}
