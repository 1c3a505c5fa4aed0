//! What the shipper does with each answer, and with none: the right-hand column of the table.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::stub::{Reply, Stub, answer, problem, receipt_but};
use super::{A, B, Lab, noise};

/// A 412 that is not the gate's says nothing of the commit: something on the way has added a condition.
#[test]
fn a_condition_that_is_not_ours_holds_no_commit() {
    let stub = Stub::new([Reply::Say(problem(412, "precondition-failed", ""))]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 1, "{ended}");
    assert!(ended.to_string().contains("0 held, 1 waiting"), "{ended}");
    assert!(lab.path("episodes").join("ep-1").exists(), "{lab}");
}

#[test]
fn a_stored_episode_has_its_receipt_and_leaves_nothing() {
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::with(&stub.url, "token_file = \"/nonexistent\"");
    lab.episode("ep-1", A);
    let refused = lab.ship_once();
    assert_eq!(
        (refused.code, refused.count("cannot read token_file")),
        (1, 1),
        "{refused}"
    );

    let token = lab.dir().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let config = fs::read_to_string(lab.config()).unwrap();
    fs::write(
        lab.config(),
        config.replace("/nonexistent", token.to_str().unwrap()),
    )
    .unwrap();
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}\n{lab}");
    assert_eq!(ended.out, "1 shipped, 0 refused, 0 held, 0 waiting\n");
    assert!(!ended.log.contains("s3cret"), "{ended}");
    lab.assert_all_shipped(&["ep-1"]);
    assert!(lab.path("shipped/ep-1/data.bin").exists());
    assert_eq!(lab.json("shipped/ep-1.receipt.json")["seq"], 7);

    let heard = &stub.heard()[0];
    assert_eq!(heard.line(), "PUT /v1/episodes/lab-1/ep-1 HTTP/1.1");
    assert_eq!(heard.header("Expect"), Some("100-continue"));
    assert_eq!(heard.header("X-Cis490-Code-Commit"), Some(A));
    assert_eq!(heard.header("X-Cis490-Code-Dirty"), Some("true"));
    assert_eq!(heard.header("Authorization"), Some("Bearer s3cret"));
    assert_eq!(heard.header("Transfer-Encoding"), None);
    assert!(
        heard
            .header("Content-Length")
            .unwrap()
            .parse::<u64>()
            .unwrap()
            > 0
    );
}

/// Each status: said on the head, and again after the whole body.
#[test]
fn each_refusal_has_its_place() {
    let cases = [
        // status, exit status of --once, where the episode is then
        (400, 1, "episodes"),
        (401, 1, "episodes"),
        (403, 1, "episodes"),
        (404, 1, "episodes"),
        (405, 1, "episodes"),
        (408, 1, "episodes"),
        (409, 3, "refused"),
        (411, 1, "episodes"),
        (412, 3, "episodes"),
        (413, 3, "refused"),
        (417, 1, "episodes"),
        (422, 1, "episodes"),
        (431, 1, "episodes"),
        (500, 1, "episodes"),
        (501, 1, "episodes"),
        (503, 1, "episodes"),
        (507, 1, "episodes"),
        (599, 1, "episodes"),
        (204, 1, "episodes"),
        (302, 1, "episodes"),
    ];
    for (status, code, folder) in cases {
        let said = problem(status, "why", "Location: /elsewhere\r\nRetry-After: 30\r\n");
        for reply in [Reply::Say(said.clone()), Reply::SayAfterBody(said.clone())] {
            let stub = Stub::new([reply]);
            let lab = Lab::new(&stub.url);
            lab.episode("ep-1", A);
            let ended = lab.ship_once();
            assert_eq!(ended.code, code, "{status}\n{ended}");
            assert!(
                lab.path(folder).join("ep-1").exists(),
                "{status}\n{lab}\n{ended}"
            );
            assert_eq!(lab.names("shipped"), [""; 0], "{status}");
            // No redirect is followed, and nothing is sent twice in one go but a 422 once.
            let puts = if status == 422 { 2 } else { 1 };
            assert_eq!(stub.lines().len(), puts, "{status}\n{ended}");
            if folder == "refused" {
                let why = lab.json("refused/ep-1.why.json");
                assert_eq!(
                    (&why["status"], &why["by"]),
                    (&status.into(), &"receiver".into())
                );
                assert_eq!(why["problem"]["detail"], "words of why");
                assert_eq!(lab.names("outbox"), [""; 0]);
            } else {
                assert_eq!(lab.names("outbox"), ["ep-1.tar.zst"], "{status}");
            }
        }
    }
}

#[test]
fn a_refusal_in_somebody_elses_words_moves_nothing() {
    for status in [400, 409, 413] {
        for body in ["<html>413 Request Entity Too Large</html>", "{}", ""] {
            let stub = Stub::new([Reply::Say(answer(status, "", body))]);
            let lab = Lab::new(&stub.url);
            lab.episode("ep-1", A);
            assert_eq!(lab.ship_once().code, 1, "{status} {body}");
            assert_eq!(lab.names("episodes"), ["ep-1"]);
        }
    }
}

#[test]
fn no_answer_keeps_the_episode_whether_it_was_stored_or_not() {
    for (name, reply, stored) in [
        ("did not store, no answer", Reply::Die, 0),
        ("did not store, hung up in the body", Reply::DieInBody, 0),
        ("stored, no answer", Reply::StoreAndDie, 1),
    ] {
        let stub = Stub::new([reply, Reply::Store]);
        let lab = Lab::new(&stub.url);
        lab.episode("ep-1", A);
        let ended = lab.ship_once();
        assert_eq!(ended.code, 1, "{name}\n{ended}");
        assert_eq!(stub.stored().len(), stored, "{name}");
        assert_eq!(lab.names("episodes"), ["ep-1"], "{name}");
        let ended = lab.ship_once();
        assert_eq!(ended.code, 0, "{name}\n{ended}");
        // What was packed is sent as it was.
        assert_eq!(ended.count("event=packed"), 0, "{name}\n{ended}");
        let status = if stored == 1 {
            "status=200"
        } else {
            "status=201"
        };
        assert_eq!(ended.count(status), 1, "{name}\n{ended}");
        lab.assert_all_shipped(&["ep-1"]);
        assert_eq!(stub.stored().len(), 1, "{name}");
    }
}

#[test]
fn a_receipt_for_something_else_cleans_up_nothing() {
    type Change = fn(&str) -> String;
    let cases: [(&str, Change); 6] = [
        ("another host", |json| json.replace("lab-1", "lab-2")),
        ("another episode", |json| json.replace("ep-1", "ep-2")),
        ("another digest", |json| {
            let at = json.find("\"sha256\":\"").unwrap() + 10;
            let digit = if json[at..].starts_with('0') {
                '1'
            } else {
                '0'
            };
            format!("{}{digit}{}", &json[..at], &json[at + 1..])
        }),
        ("another size", |json| {
            json.replace("\"bytes\":", "\"bytes\":9")
        }),
        ("cut short", |json| json[..json.len() / 2].to_owned()),
        ("a proxy's page", |_| "<html>OK</html>".to_owned()),
    ];
    for status in [200, 201] {
        for (name, change) in cases {
            let stub = Stub::new([Reply::Die]);
            let lab = Lab::new(&stub.url);
            lab.episode("ep-1", A);
            lab.ship_once();
            // The stub knows now what will be stated, and can lie about it.
            let lie = receipt_but(status, &stub.heard()[0], change);
            stub.puts([Reply::SayAfterBody(lie)]);
            let ended = lab.ship_once();
            assert_eq!(ended.code, 1, "{name}\n{ended}");
            assert_eq!(ended.count("event=receipt_wrong"), 1, "{name}\n{ended}");
            assert_eq!(lab.names("episodes"), ["ep-1"], "{name}");
            assert_eq!(lab.names("shipped"), [""; 0], "{name}");
        }
    }
}

#[test]
fn a_412_holds_the_commit_and_lets_the_others_go() {
    let stub = Stub::new([Reply::Say(problem(412, "not-in-window", "")), Reply::Store]);
    let lab = Lab::new(&stub.url);
    // The smallest goes first, and is refused.
    lab.episode_with("ep-1", A, b"");
    lab.episode_with("ep-2", A, b"larger");
    lab.episode_with("ep-3", B, b"the largest");
    let ended = lab.ship_once();
    assert_eq!(ended.code, 3, "{ended}");
    assert_eq!(lab.names("episodes"), ["ep-1", "ep-2"], "{ended}");
    assert_eq!(lab.names("shipped"), ["ep-3", "ep-3.receipt.json"]);
    // The one that was not asked about is not even packed.
    assert_eq!(lab.names("outbox"), ["ep-1.tar.zst"]);
    // Whole and ready to paste, and once.
    let block = "\n    cd /opt/cis490 && git pull\n    sudo ./install.sh\n";
    assert_eq!(ended.count(block), 1, "{ended}");
    assert_eq!(ended.count("ERROR"), 1, "{ended}");

    // The next run asks the gate first, and sends no bytes. It has told the remediation already.
    stub.gets([Reply::Say(problem(412, "not-in-window", ""))]);
    let ended = lab.ship_once();
    assert_eq!((ended.code, ended.count("event=held")), (3, 0), "{ended}");
    assert_eq!(stub.lines()[2..], [format!("GET /v1/gate/{A} HTTP/1.1")]);
    assert_eq!(
        lab.json("state.json")["holds"][0]["remediation"],
        "cd /opt/cis490 && git pull\nsudo ./install.sh"
    );

    // It could not be asked: 1 wins over 3.
    stub.gets([Reply::Die]);
    assert_eq!(lab.ship_once().code, 1);
    assert_eq!(stub.lines().len(), 4);

    let yes = format!(r#"{{"allowed":true,"position":99,"window":100,"head_commit":"{B}"}}"#);
    stub.gets([Reply::Say(answer(200, "", &yes))]);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 0, "{ended}");
    assert_eq!(ended.count("event=falling_out"), 1, "{ended}");
    assert_eq!(lab.names("episodes"), [""; 0]);
    assert_eq!(lab.json("state.json")["holds"], serde_json::json!([]));
}

/// A proxy's page with our status says nothing of the commit: it is held, and nothing untrue is said.
/// The gate lets it go, and the proxy holds it again: that is one piece of news.
#[test]
fn a_412_that_is_a_proxys_page_says_nothing_of_the_commit() {
    let page = answer(412, "Content-Type: text/html\r\n", "<html>no</html>");
    let stub = Stub::new([Reply::Say(page.clone())]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 3, "{ended}");
    assert_eq!(ended.count("event=held_unknown"), 1, "{ended}");
    assert_eq!(ended.count("ERROR"), 0, "{ended}");
    let status = lab.run(&["status"], &[]);
    assert!(status.out.contains("WAITS FOR THE GATE"), "{status}");
    for untrue in ["paste", "old code", "HELD"] {
        assert!(!status.out.contains(untrue), "{untrue}\n{status}");
    }
    let yes = format!(r#"{{"allowed":true,"position":1,"window":100,"head_commit":"{B}"}}"#);
    stub.gets([Reply::Say(answer(200, "", &yes))]);
    stub.puts([Reply::Say(page)]);
    let ended = lab.ship_once();
    assert_eq!((ended.code, ended.count("event=held")), (3, 0), "{ended}");
    assert_eq!(ended.count("event=released"), 1, "{ended}");
}

#[test]
fn an_answer_in_the_middle_of_the_body_is_read_and_obeyed() {
    let refusal = problem(412, "not-in-window", "");
    for (name, reply) in [
        ("and hangs up", Reply::SayInBody(refusal.clone())),
        (
            "and reads no more",
            Reply::SayInBodyAndWait(refusal.clone()),
        ),
    ] {
        let stub = Stub::new([reply]);
        let lab = Lab::new(&stub.url);
        lab.episode_with("ep-1", A, &noise(3 << 20));
        let ended = lab.ship_once();
        assert_eq!(ended.code, 3, "{name}\n{ended}");
        assert_eq!(ended.count("    sudo ./install.sh"), 1, "{name}\n{ended}");
        let took = stub.heard()[0].at.elapsed();
        assert!(
            took.as_secs() < 10,
            "{name}: it waited for the receiver to give up"
        );
    }
}

#[test]
fn a_422_makes_us_look_at_our_own_file() {
    let mismatch = problem(422, "digest-mismatch", "");
    let stub = Stub::new([Reply::SayAfterBody(mismatch.clone()), Reply::Store]);
    let lab = Lab::new(&stub.url);
    lab.episode("ep-1", A);
    let ended = lab.ship_once();
    assert_eq!(
        (ended.code, ended.count("event=packed")),
        (0, 1),
        "whole: sent again as it is\n{ended}"
    );

    lab.episode_with("ep-2", A, &noise(10_000));
    let tarball = lab.path("outbox/ep-2.tar.zst");
    let damage = move || {
        let file = fs::File::options().write(true).open(&tarball).unwrap();
        file.write_all_at(b"rotten", 5000).unwrap();
    };
    stub.puts([
        Reply::After(Arc::new(damage), Box::new(Reply::SayAfterBody(mismatch))),
        Reply::Store,
    ]);
    let ended = lab.ship_once();
    assert_eq!(
        (ended.code, ended.count("event=packed")),
        (0, 2),
        "damaged: packed again\n{ended}"
    );
    assert_eq!(stub.stored().len(), 2);
}

#[test]
fn one_that_does_not_fit_lets_the_smaller_ones_pass() {
    let full = problem(507, "disk-full", "Retry-After: 60\r\n");
    let stub = Stub::new([Reply::Store]);
    let lab = Lab::new(&stub.url);
    lab.episode_with("ep-1", A, &noise(100_000));
    stub.puts([Reply::Say(full)]);
    assert_eq!(lab.ship_once().code, 1);
    lab.episode_with("ep-2", A, &noise(200_000));
    lab.episode_with("ep-3", A, &noise(10));
    stub.puts([
        Reply::Store,
        Reply::Say(problem(507, "disk-full", "Retry-After: 60\r\n")),
    ]);
    let ended = lab.ship_once();
    assert_eq!(ended.code, 1, "{ended}");
    assert_eq!(lab.names("episodes"), ["ep-1", "ep-2"], "{ended}");
    // The larger one was not even tried after the smaller had not fitted.
    assert_eq!(stub.lines().len(), 3, "{ended}");
}

/// An episode that was mended while it was under way is another: the answer is for the old one.
/// It once went to shipped/ under that answer, and was deleted in time without having been sent.
#[test]
fn what_changed_under_way_is_sent_again() {
    for refused in [false, true] {
        let stub = Stub::new([]);
        let lab = Lab::new(&stub.url);
        lab.episode("ep-1", A);
        let dir = lab.path("episodes/ep-1");
        let mend = move || {
            let meta = format!(r#"{{"code_version":{{"commit":"{A}"}},"mended":true}}"#);
            std::fs::write(dir.join(".mended"), meta).unwrap();
            std::fs::rename(dir.join(".mended"), dir.join("meta.json")).unwrap();
        };
        let first = match refused {
            true => Reply::Say(problem(409, "taken", "")),
            false => Reply::Store,
        };
        stub.puts([
            Reply::After(std::sync::Arc::new(mend), Box::new(first)),
            Reply::Store,
        ]);
        let ended = lab.ship_once();
        let heard = stub.heard();
        assert_eq!(heard.len(), 2, "{ended}");
        let digest = |n: usize| heard[n].header("X-Cis490-Sha256").unwrap().to_owned();
        assert_ne!(digest(0), digest(1), "{ended}");
        // After a 201 for the old bytes the new ones are a 409: kept, and a person looks.
        let (code, there) = if refused {
            (0, "shipped")
        } else {
            (3, "refused")
        };
        assert_eq!(ended.code, code, "{ended}");
        let meta = std::fs::read_to_string(lab.path(there).join("ep-1/meta.json")).unwrap();
        assert!(meta.contains("mended"), "{ended}");
        assert!(lab.names("episodes").is_empty(), "{ended}");
    }
}
