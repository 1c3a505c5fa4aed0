//! `PUT /v1/hosts/{host}/state`: a lab host's report on its own queue (design, section 14).
//!
//! A reader passes over members that it does not know, and an absent one has its default. Times are RFC 3339
//! by the lab host's clock, and decide nothing.

use serde::{Deserialize, Serialize};

use crate::names::{CommitHash, HostId};

/// What stands before a host's own path.
pub const HOSTS_PATH: &str = "/v1/hosts";
/// What follows the host's name in the path of its report.
pub const LAB_STATE_ENDING: &str = "/state";

/// The longest report that a receiver accepts. A sender cuts its lists to fit.
pub const LAB_STATE_BYTES_MAX: usize = 16 << 10;
/// The longest list in a report: as many short entries as fit into its bytes.
pub const LAB_STATE_LIST_MAX: usize = 256;

/// A lab host sends its report this often, however little has changed.
pub const LAB_STATE_EVERY_S: u64 = 60;
/// A report of this age is old: the lab host has left out several.
pub const LAB_STATE_OLD_S: u64 = 300;
const _: () = assert!(3 * LAB_STATE_EVERY_S < LAB_STATE_OLD_S);

/// `/v1/hosts/{host}/state`.
pub fn lab_state_path(host: &HostId) -> String {
    format!("{HOSTS_PATH}/{host}{LAB_STATE_ENDING}")
}

/// The report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LabState {
    /// Of the lab host's program.
    pub version: String,
    pub waiting: Waiting,
    /// Commits that the gate refuses, those with the most episodes first.
    pub held: Vec<HeldCommit>,
    /// What lies in refused/, the newest first.
    pub refused: Vec<RefusedName>,
    /// The upload under way.
    pub uploading: Option<Uploading>,
    /// When something that failed is tried again.
    pub next_try_at: Option<String>,
    /// When the receiver last accepted an episode.
    pub last_success_at: Option<String>,
    /// On the disk of the queue.
    pub free_bytes: Option<u64>,
    /// Since when nothing is packed, for want of room on that disk.
    pub packing_stopped_since: Option<String>,
    #[serde(skip_serializing_if = "More::is_none")]
    pub more: More,
}

/// Finished episodes that are neither held nor gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    pub episodes: u64,
    /// Of their files, unpacked.
    pub bytes: u64,
    /// When the oldest was finished.
    pub oldest_at: Option<String>,
}

/// A commit that the gate refuses, and how many episodes wait for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldCommit {
    pub commit: CommitHash,
    #[serde(default)]
    pub episodes: u64,
    #[serde(default)]
    pub since: String,
}

/// An episode in refused/.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RefusedName {
    /// As it is called there.
    pub episode: String,
    /// The name of the receiver's refusal, or one of the lab host's own; `None` if no reason is noted.
    pub reason: Option<String>,
    pub at: Option<String>,
}

/// An upload under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Uploading {
    pub episode: String,
    pub bytes_sent: u64,
    pub bytes: u64,
    pub bytes_per_second: u64,
}

/// How many entries the lists do not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct More {
    pub held: u64,
    pub refused: u64,
}

impl More {
    fn is_none(&self) -> bool {
        *self == More::default()
    }
}

impl LabState {
    /// The report as JSON of at most [`LAB_STATE_BYTES_MAX`]: its lists are cut to fit, and `more` counts what
    /// they do not name.
    pub fn into_json(mut self) -> Vec<u8> {
        self.cut_lists(LAB_STATE_LIST_MAX, LAB_STATE_LIST_MAX);
        loop {
            // Our own types serialize.
            let json = serde_json::to_vec(&self).unwrap_or_default();
            if json.len() <= LAB_STATE_BYTES_MAX || self.held.is_empty() && self.refused.is_empty()
            {
                return json;
            }
            let less = |length: usize| length - length.div_ceil(8);
            let held = self.held.len();
            let refused = self.refused.len();
            if held > refused {
                self.cut_lists(less(held), refused);
            } else {
                self.cut_lists(held, less(refused));
            }
        }
    }

    /// The report in a body that a peer has sent. Its lists and texts are cut to what is kept of one.
    ///
    /// Errors: the body is no such JSON; the words say where.
    pub fn parse(body: &[u8]) -> Result<LabState, serde_json::Error> {
        const TEXT_CHARS_MAX: usize = 160;
        // serde accepts an array of the members too.
        let members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body)?;
        let mut state: LabState = serde_json::from_value(members.into())?;
        state.cut_lists(LAB_STATE_LIST_MAX, LAB_STATE_LIST_MAX);
        state.held.shrink_to_fit();
        state.refused.shrink_to_fit();
        for text in state.texts() {
            if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
                text.truncate(end);
            }
        }
        Ok(state)
    }

    /// How many episodes are held.
    pub fn held_episodes(&self) -> u64 {
        let episodes = self.held.iter().map(|held| held.episodes);
        episodes.fold(0, u64::saturating_add)
    }

    /// Of how many commits.
    pub fn held_commits(&self) -> u64 {
        (self.held.len() as u64).saturating_add(self.more.held)
    }

    /// How many episodes lie in refused/.
    pub fn refused_episodes(&self) -> u64 {
        (self.refused.len() as u64).saturating_add(self.more.refused)
    }

    fn cut_lists(&mut self, held_max: usize, refused_max: usize) {
        let more_held = self.held.len().saturating_sub(held_max) as u64;
        let more_refused = self.refused.len().saturating_sub(refused_max) as u64;
        self.held.truncate(held_max);
        self.refused.truncate(refused_max);
        self.more.held = self.more.held.saturating_add(more_held);
        self.more.refused = self.more.refused.saturating_add(more_refused);
    }

    /// Every text in it.
    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let of_refused = self.refused.iter_mut().flat_map(|refused| {
            let RefusedName {
                episode,
                reason,
                at,
            } = refused;
            [Some(episode), reason.as_mut(), at.as_mut()]
        });
        let of_held = self.held.iter_mut().map(|held| Some(&mut held.since));
        let own = [
            Some(&mut self.version),
            self.waiting.oldest_at.as_mut(),
            self.uploading.as_mut().map(|upload| &mut upload.episode),
            self.next_try_at.as_mut(),
            self.last_success_at.as_mut(),
            self.packing_stopped_since.as_mut(),
        ];
        own.into_iter().chain(of_held).chain(of_refused).flatten()
    }
}

impl Uploading {
    /// How far it is, in whole per cent.
    pub fn percent(&self) -> u64 {
        let sent = self.bytes_sent.min(self.bytes);
        let percent = u128::from(sent) * 100 / u128::from(self.bytes.max(1));
        u64::try_from(percent).unwrap_or(100)
    }

    /// How many seconds the rest needs at this rate; `None` while nothing moves.
    pub fn seconds_left(&self) -> Option<u64> {
        let left = self.bytes.saturating_sub(self.bytes_sent);
        left.checked_div(self.bytes_per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(count: usize) -> Vec<RefusedName> {
        let one = |n: usize| RefusedName {
            episode: format!("{n:0>128}"),
            reason: Some("taken".to_owned()),
            at: Some("2026-11-28T00:00:00Z".to_owned()),
        };
        (0..count).map(one).collect()
    }

    fn held(count: usize) -> Vec<HeldCommit> {
        let one = |n: usize| HeldCommit {
            commit: CommitHash::parse(&format!("{n:0>64x}")).unwrap(),
            episodes: 2,
            since: "2026-11-28T00:00:00Z".to_owned(),
        };
        (0..count).map(one).collect()
    }

    #[test]
    fn a_report_fits_and_counts_what_it_does_not_name() {
        for (held_count, refused_count) in [(0, 0), (3, 5), (0, 5000), (5000, 0), (1000, 1000)] {
            let state = LabState {
                held: held(held_count),
                refused: refused(refused_count),
                ..LabState::default()
            };
            let json = state.into_json();
            assert!(json.len() <= LAB_STATE_BYTES_MAX, "{}", json.len());
            let read = LabState::parse(&json).unwrap();
            assert_eq!(read.refused_episodes(), refused_count as u64);
            assert_eq!(read.held.len() as u64 + read.more.held, held_count as u64);
            let is_cut = held_count + refused_count > 100;
            assert_eq!(read.more != More::default(), is_cut, "{:?}", read.more);
            // The newest stay.
            assert_eq!(read.refused, refused(read.refused.len()));
            if is_cut {
                assert!(json.len() > LAB_STATE_BYTES_MAX / 2, "too much was cut");
            }
        }
    }

    #[test]
    fn what_a_peer_sends_is_bounded_and_may_lack_anything() {
        assert_eq!(LabState::parse(b"{}").unwrap(), LabState::default());
        let later =
            br#"{"version":"9","later":[{}],"waiting":{"episodes":3,"later":1},"refused":[{}]}"#;
        let read = LabState::parse(later).unwrap();
        assert_eq!((read.waiting.episodes, read.refused_episodes()), (3, 1));
        let many = format!("{{\"refused\":[{}{{}}]}}", "{},".repeat(5000));
        let read = LabState::parse(many.as_bytes()).unwrap();
        assert_eq!(read.refused.len(), LAB_STATE_LIST_MAX);
        assert_eq!(read.refused_episodes(), 5001);
        let long = format!("{{\"version\":\"{}\"}}", "ä".repeat(5000));
        assert_eq!(
            LabState::parse(long.as_bytes())
                .unwrap()
                .version
                .chars()
                .count(),
            160
        );
        for bad in [
            &b""[..],
            b"7",
            b"[]",
            b"{",
            b"{\"waiting\":7}",
            b"{\"held\":[{}]}",
            b"\xff",
        ] {
            assert!(LabState::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn progress_is_in_whole_per_cent_and_seconds() {
        let upload = |bytes_sent, bytes, bytes_per_second| Uploading {
            episode: String::new(),
            bytes_sent,
            bytes,
            bytes_per_second,
        };
        for (upload, percent, left) in [
            (upload(43, 100, 19), 43, Some(3)),
            (upload(0, 0, 0), 0, None),
            (upload(9, 5, 1), 100, Some(0)),
            (upload(u64::MAX, u64::MAX, 1), 100, Some(0)),
            (upload(1, 1000, 0), 0, None),
        ] {
            assert_eq!((upload.percent(), upload.seconds_left()), (percent, left));
        }
    }
}
