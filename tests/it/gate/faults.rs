//! What is wrong with a source, by Forgejo's real answers: kind, words, and what to do; for each state of
//! the repository and each token.

use std::fs;
use std::path::Path;

use cis490::receiver::config::{GateConfig, Secret};
use cis490::receiver::version_gate::Refreshed;
use cis490::wire::Failing;

use super::{Gate, config_for, eventually, logged, served};
use crate::forgejo::{Forgejo, Mood};
use crate::repository::Repository;
use crate::world::TempDir;

const RESTART: &str = "then systemctl restart cis490-receiver";
const READ_AGAIN: &str = "read again automatically";

/// The token that the receiver has.
#[derive(Clone, Copy, Debug)]
enum Token {
    None,
    Key,
    File,
    /// In a file, and revoked.
    Revoked,
}

/// The state of the repository.
#[derive(Clone, Copy, Debug)]
enum State {
    /// Private, not there, or not for this token: all the same.
    Hidden,
    NoOwner,
    Empty,
    NoBranch,
    CodeOff,
    Renamed,
    OwnerRenamed,
    WrongPath,
    Recorded(&'static str),
}

fn failing(state: State, token: Token) -> Failing {
    let repository = match state {
        State::Empty => Repository::empty(),
        _ => Repository::new(2),
    };
    let forgejo = Forgejo::serve(repository.path());
    let mut config = config_for(&forgejo);
    let data = TempDir::new();
    configure(&mut config, token, data.path());
    {
        let mut forgejo = forgejo.state();
        forgejo.token = match token {
            Token::None => None,
            Token::Revoked => Some("the-new-token".to_owned()),
            Token::Key | Token::File => Some("the-token".to_owned()),
        };
        forgejo.hides_repository = matches!(state, State::Hidden);
        forgejo.code_is_off = matches!(state, State::CodeOff);
        match state {
            State::NoBranch => forgejo.default_branch = "trunk".to_owned(),
            State::Renamed => forgejo.renamed_to = Some(("lab".to_owned(), "robots".to_owned())),
            State::OwnerRenamed => forgejo.owner_renamed_to = Some("new-lab".to_owned()),
            State::Recorded(name) => forgejo.mood = Mood::Recorded(name),
            _ => {}
        }
    }
    match state {
        State::NoOwner => config.repo_owner = Some("nobody".to_owned()),
        State::NoBranch => config.branch = "master".to_owned(),
        State::WrongPath => config.forgejo_url = Some(format!("{}/git", forgejo.url)),
        _ => {}
    }
    let gate = Gate::start(&config, data.path());
    assert_eq!(gate.refresh(), Refreshed::Failed, "{state:?} {token:?}");
    let failing = gate.state().failing.unwrap();
    let line = logged(&[&forgejo.url, "event=gate_refresh_failed"]);
    let told = format!("kind={} ", failing.kind);
    assert!(line[0].contains(&told), "{line:#?}");
    for secret in ["the-token", "the-new-token"] {
        assert!(!failing.detail.contains(secret), "{failing:?}");
        assert_eq!(logged(&[&forgejo.url, secret]), [""; 0]);
    }
    failing
}

fn configure(config: &mut GateConfig, token: Token, dir: &Path) {
    match token {
        Token::None => {}
        Token::Key => config.auth_token = Some(Secret("the-token".to_owned())),
        Token::File | Token::Revoked => {
            let file = dir.join("token");
            fs::write(&file, "the-token\n").unwrap();
            config.auth_token_file = Some(file);
        }
    }
}

/// State, token, kind, what it says, what to do, what makes that take effect or "".
type Row = (
    State,
    Token,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip] // a row a line
fn rows() -> [Row; 32] {
    use State::*;
    use Token::{File, Key, Revoked};
    const SCOPE: &str = "403-scope-missing";
    const SIGN_IN: &str = "403-require-signin-view-anonymous";
    const CUT: &str = "commits-200-cut-json-year-10000";
    [
        (Hidden, Token::None, "not-found", "private or not there", "set auth_token_file", RESTART),
        (Hidden, Key, "no-access", "the token's user has no access", "Collaborators", RESTART),
        (Hidden, File, "no-access", "limited to public or to other", "Collaborators", READ_AGAIN),
        (Hidden, Revoked, "unauthorized", "unknown or revoked", "make a token", READ_AGAIN),
        (NoOwner, Token::None, "no-owner", "no user or organisation", "set repo_owner", RESTART),
        (NoOwner, File, "no-owner", "no user or organisation", "set repo_owner", RESTART),
        (Empty, Token::None, "empty-repository", "exists and is empty", "push the branch main", ""),
        (Empty, Key, "empty-repository", "exists and is empty", "push the branch main", ""),
        (Empty, File, "empty-repository", "exists and is empty", "push the branch main", ""),
        (NoBranch, Token::None, "no-branch", "default branch is \"trunk\"", "set branch = \"trunk\"", RESTART),
        (NoBranch, File, "no-branch", "no branch \"master\"", "push the branch master", RESTART),
        (CodeOff, Token::None, "code-unit-off", "its code may not be read", "switch Code on", ""),
        (CodeOff, File, "code-unit-off", "its code may not be read", "access to the code", ""),
        (Renamed, Token::None, "renamed", "lab/robots now", "repo_name = \"robots\"", RESTART),
        (Renamed, File, "renamed", "renamed or transferred", "repo_owner = \"lab\"", RESTART),
        (OwnerRenamed, Token::None, "owner-renamed", "called new-lab now", "repo_owner = \"new-lab\"", RESTART),
        (OwnerRenamed, File, "owner-renamed", "called new-lab now", "repo_owner = \"new-lab\"", RESTART),
        (WrongPath, Token::None, "not-the-api", "404 page not found", "http://HOST/git", RESTART),
        (WrongPath, File, "not-the-api", "404 page not found", "forgejo_url", RESTART),
        (Recorded(SCOPE), Token::None, "scope-missing", "[read:repository]", "set auth_token_file", RESTART),
        (Recorded(SCOPE), Key, "scope-missing", "[read:repository]", "set it as auth_token", RESTART),
        (Recorded(SCOPE), File, "scope-missing", "[read:repository]", "put it in auth_token_file", READ_AGAIN),
        (Recorded(SIGN_IN), Token::None, "sign-in-required", "Only signed in user", "set auth_token_file", RESTART),
        (Recorded("403-must-change-password"), File, "password-to-change", "You must change your password", "change the password", ""),
        (Recorded("403-account-prohibited"), File, "account-disabled", "prohibited from signing in", "enable the account", ""),
        (Recorded("403-two-factor-required"), File, "two-factor-required", "two-factor", "enable two-factor", ""),
        (Recorded("500-repository-folder-missing"), Token::None, "server-error", "on its own disk", "git fsck", ""),
        (Recorded("502-nginx-forgejo-stopped"), Token::None, "proxy", "in Forgejo's place", "runs behind it", RESTART),
        (Recorded("301-transferred-refs"), Token::None, "renamed", "laborg/totransfer now", "repo_owner = \"laborg\"", RESTART),
        (Recorded("301-renamed-subpath"), Token::None, "renamed", "lab/renamed now", "repo_name = \"renamed\"", RESTART),
        (Recorded("307-owner-renamed-refs"), Token::None, "owner-renamed", "called orgb now", "repo_owner = \"orgb\"", RESTART),
        (Recorded(CUT), Token::None, "cut-off", "year 10000", "journalctl -u forgejo", ""),
    ]
}

#[test]
fn each_state_of_the_repository_is_named_with_what_helps() {
    for (state, token, kind, what, remedy, effect) in rows() {
        let failing = failing(state, token);
        let case = format!("{state:?} {token:?}: {failing:#?}");
        assert_eq!(failing.kind, kind, "{case}");
        for words in [what, remedy, effect] {
            assert!(failing.detail.contains(words), "no {words:?} in {case}");
        }
        if matches!(
            kind,
            "password-to-change" | "account-disabled" | "two-factor-required"
        ) {
            assert!(failing.detail.contains("would not help"), "{case}");
        }
    }
}

/// The body of a real 401 repeats the token, word for word.
#[test]
fn the_body_of_a_401_reaches_no_log() {
    let failing = failing(
        State::Recorded("401-revoked-token-ECHOES-THE-TOKEN"),
        Token::File,
    );
    assert_eq!(failing.kind, "unauthorized");
    assert!(!failing.detail.contains("deadbeef"), "{failing:?}");
    let lines = super::LINES.lock().unwrap();
    assert!(!lines.iter().any(|line| line.contains("deadbeef")));
}

/// refs: the repository is there and the branch is not, or an object is gone. `/branches`: 404. What
/// was met first says more.
#[test]
fn the_second_routes_404_hides_nothing() {
    for (refs, kind) in [
        (Mood::Recorded("refs-main"), "no-branch"),
        (Mood::Recorded("500-commits-object-missing"), "server-error"),
    ] {
        let (_repository, forgejo) = served(2);
        {
            let mut state = forgejo.state();
            state.mood = refs;
            state.mood_for = "/git/refs";
            state.default_branch = "trunk".to_owned();
        }
        let mut config = config_for(&forgejo);
        config.branch = "mai".to_owned();
        let data = TempDir::new();
        let gate = Gate::start(&config, data.path());
        assert_eq!(gate.refresh(), Refreshed::Failed);
        assert_eq!(gate.state().failing.unwrap().kind, kind);
    }
}

/// Right after the first push refs have the head, and the rest still says "empty".
#[test]
fn a_first_push_is_admitted_when_it_can_be_listed_and_no_fault_is_logged() {
    let (repository, forgejo) = served(3);
    forgejo.state().lags = true;
    let data = TempDir::new();
    let gate = Gate::start(&config_for(&forgejo), data.path());
    let commits = || forgejo.listings().len();
    eventually("it was asked again after a second", || commits() >= 2);
    assert_eq!(gate.state().failing, None);
    forgejo.state().lags = false;
    // The next refresh that is not for the lag is an hour away.
    eventually("the window", || gate.window().is_some());
    assert_eq!(gate.window().unwrap().commits(), repository.log("main", 3));
    assert_eq!(
        logged(&["gate_refresh_failed source=forgejo", &forgejo.url]),
        [""; 0]
    );
}

#[test]
fn long_messages_are_asked_for_in_smaller_pages() {
    let (repository, forgejo) = served(12);
    // 12 MB in one page, 5 in the next.
    forgejo.state().message_bytes = 1_000_000;
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    assert_eq!(gate.window().unwrap().commits(), repository.log("main", 12));
    let listings = forgejo.listings();
    let limits: Vec<_> = listings
        .iter()
        .filter_map(|one| one.query("limit"))
        .collect();
    assert_eq!(limits, ["50", "5", "5", "5", "5"]);
    assert_eq!(
        logged(&["gate_refresh_failed source=forgejo", &forgejo.url]),
        [""; 0]
    );

    // Not even one commit fits.
    let (_repository, forgejo) = served(1);
    forgejo.state().message_bytes = 9 << 20;
    let data = TempDir::new();
    let gate = Gate::start(&config_for(&forgejo), data.path());
    assert_eq!(gate.refresh(), Refreshed::Failed);
    let failing = gate.state().failing.unwrap();
    assert_eq!(failing.kind, "huge-commit", "{failing:?}");
}

/// `MAX_RESPONSE_ITEMS = 0`.
#[test]
fn a_list_without_a_commit_is_not_taken_for_a_login_page() {
    let (_repository, forgejo) = served(2);
    forgejo.state().mood_for = "/commits?";
    forgejo.set_mood(Mood::Text("[]\n".to_owned()));
    let data = TempDir::new();
    let gate = Gate::start(&config_for(&forgejo), data.path());
    assert_eq!(gate.refresh(), Refreshed::Failed);
    let failing = gate.state().failing.unwrap();
    assert_eq!(failing.kind, "no-list");
    assert!(failing.detail.contains("MAX_RESPONSE_ITEMS"), "{failing:?}");
}

/// Forgejo says 401; somebody makes a token and puts it in the file, as the log says.
#[test]
fn a_token_that_is_put_in_the_file_is_taken_without_a_restart() {
    let (_repository, forgejo) = served(2);
    forgejo.state().token = Some("the-new-token".to_owned());
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.refresh_seconds = 1;
    configure(&mut config, Token::File, data.path());
    let gate = Gate::start(&config, data.path());
    eventually("the trouble", || gate.last_failed());
    let file = config.auth_token_file.clone().unwrap();
    // A file that is no token for a moment, as an editor leaves it, ends nothing.
    fs::write(&file, "").unwrap();
    let before = forgejo.requests().len();
    eventually("another poll", || before < forgejo.requests().len());
    assert!(gate.last_failed());
    fs::write(&file, "the-new-token\n").unwrap();
    eventually("the window", || gate.window().is_some());
    assert_eq!(gate.state().failing, None);
    let told = logged(&["event=gate_token_read_again", file.to_str().unwrap()]);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert_eq!(logged(&["the-new-token"]), [""; 0]);

    // 403 as well.
    forgejo.state().token = Some("the-third-token".to_owned());
    forgejo.set_mood(Mood::Recorded("403-scope-missing"));
    eventually("the next trouble", || gate.last_failed());
    fs::write(&file, "the-third-token\n").unwrap();
    forgejo.set_mood(Mood::Well);
    eventually("no trouble", || !gate.last_failed());
}

#[test]
fn a_fault_that_becomes_another_is_reported_as_that() {
    let repository = Repository::empty();
    let forgejo = Forgejo::serve(repository.path());
    forgejo.state().hides_repository = true;
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.refresh_seconds = 1;
    let gate = Gate::start(&config, data.path());
    let kind = || gate.state().failing.map(|failing| failing.kind);
    eventually("no repository", || kind().as_deref() == Some("not-found"));
    forgejo.state().hides_repository = false;
    // The question to the repository is a minute away; the push is seen at once all the same.
    repository.commit("main", 1);
    eventually("the push", || gate.window().is_some());
    forgejo.state().renamed_to = Some(("lab".to_owned(), "robots".to_owned()));
    eventually("renamed", || kind().as_deref() == Some("renamed"));
    forgejo.state().renamed_to = None;
    eventually("renamed back", || kind().is_none());
}
