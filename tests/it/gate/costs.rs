//! What the gate asks of Forgejo: how many requests, and how large. A poll is one of them.

use std::thread;
use std::time::{Duration, Instant};

use cis490::names::CommitHash;
use cis490::receiver::version_gate::{ASK_PATIENCE, Look, Refreshed};

use super::{Gate, config_for, eventually, served};
use crate::forgejo::{Forgejo, Mood};
use crate::git::git_with_input;
use crate::repository::Repository;
use crate::world::TempDir;

/// Polls are one second apart; twelve of them are what the usual configuration asks in a minute.
const POLLS: usize = 3;

/// The requests until there are [`POLLS`] of them, and how many polls that time has had: on a busy machine
/// it is longer.
fn requests_of_polls(forgejo: &Forgejo) -> (usize, usize) {
    let (before, began) = (forgejo.requests().len(), Instant::now());
    let asked = || forgejo.requests().len() - before;
    eventually("the polls", || asked() >= POLLS);
    let asked = asked();
    (asked, began.elapsed().as_secs() as usize)
}

/// 12 requests a minute at an interval of 5 s, idle and while the repository is missing; on the way
/// into the trouble the other route and the repository are asked once.
#[test]
fn a_poll_is_one_request_whether_all_is_well_or_not() {
    let repository = Repository::new(60);
    for hidden in [false, true] {
        let forgejo = Forgejo::serve(repository.path());
        let data = TempDir::new();
        let mut config = config_for(&forgejo);
        config.refresh_seconds = 1;
        let gate = Gate::loaded(&config, data.path());
        forgejo.state().hides_repository = hidden;
        if hidden {
            let before = forgejo.requests().len();
            eventually("the trouble", || gate.last_failed());
            let way_in: Vec<_> = forgejo.requests()[before..]
                .iter()
                .map(|one| one.target.replace("/api/v1/repos/lab/cis490", ""))
                .collect();
            let way_in = &way_in[way_in.len() - 3..];
            assert_eq!(way_in, ["/git/refs/heads/main", "/branches/main", ""]);
        }
        let (asked, polls) = requests_of_polls(&forgejo);
        assert!(
            asked <= polls + 1,
            "{asked} requests in {polls} polls, hidden: {hidden}"
        );
    }
}

/// A flood of commits that nobody knows: one refresh a second (62 a minute with the polls), and one
/// question about a commit a second (60).
#[test]
fn a_flood_of_unknown_commits_is_two_requests_a_second() {
    let (_repository, forgejo) = served(3);
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    let (before, began) = (forgejo.requests().len(), Instant::now());
    let mut answered_in = Vec::new();
    // For three seconds; on a busy machine for as long as a flood takes.
    while began.elapsed() < Duration::from_secs(3) || answered_in.len() <= 500 {
        let n = answered_in.len() + 1;
        let commit = CommitHash::parse(&format!("{n:040x}")).unwrap();
        let asked = Instant::now();
        assert_eq!(gate.look(&commit), Look::NotInWindow);
        gate.ask(&commit, Box::new(|_| {}));
        answered_in.push(asked.elapsed());
        thread::sleep(Duration::from_millis(2));
    }
    // The median, since a busy machine may stop this thread in any of them.
    answered_in.sort();
    let median = answered_in[answered_in.len() / 2];
    assert!(
        median < Duration::from_millis(4),
        "the gate waits: {median:?}"
    );
    let all = forgejo.requests().len() - before;
    let about_commits = forgejo.questions_about_commits().len();
    let most = began.elapsed().as_secs() as usize + 1;
    assert!((2..=most).contains(&about_commits), "{about_commits}");
    assert!(all - about_commits <= most, "{all} {about_commits}");
}

/// The list of a large window takes many pages. What is new is admitted by the first request.
#[test]
fn a_large_window_admits_what_is_new_at_once() {
    let (repository, forgejo) = served(260);
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.window = 250;
    let gate = Gate::loaded(&config, data.path());
    let old = repository.head();
    repository.commit("main", 2);
    let head = repository.head();
    {
        let mut state = forgejo.state();
        state.mood_for = "&page=2"; // the list hangs, the first page of it comes
        state.mood = Mood::Hang;
    }
    let began = Instant::now();
    let (sender, heard) = std::sync::mpsc::channel();
    gate.ask(&head, Box::new(move |one| sender.send(one).unwrap()));
    let heard = heard.recv_timeout(ASK_PATIENCE).unwrap();
    assert_eq!(heard.ended, Refreshed::Done);
    assert!(began.elapsed() < ASK_PATIENCE);
    assert_eq!(gate.look(&head), Look::Admitted(1));
    assert_eq!(gate.look(&old), Look::Admitted(3));
    let first = forgejo.requests();
    let newest = first.iter().find(|one| one.query("not").is_some()).unwrap();
    assert_eq!(newest.query("sha"), Some(head.to_string().as_str()));
    assert_eq!(newest.query("not"), Some(old.to_string().as_str()));
    forgejo.set_mood(Mood::Well);
    assert_eq!(gate.refresh(), Refreshed::Done);
    assert_eq!(
        gate.window().unwrap().commits(),
        repository.log("main", 250)
    );
}

/// A force-push while a large list is on its way: what was taken back is known as that afterwards.
#[test]
fn what_a_force_push_takes_back_of_a_large_window_is_gone_with_its_list() {
    let (repository, forgejo) = served(80);
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    let old = repository.log("main", 3);
    repository.git(&["update-ref", "refs/heads/main", &old[2].to_string()]);
    repository.commit("main", 1);
    let wanted = repository.log("main", 100);
    assert_eq!(gate.refresh(), Refreshed::Done);
    eventually("the list", || gate.window().unwrap().commits() == wanted);
    assert_eq!(gate.look(&old[0]), Look::NotInWindow);
    let kept = || std::fs::read_to_string(data.path().join("window.json")).unwrap_or_default();
    eventually("it is kept as withdrawn", || {
        let content: serde_json::Value = serde_json::from_str(&kept()).unwrap_or_default();
        let withdrawn = content["withdrawn"].as_array().cloned().unwrap_or_default();
        withdrawn.contains(&serde_json::json!(old[0]))
    });
}

/// Thousands of branches begin like ours: more than a poll may cost. The route that worked is
/// remembered.
#[test]
fn branches_that_begin_alike_do_not_cost_a_second_request_at_each_poll() {
    let repository = Repository::new(2);
    let head = repository.head();
    let many: String = (0..6000)
        .map(|n| format!("create refs/heads/main-{n:04} {head}\n"))
        .collect();
    git_with_input(repository.path(), &["update-ref", "--stdin"], &many);
    let forgejo = Forgejo::serve(repository.path());
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    let first = forgejo.requests();
    assert!(first[0].answered_bytes > 1 << 20, "{first:#?}");
    for _ in 0..2 {
        let before = forgejo.requests().len();
        assert_eq!(gate.refresh(), Refreshed::Done);
        let asked = forgejo.requests().split_off(before);
        assert_eq!(asked.len(), 1, "{asked:#?}");
        assert!(asked[0].target.ends_with("/branches/main"), "{asked:#?}");
        assert!(asked[0].answered_bytes < 1000);
    }
}
