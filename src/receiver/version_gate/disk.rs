//! `window.json`: the last good window and when it was good, for a start without any source.
//!
//! The file is a memory, never an authority. It is ignored if it is of another repository or branch or
//! cannot be read, and a failure to write it costs only that memory.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::git::LocalGit;
use super::window::Window;
use super::withdrawn::Withdrawn;
use crate::names::CommitHash;
use crate::receiver::config::GateConfig;
use crate::receiver::data_dir::DataDir;
use crate::wire::Source;
use crate::{clock, durable, events};

/// A window that has not changed is written again after this time, and not before: SD cards wear.
const REWRITE_AFTER: Duration = Duration::from_secs(3600);
/// The largest window of the longest hashes, twice over.
const BYTES_MAX: u64 = 2 << 20;

/// The file, and the branch that it must be of.
pub(super) struct WindowFile {
    path: PathBuf,
    /// The folder as it was at start; `None` if it cannot be opened: then nothing is written.
    home: Option<DataDir>,
    origin: Origin,
    written: Option<Written>,
}

/// What this process has last written or read.
struct Written {
    commits: Vec<CommitHash>,
    at: Instant,
}

/// The repository and branch of a window.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    /// `None` where only a local repository is configured.
    url: Option<String>,
    /// `owner/name`, or the local repository's path.
    repository: String,
    branch: String,
}

#[derive(Serialize, Deserialize)]
struct Content {
    url: Option<String>,
    repository: String,
    branch: String,
    source: Source,
    /// When a source last confirmed it, in seconds since 1970.
    good_at: u64,
    /// Newest first.
    commits: Vec<CommitHash>,
    #[serde(default)]
    withdrawn: Withdrawn,
}

impl Content {
    fn is_of(&self, origin: &Origin) -> bool {
        let Origin {
            url,
            repository,
            branch,
        } = origin;
        (&self.url, &self.repository, &self.branch) == (url, repository, branch)
    }

    fn earlier_window(&self, size: u32) -> Option<EarlierWindow> {
        let now_s = clock::unix_seconds(SystemTime::now());
        Some(EarlierWindow {
            window: Window::new(self.commits.iter().copied(), size, Source::Disk)?,
            age: Duration::from_secs(now_s.saturating_sub(self.good_at)),
            withdrawn: self.withdrawn.clone(),
        })
    }
}

/// The window of an earlier run.
pub(super) struct EarlierWindow {
    pub window: Window,
    /// By the wall clock, which may be wrong.
    pub age: Duration,
    pub withdrawn: Withdrawn,
}

impl WindowFile {
    pub(super) fn new(data_dir: &Path, config: &GateConfig, git: &LocalGit) -> WindowFile {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let repository = match &config.forgejo_url {
            Some(_) => format!("{}/{}", part(&config.repo_owner), part(&config.repo_name)),
            None => git
                .path()
                .map_or(String::new(), |path| path.display().to_string()),
        };
        WindowFile {
            path: data_dir.join("window.json"),
            home: DataDir::open(data_dir).ok(),
            origin: Origin {
                url: config.forgejo_url.clone(),
                repository,
                branch: config.branch.clone(),
            },
            written: None,
        }
    }

    /// Reads the file; `None` if there is none, or it is of another branch.
    pub(super) fn load(&mut self, size: u32) -> Option<EarlierWindow> {
        let content = match self.read() {
            Ok(content) => content?,
            Err(error) => {
                events::gate_file_unreadable(&self.path, &error);
                return None;
            }
        };
        if !content.is_of(&self.origin) {
            events::gate_file_of_another(&self.path, &content.branch);
            return None;
        }
        let memory = content.earlier_window(size)?;
        self.written = Instant::now()
            .checked_sub(memory.age.min(REWRITE_AFTER))
            .map(|at| Written {
                commits: content.commits,
                at,
            });
        Some(memory)
    }

    /// As [`WindowFile::load`], without a line in the log.
    pub(super) fn peek(&self, size: u32) -> Option<EarlierWindow> {
        let content = self.read().ok()??;
        content
            .is_of(&self.origin)
            .then(|| content.earlier_window(size))?
    }

    /// Writes a window that a source has just confirmed, if it has changed or the file is an hour old. The
    /// withdrawn commits change only with the window.
    pub(super) fn keep(&mut self, window: &Window, withdrawn: &Withdrawn) {
        let is_there = |written: &Written| {
            written.commits == window.commits() && written.at.elapsed() < REWRITE_AFTER
        };
        if self.written.as_ref().is_some_and(is_there) {
            return;
        }
        // Noted before the write: a full disk would otherwise be tried at every refresh.
        self.written = Some(Written {
            commits: window.commits().to_vec(),
            at: Instant::now(),
        });
        if let Err(error) = self.write(window, withdrawn) {
            events::gate_file_unwritable(&self.path, &error);
        }
    }

    fn write(&self, window: &Window, withdrawn: &Withdrawn) -> io::Result<()> {
        let Origin {
            url,
            repository,
            branch,
        } = self.origin.clone();
        let content = Content {
            url,
            repository,
            branch,
            source: window.source(),
            good_at: clock::unix_seconds(SystemTime::now()),
            commits: window.commits().to_vec(),
            withdrawn: withdrawn.clone(),
        };
        let mut text = serde_json::to_vec(&content)?;
        text.push(b'\n');
        let home = self.home.as_ref();
        home.map_or(Err(io::ErrorKind::NotFound.into()), DataDir::check)?;
        durable::publish(&self.path, &text)
    }

    /// `None` if there is no file.
    fn read(&self) -> io::Result<Option<Content>> {
        let file = match durable::open_regular(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut bytes = Vec::new();
        file.take(BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}
