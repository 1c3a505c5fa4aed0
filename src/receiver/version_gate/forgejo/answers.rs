//! The meaning of Forgejo's answers: pure functions of status and bytes. Real answers are kept in
//! `tests/it/forgejo/answers/`.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fault::{Fault, quotable};
use crate::names::CommitHash;

/// The one member of a commit that counts. Its parents, tree and message have hashes too.
#[derive(Deserialize)]
pub(super) struct Commit {
    #[serde(default)]
    sha: Option<Value>,
}

/// A page of commits; `None` since Go may write an empty list as `null`.
pub(super) type Page = Option<Vec<Option<Commit>>>;

pub(super) fn commits_of(page: Page) -> Vec<CommitHash> {
    let sha = |commit: Commit| hash(commit.sha.as_ref());
    page.into_iter()
        .flatten()
        .flatten()
        .filter_map(sha)
        .collect()
}

/// The head in an answer of all references that begin like `wanted`: `main` brings `maintenance` along.
/// Some versions answer a single match without the array.
pub(super) fn head_of_refs(answer: &Value, wanted: &str) -> Option<CommitHash> {
    let refs = answer
        .as_array()
        .map_or(std::slice::from_ref(answer), Vec::as_slice);
    refs.iter()
        .filter(|one| one.get("ref").and_then(Value::as_str) == Some(wanted))
        .find_map(|one| hash(one.pointer("/object/sha")))
}

pub(super) fn head_of_branch(answer: &Value) -> Option<CommitHash> {
    hash(answer.pointer("/commit/id"))
}

/// The members of `GET /repos/{owner}/{name}` that matter to the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Repository {
    pub empty: bool,
    pub default_branch: Option<String>,
    /// False if the token's user may see the repository but not its code.
    pub has_code: bool,
    pub mirror: bool,
    pub archived: bool,
}

impl Repository {
    pub(crate) fn of(answer: &Value) -> Repository {
        let is = |pointer: &str| answer.pointer(pointer).and_then(Value::as_bool);
        let branch = answer.get("default_branch").and_then(Value::as_str);
        Repository {
            empty: is("/empty") == Some(true),
            default_branch: branch.filter(|name| !name.is_empty()).map(quotable),
            has_code: is("/permissions/pull") != Some(false),
            mirror: is("/mirror") == Some(true),
            archived: is("/archived") == Some(true),
        }
    }
}

/// The body of an error of Forgejo's own.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ErrorBody {
    message: Option<String>,
    errors: Option<Vec<String>>,
}

/// The fault of any status but 200, 401 and redirects.
pub(super) fn fault_of_status(status: u16, body: &[u8]) -> Fault {
    // A list of commits answers `null` where the commit does not exist.
    let words: Option<ErrorBody> = serde_json::from_slice::<Option<ErrorBody>>(body)
        .ok()
        .map(Option::unwrap_or_default);
    match (status, words) {
        (403, words) => {
            let message = words.and_then(|words| words.message);
            let message = message.filter(|message| !message.is_empty());
            Fault::Forbidden(message.as_deref().map(quotable))
        }
        (404, None) => Fault::Odd(format!("404 with {}", begins(body))),
        (404, Some(_)) if body.trim_ascii() == b"null" => Fault::NoCommit,
        (404, Some(words)) => {
            let no_owner = words.message.as_deref() == Some("GetUserByName");
            let names_a_branch = |error: &String| error.starts_with("branch does not exist");
            if words.errors.iter().flatten().any(names_a_branch) {
                Fault::NoBranch(None)
            } else {
                Fault::NotFound { no_owner }
            }
        }
        (status, _) => Fault::Status(status),
    }
}

pub(super) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(bytes).map_err(|error| {
        if breaks_off(bytes) {
            Fault::CutOff(bytes.len())
        } else {
            Fault::Odd(format!("{error}, in {}", begins(bytes)))
        }
    })
}

/// Whether an answer begins as JSON and does not end as JSON. The parser's error is not enough: an
/// answer of Forgejo's may also be broken in its middle, at a date that Forgejo cannot write.
fn breaks_off(bytes: &[u8]) -> bool {
    match bytes.trim_ascii() {
        [b'[', .., b']'] | [b'{', .., b'}'] => false,
        [first, ..] => matches!(first, b'[' | b'{'),
        [] => false,
    }
}

fn begins(bytes: &[u8]) -> String {
    let begin = &bytes[..bytes.len().min(1000)];
    let text = quotable(String::from_utf8_lossy(begin).trim_start());
    format!("an answer that begins {text:?}")
}

fn hash(value: Option<&Value>) -> Option<CommitHash> {
    CommitHash::parse(value?.as_str()?).ok()
}

/// Reads `bytes` as each of Forgejo's answers. Each gives commits, or a fault whose words fit a log line.
#[cfg(any(test, fuzzing))]
pub fn fuzzed_answers(bytes: &[u8]) {
    use super::fault::{Context, TokenFrom};

    let mut faults = vec![
        from_json::<Page>(bytes)
            .map(|page| commits_of(page).len())
            .err(),
        from_json::<Value>(bytes)
            .map(|answer| {
                let _ = head_of_branch(&answer);
                let repository = Repository::of(&answer);
                assert!(
                    repository
                        .default_branch
                        .is_none_or(|name| !name.contains(char::is_control))
                );
                head_of_refs(&answer, "refs/heads/main")
            })
            .err(),
    ];
    faults.extend([403, 404, 409, 500, 502].map(|status| Some(fault_of_status(status, bytes))));
    faults.push(Some(Fault::moved(301, &String::from_utf8_lossy(bytes))));
    let context = Context {
        repository_url: "http://127.0.0.1:3000/api/v1/repos/lab/cis490",
        branch: "main",
        token: TokenFrom::File,
    };
    for fault in faults.into_iter().flatten() {
        let trouble = fault.trouble(&context);
        for text in [trouble.what, trouble.remedy] {
            assert!(
                text.len() < 4000 && !text.contains(char::is_control),
                "{text:?}"
            );
        }
    }
}
