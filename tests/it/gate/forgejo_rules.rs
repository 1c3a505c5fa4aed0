//! What is asked of Forgejo, and what of its answers counts.

use cis490::names::CommitHash;
use cis490::receiver::config::Secret;
use cis490::receiver::critical_thread::ShutdownHandle;
use cis490::receiver::version_gate::{Look, Refreshed, VersionGate};
use cis490::wire::Source;

use super::{Gate, LINES, config_for, eventually, is_admitted, served};
use crate::forgejo::{Forgejo, Mood};
use crate::repository::Repository;
use crate::world::TempDir;

#[test]
fn the_window_is_filled_across_pages_that_are_capped() {
    let repository = Repository::new(130);
    let all = repository.log("main", 130);
    // (what the server gives at most, our window, how many pages that takes)
    for (page_cap, window, pages) in [
        (50, 100, 2), // the usual: no third page is asked for
        (7, 100, 15), // a short page is not the end
        (50, 200, 4), // fewer commits than the window: the end is the empty page
        (50, 130, 3),
        (50, 20, 1),
        (1000, 100, 2), // more than the usual is not asked for
        (50, 1, 1),
    ] {
        let case = format!("cap {page_cap}, window {window}");
        let forgejo = Forgejo::serve(repository.path());
        forgejo.state().page_cap = page_cap;
        let mut config = config_for(&forgejo);
        config.window = window;
        let data = TempDir::new();
        let gate = Gate::loaded(&config, data.path());
        let wanted = &all[..all.len().min(window as usize)];
        assert_eq!(gate.window().unwrap().commits(), wanted, "{case}");
        assert_eq!(forgejo.listings().len(), pages, "{case}");
        for listing in forgejo.listings() {
            assert_eq!(
                listing.query("sha"),
                Some(all[0].to_string().as_str()),
                "{case}"
            );
            for costly in ["stat", "verification", "files"] {
                assert_eq!(listing.query(costly), Some("false"), "{case}");
            }
        }
        for (commit, position) in wanted.iter().zip(1..) {
            assert_eq!(gate.look(commit), Look::Admitted(position), "{case}");
        }
        for commit in &all[wanted.len()..] {
            assert_eq!(gate.look(commit), Look::NotInWindow, "{case}");
        }
    }
}

#[test]
fn a_quiet_refresh_costs_one_small_request() {
    let (_repository, forgejo) = served(60);
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    let before = forgejo.requests().len();
    let window = gate.window().unwrap();
    for _ in 0..2 {
        assert_eq!(gate.refresh(), Refreshed::Done);
    }
    let quiet = &forgejo.requests()[before..];
    assert_eq!(quiet.len(), 2, "{quiet:#?}");
    for request in quiet {
        assert_eq!(
            request.target,
            "/api/v1/repos/lab/cis490/git/refs/heads/main"
        );
        assert!(request.answered_bytes < 300, "{request:#?}");
    }
    assert!(
        std::sync::Arc::ptr_eq(&window, &gate.window().unwrap()),
        "nothing is swapped"
    );
}

#[test]
fn the_gate_follows_a_push_and_a_rewound_branch() {
    let (repository, forgejo) = served(5);
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.window = 3;
    config.refresh_seconds = 1;
    let gate = Gate::loaded(&config, data.path());
    let old = repository.log("main", 3);
    repository.commit("main", 2);
    let new = repository.log("main", 3);
    eventually("the push", || gate.window().unwrap().commits() == new);
    assert!(!is_admitted(gate.look(&old[2])), "what fell out is out");
    repository.git(&["update-ref", "refs/heads/main", &old[0].to_string()]);
    eventually("the rewind", || gate.window().unwrap().commits() == old);
    assert!(!is_admitted(gate.look(&new[0])));
}

#[test]
fn a_branch_is_matched_by_its_whole_name() {
    let repository = Repository::new(3);
    for other in ["main-old", "maintenance", "mai", "main2/main"] {
        repository.commit(other, 2);
    }
    let forgejo = Forgejo::serve(repository.path());
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    assert_eq!(
        gate.window().unwrap().commits(),
        repository.log("refs/heads/main", 9)
    );

    // A branch with a slash in its name.
    repository.commit("release/v1+x", 4);
    let mut config = config_for(&forgejo);
    config.branch = "release/v1+x".to_owned();
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    assert_eq!(
        gate.state().head_commit,
        Some(repository.log("release/v1+x", 1)[0])
    );

    // One match, answered bare as old versions did.
    let bare = format!(
        "{{\"ref\":\"refs/heads/release/v1+x\",\"object\":{{\"sha\":\"{}\"}}}}",
        repository.log("release/v1+x", 1)[0]
    );
    forgejo.state().mood_for = "/git/refs";
    forgejo.set_mood(Mood::Text(bare));
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    assert_eq!(
        gate.state().head_commit,
        Some(repository.log("release/v1+x", 1)[0])
    );
    forgejo.set_mood(Mood::Well);

    // Only longer names: there is no such branch.
    config.branch = "mainte".to_owned();
    let data = TempDir::new();
    let gate = Gate::start(&config, data.path());
    assert_eq!(gate.refresh(), Refreshed::Failed);
    assert_eq!(gate.look(&repository.head()), Look::NotLoaded);
}

#[test]
fn the_head_is_asked_another_way_where_the_first_fails() {
    let repository = Repository::new(3);
    for mood in [
        Mood::Status(404),
        Mood::Status(405),
        Mood::Status(500),
        Mood::Html,
        Mood::Text("null".to_owned()),
        Mood::Text("[null, 5, {\"ref\": null}]".to_owned()),
        Mood::EndlessBody,
    ] {
        let forgejo = Forgejo::serve(repository.path());
        forgejo.state().mood_for = "/git/refs";
        forgejo.set_mood(mood.clone());
        let data = TempDir::new();
        let gate = Gate::loaded(&config_for(&forgejo), data.path());
        assert_eq!(
            gate.state().head_commit,
            Some(repository.head()),
            "{mood:?}"
        );
        assert!(
            forgejo
                .requests()
                .iter()
                .any(|request| request.target.ends_with("/branches/main"))
        );
    }
}

#[test]
fn a_tag_of_the_branchs_name_changes_nothing() {
    let repository = Repository::new(9);
    let old = repository.log("refs/heads/main", 9)[5];
    repository.git(&["tag", "main", &old.to_string()]);
    let forgejo = Forgejo::serve(repository.path());
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    let wanted = repository.log("refs/heads/main", 9);
    assert_eq!(gate.window().unwrap().commits(), wanted);
    let listings = forgejo.listings().len();
    assert_eq!(gate.refresh(), Refreshed::Done);
    assert_eq!(forgejo.listings().len(), listings, "the head has not moved");
}

#[test]
fn only_a_commits_own_hash_counts() {
    let (repository, forgejo) = served(4);
    forgejo.state().nulls = true;
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.window = 2;
    let gate = Gate::loaded(&config, data.path());
    let wanted = repository.log("main", 4);
    assert_eq!(gate.window().unwrap().commits(), &wanted[..2]);
    let tree = repository.git(&["rev-parse", "main^{tree}"]);
    let others = [
        tree,
        "ab".repeat(20),
        "cd".repeat(20),
        "ef".repeat(20),
        wanted[2].to_string(),
    ];
    for other in others {
        let other = CommitHash::parse(&other).unwrap();
        assert_eq!(gate.look(&other), Look::NotInWindow, "{other}");
    }

    // With fewer commits than the window the last page is `null`, which is an empty list too.
    config.window = 100;
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    assert_eq!(gate.window().unwrap().commits(), wanted);
}

#[test]
fn a_server_that_repeats_itself_is_not_asked_for_ever() {
    let (_repository, forgejo) = served(60);
    forgejo.state().repeats_first_page = true;
    let data = TempDir::new();
    let gate = Gate::loaded(&config_for(&forgejo), data.path());
    assert_eq!(gate.window().unwrap().commits().len(), 50);
    assert_eq!(forgejo.listings().len(), 2);
}

#[test]
fn the_token_goes_to_forgejo_and_nowhere_else() {
    let repository = Repository::new(120);
    let thief = Forgejo::serve(repository.path());
    let forgejo = Forgejo::serve(repository.path());
    {
        let mut state = forgejo.state();
        state.token = Some("s3cret-of-the-gate".to_owned());
        state.link_base = Some(thief.url.clone());
    }
    let token_file = TempDir::new();
    let token_path = token_file.path().join("token");
    std::fs::write(&token_path, "s3cret-of-the-gate\n").unwrap();
    let mut config = config_for(&forgejo);
    config.auth_token_file = Some(token_path);
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    assert_eq!(gate.window().unwrap().commits().len(), 100);
    for status in [301, 302, 303, 307, 308] {
        forgejo.set_mood(Mood::Redirect(status, format!("{}/api/v1", thief.url)));
        let data = TempDir::new();
        let gate = Gate::start(&config, data.path());
        assert_eq!(gate.refresh(), Refreshed::Failed, "{status}");
    }
    for request in forgejo.requests() {
        assert_eq!(
            request.header("authorization"),
            ["token s3cret-of-the-gate"],
            "{request:#?}"
        );
        assert!(!request.target.contains("s3cret"));
    }
    assert_eq!(thief.requests().len(), 0, "{:#?}", thief.requests());
    let lines = LINES.lock().unwrap();
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("s3cret-of-the-gate"))
        .collect();
    assert!(told.is_empty(), "{told:#?}");
    drop(lines);
    assert!(!format!("{:?}", Some(Secret("s3cret-of-the-gate".to_owned()))).contains("s3cret"));
    let kept = std::fs::read_to_string(data.path().join("window.json")).unwrap();
    assert!(!kept.contains("s3cret"), "{kept}");
}

#[test]
fn a_url_may_have_a_path_and_a_slash_at_its_end() {
    let (_repository, forgejo) = served(2);
    let mut config = config_for(&forgejo);
    config.forgejo_url = Some(format!("{}/", forgejo.url));
    let data = TempDir::new();
    let gate = Gate::loaded(&config, data.path());
    assert_eq!(gate.state().source, Some(Source::Forgejo));
    config.forgejo_url = Some(format!("{}/git/", forgejo.url));
    let data = TempDir::new();
    let gate = Gate::start(&config, data.path());
    assert_eq!(gate.refresh(), Refreshed::Failed);
    let last = forgejo.requests().pop().unwrap();
    // The wrong path answers without Forgejo's JSON: one request shows that.
    assert_eq!(last.target, "/git/api/v1/repos/lab/cis490/branches/main");
}

#[test]
fn what_cannot_work_is_refused_at_start_in_words() {
    let forgejo = Forgejo::serve(std::path::Path::new("/nonexistent"));
    let data = TempDir::new();
    let refused = |change: &dyn Fn(&mut cis490::receiver::config::GateConfig)| {
        let mut config = config_for(&forgejo);
        change(&mut config);
        let (stopper, _stop) = ShutdownHandle::new();
        match VersionGate::start(&config, data.path(), &stopper) {
            Ok(_) => panic!("{config:?} was taken"),
            Err(failure) => failure.to_string(),
        }
    };
    let words = refused(&|config| {
        config.forgejo_url = Some("https://forge.example.invalid".to_owned());
        config.ca_file = Some("/nonexistent/ca".into());
    });
    let told = match cis490::tls::SPOKEN {
        true => words.contains("version_gate.ca_file /nonexistent/ca"),
        false => words.contains("version_gate.forgejo_url") && words.contains("TLS"),
    };
    assert!(told, "{words}");
    let words = refused(&|config| config.auth_token_file = Some("/nonexistent/token".into()));
    assert!(
        words.contains("auth_token_file /nonexistent/token"),
        "{words}"
    );
    let words = refused(&|config| config.auth_token = Some(Secret("two words\n".to_owned())));
    assert!(
        words.contains("auth_token") && !words.contains("two words"),
        "{words}"
    );
    assert_eq!(forgejo.requests().len(), 0);
}
