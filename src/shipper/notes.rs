//! The notes beside the episodes that have left episodes/: a receipt in shipped/, a reason in refused/.
//! `ending_batch` publishes them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::queue::Root;
use super::state;
use crate::durable;
use crate::names::CommitHash;
use crate::wire::{self, Problem};

/// The ending of a receipt's name.
pub(super) const RECEIPT: &str = ".receipt.json";
/// The ending of a reason's name.
pub(super) const WHY: &str = ".why.json";
/// Of either note: what the receiver may answer, twice over.
pub(super) const NOTE_BYTES_MAX: u64 = 2 * wire::ANSWER_BYTES_MAX;

/// The reason of what a person moved to refused/.
pub(super) const SET_ASIDE: &str = "set-aside";

/// Who decided that an episode is not to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Judge {
    /// The receiver answered so.
    Receiver,
    /// It cannot be packed.
    Shipper,
    /// A person, by `cis490 set-aside`.
    Operator,
}

/// `<id>.why.json`: why an episode lies in refused/.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Why {
    pub at: String,
    pub by: Judge,
    /// For programs, and for `cis490 requeue --reason`: the name of the receiver's refusal, or one of
    /// ours (`not-a-file`, `bad-json`, `no-commit`, `two-commits`, `meta-too-large`, `path-too-long`,
    /// `set-aside`). Notes of older programs lack it: see [`Why::reason`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub why: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

impl Why {
    pub(crate) fn new(by: Judge, reason: &str, why: impl Into<String>) -> Why {
        Why {
            at: state::now(),
            by,
            reason: Some(reason.to_owned()).filter(|reason| !reason.is_empty()),
            why: why.into(),
            status: None,
            commit: None,
            problem: None,
        }
    }

    pub(crate) fn of_problem(problem: &Problem, commit: CommitHash) -> Why {
        Why {
            status: Some(problem.status),
            commit: Some(commit),
            problem: Some(problem.clone()),
            ..Why::new(
                Judge::Receiver,
                problem.name().unwrap_or(""),
                problem.detail.clone(),
            )
        }
    }

    /// One word for it, as far as one was noted.
    pub(crate) fn reason(&self) -> Option<String> {
        let by_problem = || self.problem.as_ref()?.name().map(str::to_owned);
        let by_operator = (self.by == Judge::Operator).then(|| SET_ASIDE.to_owned());
        self.reason.clone().or_else(by_problem).or(by_operator)
    }

    /// The note beside `refused/<name>`.
    pub(crate) fn read(root: &Root, name: &str) -> Option<Why> {
        let note = note_of(&root.refused(), name, WHY);
        let text = durable::read_regular(&note, NOTE_BYTES_MAX).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// The note beside an episode `name` in shipped/ or refused/.
pub(super) fn note_of(there: &Path, name: &str, ending: &str) -> PathBuf {
    there.join(format!("{name}{ending}"))
}

/// The receipt beside `shipped/<name>`.
pub(super) fn receipt_path(root: &Root, name: &str) -> PathBuf {
    note_of(&root.shipped(), name, RECEIPT)
}

/// The note beside `refused/<name>`.
pub(super) fn why_path(root: &Root, name: &str) -> PathBuf {
    note_of(&root.refused(), name, WHY)
}
