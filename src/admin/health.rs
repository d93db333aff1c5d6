//! Whether the process works, and whether it takes mail.
//!
//! The two differ: a full disk is no reason to start the process again, and every reason to send mail elsewhere.

use std::sync::Arc;
use std::time::Duration;

use crate::store::{Store, StoreError};

/// A writer that is silent for so long does not work. A slow disk syncs in less.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);
/// One that is busy for so long takes mail too slowly to be called ready.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// What keeps new mail from being taken now, beyond what the store says, in a few words; `None` if nothing does.
pub type Hindrance = Arc<dyn Fn() -> Option<String> + Send + Sync>;

pub(super) struct Health {
    pub(super) store: Store,
    pub(super) hindrance: Hindrance,
}

impl Health {
    /// `Err` with the reason when only a new start would help.
    pub(super) async fn alive(&self) -> Result<(), String> {
        match self.writer_within(ALIVE_WITHIN).await? {
            Err(error @ (StoreError::Closed | StoreError::InDoubt(_))) => Err(error.to_string()),
            // Whatever it says, it works.
            _ => Ok(()),
        }
    }

    /// `Err` with the reason while new mail is not taken.
    pub(super) async fn ready(&self) -> Result<(), String> {
        if let Some(hindrance) = (self.hindrance)() {
            return Err(hindrance);
        }
        self.writer_within(READY_WITHIN).await?.map_err(|error| error.to_string())
    }

    /// What the writer answers once it has come to our question; `Err` if it does not.
    async fn writer_within(&self, bound: Duration) -> Result<Result<(), StoreError>, String> {
        let answer = self.store.ask_writer(bound).await;
        answer.ok_or_else(|| format!("the writer has not answered for {bound:?}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::domain::time::Timestamp;
    use crate::store::{Options, Priority};

    fn health(hindrance: Option<&'static str>) -> (tempfile::TempDir, Health) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::new(Timestamp(0))).unwrap();
        (dir, Health { store, hindrance: Arc::new(move || hindrance.map(str::to_owned)) })
    }

    #[tokio::test]
    async fn a_store_that_works_is_alive_and_ready() {
        let (_dir, health) = health(None);
        assert_eq!((health.alive().await, health.ready().await), (Ok(()), Ok(())));
    }

    #[tokio::test]
    async fn a_hindrance_makes_it_unready_and_not_dead() {
        let (_dir, health) = health(Some("stopping"));
        assert_eq!((health.alive().await, health.ready().await), (Ok(()), Err("stopping".to_owned())));
    }

    #[tokio::test]
    async fn a_closed_store_is_neither() {
        let (_dir, health) = health(None);
        health.store.close();
        assert!(health.alive().await.is_err() && health.ready().await.is_err());
    }

    #[tokio::test]
    async fn a_writer_that_hangs_is_told_and_forgotten_when_it_goes_on() {
        let (_dir, health) = health(None);
        let (let_go, held) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let store = health.store.clone();
        let hanging = std::thread::spawn(move || {
            store.write(Priority::Other, move |_| {
                tell.send(()).unwrap();
                // An error: the test lets go.
                let _ = held.recv();
                Ok::<_, ()>(())
            })
        });
        tokio::task::spawn_blocking(move || told.recv().unwrap()).await.unwrap();
        let answer = health.writer_within(Duration::from_millis(20)).await;
        assert_eq!(answer, Err("the writer has not answered for 20ms".to_owned()));
        drop(let_go);
        hanging.join().unwrap().unwrap();
        assert_eq!((health.alive().await, health.ready().await), (Ok(()), Ok(())));
    }
}
