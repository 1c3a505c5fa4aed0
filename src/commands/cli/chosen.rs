//! For the commands that move episodes on a lab host: they move each named episode independently of
//! the others, and a commit may be named by its first digits.

use std::process::ExitCode;

use serde::Serialize;

use super::report::report;
use crate::failure::Failure;
use crate::names::{CommitHash, EpisodeId};
use crate::shipper::CommitPrefix;
use crate::terminal::{say, say_json};

/// What `--json` prints of one episode: where it was to go, and whether it went.
#[derive(Serialize)]
struct Moved<'a> {
    /// As it was named on the command line, or as it lay in its folder.
    name: &'a str,
    moved: bool,
    /// Its id in the queue; null for one that stayed.
    episode: Option<EpisodeId>,
    /// Of one that stayed: why, and what to do.
    error: Option<&'a str>,
    hint: Option<&'a str>,
}

/// Calls `move_one` for each of `names`, and prints what became of it: in words, or with `as_json` as a
/// line of JSON. An episode that cannot be moved is reported, and the others are moved all the same.
///
/// Errors: the only named episode was not moved, or at least one of several was not.
pub(crate) fn move_each(
    names: &[String],
    as_json: bool,
    mut move_one: impl FnMut(&str) -> Result<EpisodeId, Failure>,
) -> Result<ExitCode, Failure> {
    let mut stayed = 0;
    for name in names {
        let result = move_one(name);
        if as_json {
            say_json(&moved(name, &result));
        }
        match result {
            Ok(_) if as_json => {}
            Ok(id) => say!("{id} is in the queue again"),
            Err(failure) if names.len() == 1 => return Err(failure),
            Err(failure) => {
                report(&failure);
                stayed += 1;
            }
        }
    }
    if stayed > 0 {
        return Err(Failure::new(
            format!("{stayed} of {} stayed where they are", names.len()),
            "the lines above say why; the others have moved",
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn moved<'a>(name: &'a str, result: &'a Result<EpisodeId, Failure>) -> Moved<'a> {
    let failure = result.as_ref().err();
    Moved {
        name,
        moved: failure.is_none(),
        episode: result.as_ref().ok().cloned(),
        error: failure.map(Failure::error),
        hint: failure.map(Failure::hint),
    }
}

/// The one commit that begins with `prefix`; `None` if no commit does.
///
/// Errors: more than one commit does.
pub(crate) fn one_commit(
    prefix: &CommitPrefix,
    commits: impl IntoIterator<Item = CommitHash>,
) -> Result<Option<CommitHash>, Failure> {
    const SHOWN_MAX: usize = 5;
    let found = prefix.among(commits);
    if found.len() > 1 {
        let shown: Vec<String> = found
            .iter()
            .take(SHOWN_MAX)
            .map(|c| c.to_string())
            .collect();
        return Err(Failure::new(
            format!("{} commits begin with {}", found.len(), prefix.as_str()),
            format!("give more digits: {}", shown.join(", ")),
        ));
    }
    Ok(found.into_iter().next())
}

/// `word` written so that a shell reads it as one word.
pub(crate) fn quoted(word: &str) -> String {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-~".contains(&b);
    if !word.is_empty() && !word.starts_with('-') && word.bytes().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_word_to_a_shell() {
        for (word, wanted) in [
            ("ep-1~2", "ep-1~2"),
            ("a b", "'a b'"),
            ("it's", "'it'\\''s'"),
            ("a\\xffb", "'a\\xffb'"),
            ("$(x)", "'$(x)'"),
            ("-x", "'-x'"),
        ] {
            assert_eq!(quoted(word), wanted);
        }
    }
}
