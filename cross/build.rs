//! Tells the program which commit and target it is built of: for `cis490 --version` alone.
//!
//! `CIS490_COMMIT` wins (a container has no git), then git is asked; where neither knows, as in a
//! source archive, the program says that its commit is unknown.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=CIS490_COMMIT");
    let told = std::env::var("CIS490_COMMIT").ok();
    let commit = match told.filter(|commit| !commit.is_empty()) {
        Some(commit) => Some(commit),
        None => asked_of_git(),
    };
    let commit = commit.unwrap_or("of unknown commit".to_owned());
    println!("cargo::rustc-env=CIS490_COMMIT={commit}");
    let target = std::env::var("TARGET").expect("cargo says for what it builds");
    println!("cargo::rustc-env=CIS490_TARGET={target}");
}

/// Twelve digits, and `-dirty` if the sources differ from the commit.
fn asked_of_git() -> Option<String> {
    // Not a repository that only happens to lie around a source archive.
    if !Path::new(".git").exists() {
        println!("cargo::rerun-if-changed=Cargo.toml");
        return None;
    }
    // What changes with a commit, with a checkout, and with an edit.
    for path in ["HEAD", "logs/HEAD"] {
        let file = git(&["rev-parse", "--git-path", path])?;
        if Path::new(&file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    for path in ["src", "cross/build.rs", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={path}");
    }
    git(&[
        "describe",
        "--always",
        "--abbrev=12",
        "--exclude=*",
        "--dirty",
    ])
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
