//! Where things are installed: on this machine, or in a folder that stands for another one; and how
//! each is put there. A file that is as it should be is left alone, and reported as that.

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
pub(super) type UserAndGroup = (u32, u32);
pub(super) const ROOT: UserAndGroup = (0, 0);

pub(super) struct Place {
    /// The folder that stands for another machine; `None` for this machine.
    root: Option<PathBuf>,
    /// Nothing is changed: each step only says what it would do.
    dry_run: bool,
    /// Only root can set owners.
    is_root: bool,
    /// Whether this run has changed anything, or would have in a dry run.
    pub changed: bool,
    /// The folders that a dry run has said it would make. It says so once for each.
    planned: HashSet<PathBuf>,
}

/// One file as it should be.
pub(super) struct Wanted<'a> {
    pub path: &'a Path,
    pub bytes: &'a [u8],
    pub mode: u32,
    /// `None` if the user does not exist: in a dry run, or in a folder without users.
    pub owner: Option<UserAndGroup>,
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

    /// Where an absolute path of the machine is found.
    pub(super) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match &self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        }
    }

    /// Prints that `what` was as it should be.
    pub(super) fn there(&self, what: impl std::fmt::Display) {
        say!("  as it was   {what}");
    }

    /// Prints that `what` is made, or would be. Returns false in a dry run: the caller then makes nothing.
    fn announces(&mut self, what: impl std::fmt::Display) -> bool {
        let verb = if self.dry_run {
            "would make"
        } else {
            "made      "
        };
        say!("  {verb}  {what}");
        self.changed = true;
        !self.dry_run
    }

    /// Makes a folder. One that exists keeps its mode and owner.
    pub(super) fn dir(
        &mut self,
        path: &Path,
        mode: u32,
        owner: Option<UserAndGroup>,
    ) -> Result<(), Failure> {
        let at = self.at(path);
        if at.is_dir() || self.planned.contains(&at) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.dir(parent, 0o755, Some(ROOT))?;
        }
        if !self.announces(at.join("").display()) {
            self.planned.insert(at);
            return Ok(());
        }
        self.make_dir(&at, mode, owner)
    }

    fn make_dir(&self, at: &Path, mode: u32, owner: Option<UserAndGroup>) -> Result<(), Failure> {
        durable::make_dir(at)
            .and_then(|()| fs::set_permissions(at, Permissions::from_mode(mode)))
            .and_then(|()| self.give(at, owner))
            .map_err(|error| cannot("make", at, &error))
    }

    /// Writes a file, whole or not at all. A process that reads or runs the old file keeps it.
    pub(super) fn file(&mut self, wanted: &Wanted<'_>) -> Result<(), Failure> {
        let at = self.at(wanted.path);
        if self.is_as_wanted(&at, wanted) {
            self.there(at.display());
            return Ok(());
        }
        if !self.announces(at.display()) {
            return Ok(());
        }
        self.write(wanted)
    }

    /// Writes files that are reported as one thing, each whole or not at all.
    pub(super) fn files(&mut self, shown: &str, wanted: &[Wanted<'_>]) -> Result<(), Failure> {
        let shown = self.at(shown).display().to_string();
        let is_there = |one: &Wanted<'_>| self.is_as_wanted(&self.at(one.path), one);
        if wanted.iter().all(is_there) {
            self.there(shown);
            return Ok(());
        }
        if !self.announces(shown) {
            return Ok(());
        }
        for one in wanted {
            self.make_folders_of(one.path)?;
            self.write(one)?;
        }
        Ok(())
    }

    /// Makes the folders above a file, without a report.
    fn make_folders_of(&self, path: &Path) -> Result<(), Failure> {
        let missing = path.ancestors().skip(1);
        let missing: Vec<PathBuf> = missing
            .map(|folder| self.at(folder))
            .take_while(|folder| !folder.is_dir())
            .collect();
        for folder in missing.iter().rev() {
            self.make_dir(folder, 0o755, Some(ROOT))?;
        }
        Ok(())
    }

    fn write(&self, wanted: &Wanted<'_>) -> Result<(), Failure> {
        let at = self.at(wanted.path);
        let owner = self.settable(wanted.owner);
        durable::publish_as(&at, wanted.bytes, |file| dress(file, wanted.mode, owner))
            .map_err(|error| cannot("write", &at, &error))
    }

    fn is_as_wanted(&self, at: &Path, wanted: &Wanted<'_>) -> bool {
        let Ok(found) = fs::symlink_metadata(at) else {
            return false;
        };
        let owner = self.settable(wanted.owner);
        found.is_file()
            && found.mode() & 0o7777 == wanted.mode
            && owner.is_none_or(|owner| (found.uid(), found.gid()) == owner)
            && fs::read(at).is_ok_and(|bytes| bytes == wanted.bytes)
    }

    /// Makes a symbolic link, as systemctl would on a machine that runs.
    pub(super) fn link(&mut self, path: &Path, target: &Path) -> Result<(), Failure> {
        let at = self.at(path);
        if fs::read_link(&at).is_ok_and(|found| found == target) {
            self.there(at.display());
            return Ok(());
        }
        if !self.announces(at.display()) {
            return Ok(());
        }
        durable::unlink(&at)
            .and_then(|()| std::os::unix::fs::symlink(target, &at))
            .map_err(|error| cannot("make", &at, &error))
    }

    /// Removes a file. Returns false if there is none.
    pub(super) fn remove(&mut self, path: &Path) -> Result<bool, Failure> {
        let at = self.at(path);
        if fs::symlink_metadata(&at).is_err() {
            return Ok(false);
        }
        if self.announces_removal(at.display()) {
            durable::unlink(&at).map_err(|error| cannot("remove", &at, &error))?;
        }
        Ok(true)
    }

    /// Removes files that are reported as one thing, as far as they are there.
    pub(super) fn remove_files(&mut self, shown: &str, paths: &[&Path]) -> Result<(), Failure> {
        let mut found: Vec<PathBuf> = paths.iter().map(|path| self.at(path)).collect();
        found.retain(|path| path.symlink_metadata().is_ok());
        if found.is_empty() || !self.announces_removal(self.at(shown).display()) {
            return Ok(());
        }
        for path in found {
            durable::unlink(&path).map_err(|error| cannot("remove", &path, &error))?;
        }
        Ok(())
    }

    /// Prints that `what` is removed, or would be. Returns false in a dry run.
    fn announces_removal(&mut self, what: impl std::fmt::Display) -> bool {
        let verb = if self.dry_run {
            "would remove"
        } else {
            "removed     "
        };
        say!("  {verb}  {what}");
        self.changed = true;
        !self.dry_run
    }

    fn give(&self, at: &Path, owner: Option<UserAndGroup>) -> io::Result<()> {
        match self.settable(owner) {
            Some((user, group)) => lchown(at, Some(user), Some(group)),
            None => Ok(()),
        }
    }

    /// `owner`, if this process may set owners. Otherwise every file stays its own.
    fn settable(&self, owner: Option<UserAndGroup>) -> Option<UserAndGroup> {
        if self.is_root { owner } else { None }
    }

    /// The user that the services run as, who is made if he does not exist. `None` in a dry run, or if
    /// only root could make him.
    ///
    /// Errors: useradd is missing or fails.
    pub(super) fn user(&mut self) -> Result<Option<UserAndGroup>, Failure> {
        if let Some(owner) = self.find_user() {
            self.there(format_args!("the user {USER}"));
            return Ok(Some(owner));
        }
        if let Some(why) = self.why_no_user_can_be_made() {
            say!("  left out    the user {USER}: {why}");
            return Ok(None);
        }
        if self.dry_run {
            self.announces(format_args!("the user {USER}"));
            return Ok(None);
        }
        let made = self.make_user()?;
        self.announces(format_args!("the user {USER}"));
        Ok(Some(made))
    }

    fn why_no_user_can_be_made(&self) -> Option<&'static str> {
        if !self.is_here() && !self.at("/etc/passwd").exists() {
            Some("there is no etc/passwd")
        } else if !self.is_root {
            Some("only root can make it")
        } else {
            None
        }
    }

    fn make_user(&self) -> Result<UserAndGroup, Failure> {
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
        self.find_user().ok_or_else(|| {
            Failure::new(
                format!("useradd made no user {USER} that can be found"),
                "look at /etc/passwd",
            )
        })
    }

    /// Whether the user that the services run as exists.
    pub(super) fn has_user(&self) -> bool {
        self.find_user().is_some()
    }

    fn find_user(&self) -> Option<UserAndGroup> {
        let by_file = entry(&self.at("/etc/passwd"), USER);
        let line = by_file.or_else(|| self.user_of_directory_service())?;
        let mut numbers = line.trim().split(':').skip(2);
        let user = numbers.next()?.parse().ok()?;
        Some((user, numbers.next()?.parse().ok()?))
    }

    /// A directory service may have a user whom the file has not.
    fn user_of_directory_service(&self) -> Option<String> {
        if !self.is_here() {
            return None;
        }
        let asked = Command::new("getent").args(["passwd", USER]).output();
        let output = asked.ok()?;
        if !output.status.success() {
            return None;
        }
        String::from_utf8(output.stdout).ok()
    }

    /// Runs systemctl on this machine, unless this is a dry run.
    pub(super) fn systemctl(&mut self, arguments: &[&str]) -> Result<(), Failure> {
        if !self.announces(format_args!("systemctl {}", arguments.join(" "))) {
            return Ok(());
        }
        run(
            Command::new("systemctl").args(arguments),
            "what systemctl says above, and journalctl -e",
        )
    }
}

/// Sets mode and owner of a new file.
fn dress(file: &File, mode: u32, owner: Option<UserAndGroup>) -> io::Result<()> {
    // The file may hold a token, so nobody but its owner may read it until it has its own group.
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

/// Runs a program and waits for its end. Its stderr is this program's.
///
/// Errors: the program is missing, or its exit status is not 0.
fn run(command: &mut Command, hint: &str) -> Result<(), Failure> {
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
    if !output.status.success() {
        return Err(Failure::new(
            format!("{} failed: {}", words(command), output.status),
            hint,
        ));
    }
    Ok(())
}

/// The failure of a step on the file or folder `path`.
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
