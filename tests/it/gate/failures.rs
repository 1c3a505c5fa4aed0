//! Each way in which Forgejo fails keeps the window that we have, and says in the log what to do.

use std::time::{Duration, Instant};

use cis490::receiver::version_gate::{Look, Refreshed};

use super::{Gate, config_for, eventually, logged, served};
use crate::forgejo::{Forgejo, Mood};
use crate::repository::Repository;
use crate::world::TempDir;

#[test]
fn every_failure_is_named_with_its_remedy_and_the_window_stays() {
    let repository = Repository::new(3);
    let wanted = repository.log("main", 3);
    let elsewhere = "http://elsewhere.invalid/\nevent=forged".replace('\n', "%0A");
    let cases = [
        (Mood::Status(401), "unauthorized", "auth_token"),
        (Mood::Status(403), "forbidden", "in front of it"),
        (Mood::Status(404), "not-found", "private"),
        (Mood::Status(409), "conflict", "journalctl"),
        (Mood::Status(500), "server-error", "git fsck"),
        (Mood::Status(502), "proxy", "forgejo_url"),
        (Mood::Status(503), "proxy", "forgejo_url"),
        (Mood::Status(418), "status", "journalctl"),
        (Mood::Redirect(307, elsewhere), "redirected", "forgejo_url"),
        (Mood::Html, "not-the-api", "login page"),
        (
            Mood::Text("{}".to_owned()),
            "no-branch",
            "version_gate.branch",
        ),
        (Mood::Text("[{".to_owned()), "cut-off", "journalctl"),
        (Mood::Text("[".repeat(100_000)), "cut-off", "journalctl"),
        (Mood::EndlessBody, "too-large", "forgejo_url"),
        (Mood::EndlessHeaders, "not-the-api", "forgejo_url"),
        (Mood::EndlessHeader, "too-large", "forgejo_url"),
        (Mood::CutShort, "unreachable", "systemctl status forgejo"),
        (Mood::Close, "unreachable", "systemctl status forgejo"),
        (Mood::Hang, "timeout", "hangs"),
        (Mood::Drip, "timeout", "hangs"),
    ];
    // All at once: some of them take ten seconds.
    let worlds = cases.map(|case| {
        let forgejo = Forgejo::serve(repository.path());
        let data = TempDir::new();
        let mut config = config_for(&forgejo);
        config.refresh_seconds = 1;
        let gate = Gate::loaded(&config, data.path());
        forgejo.set_mood(case.0.clone());
        (case, forgejo, data, gate)
    });
    for ((mood, kind, remedy), forgejo, _data, gate) in &worlds {
        let texts = [
            "WARN event=gate_refresh_failed source=forgejo",
            &format!("kind={kind} "),
            remedy,
            &forgejo.url,
        ];
        eventually(&format!("a line for {mood:?}, {texts:?}"), || {
            !logged(&texts).is_empty()
        });
        eventually("the state", || gate.last_failed());
        assert_eq!(gate.window().unwrap().commits(), wanted, "{mood:?}");
        for line in logged(&[&forgejo.url]) {
            assert!(!line.trim_end().contains('\n'), "{line}");
        }
        forgejo.set_mood(Mood::Well);
    }
    for ((mood, ..), forgejo, _data, gate) in &worlds {
        eventually(&format!("the end of {mood:?}"), || !gate.last_failed());
        let told = logged(&["gate_refresh_failed", "source=forgejo", &forgejo.url]);
        // While one turns into the other there may be one more: never one for each refresh.
        assert!(told.len() <= 2, "{mood:?}: {told:#?}");
        assert!(gate.age().unwrap() < Duration::from_secs(30), "{mood:?}");
    }
}

#[test]
fn a_list_that_fails_keeps_the_window_too_and_is_tried_again() {
    let (repository, forgejo) = served(3);
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.refresh_seconds = 1;
    let gate = Gate::loaded(&config, data.path());
    let before = repository.log("main", 3);
    for mood in [
        Mood::Status(500),
        Mood::Text("[]".to_owned()),
        Mood::Text("null".to_owned()),
        Mood::Text("{\"sha\":\"x\"}".to_owned()),
        Mood::EndlessBody,
    ] {
        {
            let mut state = forgejo.state();
            state.mood_for = "/commits?";
            state.mood = mood.clone();
        }
        repository.commit("main", 1);
        eventually("the failure", || gate.last_failed());
        assert_eq!(gate.window().unwrap().commits(), before, "{mood:?}");
        assert_eq!(gate.look(&repository.head()), Look::NotInWindow, "{mood:?}");
        forgejo.set_mood(Mood::Well);
        eventually("the list", || {
            gate.look(&repository.head()) == Look::Admitted(1)
        });
        forgejo.set_mood(mood);
        repository.git(&["update-ref", "refs/heads/main", &before[0].to_string()]);
        forgejo.set_mood(Mood::Well);
        eventually("the rewind", || gate.window().unwrap().commits() == before);
        eventually("no failure", || !gate.last_failed());
    }
}

#[test]
fn without_any_window_nothing_is_rejected() {
    let repository = Repository::new(1);
    let commit = repository.head();
    // Nothing listens on port 1 of the loopback; the other name does not exist.
    for url in [
        "http://127.0.0.1:1/a",
        "http://[::1]:1/b",
        "http://name.invalid/c",
    ] {
        let mut config = config_for(&Forgejo::serve(repository.path()));
        config.forgejo_url = Some(url.to_owned());
        config.refresh_seconds = 1;
        let data = TempDir::new();
        let began = Instant::now();
        let gate = Gate::start(&config, data.path());
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "starting waits for nobody"
        );
        assert_eq!(gate.refresh(), Refreshed::Failed);
        assert_eq!(gate.look(&commit), Look::NotLoaded);
        let state = gate.state();
        assert_eq!(
            (state.loaded, state.source, state.head_commit),
            (false, None, None)
        );
        assert_eq!(
            (state.commits.len(), state.age_seconds, state.window),
            (0, None, 100)
        );
        assert!(!logged(&["kind=unreachable", "age_s=none", url]).is_empty());
        assert!(!data.path().join("window.json").exists());
    }
    assert!(!logged(&["ERROR event=gate_has_no_window"]).is_empty());
}

#[test]
fn an_empty_repository_is_a_wait_until_the_first_push() {
    let repository = Repository::empty();
    let forgejo = Forgejo::serve(repository.path());
    let data = TempDir::new();
    let mut config = config_for(&forgejo);
    config.refresh_seconds = 1;
    let gate = Gate::start(&config, data.path());
    assert_eq!(gate.refresh(), Refreshed::Failed);
    repository.commit("main", 1);
    eventually("the first push", || {
        gate.look(&repository.head()) == Look::Admitted(1)
    });
}
