//! Which module may import which (design, section 9): each top-level name has a rank and imports
//! only what ranks below it, and no circle of imports is anywhere in src/. A module and its own
//! children may import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules, the lowest rank first. Those of one row do not import each other.
const RANKS: &[&[&str]] = &[
    &[
        "names",
        "clock",
        "human",
        "histogram",
        "seeded",
        "sync",
        "backoff",
        "sys",
        "test_times",
    ],
    &[
        "wire",
        "refusal_table",
        "failure",
        "mounts",
        "file_identity",
        "thread_pool",
    ],
    &["durable", "service", "terminal", "child"],
    &["events"],
    &["owner"],
    &["git", "folder_lock"],
    &["config", "tls"],
    &[
        "doctor",
        "episode",
        "version",
        "reader_client",
        "http_connection",
    ],
    &["receiver", "shipper", "pull"],
    &["fuzzing", "commands"],
];

/// A module by its path below the crate, such as `receiver::store::index`, and what it imports.
type Graph = BTreeMap<String, BTreeSet<String>>;

#[test]
fn each_top_level_module_imports_only_what_ranks_below_it() {
    let rank = |module: &str| {
        let top = module.split("::").next().unwrap_or_default();
        let rank = RANKS.iter().position(|row| row.contains(&top));
        rank.unwrap_or_else(|| panic!("src/{top}.rs has no rank in this file"))
    };
    let mut against = Vec::new();
    for (module, imports) in graph() {
        for import in imports {
            let same_top = import.split("::").next() == module.split("::").next();
            if !same_top && rank(&import) >= rank(&module) {
                against.push(format!("{module} imports {import}"));
            }
        }
    }
    assert!(against.is_empty(), "{}", against.join("\n"));
}

#[test]
fn no_circle_of_imports_is_anywhere() {
    let mut graph = graph();
    // What imports nothing that is left is in no circle; nor is then what imports only such modules.
    loop {
        let left: BTreeSet<String> = graph.keys().cloned().collect();
        for imports in graph.values_mut() {
            imports.retain(|import| left.contains(import));
        }
        let before = graph.len();
        graph.retain(|_, imports| !imports.is_empty());
        if graph.len() == before {
            break;
        }
    }
    // Nor is what nothing in a circle imports.
    loop {
        let imported: BTreeSet<String> = graph.values().flatten().cloned().collect();
        let before = graph.len();
        graph.retain(|module, _| imported.contains(module));
        if graph.len() == before {
            break;
        }
    }
    let lines: Vec<String> = graph
        .iter()
        .map(|(module, imports)| format!("{module} -> {imports:?}"))
        .collect();
    assert!(
        lines.is_empty(),
        "circles among these:\n{}",
        lines.join("\n")
    );
}

/// The rooms of the receiver: http sees the others, and they see neither http nor each other.
#[test]
fn the_rooms_of_the_receiver_see_each_other_one_way() {
    let rooms = ["store", "version_gate", "archive"].map(|room| format!("receiver::{room}"));
    let is_in = |module: &str, room: &str| {
        module == room
            || module
                .strip_prefix(room)
                .is_some_and(|rest| rest.starts_with("::"))
    };
    for (module, imports) in graph() {
        for room in rooms.iter().filter(|room| is_in(&module, room)) {
            for import in &imports {
                let other = rooms
                    .iter()
                    .any(|other| other != room && is_in(import, other));
                assert!(
                    !other && !is_in(import, "receiver::http"),
                    "{module} imports {import}"
                );
            }
        }
    }
}

fn graph() -> Graph {
    let mut files = BTreeMap::new();
    collect(&root().join("src"), &mut files);
    let modules: BTreeSet<String> = files.keys().cloned().collect();
    let mut graph = Graph::new();
    for (module, text) in &files {
        let mut imports = BTreeSet::new();
        for path in paths(&program(text)) {
            let absolute = resolve(module, &path);
            let target = deepest(&modules, &absolute);
            if let Some(target) = target
                && !is_family(module, &target)
            {
                imports.insert(target);
            }
        }
        graph.insert(module.clone(), imports);
    }
    graph
}

/// Whether one is the other or lies below it.
fn is_family(one: &str, other: &str) -> bool {
    let below = |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with("::"));
    one == other || below(one, other) || below(other, one)
}

/// The program of a file: neither comments nor unit tests.
fn program(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let mut program = String::new();
    for line in text[..end].lines() {
        let code = line.split("//").next().unwrap_or_default();
        program.push_str(code);
        program.push('\n');
    }
    program
}

/// All paths that begin with `crate`, `self` or `super`, those of grouped imports one by one.
fn paths(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for start in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            let goes_on = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$';
            if !before.is_some_and(goes_on) {
                expand(&code[at..], "", &mut found);
            }
        }
    }
    found
}

/// Reads one import tree at the start of `text`; how many bytes it took.
fn expand(text: &str, prefix: &str, found: &mut Vec<String>) -> usize {
    let mut path = prefix.to_owned();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let name = rest
            .find(|c: char| !(c.is_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        if name > 0 {
            if !path.is_empty() {
                path.push_str("::");
            }
            path.push_str(&rest[..name]);
            at += name;
        }
        if !text[at..].starts_with("::") {
            found.push(path);
            return at;
        }
        at += 2;
        if text[at..].starts_with('{') {
            at += 1;
            loop {
                let blank = text[at..].len() - text[at..].trim_start().len();
                at += blank;
                if at >= text.len() || text[at..].starts_with('}') {
                    return at + 1;
                }
                let took = expand(&text[at..], &path, found);
                at += took;
                // The comma, or an `as NAME` before it.
                let end = text[at..].find([',', '}']).unwrap_or(text.len() - at);
                at += end;
                if text[at..].starts_with(',') {
                    at += 1;
                }
            }
        }
    }
}

/// `super::x` of `a::b` is `a::x`.
fn resolve(module: &str, path: &str) -> Vec<String> {
    let mut here: Vec<String> = module.split("::").map(str::to_owned).collect();
    let mut absolute = None;
    for part in path.split("::") {
        match part {
            "crate" => absolute = Some(Vec::new()),
            "self" => absolute = Some(absolute.unwrap_or_else(|| here.clone())),
            "super" => {
                let mut base = absolute.unwrap_or_else(|| std::mem::take(&mut here));
                base.pop();
                absolute = Some(base);
            }
            name => absolute.get_or_insert_with(Vec::new).push(name.to_owned()),
        }
    }
    absolute.unwrap_or_default()
}

/// The module of a file that a path goes through last.
fn deepest(modules: &BTreeSet<String>, path: &[String]) -> Option<String> {
    (1..=path.len())
        .rev()
        .map(|length| path[..length].join("::"))
        .find(|module| modules.contains(module))
}

fn collect(dir: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // The compressor is a crate of its own.
        if path.is_dir() && !path.ends_with("episode/zstd") {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root().join("src")).unwrap();
            let name = name.with_extension("").display().to_string();
            let module = name.replace('/', "::");
            let module = module.strip_suffix("::mod").unwrap_or(&module).to_owned();
            let is_test = module.ends_with("tests");
            if !["lib", "main"].contains(&module.as_str()) && !is_test {
                files.insert(module, fs::read_to_string(&path).unwrap());
            }
        }
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
