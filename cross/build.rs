//! Gives the program its commit and its target, which only `cis490 --version` shows, and the day of that commit,
//! which stands on the manual pages.
//!
//! The commit is that of `CIS490_COMMIT` (a container has no git), or else git's; so is the day, of `CIS490_DAY`.
//! In a source archive neither knows them: the program says that its commit is unknown, and the pages have no day.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=CIS490_COMMIT");
    let commit = match std::env::var("CIS490_COMMIT") {
        Ok(commit) if !commit.is_empty() => Some(commit),
        _ => asked_of_git(),
    };
    let commit = commit.unwrap_or("of unknown commit".to_owned());
    println!("cargo::rustc-env=CIS490_COMMIT={commit}");
    println!("cargo::rerun-if-env-changed=CIS490_DAY");
    let day = match std::env::var("CIS490_DAY") {
        Ok(day) => day,
        Err(_) if Path::new(".git").exists() => {
            git(&["log", "-1", "--format=%cs"]).unwrap_or_default()
        }
        Err(_) => String::new(),
    };
    println!("cargo::rustc-env=CIS490_DAY={day}");
    let target = std::env::var("TARGET").expect("cargo says for what it builds");
    println!("cargo::rustc-env=CIS490_TARGET={target}");
}

/// Twelve digits of the commit, and `-dirty` if the sources differ from it.
fn asked_of_git() -> Option<String> {
    // A source archive may lie within another repository, whose commit is not ours.
    if !Path::new(".git").exists() {
        println!("cargo::rerun-if-changed=Cargo.toml");
        return None;
    }
    // These change with a commit, with a checkout and with an edit.
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
