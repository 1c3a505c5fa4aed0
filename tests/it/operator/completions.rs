//! What a shell offers: commands and options, and the names, commits and hosts that this machine has.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use super::{ended, run};
use crate::here::TempDir;
use crate::lab::Lab;
use crate::program::cis490;
use crate::world::World;

/// A folder with the program as `cis490`, and a shell's completions beside it.
struct Shells {
    dir: TempDir,
}

impl Shells {
    fn new() -> Shells {
        let dir = TempDir::new();
        let command = cis490();
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let words: Vec<String> = words
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let program = dir.path().join("cis490");
        fs::write(
            &program,
            format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" ")),
        )
        .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let shells = Shells { dir };
        for shell in ["bash", "zsh", "fish"] {
            fs::write(shells.file(shell), run(&["completions", shell]).1).unwrap();
        }
        shells
    }

    fn file(&self, shell: &str) -> PathBuf {
        self.dir.path().join(format!("completions.{shell}"))
    }

    /// What bash offers for the last of these words, which are as bash splits them.
    fn bash(&self, words: &[&str]) -> Vec<String> {
        let script = format!(
            "source {:?}; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); $(complete -p cis490 | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            self.file("bash")
        );
        let program = self.dir.path().join("cis490");
        let output = Command::new("bash")
            .args(["--norc", "-c", &script, "bash"])
            .arg(program)
            .args(words)
            .output()
            .unwrap();
        let (code, out, err) = ended(output);
        assert_eq!((code, &err[..]), (0, ""), "{words:?}");
        let lines = out.lines().map(str::to_owned);
        lines.filter(|line| !line.is_empty()).collect()
    }
}

fn on<'a>(words: &[&'a str], config: &'a str, last: &'a str) -> Vec<&'a str> {
    let place = ["--config", config];
    [&words[..1], &place, &words[1..], &[last]].concat()
}

#[test]
fn bash_offers_what_lies_in_a_queue() {
    let world = World::new();
    let lab = Lab::new(&format!("http://{}", world.address()));
    let shells = Shells::new();
    let config = lab.config().display().to_string();
    let too_old = world.too_old().to_owned();
    lab.episode("ep-1", &too_old);
    lab.episode("ep-2", world.repo.head());
    assert_eq!(lab.ship_once().code, 3);
    assert_eq!(lab.names("shipped"), ["ep-2", "ep-2.receipt.json"]);
    // Of the two that lie here, the held one.
    lab.episode("ep-3", world.repo.head());
    let held = &too_old[..12];
    let offered = |words: &[&str], last: &str| shells.bash(&on(words, &config, last));
    assert_eq!(offered(&["set-aside", "--commit"], ""), [held]);
    assert_eq!(offered(&["set-aside", "--commit"], &held[..4]), [held]);
    assert_eq!(offered(&["set-aside", "--commit", "="], &held[..4]), [held]);
    assert_eq!(offered(&["set-aside", "--commit"], "="), [held]);
    assert_eq!(offered(&["set-aside", "--commit"], "zz"), [""; 0]);
    assert_eq!(offered(&["resend"], "ep"), ["ep-2"]);

    // Nothing of a name is run or taken for more than one word.
    let sprung = lab.dir().join("sprung");
    let trap = format!(
        "$(touch {})",
        sprung.display().to_string().replace('/', "${HOME:0:1}")
    );
    for name in ["plain", "two words", &trap] {
        lab.episode(name, &too_old);
        let refused = lab.path("refused").join(name);
        fs::rename(lab.path("episodes").join(name), refused).unwrap();
    }
    let requeue = offered(&["requeue"], "");
    assert!(requeue.contains(&"plain".to_owned()), "{requeue:?}");
    assert!(requeue.contains(&"two\\ words".to_owned()), "{requeue:?}");
    assert!(requeue.contains(&"--all".to_owned()), "{requeue:?}");
    assert!(
        requeue.iter().any(|word| word.starts_with("\\$\\(touch")),
        "{requeue:?}"
    );
    assert_eq!(offered(&["requeue"], "two"), ["two\\ words"]);
    assert_eq!(offered(&["requeue", "plain"], "two\\ w"), ["two\\ words"]);
    assert!(!sprung.exists());
    // A name in episodes/ that is not allowed is brought back in this way too.
    lab.episode("not allowed", &too_old);
    assert_eq!(offered(&["requeue"], "not"), ["not\\ allowed"]);
    assert_eq!(offered(&["requeue", "--commit"], ""), [held]);
    assert_eq!(lab.run(&["set-aside", "--commit", held], &[]).code, 0);
    assert_eq!(offered(&["requeue", "--reason"], "set"), ["set-aside"]);
    assert_eq!(offered(&["requeue", "--new-id"], ""), [""; 0]);
}

#[test]
fn bash_offers_the_hosts_of_a_receiver() {
    let world = World::prepared("[[host]]\nid = \"lab-7\"\naddress = \"10.8.0.7\"\n");
    fs::create_dir_all(world.data_dir().join("episodes/lab-9")).unwrap();
    let shells = Shells::new();
    let config = world.config_path();
    let offered = |words: &[&str], last: &str| shells.bash(&on(words, &config, last));
    assert_eq!(offered(&["refusals", "--host"], ""), ["lab-7", "lab-9"]);
    assert_eq!(offered(&["list", "--host"], "lab-9"), ["lab-9"]);
    let store = world.data_dir().display().to_string();
    assert_eq!(
        shells.bash(&["list", "--data-dir", &store, "--host", ""]),
        ["lab-9"]
    );
    assert_eq!(
        offered(&["refusals", "--reason"], "not-in"),
        ["not-in-window"]
    );
    let remove = shells.bash(&["host", "--config", &config, "remove", "lab"]);
    assert_eq!(remove, ["lab-7"]);
    let pulled = TempDir::new();
    fs::create_dir(pulled.path().join("lab-3")).unwrap();
    let to = pulled.path().to_str().unwrap();
    assert_eq!(shells.bash(&["pull", "--to", to, "--host", ""]), ["lab-3"]);
}

#[test]
fn bash_offers_roles_topics_files_and_no_option_for_a_value() {
    let shells = Shells::new();
    let roles = shells.bash(&["install", "--dry-run", ""]);
    for role in ["receiver", "shipper", "puller", "--root"] {
        assert!(roles.contains(&role.to_owned()), "{roles:?}");
    }
    assert_eq!(shells.bash(&["install", "shipper", "rec"]), [""; 0]);
    assert_eq!(shells.bash(&["uninstall", "pul"]), ["puller"]);
    assert_eq!(
        shells.bash(&["help", "events", "config_wai"]),
        ["config_waiting"]
    );
    assert_eq!(
        shells.bash(&["help", "refusals", "never"]),
        ["never-pushed"]
    );
    assert_eq!(shells.bash(&["man", "receiver"]), ["receiver.toml"]);
    assert_eq!(shells.bash(&["scrub", "--rate", ""]), [""; 0]);
    assert_eq!(shells.bash(&["ship", "--log", "j"]), ["json"]);
    let file = shells.file("bash").display().to_string();
    assert_eq!(
        shells.bash(&["status", "--config", &file[..file.len() - 2]]),
        [file]
    );
    // Where nothing can be listed, nothing is said either.
    assert_eq!(
        shells.bash(&["resend", "--config", "/nonexistent", "e"]),
        [""; 0]
    );
    let (code, out, err) = run(&[
        "completions",
        "--list",
        "shipped",
        "--config",
        "/nonexistent",
    ]);
    assert_eq!((code, &out[..]), (1, ""), "{err}");
    assert_eq!(run(&["completions", "--list", "nonsense"]).0, 2);
    assert_eq!(run(&["completions"]).0, 2);
}

/// Types the second word, in which a tab asks for what there is, once the shell shows its prompt; presses
/// return when the first word has appeared, and leaves the shell. Prints what was on the terminal.
const AT_A_TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, sys, termios
awaited, typed, words = sys.argv[1].encode(), sys.argv[2].encode(), sys.argv[3:]
ready, go = os.pipe()
pid, terminal = pty.fork()
if pid == 0:
    os.read(ready, 1)
    os.execvp(words[0], words)
fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
os.write(go, b"x")
output = b""
def more(seconds):
    global output
    if not select.select([terminal], [], [], seconds)[0]:
        return False
    try:
        output += os.read(terminal, 65536)
    except OSError:
        return False
    return True
def until(text):
    while text not in output:
        if not more(60):
            sys.exit(repr(output))
until(b"READY>")
output = b""
os.write(terminal, typed)
until(awaited)
os.write(terminal, b"\r")
until(b"READY>")
os.write(terminal, b"exit\r")
while more(60):
    pass
os.waitpid(pid, 0)
"#;

/// Whether the test can run in this shell here.
fn has(shell: &str) -> bool {
    let starts = |program: &str, word: &str| {
        let mut command = Command::new(program);
        command
            .arg(word)
            .output()
            .is_ok_and(|output| output.status.success())
    };
    let has = starts(shell, "--version") && starts("python3", "--version");
    if !has {
        skip!("completions in {shell} at a terminal: it needs {shell} and python3");
    }
    has
}

/// In the shell itself, at a terminal: a tab brings the held commit, and the line does its work.
fn a_tab_brings_the_held_commit(shell: &str) {
    if !has(shell) {
        return;
    }
    let world = World::new();
    let lab = Lab::new(&format!("http://{}", world.address()));
    let too_old = world.too_old();
    lab.episode("ep-1", too_old);
    assert_eq!(lab.ship_once().code, 3);
    let shells = Shells::new();
    let dir = shells.dir.path();
    let begins = match shell {
        "bash" => format!("PS1='READY>'; source {:?}\n", shells.file("bash")),
        "zsh" => format!(
            "PS1='READY>'; autoload -Uz compinit; compinit -u -D; source {:?}; compdef _cis490 cis490\n",
            shells.file("zsh")
        ),
        _ => format!(
            "function fish_prompt; echo -n 'READY>'; end; function fish_greeting; end; source {:?}\n",
            shells.file("fish")
        ),
    };
    let begins_at = dir.join(".zshrc");
    fs::write(&begins_at, begins).unwrap();
    let begins_at = begins_at.display().to_string();
    let words = match shell {
        "bash" => vec![
            "bash".to_owned(),
            "--rcfile".to_owned(),
            begins_at,
            "-i".to_owned(),
        ],
        "zsh" => vec!["zsh".to_owned(), "-i".to_owned()],
        _ => {
            let source = format!("source {begins_at}");
            ["fish", "--no-config", "-i", "-C", &source]
                .map(str::to_owned)
                .to_vec()
        }
    };
    let path = std::env::var("PATH").unwrap();
    let config = lab.config().display().to_string();
    let typed = format!("cis490 set-aside --config {config} --commit \t");
    let output = Command::new("python3")
        .args(["-c", AT_A_TERMINAL, &too_old[..12], &typed])
        .args(words)
        .env("PATH", format!("{}:{path}", dir.display()))
        .env("ZDOTDIR", dir)
        .env("HOME", dir)
        .env("TERM", "xterm")
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        lab.names("refused"),
        ["ep-1", "ep-1.why.json"],
        "{output:?}"
    );
}

#[test]
fn a_tab_in_bash_brings_the_held_commit() {
    a_tab_brings_the_held_commit("bash");
}

#[test]
fn a_tab_in_zsh_brings_the_held_commit() {
    a_tab_brings_the_held_commit("zsh");
}

#[test]
fn a_tab_in_fish_brings_the_held_commit() {
    a_tab_brings_the_held_commit("fish");
}
