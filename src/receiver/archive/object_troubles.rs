//! Objects with which something is wrong: which, since when and why. Written by the archive's thread alone,
//! read by anybody without a lock.

use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;

use super::key;
use crate::clock;
use crate::names::Sha256Digest;
use crate::wire::{Receipt, Slot};

/// More are not remembered: then it is not a matter of single objects.
const TROUBLES_MAX: usize = 1000;

/// What is wrong with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ObjectTrouble {
    pub slot: Slot,
    sha256: Sha256Digest,
    /// When its episode was received, in seconds since 1970.
    pub received_at_s: Option<u64>,
    /// When it was seen first, in seconds since 1970.
    pub since_s: u64,
    pub why: String,
    /// What a person does about it; empty if that depends on more than the object.
    pub remedy: &'static str,
}

#[derive(Default)]
pub(super) struct ObjectTroubles(ArcSwap<Vec<Arc<ObjectTrouble>>>);

impl ObjectTroubles {
    /// All of them, the oldest first.
    pub(super) fn all(&self) -> Vec<Arc<ObjectTrouble>> {
        self.0.load().to_vec()
    }

    /// Something is wrong with the object of a row, or goes on to be.
    pub(super) fn begin(&self, row: &Receipt, why: &str, remedy: &'static str) {
        let mut all = self.all();
        let known = all.iter().position(|one| one.is_of(row));
        if known.is_none() && all.len() >= TROUBLES_MAX {
            return;
        }
        let now_s = clock::unix_seconds(SystemTime::now());
        let trouble = Arc::new(ObjectTrouble {
            slot: row.slot(),
            sha256: row.sha256,
            received_at_s: row.received_at.as_deref().and_then(clock::parse_rfc3339),
            since_s: known.map_or(now_s, |at| all[at].since_s),
            why: why.to_owned(),
            remedy,
        });
        match known {
            Some(at) => all[at] = trouble,
            None => all.push(trouble),
        }
        self.0.store(Arc::new(all));
    }

    /// It is well.
    pub(super) fn end(&self, row: &Receipt) {
        if self.0.load().iter().any(|one| one.is_of(row)) {
            let mut all = self.all();
            all.retain(|one| !one.is_of(row));
            self.0.store(Arc::new(all));
        }
    }

    pub(super) fn clear(&self) {
        self.0.store(Arc::default());
    }
}

impl ObjectTrouble {
    /// The object's key in the bucket.
    pub(super) fn key(&self) -> String {
        key::of(&self.slot, &self.sha256)
    }

    fn is_of(&self, row: &Receipt) -> bool {
        self.sha256 == row.sha256 && self.slot.host == row.host && self.slot.episode == row.episode
    }
}

#[cfg(test)]
impl ObjectTrouble {
    /// One that is odd.
    pub(crate) fn of_test(host: &str, episode: &str, received_at_s: u64) -> ObjectTrouble {
        use crate::names::{EpisodeId, HostId};
        ObjectTrouble {
            slot: Slot {
                host: HostId::parse(host).unwrap(),
                episode: EpisodeId::parse(episode).unwrap(),
            },
            sha256: Sha256Digest::parse(&"0f".repeat(32)).unwrap(),
            received_at_s: Some(received_at_s),
            since_s: received_at_s,
            why: "it is odd".to_owned(),
            remedy: "look at it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_of_an_object_is_there_once_until_it_ends_and_has_its_newest_words() {
        let row = |episode: &str| -> Receipt {
            let digest = "0f".repeat(32);
            let row =
                format!(r#"{{"host":"a","episode":"{episode}","bytes":3,"sha256":"{digest}"}}"#);
            serde_json::from_str(&row).unwrap()
        };
        let troubles = ObjectTroubles::default();
        troubles.begin(&row("b"), "first", "");
        troubles.begin(&row("c"), "other", "");
        troubles.begin(&row("b"), "second", "");
        let why: Vec<_> = troubles.all().iter().map(|one| one.why.clone()).collect();
        assert_eq!(why, ["second", "other"]);
        troubles.end(&row("b"));
        troubles.end(&row("d"));
        assert_eq!(troubles.all().len(), 1);
        for n in 0..TROUBLES_MAX + 5 {
            troubles.begin(&row(&format!("e{n}")), "many", "");
        }
        assert_eq!(troubles.all().len(), TROUBLES_MAX);
        troubles.clear();
        assert!(troubles.all().is_empty());
    }
}
