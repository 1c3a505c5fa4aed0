//! The configuration of the installed side: the file that exists, which is never written, or a new one,
//! which is the example with the values of the options.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Install;
use super::example;
use super::place::{Place, UserAndGroup, Wanted, cannot};
use super::side::Side;
use crate::config;
use crate::failure::Failure;
use crate::human::without_user;
use crate::names::HostId;
use crate::receiver::config as receiver;
use crate::receiver::version_gate::DEFAULT_REPOSITORY;
use crate::terminal::say;

pub(super) struct Settings {
    pub text: String,
    /// No configuration exists yet.
    pub is_new: bool,
    /// The data folder that the text names.
    pub data: PathBuf,
}

impl Settings {
    /// Reads the configuration that exists, or makes a new one of the example and the options.
    ///
    /// Errors: the file cannot be read or has a mistake, or an option is missing or has one.
    pub(super) fn read(options: &Install, side: Side, place: &Place) -> Result<Settings, Failure> {
        let path = place.at(side.config_path());
        let (text, is_new) = match fs::read_to_string(&path) {
            Ok(text) => (text, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (new_text(options, side, place)?, true)
            }
            Err(error) => return Err(cannot("read", &path, &error)),
        };
        let data = side.data_of(&text, &path)?;
        Ok(Settings { text, is_new, data })
    }

    /// The configuration says which folder is given away and what root's unit has in it, so it counts
    /// only if nobody but root can have written it.
    pub(super) fn check_writers(&self, side: Side, place: &Place) -> Result<(), Failure> {
        if self.is_new {
            return Ok(());
        }
        let path = place.at(side.config_path());
        let found = fs::metadata(&path).map_err(|error| cannot("look at", &path, &error))?;
        let Some(writers) = config::other_writers(&found, place.is_root()) else {
            return Ok(());
        };
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
    }

    /// Writes a new configuration. Of one that exists it shows how it differs from the example, and
    /// which options it does not follow.
    pub(super) fn put(
        &self,
        options: &Install,
        side: Side,
        place: &mut Place,
        user: Option<UserAndGroup>,
    ) -> Result<(), Failure> {
        if self.is_new {
            return place.file(&Wanted {
                path: Path::new(side.config_path()),
                bytes: self.text.as_bytes(),
                mode: 0o640, // it may hold a token
                owner: user.map(|(_, group)| (0, group)),
            });
        }
        self.show_difference(side, place)?;
        self.show_unused_options(options, side);
        Ok(())
    }

    fn show_difference(&self, side: Side, place: &Place) -> Result<(), Failure> {
        let path = Path::new(side.config_path());
        let ours = config::parse(&self.text, path)?;
        let difference = example::difference(&ours, &config::parse(side.example(), path)?);
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
        Ok(())
    }

    fn show_unused_options(&self, options: &Install, side: Side) {
        let (credential, key) = side.credential();
        if options.token_file.is_some() && !self.text.contains(credential) {
            say!("  note        it does not use the token: add {key} = \"{credential}\" to it");
        }
        let urls = [&options.receiver_url, &options.forgejo_url];
        for url in urls.into_iter().flatten() {
            if !self.text.contains(url) {
                let shown = without_user(url);
                say!(
                    "  note        it does not have {shown}: install never changes an existing configuration, so edit it"
                );
            }
        }
    }

    /// Warns of a receiver whose gate has nobody to ask: it answers each upload with 503.
    pub(super) fn show_missing_source(&self, side: Side, place: &Place) -> Result<(), Failure> {
        if side != Side::Receiver {
            return Ok(());
        }
        let config = receiver::Config::parse(&self.text, Path::new(side.config_path()))?;
        let gate = &config.version_gate;
        let has_source = gate.forgejo_url.is_some() || gate.local_repo_path.is_some();
        if gate.enabled && !has_source && !place.at(DEFAULT_REPOSITORY).exists() {
            say!(
                "  note        [version_gate] of {} names no repository, so nothing can be uploaded yet: set forgejo_url, repo_owner and repo_name there (install writes them into a new one: --forgejo-url URL --repo OWNER/NAME)",
                place.at(side.config_path()).display()
            );
        }
        Ok(())
    }

    /// Names the configured folders that the unit's sandbox hides from the service. A person sees
    /// them, so nothing else looks wrong.
    pub(super) fn show_hidden_folders(&self, side: Side) -> Result<(), Failure> {
        let path = Path::new(side.config_path());
        for (key, folder) in side.folders_of(&self.text, path)? {
            if let Some(why) = config::hidden_from_service(&folder) {
                say!("  note        {key} = {folder:?}: {why}");
            }
        }
        Ok(())
    }
}

fn new_text(options: &Install, side: Side, place: &Place) -> Result<String, Failure> {
    let mut text = side.example().to_owned();
    for (key, value) in values(options, side, place)? {
        // A unit test has tried every key.
        text = example::set(&text, key, &value).unwrap_or(text);
    }
    Ok(text)
}

/// The keys in which a new configuration differs from the example, and their values.
fn values(
    options: &Install,
    side: Side,
    place: &Place,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut values = Vec::new();
    match side {
        Side::LabHost => {
            let url = options.receiver_url.clone().ok_or_else(|| {
                Failure::usage(
                    "a new shipper.toml needs the receiver's URL",
                    "cis490 install shipper --receiver-url http://HOST:8490",
                )
            })?;
            values.push(("receiver_url", url));
            values.push(("host_id", host_id(options, place)?.to_string()));
        }
        Side::Receiver => {
            if let Some(url) = &options.forgejo_url {
                let (owner, name) = repository(options)?;
                values.push(("forgejo_url", url.clone()));
                values.push(("repo_owner", owner));
                values.push(("repo_name", name));
            }
        }
    }
    if options.token_file.is_some() {
        let (credential, key) = side.credential();
        values.push((key, credential.to_owned()));
    }
    Ok(values)
}

/// Owner and name of the repository on Forgejo.
fn repository(options: &Install) -> Result<(String, String), Failure> {
    let repo = options.repo.as_deref();
    let both = repo.and_then(|repo| repo.split_once('/'));
    let (owner, name) = both.ok_or_else(|| {
        Failure::usage(
            "--forgejo-url needs --repo OWNER/NAME beside it",
            "both are in the repository's URL on Forgejo",
        )
    })?;
    Ok((owner.to_owned(), name.to_owned()))
}

/// The lab host's name: the option's, or the first label of the hostname.
fn host_id(options: &Install, place: &Place) -> Result<HostId, Failure> {
    if let Some(id) = &options.host_id {
        return Ok(id.clone());
    }
    let file = if place.is_here() {
        PathBuf::from("/proc/sys/kernel/hostname")
    } else {
        place.at("/etc/hostname")
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
            format!("the hostname cannot be a lab host's name: {error}"),
            give_one,
        )
    })
}
