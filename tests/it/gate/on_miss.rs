//! A commit that is not in the window may be newer than what we know: one refresh before a 412.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use cis490::names::CommitHash;
use cis490::receiver::version_gate::{ASK_PATIENCE, Look, Refreshed, SecondLook};

use cis490::wire::Known;

use super::{DEADLINE, Gate, config_for, eventually, served};
use crate::forgejo::Mood;
use crate::world::TempDir;

/// What a request does.
fn judge(gate: &Gate, commit: &CommitHash) -> SecondLook {
    judge_within(gate, commit, ASK_PATIENCE)
}

/// The same with another patience: a loaded machine may need longer than a request waits.
fn judge_within(gate: &Gate, commit: &CommitHash, patience: Duration) -> SecondLook {
    let (sender, receiver) = mpsc::channel();
    let tell = move |heard| {
        let _ = sender.send(heard); // nobody waits any longer
    };
    let asked = gate.ask(commit, Box::new(tell));
    gate.look_again(commit, asked, receiver.recv_timeout(patience).ok())
}

const NEVER_PUSHED: SecondLook = SecondLook::NotInWindow(Known::NeverPushed);

fn unknown_host() -> CommitHash {
    CommitHash::parse(&"5".repeat(40)).unwrap()
}

#[test]
fn a_push_that_is_asked_for_at_once_is_admitted() {
    let (repository, forgejo) = served(3);
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    for _ in 0..3 {
        repository.commit("main", 1);
        let head = repository.head();
        assert_eq!(gate.look(&head), Look::NotInWindow);
        // The next refresh that is not asked for is an hour away.
        assert_eq!(
            judge_within(&gate, &head, DEADLINE),
            SecondLook::Admitted(1)
        );
    }
    assert_eq!(judge_within(&gate, &unknown_host(), DEADLINE), NEVER_PUSHED);
}

#[test]
fn many_misses_are_one_refresh() {
    let (_repository, forgejo) = served(3);
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    let before = forgejo.requests().len();
    let (sender, receiver) = mpsc::channel();
    for _ in 0..500 {
        let sender = sender.clone();
        gate.ask(
            &unknown_host(),
            Box::new(move |heard| sender.send(heard).unwrap()),
        );
    }
    for _ in 0..500 {
        let heard = receiver.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_eq!(
            (heard.ended, heard.known),
            (Refreshed::Done, Known::NeverPushed)
        );
    }
    assert_eq!(forgejo.questions_about_commits().len(), 1);
    let asked = forgejo.requests().len() - before;
    assert!((2..=3).contains(&asked), "{asked} requests for 500 misses");

    // A stream of misses: one a second, however many.
    let (before, began) = (forgejo.requests().len(), Instant::now());
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(judge(&gate, &unknown_host()), NEVER_PUSHED);
    }
    let asked = forgejo.requests().len() - before;
    let seconds = began.elapsed().as_secs() as usize;
    assert!(asked <= seconds + 1, "{asked} requests in {seconds} s");
}

#[test]
fn only_a_refresh_that_began_after_the_question_counts() {
    let (repository, forgejo) = served(3);
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    // A refresh that has read the old head and is still on its way back.
    let before = forgejo.requests().len();
    forgejo.set_mood(Mood::Slow(Duration::from_millis(700)));
    let (sender, receiver) = mpsc::channel();
    let first = sender.clone();
    let head = repository.head();
    let began = Instant::now();
    gate.ask(&head, Box::new(move |_| first.send("first").unwrap()));
    eventually("the first refresh", || before < forgejo.requests().len());
    gate.ask(&head, Box::new(move |_| sender.send("second").unwrap()));
    forgejo.set_mood(Mood::Well);
    assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok("first"));
    // A second after the first it may begin; on a busy machine we may look that late.
    let has_begun = forgejo.requests().len() > before + 1;
    let may_have = Duration::from_secs(1) <= began.elapsed();
    assert!(!has_begun || may_have, "the second has not begun");
    assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok("second"));
    assert_eq!(forgejo.requests().len(), before + 2);
}

#[test]
fn a_source_that_hangs_is_a_wait_and_then_a_412_on_what_we_know() {
    let (repository, forgejo) = served(3);
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.refresh_seconds = 60;
    let gate = Gate::loaded(&config, data.path());
    forgejo.set_mood(Mood::Hang);
    let began = Instant::now();
    assert_eq!(judge(&gate, &unknown_host()), SecondLook::Busy);
    assert!(ASK_PATIENCE <= began.elapsed());
    assert_eq!(
        gate.look(&repository.head()),
        Look::Admitted(1),
        "known commits wait for nobody"
    );
    eventually("the timeout", || gate.last_failed());
    // None is due within two seconds: told at once, and Forgejo is left alone.
    let before = forgejo.requests().len();
    for _ in 0..50 {
        let began = Instant::now();
        assert_eq!(
            judge(&gate, &unknown_host()),
            SecondLook::NotInWindow(Known::Unknown)
        );
        assert!(began.elapsed() < ASK_PATIENCE);
    }
    assert_eq!(forgejo.requests().len(), before);
    assert!(gate.facts().age_seconds.unwrap() >= 8, "{:?}", gate.facts());
}

#[test]
fn after_a_failure_a_miss_waits_for_the_next_refresh_if_it_is_near() {
    let (repository, forgejo) = served(3);
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.refresh_seconds = 2;
    let gate = Gate::loaded(&config, data.path());
    forgejo.set_mood(Mood::Status(500));
    eventually("a failure", || gate.last_failed());
    repository.commit("main", 1);
    forgejo.set_mood(Mood::Well);
    let (sender, receiver) = mpsc::channel();
    let head = repository.head();
    gate.ask(
        &head,
        Box::new(move |heard| sender.send(heard.ended).unwrap()),
    );
    assert_eq!(
        receiver.recv_timeout(Duration::from_secs(30)),
        Ok(Refreshed::Done)
    );
    assert_eq!(gate.look(&repository.head()), Look::Admitted(1));
}

#[test]
fn a_disabled_gate_still_loads_its_window() {
    let (repository, forgejo) = served(3);
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.enabled = false;
    let gate = Gate::loaded(&config, data.path());
    let state = gate.state();
    assert!(!gate.enabled() && !state.enabled && state.loaded);
    assert_eq!(state.head_commit, Some(repository.head()));
    assert_eq!(
        gate.look(&unknown_host()),
        Look::NotInWindow,
        "what it would have said"
    );
}
