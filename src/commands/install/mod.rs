//! `cis490 install` and `cis490 uninstall`: from one copied file to a running service, and back.
//!
//! 1. Everything that can be refused is refused before anything is changed.
//! 2. What is there as it should be is left alone; a second run changes nothing and restarts nothing.
//! 3. A configuration that exists is never written, and a store never begun beside one: the disk
//!    that it names may not be mounted just now.

mod answer;
mod hand_over;
mod place;
mod settings;
mod side;
mod uninstall;
mod unit;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};

use self::place::{Owner, Place, ROOT, Wanted, cannot};
use self::side::{BINARY, CONFIGS, CREDENTIALS, Side, USER};
use super::init;
use crate::config;
use crate::failure::Failure;
use crate::human::without_user;
use crate::names::HostId;
use crate::owner;
use crate::receiver::store::store_dir;
use crate::terminal::say;

pub(super) use self::uninstall::Uninstall;

/// make this machine a receiver or a shipper. Makes user, folders, configuration and unit. Run it as
/// root from wherever the program was copied to. Running it again is harmless; a newer program
/// replaces an older one, and the service is restarted
#[derive(FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "install",
    example = "sudo ./cis490 install receiver",
    example = "sudo ./cis490 install shipper --receiver-url http://10.8.0.1:8490"
)]
pub(super) struct Install {
    /// receiver (the Pi) or shipper (a lab host)
    #[argh(positional)]
    side: Side,
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
    /// the token (this lab host's, or the receiver's for Forgejo), which goes to systemd's
    /// credentials; /dev/stdin is a file too
    #[argh(option)]
    token_file: Option<PathBuf>,
}

/// The configuration, and whether it is there already.
struct Settings {
    text: String,
    is_new: bool,
    data: PathBuf,
}

impl Install {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let side = self.side;
        let mut place = Place::new(self.root.clone(), self.dry_run)?;
        check_place(&place)?;
        let program = fs::read("/proc/self/exe")
            .map_err(|error| cannot("read", Path::new("/proc/self/exe"), &error))?;
        let settings = self.settings(&place)?;
        check_settings(side, &place, &settings)?;
        check_data(side, &place, &settings)?;
        let token = self.token_file.as_deref();
        let token = token.map(|file| config::read_secret("--token-file", file));
        let token = token.transpose()?;

        say!("cis490 {} as {}", env!("CARGO_PKG_VERSION"), side.name());
        let user = place.user()?;
        place.dir(Path::new(CONFIGS), 0o750, user.map(|(_, group)| (0, group)))?;
        put_program(&mut place, &program)?;
        self.put_settings(&mut place, &settings, user)?;
        if let Some(token) = token {
            put_token(side, &mut place, &token)?;
        }
        put_data(side, &mut place, &settings, user)?;
        let units_changed = unit::put(side, &mut place, &settings.data)?;
        if !place.is_here() {
            unit::link(side, &mut place, &settings.data)?;
        }
        hidden_paths(side, &settings)?;
        if place.is_dry() && !place.is_here() {
            say!("This was a dry run: nothing was changed.");
            return Ok(ExitCode::SUCCESS);
        }
        if !place.is_here() {
            say!("Installed into a folder: nothing was started.");
            if user.is_none() {
                say!(
                    "Owners are to be set: {} and what is in it are for the user {USER}.",
                    place.at(&settings.data).display()
                );
            }
            return Ok(ExitCode::SUCCESS);
        }
        unit::start(side, &mut place, &settings.data, units_changed)?;
        if place.is_dry() {
            say!("This was a dry run: nothing was changed.");
        } else {
            answer::check(side, &settings.text)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The configuration that is there, or the example with what the flags say.
    fn settings(&self, place: &Place) -> Result<Settings, Failure> {
        let path = place.at(self.side.config_path());
        let (text, is_new) = match fs::read_to_string(&path) {
            Ok(text) => (text, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (self.new_text(place)?, true),
            Err(error) => return Err(cannot("read", &path, &error)),
        };
        let data = self.side.data_of(&text, &path)?;
        Ok(Settings { text, is_new, data })
    }

    fn new_text(&self, place: &Place) -> Result<String, Failure> {
        let mut text = self.side.example().to_owned();
        for (key, value) in self.keys(place)? {
            // A unit test has tried every key.
            text = settings::set(&text, key, &value).unwrap_or(text);
        }
        Ok(text)
    }

    /// What a new configuration says otherwise than the example.
    fn keys(&self, place: &Place) -> Result<Vec<(&'static str, String)>, Failure> {
        let mut keys = Vec::new();
        match self.side {
            Side::Shipper => {
                let url = self.receiver_url.clone().ok_or_else(|| {
                    Failure::new(
                        "a new shipper.toml needs to know the receiver",
                        "cis490 install shipper --receiver-url http://HOST:8490",
                    )
                })?;
                keys.push(("receiver_url", url));
                keys.push(("host_id", self.host_id(place)?.to_string()));
            }
            Side::Receiver => {
                if let Some(url) = &self.forgejo_url {
                    let (owner, name) = self.repository()?;
                    keys.push(("forgejo_url", url.clone()));
                    keys.push(("repo_owner", owner));
                    keys.push(("repo_name", name));
                }
            }
        }
        if self.token_file.is_some() {
            let (credential, key) = self.side.credential();
            keys.push((key, credential.to_owned()));
        }
        Ok(keys)
    }

    fn repository(&self) -> Result<(String, String), Failure> {
        let both = self.repo.as_deref().and_then(|repo| repo.split_once('/'));
        let (owner, name) = both.ok_or_else(|| {
            Failure::new(
                "--forgejo-url needs --repo OWNER/NAME beside it",
                "both are in the repository's URL on Forgejo",
            )
        })?;
        Ok((owner.to_owned(), name.to_owned()))
    }

    fn host_id(&self, place: &Place) -> Result<HostId, Failure> {
        if let Some(id) = &self.host_id {
            return Ok(id.clone());
        }
        let file = match place.is_here() {
            true => PathBuf::from("/proc/sys/kernel/hostname"),
            false => place.at("/etc/hostname"),
        };
        let give_one = "give it one: --host-id lab-1; it never changes once used";
        let unknown = |why: String| {
            Failure::new(
                format!("this lab host's name is not known: {why}"),
                give_one,
            )
        };
        let name = fs::read_to_string(&file)
            .map_err(|error| unknown(format!("cannot read {}: {error}", file.display())))?;
        if name.trim().is_empty() {
            return Err(unknown(format!("{} is empty", file.display())));
        }
        let short = name.trim().split('.').next().unwrap_or("");
        HostId::parse(&short.to_ascii_lowercase()).map_err(|error| {
            Failure::new(
                format!("the hostname is no name for a lab host: {error}"),
                give_one,
            )
        })
    }

    fn put_settings(
        &self,
        place: &mut Place,
        settings: &Settings,
        user: Option<Owner>,
    ) -> Result<(), Failure> {
        let path = Path::new(self.side.config_path());
        if settings.is_new {
            return place.file(&Wanted {
                path,
                bytes: settings.text.as_bytes(),
                mode: 0o640, // it may hold a token
                owner: user.map(|(_, group)| (0, group)),
            });
        }
        let example = self.side.example();
        let ours = config::parse(&settings.text, path)?;
        let difference = settings::difference(&ours, &config::parse(example, path)?);
        let shown = place.at(path);
        if difference.is_empty() {
            place.there(format_args!(
                "{}; it says what the example says",
                shown.display()
            ));
        } else {
            place.there(format_args!(
                "{}; it differs from the example in",
                shown.display()
            ));
        }
        for line in difference {
            say!("                {line}");
        }
        let (credential, key) = self.side.credential();
        if self.token_file.is_some() && !settings.text.contains(credential) {
            say!("  note        it does not use the token: say {key} = \"{credential}\" in it");
        }
        let flags = [self.receiver_url.as_deref(), self.forgejo_url.as_deref()];
        for flag in flags.into_iter().flatten() {
            if !settings.text.contains(flag) {
                let shown = without_user(flag);
                say!("  note        it does not say {shown}: it was left alone, edit it");
            }
        }
        Ok(())
    }
}

fn check_place(place: &Place) -> Result<(), Failure> {
    if !place.is_here() {
        return Ok(());
    }
    if place.is_dry() {
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

/// The configuration says which folder is given away and what root's unit has in it: nobody but root
/// may have written it.
fn check_settings(side: Side, place: &Place, settings: &Settings) -> Result<(), Failure> {
    let path = place.at(side.config_path());
    if settings.is_new {
        return Ok(());
    }
    let found = fs::metadata(&path).map_err(|error| cannot("look at", &path, &error))?;
    let writers = config::other_writers(&found, place.is_root());
    writers.map_or(Ok(()), |writers| {
        Err(Failure::new(
            format!(
                "{} may be written by {writers}, and root would do what it says",
                path.display()
            ),
            format!(
                "read what is in it, then: sudo chown root {0} && sudo chmod go-w {0}",
                path.display()
            ),
        ))
    })
}

/// What the unit cannot see, however right it is for a person.
fn hidden_paths(side: Side, settings: &Settings) -> Result<(), Failure> {
    let path = Path::new(side.config_path());
    for (key, folder) in side.folders_of(&settings.text, path)? {
        if let Some(why) = config::hidden_from_service(&folder) {
            say!("  note        {key} = {folder:?}: {why}");
        }
    }
    Ok(())
}

/// The folder that must not be lost: neither begun anew beside an old configuration, nor shared.
fn check_data(side: Side, place: &Place, settings: &Settings) -> Result<(), Failure> {
    let data = place.at(&settings.data);
    if place.is_root() {
        let image = place.root().unwrap_or(Path::new("/"));
        owner::check_path_is_roots(&data, image).map_err(|why| owner::refusal(&data, &why))?;
    }
    // A dry run may be anybody's, who cannot look there.
    let can_look = place.is_root() || !place.is_dry();
    if place.is_here() && can_look && !settings.is_new && !side.is_made(&data) {
        return Err(Failure::new(
            format!("{} is not made yet, or not there", data.display()),
            format!(
                "is its disk mounted? a new one begins with: sudo cis490 init --config {}; then install again",
                side.config_path()
            ),
        ));
    }
    let other = side.other();
    let other_path = place.at(other.config_path());
    let other_data = fs::read_to_string(&other_path)
        .ok()
        .and_then(|text| other.data_of(&text, &other_path).ok());
    if other_data.as_deref() == Some(&*settings.data) {
        return Err(Failure::new(
            format!(
                "{} is the {}'s folder already",
                settings.data.display(),
                other.name()
            ),
            format!(
                "a machine that is both needs two: write {} with another {} (the example is in etc/), cis490 init, then install",
                side.config_path(),
                side.data_key()
            ),
        ));
    }
    Ok(())
}

fn put_program(place: &mut Place, program: &[u8]) -> Result<(), Failure> {
    let path = Path::new(BINARY);
    if let Some(folder) = path.parent() {
        place.dir(folder, 0o755, Some(ROOT))?;
    }
    place.file(&Wanted {
        path,
        bytes: program,
        mode: 0o755,
        owner: Some(ROOT),
    })
}

fn put_token(side: Side, place: &mut Place, token: &str) -> Result<(), Failure> {
    place.dir(Path::new(CREDENTIALS), 0o700, Some(ROOT))?;
    place.file(&Wanted {
        path: &Path::new(CREDENTIALS).join(side.credential().0),
        bytes: format!("{token}\n").as_bytes(),
        mode: 0o600,
        owner: Some(ROOT),
    })
}

/// Makes the folder, where that begins nothing anew, and gives it to the service's user.
fn put_data(
    side: Side,
    place: &mut Place,
    settings: &Settings,
    user: Option<Owner>,
) -> Result<(), Failure> {
    let at = place.at(&settings.data);
    let is_made = side.is_made(&at);
    if is_made {
        place.there(at.join("").display());
    } else {
        // Root's own until it is complete: so all that is in it is root's work, and is given.
        place.dir(&settings.data, 0o750, Some(ROOT))?;
    }
    if place.is_dry() {
        return Ok(());
    }
    if !is_made {
        match side {
            Side::Receiver => store_dir::make(&at).map(|_| ())?,
            Side::Shipper => {
                init::make_folders(&at).map_err(|error| cannot("make", &at, &error))?;
            }
        }
    }
    if let Some(user) = user.filter(|_| place.is_root()) {
        give_data(side, place, &at, user)?;
    }
    Ok(())
}

/// With the service stopped, if there is anything to give: `unit::start` starts it again.
fn give_data(side: Side, place: &mut Place, at: &Path, user: place::Owner) -> Result<(), Failure> {
    let depth = match side {
        Side::Receiver => hand_over::DEPTH_MAX,
        Side::Shipper => 1, // what is recorded may be the recorder's own
    };
    let failed = |error| cannot("give away", at, &error);
    let planned = hand_over::look(at, depth).map_err(failed)?;
    let mut left = planned.left;
    if planned.given > 0 {
        let is_stopped = place.is_here() && unit::is_active(side);
        if is_stopped {
            place.systemctl(&["stop", side.unit()])?;
        }
        let given = hand_over::hand_over(at, user, depth);
        if given.is_err() && is_stopped {
            place.systemctl(&["start", side.unit()])?;
        }
        left = given.map_err(failed)?.left;
    }
    for (path, why) in left {
        say!(
            "  note        {} is root's and stays so: {why}; if the service made it, remove it or chown it by hand",
            path.display()
        );
    }
    let owner = fs::metadata(at).map_or(user.0, |found| found.uid());
    if owner != user.0 {
        say!(
            "  note        {} belongs to the user {owner}, and the service runs as {USER}: chown -R {USER}: it, unless {USER} may write there",
            at.display()
        );
    }
    Ok(())
}
