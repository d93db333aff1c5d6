//! What the listeners hand mail to: a place in what may be pending, then the journal.

use crate::domain::ids::JournalId;
use crate::domain::mail::Envelope;
use crate::pipeline::Pipeline;
use crate::smtp::{Accept, Refused};
use crate::spool::door::NotNow;
use crate::store::{AcceptError, MailGuard};
use crate::telemetry;

#[derive(Debug)]
pub(super) struct Gate {
    pub(super) pipeline: Pipeline,
}

impl Gate {
    /// The mail of a file in the spool. It waits where it is while there is no place, so nobody is delayed.
    pub(super) fn accept_spooled(
        &self,
        name: &str,
        envelope: &Envelope,
        raw: Vec<u8>,
    ) -> Result<JournalId, NotNow> {
        let place = self.pipeline.pressure.admit(raw.len()).map_err(|_| NotNow::Pressed)?;
        let kept = self.pipeline.store.accept_spooled(name, envelope, raw);
        let id = kept.map_err(|error| NotNow::Trouble(error.to_string()))?;
        place.taken();
        Ok(id)
    }
}

impl Accept for Gate {
    type Receiving = Option<MailGuard>;

    fn receiving(&self) -> Option<MailGuard> {
        self.pipeline.store.begin_mail().ok()
    }

    async fn accept(&self, envelope: Envelope, raw: Vec<u8>) -> Result<JournalId, Refused> {
        let pressure = &self.pipeline.pressure;
        let delay = pressure.delay();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        // 452 for both: the client is to come again, here or elsewhere (RFC 5321 §4.2.2). The log says which it was.
        let place = pressure.admit(raw.len()).map_err(|_| Refused::Full)?;
        match self.pipeline.store.accept(envelope, raw).await {
            Ok(id) => {
                place.taken();
                Ok(id)
            }
            Err(error) => {
                telemetry::store_trouble("keeping a mail", &error.to_string());
                Err(match error {
                    AcceptError::Full => Refused::Full,
                    AcceptError::Storage(_) => Refused::Storage,
                })
            }
        }
    }
}
