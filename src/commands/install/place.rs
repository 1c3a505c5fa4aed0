//! Where things are installed: on this machine, or in a folder that stands for another one; and how
//! each is put there. Whatever is there already as it should be is left alone, and so told.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::side::{DATA, USER};
use crate::durable;
use crate::failure::Failure;
use crate::sys;
use crate::terminal::say;

/// A user's and a group's number.
pub(super) type Owner = (u32, u32);
pub(super) const ROOT: Owner = (0, 0);

pub(super) struct Place {
    /// `None` is this machine.
    root: Option<PathBuf>,
    /// Only says what it would do.
    dry_run: bool,
    /// Whether owners can be set.
    is_root: bool,
    /// Something was put there that was not.
    pub changed: bool,
    /// The folders that a dry run would have made by now.
    planned: HashSet<PathBuf>,
}

/// One file to put somewhere.
pub(super) struct Wanted<'a> {
    pub path: &'a Path,
    pub bytes: &'a [u8],
    pub mode: u32,
    /// `None` where the user is not there: in a dry run, or a folder without users.
    pub owner: Option<Owner>,
}

impl Place {
    /// Errors: a relative `root` has no working directory to begin at.
    pub(super) fn new(root: Option<PathBuf>, dry_run: bool) -> Result<Place, Failure> {
        let absolute = |root: PathBuf| {
            std::path::absolute(&root).map_err(|error| cannot("find", &root, &error))
        };
        Ok(Place {
            root: root.map(absolute).transpose()?,
            dry_run,
            is_root: sys::effective_user() == 0,
            changed: false,
            planned: HashSet::new(),
        })
    }

    /// The folder that stands for another machine.
    pub(super) fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }

    pub(super) fn is_here(&self) -> bool {
        self.root.is_none()
    }

    pub(super) fn is_dry(&self) -> bool {
        self.dry_run
    }

    pub(super) fn is_root(&self) -> bool {
        self.is_root
    }

    /// Where an absolute path is.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }

    /// Tells what was found as it should be.
    pub(super) fn there(&self, what: impl std::fmt::Display) {
        say!("  as it was   {what}");
    }

    /// Tells what is done now, and whether it really is to be done.
    fn does(&mut self, what: impl std::fmt::Display) -> bool {
        let verb = if self.dry_run {
            "would make"
        } else {
            "made      "
        };
        say!("  {verb}  {what}");
        self.changed = true;
        !self.dry_run
    }

    /// A directory; one that exists keeps its mode and owner.
    pub(super) fn dir(
        &mut self,
        path: &Path,
        mode: u32,
        owner: Option<Owner>,
    ) -> Result<(), Failure> {
        let at = self.at(path);
        if at.is_dir() || self.planned.contains(&at) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.dir(parent, 0o755, Some(ROOT))?;
        }
        if !self.does(at.join("").display()) {
            self.planned.insert(at);
            return Ok(());
        }
        durable::make_dir(&at)
            .and_then(|()| fs::set_permissions(&at, Permissions::from_mode(mode)))
            .and_then(|()| self.give(&at, owner))
            .map_err(|error| cannot("make", &at, &error))
    }

    /// A file, whole or not at all, whatever reads or runs the old one meanwhile.
    pub(super) fn file(&mut self, wanted: &Wanted<'_>) -> Result<(), Failure> {
        let at = self.at(wanted.path);
        if self.is_as_wanted(&at, wanted) {
            self.there(at.display());
            return Ok(());
        }
        if !self.does(at.display()) {
            return Ok(());
        }
        let owner = wanted.owner.filter(|_| self.is_root);
        durable::publish_as(&at, wanted.bytes, |file| dress(file, wanted.mode, owner))
            .map_err(|error| cannot("write", &at, &error))
    }

    fn is_as_wanted(&self, at: &Path, wanted: &Wanted<'_>) -> bool {
        let Ok(found) = fs::symlink_metadata(at) else {
            return false;
        };
        // Without root, and where there is no such user, owners are nobody's to set.
        let owner = wanted.owner.filter(|_| self.is_root);
        found.is_file()
            && found.mode() & 0o7777 == wanted.mode
            && owner.is_none_or(|owner| (found.uid(), found.gid()) == owner)
            && fs::read(at).is_ok_and(|bytes| bytes == wanted.bytes)
    }

    /// A symbolic link, for a machine whose systemctl cannot be asked.
    pub(super) fn link(&mut self, path: &Path, target: &Path) -> Result<(), Failure> {
        let at = self.at(path);
        if fs::read_link(&at).is_ok_and(|found| found == target) {
            self.there(at.display());
            return Ok(());
        }
        if !self.does(at.display()) {
            return Ok(());
        }
        durable::unlink(&at)
            .and_then(|()| std::os::unix::fs::symlink(target, &at))
            .map_err(|error| cannot("make", &at, &error))
    }

    /// Removes a file. One that is not there is fine: false.
    pub(super) fn remove(&mut self, path: &Path) -> Result<bool, Failure> {
        let at = self.at(path);
        if fs::symlink_metadata(&at).is_err() {
            return Ok(false);
        }
        let verb = if self.dry_run {
            "would remove"
        } else {
            "removed     "
        };
        say!("  {verb}  {}", at.display());
        self.changed = true;
        if !self.dry_run {
            durable::unlink(&at).map_err(|error| cannot("remove", &at, &error))?;
        }
        Ok(true)
    }

    /// Gives what root has made to its owner. Where we are not root all stays ours.
    pub(super) fn give(&self, at: &Path, owner: Option<Owner>) -> io::Result<()> {
        match owner.filter(|_| self.is_root) {
            Some((user, group)) => lchown(at, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    /// The user that the services run as, made if it is not there. `None`: in a dry run, or where
    /// only root could make it.
    pub(super) fn user(&mut self) -> Result<Option<Owner>, Failure> {
        if let Some(owner) = self.find_user() {
            self.there(format_args!("the user {USER}"));
            return Ok(Some(owner));
        }
        let why_not = match &self.root {
            Some(_) if !self.at("/etc/passwd").exists() => Some("there is no etc/passwd"),
            _ if !self.is_root => Some("only root can make it"),
            _ => None,
        };
        if let Some(why) = why_not {
            say!("  left out    the user {USER}: {why}");
            return Ok(None);
        }
        if self.dry_run {
            self.does(format_args!("the user {USER}"));
            return Ok(None);
        }
        let mut command = Command::new("useradd");
        if let Some(root) = &self.root {
            command.arg("--prefix").arg(root);
        }
        command.args(["--system", "--no-create-home", "--home-dir", DATA]);
        command.args(["--shell", "/usr/sbin/nologin"]);
        match entry(&self.at("/etc/group"), USER) {
            Some(_) => command.args(["--gid", USER]),
            None => command.arg("--user-group"),
        };
        run(
            command.arg(USER),
            "install the package that has useradd (passwd, shadow-utils), or make the user by hand",
        )?;
        let made = self.find_user().ok_or_else(|| {
            Failure::new(
                format!("useradd made no user {USER} that can be found"),
                "look into /etc/passwd",
            )
        })?;
        self.does(format_args!("the user {USER}"));
        Ok(Some(made))
    }

    /// Whether there is the user that the services run as.
    pub(super) fn has_user(&self) -> bool {
        self.find_user().is_some()
    }

    fn find_user(&self) -> Option<Owner> {
        let by_file = entry(&self.at("/etc/passwd"), USER);
        // A directory service may know more than the file.
        let line = by_file.or_else(|| {
            let asked = self
                .is_here()
                .then(|| Command::new("getent").args(["passwd", USER]).output());
            let output = asked?.ok().filter(|output| output.status.success())?;
            String::from_utf8(output.stdout).ok()
        })?;
        let mut numbers = line.trim().split(':').skip(2);
        let user = numbers.next()?.parse().ok()?;
        Some((user, numbers.next()?.parse().ok()?))
    }

    /// Runs systemctl on this machine.
    pub(super) fn systemctl(&mut self, arguments: &[&str]) -> Result<(), Failure> {
        if !self.does(format_args!("systemctl {}", arguments.join(" "))) {
            return Ok(());
        }
        run(
            Command::new("systemctl").args(arguments),
            "what systemctl says above, and journalctl -e",
        )
        .map(drop)
    }
}

fn dress(file: &File, mode: u32, owner: Option<Owner>) -> io::Result<()> {
    // Others first see nothing: a token may be on its way into it.
    file.set_permissions(Permissions::from_mode(mode & 0o700))?;
    if let Some((user, group)) = owner {
        fchown(file, Some(user), Some(group))?;
    }
    file.set_permissions(Permissions::from_mode(mode))
}

/// The line of a name in a file like /etc/passwd.
fn entry(file: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut lines = text.lines();
    let found = lines.find(|line| line.split(':').next() == Some(name));
    found.map(str::to_owned)
}

/// Runs a program to a good end; what it printed. What it says on stderr is passed on.
pub(super) fn run(command: &mut Command, hint: &str) -> Result<String, Failure> {
    let words = |command: &Command| {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words
            .map(OsStr::to_string_lossy)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(format!("cannot run {}: {error}", words(command)), hint))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Failure::new(
            format!("{} failed: {}", words(command), output.status),
            hint,
        )),
    }
}

pub(super) fn cannot(verb: &str, path: &Path, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "run it as root: sudo",
        io::ErrorKind::ReadOnlyFilesystem => {
            "the disk is mounted read-only: see why (dmesg), then mount -o remount,rw"
        }
        io::ErrorKind::StorageFull => "make room on the disk",
        _ => "look at the path and at its disk",
    };
    Failure::new(format!("cannot {verb} {}: {error}", path.display()), hint)
}
