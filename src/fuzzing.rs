//! Every place where the program reads bytes from outside, as a function of bytes. The function panics
//! if a rule that must hold is broken. This is not part of the program: it is built for the tests, which
//! replay `tests/fuzz/corpus`, and with `--cfg fuzzing` for the fuzz targets, which look for new inputs.

use std::path::Path;

use crate::config;
use crate::names::{CommitHash, EpisodeId, HostId, Sha256Digest};
use crate::wire::Slot;

pub use crate::episode::fuzzed::{compressor, meta, tarball};
pub use crate::receiver::store::fuzzed::index;
pub use crate::receiver::version_gate::fuzzed_answers as forgejo;
pub use crate::receiver::{
    fuzzed_head as request_head, fuzzed_list_query as list_query, fuzzed_range as range,
};

/// The name of a target and of its folder in the corpus, and what it calls.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 10] = [
    ("request_head", request_head),
    ("list_query", list_query),
    ("range", range),
    ("ids", ids),
    ("index", index),
    ("tarball", tarball),
    ("meta", meta),
    ("forgejo", forgejo),
    ("config", configuration),
    ("compressor", compressor),
];

/// A name that parses prints as it was written, and is a safe file name.
pub fn ids(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let printed = [
        HostId::parse(&text).map(|id| id.to_string()),
        EpisodeId::parse(&text).map(|id| id.to_string()),
        CommitHash::parse(&text).map(|id| id.to_string()),
        Sha256Digest::parse(&text).map(|id| id.to_string()),
        Slot::parse(&text).map(|slot| slot.to_string()),
    ];
    for (kind, printed) in printed.into_iter().enumerate() {
        match printed {
            Ok(printed) => {
                assert_eq!(printed, text);
                let is_slot = kind == 4;
                assert!(printed.split('/').count() == if is_slot { 2 } else { 1 });
                for part in printed.split('/') {
                    assert!((1..=128).contains(&part.len()) && !part.starts_with(['.', '-', '_']));
                    let ours = [".json", ".zst", ".partial"];
                    assert!(!ours.iter().any(|end| part.ends_with(end)));
                }
            }
            Err(bad) => {
                let words = bad.to_string();
                assert!(
                    words.len() < 4000 && !words.contains(char::is_control),
                    "{words:?}"
                );
            }
        }
    }
}

/// Any text is a configuration or a mistake in words, which never show the token that is in it.
pub fn configuration(bytes: &[u8]) {
    const TOKEN: &str = "sesame-of-nobody-else";
    let text = String::from_utf8_lossy(bytes);
    let (before, behind) = text.split_once('|').unwrap_or((&text, ""));
    let line = format!("\nauth_token = \"{TOKEN}\"\n");
    let path = Path::new("a.toml");
    for text in [
        text.clone().into_owned(),
        format!("{before}{line}{behind}"),
        format!("data_dir = \"/d\"\n[version_gate]{line}{text}"),
    ] {
        let errors = [
            config::parse::<crate::receiver::config::Config>(&text, path).err(),
            config::parse::<crate::shipper::config::Config>(&text, path).err(),
        ];
        for failure in errors.iter().flatten() {
            assert!(!failure.to_string().contains(TOKEN), "{failure}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What fuzzing once found, and the inputs that reach most of the code.
    #[test]
    fn the_corpus_holds() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        for (name, target) in TARGETS {
            let files = fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut count = 0;
            for file in files {
                let path = file.unwrap().path();
                println!("{}", path.display()); // the last one shown is the one that failed
                target(&fs::read(path).unwrap());
                count += 1;
            }
            assert!(count > 0, "{name} has no corpus");
        }
    }

    #[test]
    fn every_target_has_its_binary() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
        for (name, _) in TARGETS {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        }
    }
}
