//! The ways back into the queue: `requeue` of many kinds, `resend`, and names that are not allowed.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::crashes::is_release;
use super::stub::{Reply, Stub, problem};
use super::{A, B, Lab};

/// A lab host with one of each local refusal, and two that the receiver refuses.
fn with_refused() -> (Stub, Lab) {
    let stub = Stub::new([Reply::Say(problem(409, "taken", ""))]);
    let lab = Lab::new(&stub.url);
    for (id, commit) in [("of-a", A), ("of-b", B)] {
        lab.episode(id, commit);
    }
    let big = " ".repeat(1 << 20);
    for (id, meta) in [
        ("json", "{".to_owned()),
        ("json-2", "[]".to_owned()),
        ("none", "{}".to_owned()),
        ("twice", r#"{"code_version":1,"code_version":2}"#.to_owned()),
        ("large", format!("{{{big}}}")),
        ("link", format!(r#"{{"code_version":{{"commit":"{A}"}}}}"#)),
    ] {
        lab.episode(id, A);
        fs::write(lab.path("episodes").join(id).join("meta.json"), meta).unwrap();
    }
    std::os::unix::fs::symlink("/etc", lab.path("episodes/link/etc")).unwrap();
    let ended = lab.ship_once();
    assert_eq!((ended.code, lab.names("episodes")), (3, vec![]), "{ended}");
    (stub, lab)
}

#[test]
fn every_refusal_has_a_reason_for_programs() {
    let (_stub, lab) = with_refused();
    for (id, reason) in [
        ("of-a", "taken"),
        ("json", "bad-json"),
        ("json-2", "bad-json"),
        ("none", "no-commit"),
        ("twice", "two-commits"),
        ("large", "meta-too-large"),
        ("link", "not-a-file"),
    ] {
        let why = lab.json(&format!("refused/{id}.why.json"));
        assert_eq!(why["reason"], reason, "{id}: {why}");
    }
    let refused = lab.status()["refused"].clone();
    assert_eq!(refused[0]["why"]["reason"], "bad-json", "{refused}");
}

#[test]
fn requeue_chooses_by_name_reason_commit_or_all() {
    let (_stub, lab) = with_refused();
    // A note of an older program has no reason of its own.
    let mut note = lab.json("refused/of-b.why.json");
    note.as_object_mut().unwrap().remove("reason");
    fs::write(lab.path("refused/of-b.why.json"), note.to_string()).unwrap();
    for (args, code, back) in [
        (&["--reason", "bad-json"][..], 0, &["json", "json-2"][..]),
        (&["--reason", "taken"], 0, &["of-a", "of-b"]),
        (&["--reason", "no-commit"], 0, &["none"]),
        (
            &["none", "twice", "nobody", "large"],
            1,
            &["large", "none", "twice"],
        ),
        // The link's meta.json is whole: its commit is known by that, the others' by their notes.
        (&["--commit", &A[..7]], 0, &["link", "of-a"]),
        (&["--commit", B, "--reason", "taken"], 0, &["of-b"]),
        (&["--reason", "taken"], 0, &["of-a", "of-b"]),
        (
            &["--commit", &A[..7], "--reason", "not-a-file"],
            0,
            &["link"],
        ),
        (
            &["--all"],
            0,
            &[
                "json", "json-2", "large", "link", "none", "of-a", "of-b", "twice",
            ],
        ),
    ] {
        let args = [&["requeue"], args].concat();
        let before = lab.names("refused");
        let ended = lab.run(&args, &[]);
        assert_eq!(
            (ended.code, lab.names("episodes")),
            (code, back.iter().map(|s| (*s).to_owned()).collect()),
            "{args:?}\n{ended}"
        );
        assert_eq!(
            ended.out.matches(" is in the queue again\n").count(),
            back.len(),
            "{ended}"
        );
        let taken: usize = back.len() * 2;
        assert_eq!(
            lab.names("refused").len(),
            before.len() - taken,
            "{args:?}\n{lab}"
        );
        // And refused again, for the next choice.
        lab.ship_once();
        assert_eq!(lab.names("refused"), before, "{args:?}\n{lab}");
    }
    for (args, code, words) in [
        (&["requeue"][..], 2, "no episode was named"),
        (&["requeue", "json", "--all"], 2, "exclude each other"),
        (
            &["requeue", "--all", "--reason", "taken"],
            2,
            "exclude each other",
        ),
        (
            &["requeue", "json", "none", "--new-id", "x"],
            2,
            "needs exactly one NAME",
        ),
        (
            &["requeue", "--all", "--new-id", "x"],
            2,
            "needs exactly one NAME",
        ),
        (
            &["requeue", "--reason", "nonsense"],
            1,
            "the reasons there: bad-json (2), meta-too-large (1)",
        ),
        (
            &["requeue", "--commit", "1234567"],
            1,
            "was made by a commit 1234567",
        ),
        (
            &["requeue", "--commit", "aaaaaa"],
            2,
            "7 or more of its lowercase hex digits",
        ),
    ] {
        let ended = lab.run(args, &[]);
        assert_eq!(
            (ended.code, ended.count(words)),
            (code, 1),
            "{args:?}\n{ended}"
        );
    }
    assert_eq!(lab.names("episodes"), [""; 0]);
}

#[test]
fn a_short_commit_must_be_one_commit() {
    let stub = Stub::new([Reply::Say(problem(409, "taken", ""))]);
    let lab = Lab::new(&stub.url);
    let near = format!("{}{}", &A[..39], "b");
    lab.episode("ep-1", A);
    lab.episode("ep-2", &near);
    let both = format!("{A}, {near}");
    let aside = |prefix: &str| lab.run(&["set-aside", "--commit", prefix], &[]);
    let ended = aside(&A[..10]);
    assert_eq!((ended.code, ended.count(&both)), (1, 1), "{ended}");
    assert_eq!(aside(A).code, 0);
    assert_eq!(lab.names("episodes"), ["ep-2"]);
    assert_eq!(aside(&near[..7]).out.lines().next(), Some("ep-2"));
    assert_eq!(lab.json("refused/ep-2.why.json")["reason"], "set-aside");
    let ended = lab.run(&["requeue", "--commit", &A[..10]], &[]);
    assert_eq!((ended.code, ended.count(&both)), (1, 1), "{ended}");
    let ended = lab.run(&["requeue", "--reason", "set-aside"], &[]);
    assert_eq!((ended.code, lab.names("episodes").len()), (0, 2), "{ended}");
}

/// Names as recorders make them: by `isoformat()`, with spaces, with bytes that are no text.
#[test]
fn names_that_are_not_allowed_are_listed_with_what_to_type() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    let names: [&[u8]; 6] = [
        b"--all",
        b"2026-11-28T10:11:12.5 swing",
        b"it's odd",
        b"bytes\xff\n",
        "\u{e4}".as_bytes(),
        b"ends.json",
    ];
    for name in names {
        lab.episode("ep", A);
        let odd = lab.path("episodes").join(OsStr::from_bytes(name));
        fs::rename(lab.path("episodes/ep"), odd).unwrap();
    }
    fs::create_dir(lab.path("episodes/still made")).unwrap();
    let json = lab.status();
    assert_eq!(
        (
            &json["overlooked"],
            json["overlooked_named"].as_array().unwrap().len()
        ),
        (&6.into(), 6)
    );
    let page = lab.run(&["status"], &[]).out;
    assert!(page.contains("NOT SENT: 6 finished episodes"), "{page}");
    let wanted =
        "  cis490 requeue '2026-11-28T10:11:12.5 swing' --new-id 2026-11-28T10-11-12.5-swing\n";
    assert!(page.contains(wanted), "{page}");

    let ended = lab.run(&["requeue", "it's odd"], &[]);
    assert_eq!(
        (ended.code, ended.count("--new-id it-s-odd")),
        (1, 1),
        "{ended}"
    );
    let ended = lab.run(&["requeue", "still made", "--new-id", "x"], &[]);
    assert_eq!(
        (ended.code, ended.count("still being recorded")),
        (1, 1),
        "{ended}"
    );

    // What the page says is typed into a shell as it stands.
    let commands: Vec<&str> = page
        .lines()
        .filter(|line| line.contains("--new-id"))
        .collect();
    assert_eq!(commands.len(), 6, "{page}");
    for command in commands {
        let words = std::process::Command::new("sh")
            .args(["-c", &command.replace("cis490 ", "printf '%s\\n' ")])
            .output()
            .unwrap();
        let words = String::from_utf8(words.stdout).unwrap();
        let mut words: Vec<&str> = words.lines().collect();
        // The test's own option comes first.
        let config = lab.config().display().to_string();
        words.splice(1..1, ["--config", &config]);
        let ended = lab.run_as_is(&words);
        assert_eq!(ended.code, 0, "{command}\n{ended}");
    }
    assert_eq!(lab.status()["overlooked"], 0);
    assert_eq!(lab.ship_once().code, 0, "{lab}");
    assert_eq!(stub.stored().len(), 6);
    assert_eq!(lab.names("episodes"), ["still made"]);
}

#[test]
fn of_many_names_that_are_not_allowed_some_are_listed() {
    let lab = Lab::new("http://127.0.0.1:9");
    for n in 0..130 {
        let dir = lab.path("episodes").join(format!("odd {n}"));
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("meta.json"), "{}").unwrap();
    }
    let json = lab.status();
    assert_eq!(json["overlooked"], 130);
    assert_eq!(json["overlooked_named"].as_array().unwrap().len(), 100);
    let page = lab.run(&["status"], &[]).out;
    assert_eq!(page.matches("--new-id odd-").count(), 20, "{page}");
    assert!(
        page.contains("and 110 more: cis490 status --json"),
        "{page}"
    );
}

#[test]
fn what_was_accepted_is_sent_again_and_gets_its_receipt() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    lab.episode("ep-2", A);
    assert_eq!(lab.ship_once().code, 0);
    let receipt = lab.json("shipped/ep-1.receipt.json");
    let stored = stub.stored();

    let ended = lab.run(&["requeue", "ep-1"], &[]);
    assert_eq!(
        (ended.code, ended.count("cis490 resend ep-1")),
        (1, 1),
        "{ended}"
    );
    let ended = lab.run(&["resend", "ep-1", "ep-9", "ep-2"], &[]);
    assert_eq!(
        (ended.code, &ended.out[..]),
        (
            1,
            "ep-1 is in the queue again\nep-2 is in the queue again\n"
        ),
        "{ended}"
    );
    assert_eq!(ended.count("keep_shipped_days"), 1, "{ended}");
    let ended = lab.run(&["resend", "ep-1"], &[]);
    assert_eq!(
        (ended.code, ended.count("is in the queue already")),
        (1, 1),
        "{ended}"
    );
    // It was lost there: the same bytes come again.
    stub.forget();
    let ended = lab.ship_once();
    assert_eq!((ended.code, ended.count("status=201")), (0, 2), "{ended}");
    assert_eq!(stub.stored(), stored);
    lab.assert_all_shipped(&["ep-1", "ep-2"]);
    assert_eq!(lab.json("shipped/ep-1.receipt.json"), receipt);
    // It was there all the time.
    assert_eq!(lab.run(&["resend", "ep-1"], &[]).code, 0);
    let ended = lab.ship_once();
    assert_eq!((ended.code, ended.count("status=200")), (0, 1), "{ended}");
    lab.assert_all_shipped(&["ep-1", "ep-2"]);
    for (args, code, words) in [
        (&["resend"][..], 2, "no episode was named"),
        (&["resend", "../episodes"], 1, "is not an episode id"),
        (&["resend", "ep-1.receipt.json"], 1, "is not an episode id"),
    ] {
        let ended = lab.run(args, &[]);
        assert_eq!(
            (ended.code, ended.count(words)),
            (code, 1),
            "{args:?}\n{ended}"
        );
    }
}

/// At each step of a way back: the episode is in one place, whole, and goes through in the end.
fn walk(args: &[&str], prepare: impl Fn(&Lab, &Stub), source: &str) {
    if is_release() {
        return;
    }
    for step in 1..20 {
        let stub = Stub::new([Reply::Store]);
        let lab = Lab::new(&stub.url);
        prepare(&lab, &stub);
        let crashed = lab.run(args, &[("CIS490_CRASH_AT", &step.to_string())]);
        if lab.path(source).exists() {
            assert_eq!(lab.run(args, &[]).code, 0, "{step}\n{lab}");
        }
        assert_eq!(lab.ship_once().code, 0, "{step}\n{lab}");
        lab.assert_all_shipped(&["ep-1"]);
        if crashed.code != -1 {
            return assert!(step > 3, "the hook is not wired: {step}");
        }
    }
    panic!("more durable steps than the bound: raise it knowingly");
}

#[test]
fn a_crash_at_any_step_of_resend_loses_nothing() {
    let shipped = |lab: &Lab, _: &Stub| {
        lab.episode("ep-1", A);
        assert_eq!(lab.ship_once().code, 0);
    };
    walk(&["resend", "ep-1"], shipped, "shipped/ep-1");
}

#[test]
fn a_crash_at_any_step_of_a_new_name_loses_nothing() {
    let odd = |lab: &Lab, _: &Stub| {
        lab.episode("ep-1", A);
        fs::rename(lab.path("episodes/ep-1"), lab.path("episodes/odd one")).unwrap();
    };
    walk(
        &["requeue", "odd one", "--new-id", "ep-1"],
        odd,
        "episodes/odd one",
    );
}
