//! What is known of a commit that the window lacks, by each source.

use std::sync::mpsc;
use std::time::Instant;

use cis490::names::CommitHash;
use cis490::receiver::config::GateConfig;
use cis490::receiver::version_gate::{Heard, Refreshed};
use cis490::wire::Known;

use super::{DEADLINE, Gate, config_for, config_for_git, eventually, logged};
use crate::forgejo::{Forgejo, Mood};
use crate::git::git;
use crate::repository::Repository;
use crate::world::TempDir;

fn ask(gate: &Gate, commit: &CommitHash) -> Heard {
    let (sender, heard) = mpsc::channel();
    gate.ask(
        commit,
        Box::new(move |one| {
            let _ = sender.send(one);
        }),
    );
    heard.recv_timeout(DEADLINE).unwrap()
}

/// The same until a source has answered: on a loaded machine the first question may not be answered in
/// time, and its answer is kept for the next.
fn ask_until_told(gate: &Gate, commit: &CommitHash) -> Heard {
    ask_and_count_the_late(gate, commit).0
}

/// The same, and how many questions were not answered in time.
fn ask_and_count_the_late(gate: &Gate, commit: &CommitHash) -> (Heard, usize) {
    let give_up_at = Instant::now() + DEADLINE;
    let mut late = 0;
    loop {
        let heard = ask(gate, commit);
        if heard.known != Known::Unknown || give_up_at <= Instant::now() {
            return (heard, late);
        }
        late += 1;
    }
}

fn unknown_host() -> CommitHash {
    CommitHash::parse(&"5".repeat(40)).unwrap()
}

/// A branch of nine commits of which three get in; and a commit of each kind that does not.
struct World {
    repository: Repository,
    forgejo: Forgejo,
    older: CommitHash,
    other_branch: CommitHash,
    taken_back: CommitHash,
}

impl World {
    fn new() -> World {
        let repository = Repository::new(9);
        repository.commit("other", 1);
        let other_branch = repository.log("other", 1)[0];
        repository.commit("main", 1);
        let taken_back = repository.head();
        repository.git(&["update-ref", "refs/heads/main", "main^"]);
        World {
            forgejo: Forgejo::serve(repository.path()),
            older: repository.log("main", 9)[8],
            other_branch,
            taken_back,
            repository,
        }
    }

    fn config(&self) -> GateConfig {
        GateConfig {
            window: 3,
            ..config_for(&self.forgejo)
        }
    }

    fn clone(&self) -> TempDir {
        let clone = TempDir::new();
        let url = format!("file://{}", self.repository.path().display());
        git(clone.path(), &["clone", "-q", &url, "."]);
        clone
    }
}

#[test]
fn forgejo_says_what_a_commit_is_in_one_request_and_the_answer_is_kept() {
    let world = World::new();
    let data = TempDir::new();
    let gate = Gate::loaded(&world.config(), data.path());
    let head = world.repository.head().to_string();
    let cases = [
        (world.older, Known::Older, 1),
        (unknown_host(), Known::NeverPushed, 2),
        // The first of these asks too whether the server obeys `not=`.
        (world.other_branch, Known::Elsewhere, 4),
        (world.taken_back, Known::Elsewhere, 5),
    ];
    // Each that is late is asked again, with the question about `not=` at the most.
    let mut again = 0;
    for (commit, known, questions) in cases {
        for _ in 0..2 {
            let (heard, late) = ask_and_count_the_late(&gate, &commit);
            again += 2 * late;
            assert_eq!(
                (heard.ended, heard.known),
                (Refreshed::Done, known),
                "{commit}"
            );
            let asked = world.forgejo.questions_about_commits();
            let allowed = questions..=questions + again;
            assert!(allowed.contains(&asked.len()), "{allowed:?}: {asked:#?}");
            for one in asked {
                assert_eq!(one.query("not"), Some(head.as_str()));
            }
        }
        assert_eq!(gate.beyond().get(&commit), Some(&known));
    }
    // A push: what is older stays so, what is elsewhere may be merged now.
    world.repository.commit("main", 1);
    assert_eq!(gate.refresh(), Refreshed::Done);
    let beyond = gate.beyond();
    assert_eq!(beyond.get(&world.older), Some(&Known::Older));
    assert_eq!(beyond.len(), 1, "{beyond:?}");
}

#[test]
fn a_server_that_passes_over_not_is_not_believed() {
    let world = World::new();
    world.forgejo.state().passes_over_not = true;
    let data = TempDir::new();
    let gate = Gate::loaded(&world.config(), data.path());
    let heard = ask(&gate, &world.older);
    assert_eq!(
        (heard.ended, heard.known),
        (Refreshed::Done, Known::Unknown)
    );
    let told = || logged(&["WARN event=gate_cannot_tell", &world.forgejo.url]);
    eventually("the line", || !told().is_empty());
    assert_eq!(told().len(), 1, "{:#?}", told());
    // What is not there is not there.
    let heard = ask_until_told(&gate, &unknown_host());
    assert_eq!(heard.known, Known::NeverPushed);
}

#[test]
fn git_says_what_a_commit_is_where_it_is_the_only_source() {
    let world = World::new();
    let clone = world.clone();
    let mut config = config_for_git(clone.path());
    config.window = 3;
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    for (commit, known) in [
        (world.older, Known::Older),
        (world.other_branch, Known::Elsewhere),
        (unknown_host(), Known::NeverPushed),
    ] {
        let heard = ask_until_told(&gate, &commit);
        assert_eq!(heard.known, known, "{commit}");
    }
    // A shallow one cannot say that a commit was never pushed.
    git(clone.path(), &["fetch", "-q", "--depth", "3"]);
    git(clone.path(), &["reflog", "expire", "--expire=now", "--all"]);
    git(clone.path(), &["gc", "-q", "--prune=now"]);
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    assert_eq!(ask(&gate, &unknown_host()).known, Known::Unknown);
}

/// While Forgejo is away a commit may be newer than all that is known; git may know it as older.
#[test]
fn while_forgejo_is_away_only_a_commit_that_git_knows_as_older_is_called_older() {
    let world = World::new();
    let clone = world.clone();
    for behind in [false, true] {
        if behind {
            world.repository.commit("main", 1);
        }
        world.forgejo.set_mood(Mood::Well);
        let mut config = world.config();
        config.local_repo_path = Some(clone.path().to_owned());
        config.refresh_seconds = 1;
        let data = TempDir::new();
        let gate = Gate::loaded(&config, data.path());
        world
            .forgejo
            .set_mood(Mood::Recorded("502-nginx-forgejo-stopped"));
        eventually("the trouble", || gate.last_failed());
        for (commit, known) in [
            (world.older, Known::Older),
            (world.other_branch, Known::Unknown),
            (unknown_host(), Known::Unknown),
        ] {
            assert_eq!(
                ask(&gate, &commit).known,
                known,
                "{commit}, behind: {behind}"
            );
        }
        let failing = gate.facts().failing.unwrap();
        assert_eq!(failing.kind, "proxy");
        // Forgejo comes back: now the answer says what is true.
        world.forgejo.set_mood(Mood::Well);
        eventually("no trouble", || !gate.last_failed());
        let heard = ask_until_told(&gate, &unknown_host());
        assert_eq!(heard.known, Known::NeverPushed);
    }
}

/// Forgejo lists the branch and does not answer about a commit: the lab host is answered that nothing is
/// known of the commit, and not something that may be untrue.
#[test]
fn a_question_about_a_commit_that_is_not_answered_is_unknown() {
    let world = World::new();
    let data = TempDir::new();
    let gate = Gate::loaded(&world.config(), data.path());
    world.forgejo.state().mood_for = "&not=";
    world.forgejo.set_mood(Mood::Hang);
    let heard = ask(&gate, &world.older);
    assert_eq!(
        (heard.ended, heard.known),
        (Refreshed::Done, Known::Unknown)
    );
    assert_eq!(
        gate.facts().failing,
        None,
        "the branch is told all the while"
    );
    world.forgejo.set_mood(Mood::Well);
    let heard = ask_until_told(&gate, &world.taken_back);
    assert_eq!(heard.known, Known::Elsewhere);
}
