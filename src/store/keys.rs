//! The secrets of a database: a file of its own, so that a copy of the database alone forges nothing.
//!
//! **Invariants:** the file has mode 0600 and is replaced as a whole (temporary file, fsync, rename, fsync of the
//! directory); exactly one token key is active; the id of a key that still verifies is never given to another.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use data_encoding::HEXLOWER_PERMISSIVE;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Durability;
use crate::domain::time::{DAY, Timestamp};

pub(super) const FILE_NAME: &str = "keys.json";

/// A retired key verifies for five years: a thread may sleep that long (DESIGN §5).
const RETIRED_KEYS_VERIFY_FOR: i64 = 5 * 366 * DAY;

/// Tokens carry the key id in four bits.
const KEY_IDS: std::ops::RangeInclusive<u8> = 0..=15;

/// What the key file holds. `crate::identify` makes a key ring of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFile {
    pub token_keys: Vec<TokenKey>,
    /// Keys the hashes of private text (rule 9).
    pub recall: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenKey {
    /// 0 to 15.
    pub id: u8,
    pub secret: Secret,
    pub created_at: Timestamp,
    pub state: KeyState,
    /// When another key took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyState {
    /// Makes tokens and verifies them.
    Active,
    /// Verifies only.
    Retired,
    /// Verifies nothing.
    Revoked,
}

impl KeyState {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }
}

/// 32 random bytes, never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("cannot access the key file: {0}")]
    Io(#[from] io::Error),
    #[error("cannot read the key file: {0}")]
    Format(#[from] serde_json::Error),
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error("the key file has {0} active token keys, expected 1")]
    NotOneActive(usize),
    #[error("all 16 key ids are taken by keys that still verify; revoke one of them first")]
    NoFreeId,
    #[error("there is no key `{0}`")]
    Unknown(u8),
    #[error("key `{0}` is the active one; rotate first, then revoke it")]
    StillActive(u8),
}

impl KeyFile {
    /// Fresh secrets for a new database.
    pub(super) fn generate(now: Timestamp) -> Result<Self, KeyError> {
        Ok(Self { token_keys: vec![TokenKey::generate(0, now)?], recall: Secret::generate()? })
    }

    pub(super) fn load(dir: &Path) -> Result<Self, KeyError> {
        let keys: Self = serde_json::from_slice(&std::fs::read(dir.join(FILE_NAME))?)?;
        let active = keys.token_keys.iter().filter(|key| key.state == KeyState::Active).count();
        if active != 1 {
            return Err(KeyError::NotOneActive(active));
        }
        Ok(keys)
    }

    /// Replaces the file in `dir`, all or nothing, and returns when the new one is on the disk.
    pub(super) fn save(&self, dir: &Path, durability: Durability) -> Result<(), KeyError> {
        let temporary = dir.join(format!("{FILE_NAME}.tmp"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.write_all(b"\n")?;
        if durability == Durability::Full {
            file.sync_all()?;
        }
        std::fs::rename(&temporary, dir.join(FILE_NAME))?;
        if durability == Durability::Full {
            File::open(dir)?.sync_all()?;
        }
        Ok(())
    }

    /// The keys with a new active one; the one before retires and still verifies.
    pub(super) fn rotated(&self, now: Timestamp) -> Result<Self, KeyError> {
        let id = self.free_id(now).ok_or(KeyError::NoFreeId)?;
        let mut keys = self.clone();
        keys.token_keys.retain(|key| key.id != id);
        for key in keys.token_keys.iter_mut().filter(|key| key.state == KeyState::Active) {
            key.state = KeyState::Retired;
            key.retired_at = Some(now);
        }
        keys.token_keys.push(TokenKey::generate(id, now)?);
        Ok(keys)
    }

    /// The keys with one that verifies nothing any more.
    pub(super) fn revoked(&self, id: u8) -> Result<Self, KeyError> {
        let mut keys = self.clone();
        let key = keys.token_keys.iter_mut().find(|key| key.id == id).ok_or(KeyError::Unknown(id))?;
        if key.state == KeyState::Active {
            return Err(KeyError::StillActive(id));
        }
        key.state = KeyState::Revoked;
        Ok(keys)
    }

    /// An id nobody used yet, else one whose key verifies nothing any more.
    fn free_id(&self, now: Timestamp) -> Option<u8> {
        let key = |id: &u8| self.token_keys.iter().find(|key| key.id == *id);
        KEY_IDS
            .clone()
            .find(|id| key(id).is_none())
            .or_else(|| KEY_IDS.clone().find(|id| key(id).is_some_and(|key| !key.verifies(now))))
    }
}

impl TokenKey {
    /// Whether tokens made with this key are still good.
    #[must_use]
    pub fn verifies(&self, now: Timestamp) -> bool {
        match self.state {
            KeyState::Active => true,
            KeyState::Retired => now.since(self.retired_at.unwrap_or(now)) < RETIRED_KEYS_VERIFY_FOR,
            KeyState::Revoked => false,
        }
    }

    fn generate(id: u8, now: Timestamp) -> Result<Self, KeyError> {
        Ok(Self {
            id,
            secret: Secret::generate()?,
            created_at: now,
            state: KeyState::Active,
            retired_at: None,
        })
    }
}

impl Secret {
    fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
        bytes.try_into().map(Self).map_err(|bytes: Vec<u8>| {
            serde::de::Error::custom(format!("the secret has {} bytes, expected 32", bytes.len()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn states(keys: &KeyFile) -> Vec<(u8, KeyState)> {
        keys.token_keys.iter().map(|key| (key.id, key.state)).collect()
    }

    #[test]
    fn the_file_reads_back_as_written_and_only_its_owner_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let keys = KeyFile::generate(NOW).unwrap();
        keys.save(dir.path(), Durability::Full).unwrap();
        assert_eq!(KeyFile::load(dir.path()).unwrap(), keys);
        let mode = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_rotated_key_retires_and_verifies_for_five_years() {
        let keys = KeyFile::generate(NOW).unwrap().rotated(NOW).unwrap();
        assert_eq!(states(&keys), [(0, KeyState::Retired), (1, KeyState::Active)]);
        let retired = &keys.token_keys[0];
        assert!(retired.verifies(NOW.plus(5 * 365 * DAY)));
        assert!(!retired.verifies(NOW.plus(6 * 365 * DAY)));
    }

    #[test]
    fn a_revoked_key_verifies_nothing_and_the_active_one_cannot_be_revoked() {
        let keys = KeyFile::generate(NOW).unwrap().rotated(NOW).unwrap();
        let revoked = keys.revoked(0).unwrap();
        assert!(!revoked.token_keys[0].verifies(NOW));
        assert!(matches!(keys.revoked(1), Err(KeyError::StillActive(1))));
        assert!(matches!(keys.revoked(7), Err(KeyError::Unknown(7))));
    }

    #[test]
    fn ids_of_keys_that_verify_are_not_given_away() {
        let mut keys = KeyFile::generate(NOW).unwrap();
        for _ in 0..15 {
            keys = keys.rotated(NOW).unwrap();
        }
        assert!(matches!(keys.rotated(NOW), Err(KeyError::NoFreeId)));
        let keys = keys.revoked(3).unwrap().rotated(NOW).unwrap();
        assert_eq!(states(&keys).last(), Some(&(3, KeyState::Active)));
        assert_eq!(keys.token_keys.len(), 16);
    }

    #[test]
    fn a_file_without_an_active_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut keys = KeyFile::generate(NOW).unwrap();
        keys.token_keys.clear();
        keys.save(dir.path(), Durability::Full).unwrap();
        assert!(matches!(KeyFile::load(dir.path()), Err(KeyError::NotOneActive(0))));
    }

    #[test]
    fn secrets_are_not_shown_by_debug() {
        let keys = KeyFile::generate(NOW).unwrap();
        assert_eq!(format!("{:?}", keys.recall), "Secret(…)");
    }
}
