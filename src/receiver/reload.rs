//! SIGHUP: the receiver reads its configuration again and takes from it what may change while it runs (design,
//! section 10).
//!
//! 1. A file with a mistake, or a secret that cannot be read, changes nothing, and the log says so.
//! 2. A changed key that needs a restart stays as it was, is named in the log, and is listed in
//!    `config_waiting` of `/v1/status` until the file has the old value again or the receiver restarts.
//! 3. An upload under way ends under the rules that it began with.

use std::path::PathBuf;

use super::archive::ReadyTerms;
use super::config::Config;
use super::http::Server;
use super::version_gate::ReadyChange;
use crate::config::settings::{TakesEffect, changed};
use crate::events;
use crate::failure::Failure;

/// What a reload compares with.
pub(super) struct Reload {
    pub server: Server,
    pub path: PathBuf,
    /// The file as it was at the start, without the flags of the command line.
    pub at_start: Config,
    /// Makes the limits fit what the system allows.
    pub fit: fn(Config) -> Result<Config, Failure>,
}

impl Reload {
    /// Reads the file again.
    pub(super) fn reload(&self) {
        if let Err(failure) = self.try_to_reload() {
            events::reload_failed(&self.path, &failure);
        }
    }

    fn try_to_reload(&self) -> Result<(), Failure> {
        let new = Config::load(&self.path)?;
        let before = self.server.config();
        let new_settings = new.settings();
        let waiting = changed(
            &self.at_start.settings(),
            &new_settings,
            TakesEffect::OnRestart,
        );
        let readers = new.readers.len();
        let wanted = before.reloaded(new);
        let applied = changed(
            &before.settings(),
            &wanted.settings(),
            TakesEffect::OnReload,
        );
        let config = Config {
            // The limit that connections are admitted by stays as it is.
            max_connections: before.max_connections,
            ..(self.fit)(wanted)?
        };
        let gate = ReadyChange::read(&config.version_gate)?;
        let archive = config.archive.as_ref().map(ReadyTerms::read).transpose()?;
        let opens = config.hosts.is_empty() && !before.hosts.is_empty();
        self.server.reload(config, gate, archive, waiting.clone());
        if opens {
            events::open_to_all();
        }
        events::readers_reloaded(readers);
        events::reloaded(&applied);
        if !waiting.is_empty() {
            events::config_waiting(&waiting);
        }
        Ok(())
    }
}
