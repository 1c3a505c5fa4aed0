//! The words of each fault of Forgejo's: what happened, and what the operator does now. Each remedy
//! that changes the receiver's configuration ends with what makes the change take effect.

use super::{Context, Fault, TokenFrom};

/// How a changed configuration takes effect.
const RESTART: &str = "then systemctl restart cis490-receiver";

/// The kind in one word, what happened, and what to do.
pub(super) type Words = (&'static str, String, String);

/// The words of a fault. The remedy of a changed key ends with what makes the change take effect.
pub(super) fn of(fault: &Fault, context: &Context) -> Words {
    let see_the_log = "read Forgejo's log (journalctl -u forgejo)";
    match fault {
        Fault::Tls(fault) => (
            fault.kind,
            format!("Forgejo could not be reached by TLS: {}", fault.what),
            fault.remedy.to_owned(),
        ),
        Fault::Unreachable(why) => (
            "unreachable",
            format!("Forgejo could not be reached: {why}"),
            format!("check whether Forgejo runs (systemctl status forgejo); if it has another address, set forgejo_url, {RESTART}"),
        ),
        Fault::TimedOut(which) => (
            "timeout",
            format!("Forgejo did not answer in time ({which})"),
            "check whether Forgejo is overloaded or hangs (systemctl status forgejo), or a firewall swallows packets".to_owned(),
        ),
        Fault::ListTooSlow { limit_s } => (
            "list-too-slow",
            format!("Forgejo did not list the commits within {limit_s} s"),
            format!("find out what keeps Forgejo busy; or lower version_gate.window, {RESTART}"),
        ),
        Fault::Renamed { owner, name } => (
            "renamed",
            format!("Forgejo says that the repository is {owner}/{name} now: it was renamed or transferred"),
            format!("set repo_owner = {owner:?} and repo_name = {name:?}, {RESTART}"),
        ),
        Fault::OwnerRenamed { owner } => (
            "owner-renamed",
            format!("Forgejo says that the repository's owner is called {owner} now"),
            format!("set repo_owner = {owner:?}, {RESTART}"),
        ),
        Fault::Redirect(to) => (
            "redirected",
            format!("the answer is a redirect to {to:?}; redirects are not followed, for the token's sake"),
            format!("name in forgejo_url the address where Forgejo itself answers (https:// and not http://? another path?), {RESTART}"),
        ),
        Fault::Unauthorized => unauthorized(context.token),
        Fault::Forbidden(message) => forbidden(message.as_deref(), context.token),
        Fault::NotFound { no_owner } => not_found(*no_owner, context.token),
        Fault::NoCommit => (
            "no-commit",
            "Forgejo answered 404: it does not know the commit that it named a moment before".to_owned(),
            format!("nothing: the question is repeated automatically; if it lasts, {see_the_log}"),
        ),
        Fault::Empty => (
            "empty-repository",
            "the repository exists and is empty".to_owned(),
            format!("push the branch {}; until then nothing can be admitted by it", context.branch),
        ),
        Fault::NoBranch(default) => no_branch(default.as_deref(), context.branch),
        Fault::CodeOff => (
            "code-unit-off",
            "the repository exists, but its code may not be read: its code unit is switched off, or this token's user may not see it".to_owned(),
            "switch Code on in the repository's settings (Units), or give the token's user access to the code".to_owned(),
        ),
        Fault::NotListedYet => (
            "not-listed-yet",
            "Forgejo names the branch's head and says that the repository is empty: it has not yet processed the first push".to_owned(),
            format!("find out what keeps its queue busy, such as a large push ({see_the_log}); it is asked again automatically"),
        ),
        Fault::Status(409) => (
            "conflict",
            "Forgejo answered 409, as for an empty repository".to_owned(),
            see_the_log.to_owned(),
        ),
        Fault::Status(500) => (
            "server-error",
            "Forgejo answered 500: it cannot read the repository, or an object of it, on its own disk".to_owned(),
            format!("{see_the_log}, and check whether the repository's folder is there and whole (git fsck)"),
        ),
        Fault::Status(status @ (502..=504)) => (
            "proxy",
            format!("a proxy answered {status} in Forgejo's place"),
            format!("check whether Forgejo runs behind it; or name Forgejo's own address in forgejo_url, {RESTART}"),
        ),
        Fault::Status(status) => (
            "status",
            format!("Forgejo answered {status}, which this program does not know"),
            see_the_log.to_owned(),
        ),
        Fault::Odd(why) => (
            "not-the-api",
            format!("the answer is not what Forgejo's API gives: {why}"),
            format!("check whether forgejo_url names Forgejo itself, with its sub-path if it has one (http://HOST/git), and not a login page or a proxy before it; set it, {RESTART}"),
        ),
        Fault::CutOff(bytes) => (
            "cut-off",
            format!("the answer breaks off after {bytes} bytes, as Forgejo's does at a commit that is dated in the year 10000 or later"),
            format!("{see_the_log}: it names the commit; with local_repo_path set to a checkout that is kept up to date, git lists the branch meanwhile ({RESTART})"),
        ),
        Fault::NoList => (
            "no-list",
            "Forgejo names the branch's head and lists no commit of it".to_owned(),
            "check that [api] MAX_RESPONSE_ITEMS and [git] COMMITS_RANGE_SIZE in Forgejo's app.ini are not 0".to_owned(),
        ),
        Fault::TooLarge => (
            "too-large",
            "the answer is larger than any that is read".to_owned(),
            format!("check whether forgejo_url names Forgejo itself; set it, {RESTART}"),
        ),
        Fault::HugeCommit => (
            "huge-commit",
            "the answer with a single commit is larger than any that is read: its message may be of many megabytes".to_owned(),
            format!("check whether forgejo_url names Forgejo itself; else set local_repo_path to a checkout that is kept up to date, {RESTART}"),
        ),
    }
}

fn unauthorized(token: TokenFrom) -> Words {
    let what = match token {
        TokenFrom::Nowhere => "Forgejo, or a proxy before it, answered 401: it requires a token",
        _ => "Forgejo answered 401: the token is unknown or revoked, or its user is gone",
    };
    ("unauthorized", what.to_owned(), make_a_token(token))
}

/// A 403 has one of five reasons, which its message names. A new token helps against the first alone.
fn forbidden(message: Option<&str>, token: TokenFrom) -> Words {
    let said = message.unwrap_or("");
    let its_user = "as the token's user, in a browser";
    let (kind, remedy) = match said {
        _ if said.contains("required scope") => ("scope-missing", make_a_token(token)),
        _ if said.contains("Only signed in user") => ("sign-in-required", make_a_token(token)),
        _ if said.contains("must change your password") => (
            "password-to-change",
            format!("sign in {its_user}, and change the password; a new token would not help"),
        ),
        _ if said.contains("prohibited from signing in") || said.contains("not activated") => (
            "account-disabled",
            "let Forgejo's administrator enable the account of the token's user; a new token of that user would not help".to_owned(),
        ),
        _ if said.contains("two-factor") => (
            "two-factor-required",
            format!("sign in {its_user}, and enable two-factor authentication; a new token would not help"),
        ),
        _ => (
            "forbidden",
            "read what the answer says; if it is not from Forgejo itself, find out what is in front of it".to_owned(),
        ),
    };
    let what = match message {
        Some(message) => format!("Forgejo answered 403 and says {message:?}"),
        None => "the answer is 403, without a message of Forgejo's".to_owned(),
    };
    (kind, what, remedy)
}

fn not_found(no_owner: bool, token: TokenFrom) -> Words {
    let (kind, what) = match (no_owner, token) {
        (true, _) => (
            "no-owner",
            "Forgejo answered 404: it knows no user or organisation of the name in repo_owner",
        ),
        (false, TokenFrom::Nowhere) => (
            "not-found",
            "Forgejo answered 404: without a token it shows no such repository, which may be private or not there",
        ),
        (false, _) => (
            "no-access",
            "Forgejo answered 404: to this token it shows no such repository, which is not there, or the token's user has no access, or the token is limited to public or to other repositories",
        ),
    };
    let compare = "compare repo_owner and repo_name with the repository's URL";
    let remedy = match (no_owner, token) {
        (true, _) => format!("set repo_owner as in the repository's URL, {RESTART}"),
        (false, TokenFrom::Nowhere) => format!(
            "{compare}; if it is private, set auth_token_file to a file with a token that may read it (read:repository); {RESTART}"
        ),
        (false, _) => format!(
            "{compare}, and set them, {RESTART}; if they are right, give the token's user access (Settings, Collaborators), or {}",
            make_a_token(token)
        ),
    };
    (kind, what.to_owned(), remedy)
}

fn no_branch(default: Option<&str>, branch: &str) -> Words {
    let (and_its_default, or_set) = match default {
        Some(default) if default != branch => (
            format!("; its default branch is {default:?}"),
            format!(", or set branch = {default:?} if that is the one, {RESTART}"),
        ),
        _ => (
            String::new(),
            format!(", or set version_gate.branch, {RESTART}"),
        ),
    };
    (
        "no-branch",
        format!("the repository exists and has no branch {branch:?}{and_its_default}"),
        format!("push the branch {branch}{or_set}"),
    )
}

/// The remedy for a token that does not do. How a new one takes effect depends on where it is read from.
fn make_a_token(token: TokenFrom) -> String {
    let make = "make a token that may read the repository (read:repository)";
    match token {
        TokenFrom::Nowhere => {
            format!("{make}, set auth_token_file to a file that holds it, {RESTART}")
        }
        TokenFrom::Key => format!("{make}, set it as auth_token, {RESTART}"),
        TokenFrom::File => {
            format!("{make} and put it in auth_token_file, which is read again automatically")
        }
        TokenFrom::SystemdCredential => {
            format!("{make}, put it in the credential that auth_token_file names, {RESTART}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::version_gate::trouble::Trouble;
    use crate::tls;

    fn all() -> Vec<Fault> {
        let text = || "as the server says".to_owned();
        let tls = tls::Fault {
            kind: "tls",
            what: text(),
            remedy: "see its certificate",
        };
        vec![
            Fault::Tls(tls),
            Fault::Unreachable(text()),
            Fault::TimedOut(text()),
            Fault::ListTooSlow { limit_s: 120 },
            Fault::moved(301, "/api/v1/repos/a/b/commits"),
            Fault::moved(307, "/api/v1/repos/a/b/commits"),
            Fault::moved(302, "https://elsewhere.invalid/"),
            Fault::Unauthorized,
            Fault::Forbidden(None),
            Fault::Forbidden(Some("required scope(s): [read:repository]".to_owned())),
            Fault::Forbidden(Some("Only signed in user is allowed".to_owned())),
            Fault::Forbidden(Some("You must change your password".to_owned())),
            Fault::Forbidden(Some(
                "This account is prohibited from signing in".to_owned(),
            )),
            Fault::Forbidden(Some("enable two-factor authentication".to_owned())),
            Fault::NotFound { no_owner: true },
            Fault::NotFound { no_owner: false },
            Fault::NoCommit,
            Fault::Empty,
            Fault::NoBranch(None),
            Fault::NoBranch(Some("trunk".to_owned())),
            Fault::CodeOff,
            Fault::NotListedYet,
            Fault::Status(409),
            Fault::Status(418),
            Fault::Status(500),
            Fault::Status(502),
            Fault::Odd(text()),
            Fault::CutOff(7),
            Fault::NoList,
            Fault::TooLarge,
            Fault::HugeCommit,
        ]
    }

    /// A key that is changed and not taken leaves everybody where he was.
    #[test]
    fn each_remedy_that_names_a_key_says_what_makes_it_take_effect() {
        let keys = [
            "forgejo_url",
            "repo_owner",
            "repo_name",
            "version_gate.",
            "branch =",
            "auth_token",
            "local_repo_path",
        ];
        for token in [
            TokenFrom::Nowhere,
            TokenFrom::Key,
            TokenFrom::File,
            TokenFrom::SystemdCredential,
        ] {
            let context = Context {
                repository_url: "http://127.0.0.1:3000/api/v1/repos/lab/cis490",
                branch: "main",
                token,
            };
            for fault in all() {
                let Trouble { kind, what, remedy } = fault.trouble(&context);
                assert!(!kind.is_empty() && !what.is_empty() && !remedy.is_empty());
                let names_a_key = keys.iter().any(|key| remedy.contains(key));
                let takes_effect =
                    remedy.contains(RESTART) || remedy.contains("read again automatically");
                assert!(!names_a_key || takes_effect, "{kind} {token:?}: {remedy}");
            }
        }
    }
}
