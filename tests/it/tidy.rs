//! The repository's own rules, as tests: what a reviewer would otherwise have to look for.

use std::fs;
use std::path::{Path, PathBuf};

/// One Rust file of src/.
struct Source {
    /// Relative to the repository.
    path: String,
    text: String,
}

impl Source {
    /// The lines of the program itself: neither comments nor the unit tests at the file's foot.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let program = match self.text.find("#[cfg(test)]\nmod tests") {
            Some(tests) => &self.text[..tests],
            None => &self.text,
        };
        let without_comment = |line| match str::find(line, "//") {
            Some(comment) if !line[..comment].ends_with(':') => &line[..comment],
            _ => line,
        };
        let is_test = self.path.ends_with("tests.rs");
        let lines = program.lines().filter(move |_| !is_test);
        lines
            .map(without_comment)
            .enumerate()
            .map(|(i, line)| (i + 1, line))
    }
}

/// Fails with every line outside `allowed` that has one of `words` in it, and says the rule.
fn only_in(rule: &str, words: &[&str], allowed: &[&str]) {
    let mut found = Vec::new();
    for source in sources("src") {
        if allowed.iter().any(|place| source.path.starts_with(place)) {
            continue;
        }
        for (number, line) in source.code() {
            if words.iter().any(|word| has_word(line, word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

/// Whether `word` stands in `line` and does not go on before or after as an identifier.
fn has_word(line: &str, word: &str) -> bool {
    let goes_on = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        let begins = !word.starts_with(goes_on) || !before.ends_with(goes_on);
        begins && (!word.ends_with(goes_on) || !after.starts_with(goes_on))
    })
}

#[test]
fn unsafe_stands_in_one_folder_and_says_why() {
    only_in(
        "unsafe code belongs in src/sys/",
        &["unsafe"],
        &["src/sys/"],
    );
    only_in(
        "unsafe code is allowed in src/sys/ alone, file by file",
        &["allow(unsafe_code)"],
        &["src/sys/"],
    );
    for source in sources("src/sys") {
        let lines: Vec<&str> = source.text.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let is_block = has_word(line, "unsafe {") || has_word(line, "unsafe impl");
            let before = &lines[i.saturating_sub(6)..i];
            let reason = before
                .iter()
                .any(|line| line.trim_start().starts_with("// SAFETY:"));
            assert!(
                !is_block || reason,
                "{}:{}: unsafe without SAFETY reason",
                source.path,
                i + 1
            );
        }
    }
}

#[test]
fn system_calls_stand_in_one_folder() {
    only_in(
        "rustix is the business of src/sys/ alone",
        &["rustix"],
        &["src/sys/"],
    );
}

/// A FIFO, a link or a folder under a name of ours is an error in words: `durable::open_regular` and
/// its like see to that. What opens a file in any other way holds a thread up, or follows a link.
#[test]
fn files_of_the_rooms_are_opened_in_one_place() {
    let rule = "what others may have put there is opened by durable::open_regular and its like";
    let words = [
        "File::open",
        "File::create",
        "File::create_new",
        "OpenOptions",
        ".open(",
        "fs::read(",
        "fs::read_to_string",
        "fs::write",
        "fs::copy",
    ];
    let rooms = [
        "src/receiver/",
        "src/shipper/",
        "src/doctor",
        "src/folder_lock.rs",
    ];
    let allowed = [
        // Replays of fuzzing's findings, on files that the test has made.
        "src/receiver/store/fuzzed.rs",
        "src/receiver/store/testing.rs",
        "src/receiver/http/fuzzed.rs",
    ];
    let mut found = Vec::new();
    for source in sources("src") {
        let is_room = rooms.iter().any(|room| source.path.starts_with(room));
        if !is_room || allowed.contains(&source.path.as_str()) {
            continue;
        }
        for (number, line) in source.code() {
            // The kernel's own files are nobody's trap.
            let is_kernels = line.contains("\"/proc/");
            // A room's own `open`, as `Root::open(`, is no open of a file.
            let is_ours = line.contains(".open()");
            if !is_kernels && !is_ours && words.iter().any(|word| has_word(line, word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

/// Only `src/git.rs` has the environment and the switches that a stranger's repository asks for.
#[test]
fn git_is_started_in_one_place() {
    only_in(
        "git runs by src/git.rs, for every caller",
        &["Command::new(\"git\")"],
        &["src/git.rs", "src/commands/demo"],
    );
}

#[test]
fn durable_effects_stand_in_one_room() {
    only_in(
        "fsync, link and rename go through src/durable.rs and durable/, each with its step",
        &[
            ".sync_all()",
            ".sync_data()",
            "fs::rename",
            "fs::hard_link",
            "rename_no_replace",
            "libc::fsync",
            "libc::fdatasync",
            "libc::rename",
            "libc::link",
            "fs::fsync",
            "fs::fdatasync",
            "fs::renameat",
            "fs::renameat_with",
            "fs::link",
            "fs::linkat",
        ],
        &[
            "src/durable.rs",
            "src/durable/",
            // How `rename_no_replace` is made, and its name.
            "src/sys/files.rs",
            "src/sys.rs",
        ],
    );
}

#[test]
fn the_rooms_do_not_know_each_other() {
    let rule = "receiver and shipper never import each other; both know src/wire.rs";
    for (room, other) in [("src/receiver", "shipper"), ("src/shipper", "receiver")] {
        for source in sources(room) {
            let code: String = source.code().map(|(_, line)| format!("{line}\n")).collect();
            let imports = code.split(';').filter(|part| part.contains("crate::{"));
            let grouped = imports.flat_map(|part| part.split([',', '{', '}']));
            let by_group = grouped
                .map(str::trim)
                .any(|name| name.split("::").next() == Some(other));
            let named = has_word(&code, &format!("crate::{other}"));
            assert!(!named && !by_group, "{rule}: {}", source.path);
        }
    }
}

#[test]
fn each_network_crate_has_its_place() {
    only_in(
        "coroutines are the business of http alone",
        &["may::"],
        &["src/receiver/http", "src/receiver/mod.rs"],
    );
    only_in(
        "ureq is the business of those that ask other servers, and of TLS",
        &["ureq"],
        &[
            "src/reader_client.rs",
            "src/shipper/client.rs",
            "src/shipper/ureq_transport.rs",
            "src/receiver/notify/call.rs",
            "src/receiver/version_gate/forgejo/client.rs",
            "src/receiver/archive/s3/client.rs",
            "src/tls",
        ],
    );
}

/// The guard tames the HTTP crate behind its own types, so that nothing else has to know what the crate
/// does. Comments count: one that names the crate elsewhere explains what only the guard should know.
#[test]
fn the_http_crate_is_named_in_the_guard_alone() {
    let mut found = Vec::new();
    for source in sources("src") {
        if source.path.starts_with("src/receiver/http/guard/") {
            continue;
        }
        for (i, line) in source.text.lines().enumerate() {
            // The crate's own log lines are recognised by its name.
            let is_loggers = source.path == "src/events/logger.rs" && line.contains("SERVER_CRATE");
            if line.contains("may_minihttp") && !is_loggers {
                found.push(format!("{}:{}: {}", source.path, i + 1, line.trim()));
            }
        }
    }
    let rule = "may_minihttp is named in src/receiver/http/guard/ alone";
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

/// Sockets and their descriptors do not leave the guard either.
#[test]
fn no_descriptor_leaves_the_guard() {
    let words = [
        "RawFd",
        "as_raw_fd",
        "dup_socket",
        "ManuallyDrop",
        "TcpStream",
    ];
    let mut found = Vec::new();
    for source in sources("src/receiver/http") {
        if source.path.starts_with("src/receiver/http/guard/") {
            continue;
        }
        for (number, line) in source.code() {
            if words.iter().any(|word| has_word(line, word)) {
                found.push(format!("{}:{number}: {}", source.path, line.trim()));
            }
        }
    }
    let rule = "the rest of the HTTP room sees requests, bodies and answers";
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

#[test]
fn no_output_can_end_the_work() {
    only_in(
        "println! panics where stdout is closed or full: say! and warn_user! of src/terminal.rs do not",
        &["println!", "print!", "eprintln!", "eprint!"],
        &[],
    );
}

#[test]
fn a_coroutine_waits_for_a_thread_by_our_channel_alone() {
    only_in(
        "may's channels let a coroutine end while its worker still writes into it: src/receiver/http/reply_channel.rs",
        &["may::sync::mpsc", "may::sync::mpmc", "may::sync::spsc"],
        &[],
    );
}

#[test]
fn log_lines_are_made_in_one_file() {
    only_in(
        "log lines are an interface: src/events/ has a function for each, made by the macros of src/events.rs",
        &["log::log!"],
        &["src/events.rs"],
    );
    only_in(
        "a line has its name and level from src/events/manual.rs: line!(name, ...) in src/events/",
        &[
            "log::error!",
            "log::warn!",
            "log::info!",
            "log::debug!",
            "log::trace!",
        ],
        &[],
    );
}

#[test]
fn every_file_says_which_room_it_is() {
    for source in sources("src").into_iter().chain(sources("tests")) {
        assert!(
            source.text.starts_with("//! "),
            "{} does not open with //!",
            source.path
        );
        let stub = source.text.trim() == "//! stub";
        assert!(!stub, "{} is a stub", source.path);
    }
}

#[test]
fn nothing_is_left_for_later() {
    // Written in two halves, so that this file is not what it finds.
    let marks = [
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("FIX", "ME"),
        concat!("TO", "DO"),
        concat!("X", "XX"),
        concat!("#[ig", "nore"),
        concat!("allow(dead", "_code)"),
        concat!("dbg", "!("),
    ];
    for source in sources("src").into_iter().chain(sources("tests")) {
        for (number, line) in source.text.lines().enumerate() {
            let mark = marks.iter().find(|mark| line.contains(*mark));
            assert!(
                mark.is_none(),
                "{}:{}: {}",
                source.path,
                number + 1,
                line.trim()
            );
        }
    }
}

#[test]
fn no_path_of_the_machine_it_was_written_on() {
    let places = [
        concat!("/wo", "rk/"),
        concat!("/tmp/", "wt"),
        concat!("/ro", "ot/"),
        concat!("/home/", "u"),
    ];
    let texts = [
        "README.md",
        "CHANGELOG.md",
        "justfile",
        ".ci/run",
        "etc/receiver.toml.example",
    ];
    let texts = texts.map(|path| {
        (
            path.to_owned(),
            fs::read_to_string(root().join(path)).unwrap(),
        )
    });
    let code = sources("src").into_iter().chain(sources("tests"));
    for (path, text) in code.map(|source| (source.path, source.text)).chain(texts) {
        for (number, line) in text.lines().enumerate() {
            let place = places.iter().find(|place| line.contains(*place));
            assert!(place.is_none(), "{path}:{}: {}", number + 1, line.trim());
        }
    }
}

#[test]
fn the_glossary_names_modules_that_exist() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let rows = lib.lines().filter(|line| line.starts_with("//! | "));
    let cells = rows.filter_map(|row| row.strip_suffix("` |")?.rsplit('`').next());
    let modules: Vec<&str> = cells.collect();
    assert!(modules.len() > 30, "{modules:?}");
    for module in modules {
        let path = root().join("src").join(module.replace("::", "/"));
        let exists = path.with_extension("rs").exists() || path.join("mod.rs").exists();
        assert!(exists, "no module {module}");
    }
}

/// The form of Keep a Changelog: what is not released yet, then each version with its day, the newest first,
/// and in each the kinds of changes in one order. A script may make release notes of it.
#[test]
fn the_changelog_is_in_the_form_that_others_know() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    assert!(text.starts_with("# Changelog\n"));
    let mut versions = text.split("\n## ");
    versions.next();
    let (unreleased, _) = versions.next().unwrap().split_once('\n').unwrap();
    assert_eq!(unreleased, "[Unreleased]");
    let mut before: Option<(Vec<u32>, String)> = None;
    for version in versions {
        let heading = version.lines().next().unwrap();
        let (number, day) = heading.split_once("] - ").unwrap();
        let number = number.strip_prefix('[').unwrap();
        if before.is_none() {
            assert_eq!(
                number,
                env!("CARGO_PKG_VERSION"),
                "the newest is Cargo.toml's"
            );
        }
        let parts: Vec<u32> = number
            .split('.')
            .map(|part| part.parse().unwrap())
            .collect();
        assert_eq!(parts.len(), 3, "{heading}");
        let is_day = day.len() == 10 && day.split('-').all(|part| part.parse::<u32>().is_ok());
        assert!(is_day, "{heading}");
        if let Some((newer, newer_day)) = before {
            assert!(parts < newer && day <= newer_day.as_str(), "{heading}");
        }
        before = Some((parts, day.to_owned()));
    }
    assert!(before.is_some(), "no version");
    for version in text.split("\n## ").skip(1) {
        has_kinds_in_order(version);
    }
}

/// The entries of a version stand below the kind of their change.
fn has_kinds_in_order(version: &str) {
    const KINDS: [&str; 6] = [
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    ];
    let mut groups = version.split("\n### ");
    let heading = groups.next().unwrap();
    assert_eq!(heading.trim_end().lines().count(), 1, "{heading}");
    let mut last = None;
    for group in groups {
        let (kind, entries) = group.split_once("\n\n").unwrap();
        let place = KINDS.iter().position(|known| *known == kind);
        assert!(place.is_some() && last < place, "{kind}");
        last = place;
        assert!(entries.starts_with("- "), "{kind} is empty: {entries}");
        for line in entries.lines() {
            let is_of_an_entry = line.starts_with("- ") || line.starts_with("  ");
            assert!(is_of_an_entry || line.is_empty(), "{line}");
            assert!(line.chars().count() <= 140, "{line}");
        }
        let mut first: Vec<&str> = entries
            .lines()
            .filter(|line| line.starts_with("- "))
            .collect();
        let count = first.len();
        first.sort_unstable();
        first.dedup();
        assert_eq!(first.len(), count, "{kind} has an entry twice");
    }
}

fn sources(dir: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    collect(&root().join(dir), &mut sources);
    assert!(!sources.is_empty(), "no sources in {dir}");
    sources
}

fn collect(dir: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let path = path.strip_prefix(root()).unwrap().display().to_string();
            sources.push(Source { path, text });
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
