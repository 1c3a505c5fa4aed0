//! `cis490 install` and `cis490 uninstall`: from one copied file to a running service, and back.
//!
//! 1. Everything that can be refused is refused before anything is changed.
//! 2. A file or folder that is as it should be is left alone; a second run changes nothing and
//!    restarts nothing.
//! 3. A configuration that exists is never written, and no store is begun beside one: the disk that
//!    it names may not be mounted at the moment.

mod side;

mod example;
mod settings;

mod data_folder;
mod hand_over;
mod place;
mod program;
mod puller;
mod texts;
mod unit;

mod answer;
mod uninstall;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use self::place::{Place, ROOT, UserAndGroup, Wanted, cannot};
use self::settings::Settings;
use self::side::{CONFIGS, CREDENTIALS, Role, Side, USER};
use crate::config;
use crate::failure::Failure;
use crate::names::HostId;
use crate::terminal::say;

pub(super) use self::uninstall::Uninstall;

/// make this machine a receiver, a shipper or a puller. Makes user, folders, configuration and unit, and puts
/// manual pages and completions in place. Run it as root from wherever the program was copied to. Running it again is harmless; a newer program
/// replaces an older one, and the service is restarted
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "install",
    example = "sudo ./cis490 install receiver",
    example = "sudo ./cis490 install shipper --receiver-url http://10.8.0.1:8490",
    example = "sudo ./cis490 install puller --url http://10.8.0.1:8490 --to /data/cis490"
)]
pub(super) struct Install {
    /// receiver (the Pi), shipper (a lab host) or puller (a machine that fetches what is stored)
    #[argh(positional)]
    role: Role,
    /// only show what would be done
    #[argh(switch)]
    dry_run: bool,
    /// install into this folder, which stands for another machine: an image, say. Starts nothing
    #[argh(option)]
    root: Option<PathBuf>,
    /// shipper: where the receiver is, for a new shipper.toml
    #[argh(option)]
    receiver_url: Option<String>,
    /// shipper: this lab host's name on the receiver, for a new shipper.toml (default: its hostname)
    #[argh(option)]
    host_id: Option<HostId>,
    /// receiver: the Forgejo with the repository, for a new receiver.toml
    #[argh(option)]
    forgejo_url: Option<String>,
    /// receiver: OWNER/NAME of that repository
    #[argh(option)]
    repo: Option<String>,
    /// puller: where the receiver is
    #[argh(option)]
    url: Option<String>,
    /// puller: the folder for the episodes (default /var/lib/cis490-pull)
    #[argh(option)]
    to: Option<PathBuf>,
    /// puller: only this host's episodes
    #[argh(option)]
    host: Option<HostId>,
    /// puller: the certificate authority that signed the receiver's certificate, in PEM
    #[argh(option)]
    ca_file: Option<PathBuf>,
    /// the token (this lab host's, this reader's, or the receiver's for Forgejo), which goes to
    /// systemd's credentials; /dev/stdin is a file too
    #[argh(option)]
    token_file: Option<PathBuf>,
}

impl Install {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let mut place = Place::new(self.root.clone(), self.dry_run)?;
        check_place(&place)?;
        let program = fs::read("/proc/self/exe")
            .map_err(|error| cannot("read", Path::new("/proc/self/exe"), &error))?;
        program::check(&place, &program)?;
        match self.role {
            Role::Side(side) => self.install_side(side, &mut place, &program)?,
            Role::Puller => puller::install(&self, &mut place, &program)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn install_side(&self, side: Side, place: &mut Place, program: &[u8]) -> Result<(), Failure> {
        let settings = Settings::read(self, side, place)?;
        settings.check_writers(side, place)?;
        data_folder::check(side, place, &settings)?;
        let token = self.token()?;

        say!("cis490 {} as {}", env!("CARGO_PKG_VERSION"), side.name());
        let user = place.user()?;
        place.dir(Path::new(CONFIGS), 0o750, user.map(|(_, group)| (0, group)))?;
        program::put(Role::Side(side), place, program)?;
        settings.put(self, side, place, user)?;
        if let Some(token) = token {
            put_credential(side.credential().0, place, &token)?;
        }
        data_folder::put(side, place, &settings, user)?;
        let units_changed = unit::put(side, place, &settings.data)?;
        if place.is_here() {
            settings.show_hidden_folders(side)?;
            settings.show_missing_source(side, place)?;
            start(side, place, &settings, units_changed)?;
        } else {
            unit::link(side, place, &settings.data)?;
            settings.show_hidden_folders(side)?;
            settings.show_missing_source(side, place)?;
            say_not_started(place, &settings, user);
        }
        Ok(())
    }

    fn token(&self) -> Result<Option<String>, Failure> {
        let file = self.token_file.as_deref();
        file.map(|file| config::read_secret("--token-file", file))
            .transpose()
    }
}

/// Starts the service and waits for its answer, or in a dry run says that nothing was done.
fn start(
    side: Side,
    place: &mut Place,
    settings: &Settings,
    units_changed: bool,
) -> Result<(), Failure> {
    unit::start(side, place, &settings.data, units_changed)?;
    if place.is_dry() {
        say!("This was a dry run: nothing was changed.");
        return Ok(());
    }
    answer::check(side, &settings.text)
}

/// The end of an installation into a folder.
fn say_not_started(place: &Place, settings: &Settings, user: Option<UserAndGroup>) {
    if place.is_dry() {
        say!("This was a dry run: nothing was changed.");
        return;
    }
    say!("Installed into a folder: nothing was started.");
    if user.is_none() {
        say!(
            "Set the owner: {} and everything in it must belong to the user {USER}.",
            place.at(&settings.data).display()
        );
    }
}

/// Errors: this machine runs no systemd, or the user is not root. A dry run and a folder need neither.
fn check_place(place: &Place) -> Result<(), Failure> {
    if !place.is_here() || place.is_dry() {
        return Ok(());
    }
    if !Path::new("/run/systemd/system").is_dir() {
        return Err(Failure::new(
            "this machine does not run systemd",
            "cis490 receive and cis490 ship run under any supervisor; --root FOLDER installs into an image",
        ));
    }
    if !place.is_root() {
        return Err(Failure::new(
            "only root can install",
            "run it with sudo; --dry-run says what it would do",
        ));
    }
    Ok(())
}

fn put_credential(name: &str, place: &mut Place, token: &str) -> Result<(), Failure> {
    place.dir(Path::new(CREDENTIALS), 0o700, Some(ROOT))?;
    place.file(&Wanted {
        path: &Path::new(CREDENTIALS).join(name),
        bytes: format!("{token}\n").as_bytes(),
        mode: 0o600,
        owner: Some(ROOT),
    })
}
