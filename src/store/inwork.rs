//! Which mails were being decided when the process died: a small file with eight bytes for each mail in work.
//!
//! A slot is written without fsync before a mail is worked on, and given to the next one after: that survives a killed process,
//! which is what a poison message causes, and costs no flush. A settled mail stays in its slot until then, since only mails
//! that are pending are suspected. After a power cut a slot may be stale; then one mail has an attempt too many or too few.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;

use super::journal::count_attempt;
use super::rows;
use super::{OpenError, lock};
use crate::domain::fate::Fate;
use crate::domain::ids::JournalId;
use crate::domain::time::Timestamp;
use crate::telemetry;

const FILE_NAME: &str = "inwork";
const SLOT: usize = 8;

/// What the start found of the process before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The store was not closed in order.
    pub unclean: bool,
    /// Pending mails that were in work at an unclean end, this one or an earlier: to be tried alone.
    pub suspects: Vec<JournalId>,
    /// Mails that were in work then for the last time.
    pub failed: Vec<JournalId>,
}

/// The slots of all mails in work.
#[derive(Debug)]
pub(super) struct InWork(Arc<Slots>);

#[derive(Debug)]
struct Slots {
    file: File,
    /// Which are in use.
    used: Mutex<Vec<bool>>,
}

/// While this lives, the mail is in work; a crash now is held against it.
#[derive(Debug)]
#[must_use = "the mail counts as in work only while this lives"]
pub struct InWorkGuard {
    slots: Arc<Slots>,
    slot: usize,
    settled: bool,
}

impl InWork {
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = file.open(dir.join(FILE_NAME))?;
        Ok(Self(Arc::new(Slots { file, used: Mutex::default() })))
    }

    /// Holds the mails that were in work when the process before us died against them, before any is tried again.
    pub(super) fn recover(
        &self,
        conn: &Connection,
        unclean: bool,
        now: Timestamp,
    ) -> Result<Recovered, OpenError> {
        let mut recovered = Recovered { unclean, ..Recovered::default() };
        let tx = conn.unchecked_transaction()?;
        let mut in_work = Vec::new();
        for id in self.suspects()?.into_iter().collect::<BTreeSet<_>>() {
            let attempts = "SELECT attempts FROM journal WHERE id = ?1 AND state = 'pending'";
            let found = rows::first(&tx, attempts, [id.0], |row| row.get::<_, u32>(0))?;
            in_work.extend(found.map(|attempts| (id, attempts)));
        }
        // A mail that was in work at an unclean end before is the likelier culprit: those beside it stay unblamed.
        let known = in_work.iter().any(|(_, attempts)| *attempts > 0);
        for (id, _) in in_work.into_iter().filter(|(_, attempts)| !known || *attempts > 0) {
            if count_attempt(&tx, id, now)? != Fate::Pending {
                recovered.failed.push(id);
            }
        }
        // Also those of earlier deaths that were not tried since: beside the culprit they would be blamed for the next.
        let suspects = "SELECT id FROM journal WHERE state = 'pending' AND attempts > 0 ORDER BY id";
        recovered.suspects = rows::all(&tx, suspects, [], |row| row.get(0).map(JournalId))?;
        tx.commit()?;
        self.clear()?;
        Ok(recovered)
    }

    /// The mails that the process before us had in work when it ended.
    fn suspects(&self) -> io::Result<Vec<JournalId>> {
        let file = &self.0.file;
        let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0)?;
        let (slots, _) = bytes.as_chunks::<SLOT>();
        let ids = slots.iter().map(|slot| i64::from_le_bytes(*slot));
        Ok(ids.filter(|id| *id != 0).map(JournalId).collect())
    }

    fn clear(&self) -> io::Result<()> {
        self.0.file.set_len(0)
    }

    /// Marks the mail as being decided.
    pub(super) fn begin(&self, id: JournalId) -> InWorkGuard {
        let slots = Arc::clone(&self.0);
        let slot = slots.take();
        mark(&slots.file, slot, id.0);
        InWorkGuard { slots, slot, settled: false }
    }
}

impl Slots {
    fn take(&self) -> usize {
        let mut used = lock(&self.used);
        let slot = used.iter().position(|used| !used).unwrap_or(used.len());
        match used.get_mut(slot) {
            Some(free) => *free = true,
            None => used.push(true),
        }
        slot
    }
}

impl InWorkGuard {
    /// The mail is pending no more, so nothing can be held against it.
    pub fn settled(mut self) {
        self.settled = true;
    }
}

impl Drop for InWorkGuard {
    fn drop(&mut self) {
        if !self.settled {
            mark(&self.slots.file, self.slot, 0);
        }
        if let Some(used) = lock(&self.slots.used).get_mut(self.slot) {
            *used = false;
        }
    }
}

/// A mark that cannot be written must not stop the work: it only matters if the process also crashes.
fn mark(file: &File, slot: usize, id: i64) {
    let place = slot.saturating_mul(SLOT) as u64;
    if let Err(error) = file.write_all_at(&id.to_le_bytes(), place) {
        telemetry::store_trouble("marking a mail as in work", &error.to_string());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_mails_still_in_work_are_suspects() {
        let dir = tempfile::tempdir().unwrap();
        let inwork = InWork::open(dir.path()).unwrap();
        drop(inwork.begin(JournalId(7)));
        let _first = inwork.begin(JournalId(8));
        inwork.begin(JournalId(9)).settled();
        let put_back = inwork.begin(JournalId(10));
        let _second = inwork.begin(JournalId(11));
        drop(put_back);

        let after_crash = InWork::open(dir.path()).unwrap();
        assert_eq!(after_crash.suspects().unwrap(), [JournalId(8), JournalId(11)]);
        after_crash.clear().unwrap();
        assert_eq!(after_crash.suspects().unwrap(), []);
    }
}
