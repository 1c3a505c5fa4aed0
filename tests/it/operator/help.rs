//! Help, completions, manual pages, and the error for a slip on the command line.

use std::fs;
use std::process::Command;

use super::{ended, run};
use crate::world::{TempDir, World};

#[test]
fn every_command_has_help_with_an_example_a_manual_page_and_completions() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    let commands: Vec<&str> = help
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(commands.len() >= 14, "{commands:?}");
    let pages = TempDir::new();
    let dir = pages.path().to_str().unwrap();
    assert_eq!(run(&["man", "--dir", dir]).0, 0);
    let shells: Vec<String> = ["bash", "zsh", "fish"]
        .iter()
        .map(|shell| run(&["completions", shell]).1)
        .collect();
    for command in commands {
        let (code, help, _) = run(&[command, "--help"]);
        assert_eq!(code, 0, "{command}");
        assert!(
            help.contains("Examples:\n  ") && help.contains("cis490 "),
            "{command}\n{help}"
        );
        assert!(!help.contains("{command_name}"), "{help}");
        assert_eq!(run(&[command, "-h"]).1, help);
        // Of this name there is more to explain than the command.
        if command != "refusals" {
            assert_eq!(run(&["help", command]).1, help);
        }
        let page = fs::read_to_string(pages.path().join(format!("cis490-{command}.1"))).unwrap();
        for part in [".TH CIS490-", "\n.SH NAME\n", "\n.SH EXAMPLES\n.nf\n"] {
            assert!(page.contains(part), "{command}: {part}\n{page}");
        }
        for completions in &shells {
            assert!(completions.contains(command), "{command}\n{completions}");
        }
    }
    let program = fs::read_to_string(pages.path().join("cis490.1")).unwrap();
    assert!(program.contains(".SH COMMANDS\n"), "{program}");
    assert_eq!(run(&["completions", "csh"]).0, 2);
    assert_eq!(run(&["man", "nothing"]).0, 2);
}

/// Whatever the command, a mistake on its line is 2, so that a script can tell it from a refusal; and what
/// a command could not do is 1.
#[test]
fn a_mistake_on_the_command_line_ends_with_2_and_a_failure_with_1() {
    let nowhere = "/nonexistent/no.toml";
    let mistakes: &[&[&str]] = &[
        &[],
        &["frobnicate"],
        &["status", "--jsn"],
        &["status", "surplus"],
        &["scrub", "--rate", "fast"],
        &["set-aside"],
        &["set-aside", "--commit", "xyz"],
        &["token"],
        &["token", "lab-1", "--reader", "r"],
        &["requeue"],
        &["requeue", "ep-1", "--all"],
        &["requeue", "ep-1", "ep-2", "--new-id", "ep-3"],
        &["resend"],
        &["list", "--digest"],
        &["list", "--meta", "--url", "http://127.0.0.1:9"],
        &["list", "--commit", "HEAD"],
        &["list", "--url", "ftp://pi"],
        &["pull", "--to", "/nonexistent/x", "--url", "ftp://pi"],
        &[
            "init",
            "--data-dir",
            "/nonexistent/a",
            "--root",
            "/nonexistent/b",
        ],
        &["host", "drop", "lab-1"],
        &["host", "remove", "lab-1", "--address", "10.8.0.1"],
        &["help", "events", "no-such-line"],
        &["help", "refusals", "no-such-refusal"],
        &["help", "one", "two"],
        &["install", "nobody"],
    ];
    for args in mistakes {
        let (code, out, err) = run(args);
        assert_eq!((code, &out[..]), (2, ""), "{args:?}: {err}");
        assert!(err.starts_with("cis490: error: "), "{args:?}: {err}");
    }
    for args in [
        &["status", "--config", nowhere][..],
        &["check", "--config", nowhere],
        &["resend", "ep-1", "--config", nowhere],
        &["man", "--dir", "/proc/nowhere"],
    ] {
        let (code, _, err) = run(args);
        assert_eq!(code, 1, "{args:?}: {err}");
    }
}

#[test]
fn manual_pages_name_their_day_files_examples_and_others() {
    let program = run(&["man"]).1;
    for part in [
        "\n.SH EXAMPLES\n.nf\n",
        "\ncis490 status\n",
        "\\fI/etc/cis490/receiver.toml\\fR\n",
        ".BR cis490\\-shipper.toml (5),\n",
        ".BR cis490\\-events (7)\n",
    ] {
        assert!(program.contains(part), "{part}\n{program}");
    }
    let day = program.split('"').nth(1).unwrap();
    let is_day = day.len() == 10 && day.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    // A source archive knows none.
    assert!(is_day || day.is_empty(), "{program}");
    for (command, file, other) in [
        ("ship", "shipper.toml", "receiver.toml"),
        ("scrub", "receiver.toml", "shipper.toml"),
        ("host", "receiver.toml", "shipper.toml"),
    ] {
        let page = run(&["man", command]).1;
        let (_, files) = page.split_once("\n.SH FILES\n").unwrap();
        assert!(files.contains(&format!("/etc/cis490/{file}")), "{page}");
        assert!(!files.contains(other), "{page}");
    }
    assert!(!run(&["man", "token"]).1.contains(".SH FILES"));
}

/// Each manual page says it, beside what the command's own numbers mean.
#[test]
fn each_manual_page_has_the_exit_statuses() {
    for (command, words) in [
        ("status", "; also: a mistake on the command line"),
        ("scrub", "; also: a mistake on the command line"),
        ("check", ".TP\n3\nrefused: "),
        ("doctor", ".TP\n3\nsomething fails"),
        (
            "token",
            ".TP\n1\nfailure\n.TP\n2\na mistake on the command line\n",
        ),
        (
            "cis490",
            ".TP\n1\nfailure\n.TP\n2\na mistake on the command line\n",
        ),
    ] {
        let page = run(&["man", command]).1;
        assert!(page.contains(words), "{command}: {page}");
    }
    assert!(
        run(&["--help"])
            .1
            .contains("2 a mistake on the command line")
    );
}

#[test]
fn the_two_files_and_the_events_have_pages_in_their_sections() {
    let pages = TempDir::new();
    let commands = pages.path().join("man1");
    assert_eq!(run(&["man", "--dir", commands.to_str().unwrap()]).0, 0);
    for (name, page, words) in [
        (
            "receiver.toml",
            "man5/cis490-receiver.toml.5",
            "max_uploads = 64",
        ),
        (
            "shipper.toml",
            "man5/cis490-shipper.toml.5",
            "scan_seconds = 5",
        ),
        ("events", "man7/cis490-events.7", "config_waiting"),
    ] {
        let text = fs::read_to_string(pages.path().join(page)).unwrap();
        assert!(
            text.starts_with(".TH CIS490-") && text.contains(words),
            "{text}"
        );
        assert_eq!(run(&["man", name]).1, text);
        assert_eq!(run(&["man", &format!("cis490-{name}")]).1, text);
        // No line is read as a request that roff does not know.
        let known = [".TH", ".SH", ".SS", ".TP", ".TQ", ".BR", ".br"];
        for line in text.lines().filter(|line| line.starts_with(['.', '\''])) {
            let request = line.split(' ').next().unwrap();
            assert!(known.contains(&request), "{line}");
        }
    }
    // Another folder has all of them.
    let together = pages.path().join("pages");
    assert_eq!(run(&["man", "--dir", together.to_str().unwrap()]).0, 0);
    assert!(together.join("cis490-events.7").is_file() && together.join("cis490.1").is_file());
}

#[test]
fn bash_takes_the_completions_and_offers_what_there_is() {
    let dir = TempDir::new();
    let file = dir.path().join("cis490");
    fs::write(&file, run(&["completions", "bash"]).1).unwrap();
    let ask = |words: &str, index: usize| {
        let script = format!(
            "source {file:?}; COMP_WORDS=({words}); COMP_CWORD={index}; _cis490; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &script])
            .output()
            .unwrap();
        let (code, out, err) = ended(output);
        assert_eq!((code, &err[..]), (0, ""), "{script}");
        out
    };
    assert_eq!(ask("cis490 sta", 1), "status\n");
    assert_eq!(ask("cis490 scrub --ra", 2), "--rate\n");
    assert_eq!(ask("cis490 help ev", 2), "events\n");
    assert_eq!(ask("cis490 completions f", 2), "fish\n");
}

#[test]
fn each_refusal_is_explained() {
    let (_, all, _) = run(&["help", "refusals"]);
    let heads = all
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    let names: Vec<&str> = heads.filter_map(|line| line.get(5..)).collect();
    for name in &names {
        let (code, text, err) = run(&["help", "refusals", name]);
        assert_eq!(code, 0, "{err}");
        assert!(text.contains(&format!("  {name}\n")), "{text}");
        assert!(text.contains("do: "), "{text}");
    }
    // What a receiver counts is what is explained.
    let metrics = World::new().get("/metrics").body;
    let counted = metrics.lines().filter_map(|line| {
        let reason = line.strip_prefix("cis490_refusals_total{reason=\"")?;
        reason
            .split_once("\",kind=\"upload\"")
            .map(|(name, _)| name)
    });
    assert_eq!(counted.collect::<Vec<_>>(), names);
    assert!(names.len() > 20, "{names:?}");
    let (_, of_412, _) = run(&["help", "refusals", "412"]);
    for name in ["not-in-window", "never-pushed", "gate-cannot-tell"] {
        assert!(of_412.contains(&format!("412  {name}\n")), "{of_412}");
    }
    let (code, _, err) = run(&["help", "refusals", "not-in-windw"]);
    assert_eq!(code, 2);
    assert!(err.contains("did you mean not-in-window?"), "{err}");
}

#[test]
fn a_slip_on_the_command_line_names_what_was_meant() {
    for (args, error, hint) in [
        (
            &["stauts"][..],
            "there is no command stauts",
            "did you mean status? cis490 --help",
        ),
        (
            &["--versoin"],
            "there is no option --versoin",
            "did you mean --version?",
        ),
        (
            &["status", "--jsn"],
            "cis490 status has no option --jsn",
            "did you mean --json? cis490 status --help",
        ),
        (
            &["scrub", "--rate", "fast"],
            "--rate fast is not allowed",
            "--rate accepts bytes a second, such as 500k",
        ),
        (
            &["token"],
            "required positional arguments not provided: host",
            "cis490 token --help",
        ),
        (
            &["frobnicate"],
            "there is no command frobnicate",
            "cis490 --help lists them all",
        ),
    ] {
        let (code, out, err) = run(args);
        assert_eq!((code, &out[..]), (2, ""), "{args:?}");
        assert!(err.starts_with(&format!("cis490: error: {error}")), "{err}");
        assert!(err.contains(&format!("cis490: hint: {hint}")), "{err}");
    }
    // With = or with a space, an option is an option.
    let (_, _, err) = run(&["status", "--config=/nonexistent"]);
    assert!(
        err.contains("cannot read the configuration /nonexistent"),
        "{err}"
    );
}
