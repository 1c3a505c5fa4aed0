//! The examples of the README for those who use the data, run as they stand on what a pull has brought.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::here::{TempDir, find};
use crate::program::{cis490, is_emulated};

const README: &str = include_str!("../../../../README.md");
/// The folder of the README's examples.
const FOLDER: &str = "/data/cis490";

/// What the demo has pulled: real episodes, of a real shipper.
fn pulled(dir: &TempDir) -> PathBuf {
    let demo = cis490()
        .arg("demo")
        .env("TMPDIR", dir.path())
        .output()
        .unwrap();
    assert!(demo.status.success(), "{demo:?}");
    let stage = fs::read_dir(dir.path()).unwrap().next().unwrap().unwrap();
    stage.path().join("training")
}

/// Runs a line of the shell, or a program for Python; what it has printed.
fn printed(program: &str, flag: &str, text: &str, folder: &Path) -> String {
    let text = text.replace(FOLDER, &folder.display().to_string());
    let output = Command::new(program).args([flag, &text]).output().unwrap();
    assert!(output.status.success(), "{text}\n{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn python_can(module: &str) -> bool {
    let asked = Command::new("python3")
        .args(["-c", &format!("import {module}")])
        .output();
    asked.is_ok_and(|output| output.status.success())
}

#[test]
fn the_readmes_examples_read_what_was_pulled() {
    if is_emulated() {
        return skip!("the demo starts the program by its own file");
    }
    let dir = TempDir::new();
    let folder = pulled(&dir);

    // GNU tar takes an episode apart.
    let (_, line) = README.split_once("With GNU tar: `").unwrap();
    let (line, _) = line.split_once('`').unwrap();
    let apart = dir.path().join("somewhere");
    fs::create_dir(&apart).unwrap();
    let line = line.replace(" somewhere", &format!(" {}", apart.display()));
    printed("sh", "-c", &line, &folder);
    let meta = fs::read_to_string(apart.join("ep-2-swing/meta.json")).unwrap();
    assert!(meta.contains("\"ep-2-swing\""), "{meta}");

    // jq and sha256sum name the same set as the program.
    let test = "the_readmes_examples_read_what_was_pulled";
    if find("jq").is_some() {
        let (_, line) = README.split_once("`jq -r ").unwrap();
        let (line, _) = line.split_once('`').unwrap();
        let line = format!("cd {FOLDER} && jq -r {line}");
        let by_jq = printed("sh", "-c", &line, &folder);
        let store = folder.parent().unwrap().join("receiver");
        let listed = cis490()
            .args(["list", "--until", "81234", "--digest", "--data-dir"])
            .arg(&store)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&listed.stdout);
        let digest = by_jq.split(' ').next().unwrap();
        assert!(
            digest.len() == 64 && said.contains(digest),
            "{said}\n{by_jq}"
        );
    } else {
        skip!("{test}: the jq line: there is no jq");
    }

    // Python reads every episode's meta.json.
    if python_can("zstandard") {
        let (_, program) = README.split_once("```python\n").unwrap();
        let (program, _) = program.split_once("```").unwrap();
        let program = format!("{program}    print(receipt['episode'], meta['episode'])\n");
        let said = printed("python3", "-c", &program, &folder);
        // The manifest has the order in which the episodes came.
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["ep-1-swing ep-1-swing", "ep-2-swing ep-2-swing"]);
    } else {
        skip!("{test}: the Python program: there is no zstandard for python3");
    }
}
