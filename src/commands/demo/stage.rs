//! The demo's temporary folder: the configurations, a receiver's store and a lab host's folder.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::project::Commit;
use super::talk::{self, cannot};
use crate::durable;
use crate::failure::Failure;
use crate::names::EpisodeId;
use crate::sync::lock;
use crate::sys;

pub(super) const HOST: &str = "lab-1";
/// The folder of the machine that trains.
pub(super) const PULLED: &str = "training";

/// The folder, which is removed at the end if the person has asked for that.
struct Folder {
    path: PathBuf,
    clean: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _only_one = lock_the_end();
        if self.clean {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Taken by the thread that ends the demo. The thread of the signals never unlocks it: the main thread
/// then waits here for the exit, and reports no error about the folder that has vanished.
fn lock_the_end() -> MutexGuard<'static, ()> {
    static END: Mutex<()> = Mutex::new(());
    lock(&END)
}

pub(super) struct Stage {
    folder: Folder,
    /// This program's own file.
    pub program: PathBuf,
}

impl Stage {
    pub(super) fn build(clean: bool) -> Result<Stage, Failure> {
        let program = std::env::current_exe().map_err(|error| {
            Failure::new(
                format!("cannot find this program's own file: {error}"),
                "start it by its path; the demo starts it again as receiver and shipper",
            )
        })?;
        let path = std::env::temp_dir().join(format!("cis490-demo-{}", std::process::id()));
        let made = fs::create_dir(&path);
        made.map_err(|error| cannot("make the folder", &path, &error))?;
        let folder = Folder { path, clean };
        end_on_signal(folder.path.clone(), clean)?;
        Ok(Stage { folder, program })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder.path
    }

    pub(super) fn write_receiver_config(&self, window: usize) -> Result<(), Failure> {
        let text = format!(
            "listen = \"127.0.0.1:0\"\n\
             data_dir = {:?}\n\
             min_free_bytes = 16777216\n\
             \n\
             [version_gate]\n\
             window = {window}\n\
             refresh_seconds = 1\n\
             local_repo_path = {:?}\n\
             \n\
             [[reader]]\n\
             id = \"trainer\"\n\
             address = \"127.0.0.1\"\n",
            self.path("receiver"),
            self.path("project.git"),
        );
        self.write("receiver.toml", &text)
    }

    pub(super) fn write_shipper_config(&self, receiver: SocketAddr) -> Result<(), Failure> {
        let text = format!(
            "receiver_url = \"http://{receiver}\"\nhost_id = {HOST:?}\nroot = {:?}\n",
            self.path(HOST),
        );
        self.write("shipper.toml", &text)
    }

    /// Makes a finished episode, as a recorder of that commit would.
    pub(super) fn record(&self, id: &str, commit: &Commit) -> Result<Episode, Failure> {
        let id = EpisodeId::parse(id).map_err(|bad| Failure::new(bad, ""))?;
        let dir = format!("{HOST}/episodes/{id}");
        let path = self.path(&dir);
        fs::create_dir(&path).map_err(|error| cannot("make the folder", &path, &error))?;
        let swing = |i: u32| format!("{},{:.4}\n", i, (f64::from(i) / 40.0).sin());
        let readings: String = (0..2000).map(swing).collect();
        self.write(
            &format!("{dir}/readings.csv"),
            &format!("tick,angle\n{readings}"),
        )?;
        let meta = json!({
            "episode": id,
            "code_version": {"commit": commit.hash, "dirty": false},
        });
        self.write(&format!("{dir}/meta.json"), &meta.to_string())?;
        Ok(Episode {
            id,
            commit: commit.clone(),
        })
    }

    /// The receipt that the lab host keeps of an accepted episode.
    pub(super) fn receipt(&self, id: &EpisodeId) -> Result<Value, Failure> {
        let text = self.read(&format!("{HOST}/shipped/{id}.receipt.json"))?;
        serde_json::from_slice(text.as_bytes())
            .map_err(|error| Failure::new(format!("the receipt of {id} is no JSON: {error}"), ""))
    }

    /// Whether the lab host still has the files of an episode.
    pub(super) fn is_kept(&self, id: &EpisodeId) -> bool {
        self.path(&format!("{HOST}/episodes/{id}/meta.json"))
            .is_file()
    }

    /// Names and sizes of the tarballs in the store.
    pub(super) fn stored_files(&self) -> Result<Vec<(String, u64)>, Failure> {
        self.files("receiver", &format!("episodes/{HOST}"))
    }

    /// Names and sizes of the tarballs that were pulled.
    pub(super) fn pulled_files(&self) -> Result<Vec<(String, u64)>, Failure> {
        self.files(PULLED, HOST)
    }

    /// The files of `dir`, which is below `above`, with their paths from there.
    fn files(&self, above: &str, dir: &str) -> Result<Vec<(String, u64)>, Failure> {
        let path = self.path(above).join(dir);
        let list = || -> io::Result<Vec<(String, u64)>> {
            let mut files = Vec::new();
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                files.push((format!("{dir}/{name}"), entry.metadata()?.len()));
            }
            files.sort();
            Ok(files)
        };
        list().map_err(|error| cannot("list", &path, &error))
    }

    /// The text of the store's index.
    pub(super) fn index(&self) -> Result<String, Failure> {
        self.read("receiver/index.jsonl")
    }

    /// Prints a command of this program, and runs it; the path of `name` in this folder is its last word.
    pub(super) fn command(&self, arguments: &[&str], name: &str) -> Result<Output, Failure> {
        let path = self.path(name);
        talk::say(format!(
            "$ cis490 {} {}",
            arguments.join(" "),
            path.display()
        ));
        let mut command = Command::new(&self.program);
        command.args(arguments).arg(path).stdin(Stdio::null());
        sys::ends_with_us(&mut command);
        let output = command.output();
        output.map_err(|error| cannot("start", &self.program, &error))
    }

    /// As [`Stage::command`]; what the command has printed.
    pub(super) fn command_succeeds(
        &self,
        arguments: &[&str],
        name: &str,
    ) -> Result<String, Failure> {
        let output = self.command(arguments, name)?;
        if !output.status.success() {
            return Err(self.unexpected(&arguments.join(" "), &output));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The failure of a command of this program that ended with another status than expected.
    pub(super) fn unexpected(&self, command: &str, output: &Output) -> Failure {
        let words = String::from_utf8_lossy(&output.stderr);
        Failure::new(
            format!(
                "cis490 {command} ended with {}:\n{}",
                output.status,
                words.trim_end()
            ),
            "this should not happen; please report it with the lines above",
        )
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path.join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.path(name);
        fs::write(&path, text).map_err(|error| cannot("write", &path, &error))
    }

    fn read(&self, name: &str) -> Result<String, Failure> {
        let path = self.path(name);
        fs::read_to_string(&path).map_err(|error| cannot("read", &path, &error))
    }
}

/// Ctrl-C ends the demo, its processes and, if asked for, its folder.
fn end_on_signal(folder: PathBuf, clean: bool) -> Result<(), Failure> {
    let wait = move || {
        while sys::wait_signal() != sys::Signal::Stop {}
        let _until_the_exit = lock_the_end();
        if clean {
            // Renamed first: a process that still writes into the folder no longer finds it.
            let ended = folder.with_extension("ended");
            let _ = durable::rename(&folder, &ended);
            remove_patiently(&ended);
        }
        std::process::exit(130);
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map_err(|error| {
            Failure::new(
                format!("cannot start a thread: {error}"),
                "free memory, or raise ulimit -u",
            )
        })?;
    Ok(())
}

/// Removes a folder in which a process that is just ending, such as a git, may still make a file. Gives
/// up after two seconds.
fn remove_patiently(folder: &Path) {
    for _ in 0..100 {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                thread::sleep(Duration::from_millis(20));
            }
            _ => return,
        }
    }
}

/// An episode on the lab host.
pub(super) struct Episode {
    pub id: EpisodeId,
    pub commit: Commit,
}
