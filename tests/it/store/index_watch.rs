//! The index is lost, cut, moved, replaced or written by somebody else: while the receiver runs, or
//! between two runs. Nobody is answered a row that is nowhere, and no number comes twice.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{prepared, running, sample};
use crate::order::Steps;
use crate::world::{World, cis490, has_steps};

/// What somebody does to the index.
type Act = fn(&Path);

fn append(index: &Path, text: &str) {
    let mut file = fs::File::options().append(true).open(index).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn cut_to_its_first_row(index: &Path) {
    let first = 1 + fs::read_to_string(index).unwrap().find('\n').unwrap();
    let file = fs::File::options().write(true).open(index).unwrap();
    file.set_len(first as u64).unwrap();
}

fn move_away(index: &Path) {
    fs::rename(index, index.with_extension("away")).unwrap();
}

/// As an editor saves: the same text in another file.
fn replace(index: &Path) {
    let other = index.with_extension("other");
    fs::copy(index, &other).unwrap();
    fs::rename(other, index).unwrap();
}

/// As two stores are put together by hand: a row of another host, and a blank line.
fn merge(index: &Path) {
    let digest = "0f".repeat(32);
    let row = format!(
        "\n{{\"seq\":7,\"host\":\"lab-9\",\"episode\":\"ep-1\",\"sha256\":\"{digest}\"}}\n"
    );
    append(index, &row);
}

fn number(world: &World, episode: &str) -> u64 {
    let answer = world.put(&sample().episode(episode));
    assert_eq!(answer.status, 201, "{episode}\n{world}");
    answer.json()["seq"].as_u64().unwrap()
}

/// It ends into recovery within a second or so, or at once where an upload comes, which is not
/// answered 201; the next run names what the index lacks, and backfill brings it back.
#[test]
fn an_index_that_somebody_touches_ends_the_process_into_recovery() {
    let cases: [(&str, Act, &str, Option<&str>); 4] = [
        (
            "moved",
            move_away,
            "it was moved or removed",
            Some("index-missing"),
        ),
        ("replaced", replace, "it was replaced", None),
        (
            "cut",
            cut_to_its_first_row,
            "it was cut",
            Some("index-short"),
        ),
        ("written", merge, "somebody else wrote to it", None),
    ];
    thread::scope(|scope| {
        for (what, act, words, finding) in cases {
            for comes_an_upload in [false, true] {
                scope.spawn(move || touched(what, act, words, finding, comes_an_upload));
            }
        }
    });
}

fn touched(what: &str, act: Act, words: &str, finding: Option<&str>, comes_an_upload: bool) {
    let mut world = running();
    let mut numbers = vec![number(&world, "ep-1"), number(&world, "ep-2")];
    let index = world.data_dir().join("index.jsonl");
    act(&index);
    if comes_an_upload {
        let answer = world.try_put(&sample().episode("ep-3"));
        let status = answer.map(|answer| answer.status);
        assert!(
            matches!(status, None | Some(500)),
            "{what}: {status:?}\n{world}"
        );
    }
    assert!(
        world.ends_within(Duration::from_secs(10)),
        "{what}\n{world}"
    );
    assert_eq!(world.wait_for_end(), Some(1), "{what}\n{world}");
    let log = world.log();
    assert!(
        log.contains(words) && log.contains("logrotate"),
        "{what}\n{world}"
    );

    world.start();
    let told = format!("event=index_fault kind={}", finding.unwrap_or_default());
    assert_eq!(
        world.log().contains(&told),
        finding.is_some(),
        "{what}\n{world}"
    );
    numbers.push(number(&world, "ep-4"));
    assert!(numbers.is_sorted_by(|a, b| a < b), "{what}: {numbers:?}");
    assert_eq!(world.stop(), Some(0));
    let said = world.run(&["backfill", "--config", &world.config_path()]);
    assert!(said.contains("0 files failed"), "{said}");
    world.start();
    assert!(
        !world.log().contains("event=index_fault"),
        "{what}\n{world}"
    );
    for episode in ["ep-1", "ep-2", "ep-4"] {
        let receipt = world.get(&format!("/v1/episodes/lab-1/{episode}"));
        assert_eq!(receipt.status, 200, "{what}: {episode}\n{world}");
    }
}

/// Between the append and the answer: what went into a file that has no name any more is not acknowledged.
#[test]
fn an_index_replaced_before_the_answer_acknowledges_nothing() {
    if !has_steps("an index replaced before the answer acknowledges nothing") {
        return;
    }
    let mut world = prepared();
    // Long enough for the replacement to come before the answer.
    world.env("CIS490_SYNC_DELAY_MS", 400);
    let steps = Steps::of(&mut world);
    world.start();
    let index = world.data_dir().join("index.jsonl");
    let other = index.with_extension("other");
    fs::copy(&index, &other).unwrap();
    let answer = thread::scope(|scope| {
        let upload = scope.spawn(|| world.try_put(&sample()));
        world.wait_until("the row is appended", |_| {
            steps.names().contains(&"append".to_owned())
                && fs::metadata(&index).is_ok_and(|found| 0 < found.len())
        });
        fs::rename(&other, &index).unwrap();
        upload.join().unwrap()
    });
    let status = answer.map(|answer| answer.status);
    assert!(matches!(status, None | Some(500)), "{status:?}\n{world}");
    assert_eq!(world.wait_for_end(), Some(1), "{world}");
    assert!(world.log().contains("it was replaced"), "{world}");
    world.env("CIS490_SYNC_DELAY_MS", 0);
    world.start();
    assert_eq!(world.put(&sample()).status, 200, "{world}");
    assert_eq!(world.rows().len(), 1, "{world}");
}

/// Index and sequence are both gone: the refusals still say how far the numbers were, to the receiver and
/// to backfill.
#[test]
fn numbers_go_on_behind_those_in_refusals() {
    for by_backfill in [false, true] {
        let mut world = running();
        number(&world, "ep-1");
        number(&world, "ep-2");
        let last = number(&world, "ep-3");
        let refused = world.put(&sample().episode("ep-3").body(b"other"));
        assert_eq!(refused.status, 409, "{world}");
        let kept = world.data_dir().join("refusals.jsonl");
        world.wait_until("the refusal is kept", |_| {
            fs::read_to_string(&kept).is_ok_and(|text| text.ends_with('\n'))
        });
        world.wait_until("incoming/ is empty", |world| {
            world.names("incoming").is_empty()
        });
        assert_eq!(world.stop(), Some(0));
        for name in ["index.jsonl", "sequence"] {
            fs::remove_file(world.data_dir().join(name)).unwrap();
        }
        if by_backfill {
            world.run(&["backfill", "--config", &world.config_path()]);
            let rows = world.rows();
            let numbers: Vec<_> = rows.iter().filter_map(|row| row["seq"].as_u64()).collect();
            assert_eq!(numbers, [last + 1, last + 2, last + 3], "{world}");
        } else {
            world.start();
            assert_eq!(number(&world, "ep-4"), last + 1, "{world}");
        }
    }
}

/// One store over many runs, each ended in one way and its index touched in another.
#[test]
fn no_number_is_given_twice_whatever_happens_to_the_index() {
    let nothing: Act = |_| {};
    let older_copy: Act = |index| {
        fs::copy(index.with_extension("copy"), index).unwrap();
    };
    let empty: Act = |index| fs::write(index, "").unwrap();
    let no_last_break: Act = |index| {
        let file = fs::File::options().write(true).open(index).unwrap();
        file.set_len(file.metadata().unwrap().len() - 1).unwrap();
    };
    let too_large: Act = |index| {
        let digest = "0e".repeat(32);
        let row = format!(
            "{{\"seq\":{},\"host\":\"lab-8\",\"episode\":\"ep-1\",\"sha256\":\"{digest}\"}}\n",
            u64::MAX
        );
        append(index, &row);
    };
    let lost_sequence: Act = |index| fs::remove_file(index.with_file_name("sequence")).unwrap();
    let odd_sequence: Act = |index| fs::write(index.with_file_name("sequence"), "{").unwrap();
    let acts: [(&str, Act); 11] = [
        ("nothing", nothing),
        ("an older copy", older_copy),
        ("missing", move_away),
        ("cut", cut_to_its_first_row),
        ("empty", empty),
        ("replaced", replace),
        ("merged", merge),
        ("no last line break", no_last_break),
        ("a number too large", too_large),
        ("the numbers are lost", lost_sequence),
        ("the numbers are odd", odd_sequence),
    ];
    for is_killed in [false, true] {
        let mut world = prepared();
        let index = world.data_dir().join("index.jsonl");
        let (mut last, mut told) = (0, Vec::new());
        for (run, (what, act)) in acts.into_iter().enumerate() {
            world.start();
            for n in 0..3 {
                if n == 1 {
                    fs::copy(&index, index.with_extension("copy")).unwrap();
                }
                let number = number(&world, &format!("ep-{run}-{n}"));
                told.push((what, number));
                assert!(last < number && number < 1 << 20, "{told:?}\n{world}");
                last = number;
            }
            if is_killed {
                world.kill();
            } else {
                assert_eq!(world.stop(), Some(0));
            }
            act(&index);
        }
    }
}

/// After a stop the numbers go on without a gap, and so they do after a kill before any upload.
#[test]
fn a_stop_leaves_no_gap_in_the_numbers() {
    let mut world = running();
    assert_eq!(number(&world, "ep-1"), 1);
    for wanted in 2..4 {
        assert_eq!(world.stop(), Some(0));
        world.start();
        world.kill();
        world.start();
        assert_eq!(number(&world, &format!("ep-{wanted}")), wanted);
    }
}

/// Recovery commits what incoming/ still names once more. Where the row is there, no number is used.
#[test]
fn a_name_left_in_incoming_leaves_no_gap_in_the_numbers() {
    let mut world = running();
    assert_eq!(number(&world, "ep-1"), 1);
    assert_eq!(world.stop(), Some(0));
    let data_dir = world.data_dir();
    let tarball = data_dir.join("episodes/lab-1/ep-1.tar.zst");
    fs::hard_link(tarball, data_dir.join("incoming/lab-1~ep-1~7.partial")).unwrap();
    world.start();
    assert!(world.names("incoming").is_empty(), "{world}");
    world.kill();
    world.start();
    assert_eq!(number(&world, "ep-2"), 2);
}

/// A number beyond what a signed integer holds is named, passed over, and its row is used.
#[test]
fn a_number_that_is_too_large_is_passed_over() {
    let mut world = prepared();
    let digest = "0e".repeat(32);
    let row = |seq: u64, episode: &str| {
        format!(
            "{{\"seq\":{seq},\"host\":\"lab-8\",\"episode\":{episode:?},\"sha256\":\"{digest}\"}}\n"
        )
    };
    let text = row(5, "ep-1") + &row(1 << 63, "ep-2") + &row(u64::MAX, "ep-3");
    fs::write(world.data_dir().join("index.jsonl"), text).unwrap();
    let host_dir = world.data_dir().join("episodes/lab-8");
    fs::create_dir(&host_dir).unwrap();
    fs::write(host_dir.join("ep-3.tar.zst"), "stored").unwrap();
    world.start();
    let log = world.log();
    let named: Vec<_> = log.matches("event=number_too_large").collect();
    assert_eq!(named.len(), 2, "{world}");
    assert_eq!(number(&world, "ep-9"), 6);
    let receipt = world.get("/v1/episodes/lab-8/ep-3").json();
    assert_eq!(receipt["seq"], serde_json::Value::Null, "{receipt}");
}

/// status, doctor, the page and metrics know of it until backfill went through, over restarts.
#[test]
fn a_lost_index_is_a_finding_until_backfill() {
    let mut world = running();
    number(&world, "ep-1");
    // Else recovery would give it its row.
    world.wait_until("incoming/ is empty", |world| {
        world.names("incoming").is_empty()
    });
    world.kill();
    fs::remove_file(world.data_dir().join("index.jsonl")).unwrap();
    let config = world.config_path();
    let said = |args: &[&str]| {
        let done = cis490().args(args).args(["--config", &config]).output();
        String::from_utf8(done.unwrap().stdout).unwrap()
    };
    for _ in 0..2 {
        world.start();
        let told = "event=index_fault kind=index-missing";
        assert!(world.log().contains(told), "{world}");
        for text in [
            world.get("/").body,
            said(&["status"]),
            said(&["doctor"]),
            said(&["status", "--json"]),
        ] {
            assert!(text.contains("index-missing"), "{text}");
        }
        let metrics = world.get("/metrics").body;
        let line = "cis490_index_findings{kind=\"index-missing\"} 1";
        assert!(metrics.contains(line), "{metrics}");
        assert_eq!(world.stop(), Some(0));
    }
    assert!(said(&["backfill"]).contains("added lab-1/ep-1"), "{world}");
    world.start();
    for text in [world.get("/").body, said(&["status"]), said(&["doctor"])] {
        assert!(!text.contains("index-missing"), "{text}");
    }
}

/// Blank lines, as an editor or a merge leaves them, are nothing; a cut end is named.
#[test]
fn blank_lines_are_nothing_and_a_cut_end_is_named() {
    let mut world = running();
    number(&world, "ep-1");
    number(&world, "ep-2");
    assert_eq!(world.stop(), Some(0));
    let index = world.data_dir().join("index.jsonl");
    let text = fs::read_to_string(&index).unwrap();
    let (first, second) = text.split_once('\n').unwrap();
    fs::write(&index, format!("\n{first}\n\r\n  \n{second}\n")).unwrap();
    world.start();
    assert!(!world.log().contains("unreadable"), "{world}");
    assert_eq!(world.stop(), Some(0));
    let config = world.config_path();
    world.run(&["scrub", "--config", &config]); // ends with 0
    let status = world.run(&["status", "--json", "--config", &config]);
    assert!(status.contains("\"unreadable_rows\": 0"), "{status}");

    fs::write(&index, format!("{first}\n{}", second.trim_end())).unwrap();
    world.start();
    let log = world.log();
    let told = log
        .lines()
        .find(|line| line.contains("event=index_tail_cut"));
    assert!(
        told.is_some_and(|line| line.contains("row=lab-1/ep-2 ")),
        "{world}"
    );
    assert_eq!(world.names("quarantine"), ["index.jsonl.tail.1"], "{world}");
    assert_eq!(world.put(&sample().episode("ep-2")).status, 200, "{world}");
}

/// An old row that tells no commit is shown as such, and not as a host that nothing came from.
#[test]
fn a_commit_that_no_row_tells_is_unknown() {
    let mut world = prepared();
    let row = format!(
        "{{\"seq\":1,\"host\":\"lab-1\",\"episode\":\"ep-1\",\"sha256\":\"{}\"}}\n",
        "0e".repeat(32)
    );
    fs::write(world.data_dir().join("index.jsonl"), row).unwrap();
    world.start();
    let page = world.get("/").body;
    assert!(page.contains("<i>unknown</i>"), "{page}");
    let status = world.run(&["status", "--config", &world.config_path()]);
    let host = status.lines().find(|line| line.starts_with("lab-1"));
    assert!(
        host.is_some_and(|line| line.ends_with("  unknown")),
        "{status}"
    );
}
