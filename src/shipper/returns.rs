//! The ways back into episodes/: from refused/ once the fault is fixed, from shipped/ to be sent again,
//! and from a name that is not allowed. Each takes effect by one rename, beside a running shipper:
//!
//!     unlink(tarball)  rename(there/<name>, episodes/<id>)  fsync(episodes)  fsync(there)  unlink(why)
//!
//! Nothing in episodes/ is ever replaced. A receipt stays in shipped/ when its episode is sent again: the
//! same bytes get the same receipt, and other bytes must not pass for them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::notes::{self, Why};
use super::outbox;
use super::queue::{Root, is_absent};
use crate::durable;
use crate::episode;
use crate::names::{BadName, CommitHash, EpisodeId};

/// Why an episode does not come back.
#[derive(Debug)]
pub(crate) enum NoReturn {
    BadName(BadName),
    /// Nothing has that name.
    Unknown,
    /// It waits in episodes/ already.
    Waits(EpisodeId),
    /// It lies in another folder, from where another command brings it back.
    In(&'static str),
    /// It lies in episodes/ under a name that is not allowed, and needs a new one, such as this.
    NeedsId(EpisodeId),
    /// It lies there too, and is no finished episode.
    Unfinished,
    /// An episode of that name waits already, and is not replaced.
    Taken(EpisodeId),
    Io(io::Error),
}

impl From<io::Error> for NoReturn {
    fn from(error: io::Error) -> NoReturn {
        NoReturn::Io(error)
    }
}

/// Brings back the episode `name` from refused/, or from episodes/ if that name is not allowed: under
/// its own id, or as `new`, which a name that is not allowed needs.
pub(crate) fn requeue(
    root: &Root,
    name: &str,
    new: Option<&EpisodeId>,
) -> Result<EpisodeId, NoReturn> {
    if holds(&root.refused(), name) {
        let id = match new {
            Some(new) => new.clone(),
            None => own_id(name)?,
        };
        bring_back(root, &root.refused().join(name), &id)?;
        durable::unlink(&notes::why_path(root, name))?;
        return Ok(id);
    }
    if let Some(odd) = overlooked(root, name)? {
        return give_id(root, &odd, new);
    }
    Err(elsewhere(root, name, &[("shipped", root.shipped())]))
}

/// Brings back the episode `name` from shipped/, under the id with which it was sent.
pub(crate) fn resend(root: &Root, name: &str) -> Result<EpisodeId, NoReturn> {
    if !holds(&root.shipped(), name) {
        return Err(elsewhere(root, name, &[("refused", root.refused())]));
    }
    let id = own_id(name)?;
    bring_back(root, &root.shipped().join(name), &id)?;
    Ok(id)
}

/// Whether a folder has a directory of that name. A name that leads to another folder does not count.
fn holds(folder: &Path, name: &str) -> bool {
    let is_name = !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != "..";
    let found = || folder.join(name).symlink_metadata();
    is_name && found().is_ok_and(|found| found.is_dir())
}

/// The id of an episode, without the suffix that it got in its folder.
fn own_id(name: &str) -> Result<EpisodeId, NoReturn> {
    let id = name.split_once('~').map_or(name, |(id, _)| id);
    EpisodeId::parse(id).map_err(NoReturn::BadName)
}

/// Why the folder has no such episode to bring back.
fn elsewhere(root: &Root, name: &str, others: &[(&'static str, PathBuf)]) -> NoReturn {
    let other = others.iter().find(|(_, folder)| holds(folder, name));
    if let Some((folder, _)) = other {
        return NoReturn::In(folder);
    }
    match own_id(name) {
        Ok(id) if holds(&root.episodes(), name) => NoReturn::Waits(id),
        Ok(_) => NoReturn::Unknown,
        Err(bad) => bad,
    }
}

fn bring_back(root: &Root, from: &Path, id: &EpisodeId) -> Result<(), NoReturn> {
    let to = root.episodes().join(id.as_str());
    if !is_absent(&to) {
        return Err(NoReturn::Taken(id.clone()));
    }
    // A crash may have left a tarball. Remove it, so that the directory is packed as it is now.
    durable::unlink(&outbox::tarball(root, id))?;
    match durable::rename_new(from, &to) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(NoReturn::Taken(id.clone()));
        }
        other => other?,
    }
    durable::sync_dir(&root.episodes())?;
    let there = durable::parent(from);
    if there != root.episodes() {
        durable::sync_dir(there)?;
    }
    Ok(())
}

/// Gives an episode with an odd name the id that makes it one of ours.
fn give_id(root: &Root, odd: &OsStr, new: Option<&EpisodeId>) -> Result<EpisodeId, NoReturn> {
    let from = root.episodes().join(odd);
    if !from.join(episode::META_NAME).is_file() {
        return Err(NoReturn::Unfinished);
    }
    let Some(id) = new else {
        return Err(NoReturn::NeedsId(free_id(root, odd)));
    };
    bring_back(root, &from, id)?;
    Ok(id.clone())
}

/// The episode in episodes/ whose name is not allowed and is `name`, as it stands there or as
/// [`shown`] shows it.
fn overlooked(root: &Root, name: &str) -> io::Result<Option<OsString>> {
    if EpisodeId::parse(name).is_ok() {
        return Ok(None);
    }
    if holds(&root.episodes(), name) {
        return Ok(Some(name.into()));
    }
    for found in std::fs::read_dir(root.episodes())? {
        let found = found?;
        if found.file_type()?.is_dir() && shown(&found.file_name()) == name {
            return Ok(Some(found.file_name()));
        }
    }
    Ok(None)
}

/// A file's name as it can be printed and typed: bytes that are no UTF-8, control characters and
/// backslashes as `\xNN`.
pub(super) fn shown(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() || c == '\\' {
                let mut bytes = [0; 4];
                push_escaped(&mut text, c.encode_utf8(&mut bytes).as_bytes());
            } else {
                text.push(c);
            }
        }
        push_escaped(&mut text, chunk.invalid());
    }
    text
}

fn push_escaped(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        *text += &format!("\\x{byte:02x}");
    }
}

/// A free id like `name`: each character that is not allowed becomes `-`.
pub(super) fn free_id(root: &Root, name: &OsStr) -> EpisodeId {
    let mut like = String::new();
    for c in name.to_string_lossy().chars() {
        let is_safe = c.is_ascii_alphanumeric() || "._-".contains(c);
        if is_safe {
            like.push(c);
        } else if !like.ends_with('-') {
            like.push('-');
        }
    }
    let like = like
        .trim_start_matches(['.', '_', '-'])
        .trim_end_matches('-');
    let like = &like[..like.len().min(100)];
    let is_free = |id: &EpisodeId| is_absent(&root.episodes().join(id.as_str()));
    let numbered = (2..1000).map(|n| format!("{like}-{n}"));
    let candidates = std::iter::once(like.to_owned()).chain(numbered);
    let ids = candidates.filter_map(|text| EpisodeId::parse(&text).ok());
    let free = ids.into_iter().find(is_free);
    free.unwrap_or_else(|| {
        EpisodeId::parse(&format!("episode-{}", std::process::id())).expect("letters and digits")
    })
}

/// The beginning of a commit, or all of it.
#[derive(Clone, Debug)]
pub(crate) struct CommitPrefix(String);

impl CommitPrefix {
    pub(crate) const DIGITS_MIN: usize = 7;

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Those of `commits` that begin with these digits.
    pub(crate) fn among(
        &self,
        commits: impl IntoIterator<Item = CommitHash>,
    ) -> BTreeSet<CommitHash> {
        let begins = |commit: &CommitHash| commit.to_string().starts_with(&self.0);
        commits.into_iter().filter(begins).collect()
    }
}

impl FromStr for CommitPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<CommitPrefix, String> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let is_long = (CommitPrefix::DIGITS_MIN..=64).contains(&text.len());
        if !is_long || !text.bytes().all(is_hex) {
            return Err(format!(
                "a commit is named by {} or more of its lowercase hex digits",
                CommitPrefix::DIGITS_MIN
            ));
        }
        Ok(CommitPrefix(text.to_owned()))
    }
}

/// The episodes in refused/ by name, each with its reason and its commit, where they are known.
pub(crate) fn refused(root: &Root) -> io::Result<BTreeMap<String, Refused>> {
    let mut refused = BTreeMap::new();
    for found in std::fs::read_dir(root.refused())? {
        let found = found?;
        let Ok(name) = found.file_name().into_string() else {
            continue;
        };
        if found.file_type()?.is_dir() {
            let why = Why::read(root, &name);
            let noted = why.as_ref().and_then(|why| why.commit);
            let commit = noted.or_else(|| Some(episode::meta_of(&found.path()).ok()?.commit));
            let reason = why.as_ref().and_then(Why::reason);
            refused.insert(name, Refused { commit, reason });
        }
    }
    Ok(refused)
}

pub(crate) struct Refused {
    pub commit: Option<CommitHash>,
    /// The name of a refusal, or one of ours.
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn every_name_can_be_printed_and_typed() {
        for (name, text) in [
            (&b"2026-11-28T10:11:12"[..], "2026-11-28T10:11:12"),
            (b"a swing", "a swing"),
            ("\u{e4}\u{f6}".as_bytes(), "\u{e4}\u{f6}"),
            (b"a\nb\x1b[2J", "a\\x0ab\\x1b[2J"),
            (b"a\xff\xfeb", "a\\xff\\xfeb"),
            (b"back\\slash", "back\\x5cslash"),
        ] {
            assert_eq!(shown(OsStr::from_bytes(name)), text);
        }
    }

    #[test]
    fn a_commit_is_named_by_seven_digits_or_more() {
        let hash = |text: &str| CommitHash::parse(text).unwrap();
        let commits = [hash(&"ab".repeat(20)), hash(&("ab".repeat(19) + "cd"))];
        let count = |text: &str| CommitPrefix::from_str(text).unwrap().among(commits).len();
        assert_eq!(count("abababa"), 2);
        assert_eq!(count(&("ab".repeat(19) + "c")), 1);
        assert_eq!(count("abababc"), 0);
        for bad in ["", "ababab", "ABABABA", "abababg", &"a".repeat(65)] {
            assert!(CommitPrefix::from_str(bad).is_err(), "{bad}");
        }
    }
}
