//! Who this process is, and how root becomes another user for good.
//!
//! The users and groups are set by the C library, which does so in all threads of the process. rustix
//! would set those of the calling thread alone.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use rustix::fs::{AtFlags, Gid, Uid};
use rustix::process::{self, DumpableBehavior};

use super::check;

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    process::geteuid().as_raw()
}

/// From here on the process is this user with these groups, in all its threads and for good: no program
/// that it starts gets more rights either.
///
/// To be called by root, while the process has one thread.
///
/// Errors: the system refused a step, or a step could be taken back afterwards. The process must
/// then end: it may be half of each.
pub(crate) fn become_user(user: u32, group: u32, groups: &[u32]) -> io::Result<()> {
    // A kernel that does not know it is no fault: the checks below decide.
    let _ = rustix::thread::set_no_new_privs(true);
    // The count's type differs between C libraries.
    // SAFETY: as many groups as are stated, alive over the call.
    check(unsafe { libc::setgroups(groups.len() as _, groups.as_ptr()) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresgid(group, group, group) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresuid(user, user, user) })?;
    // Another process of the user may neither look into our memory, where root's secrets are, nor
    // make us do things. The kernel sees to that by itself, unless it was configured otherwise.
    process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // SAFETY: plain integers.
    let way_back = unsafe { libc::setresuid(0, 0, 0) };
    if way_back != -1 || !is_only(user, group)? || has_capabilities()? {
        return Err(io::Error::other("root's rights could be had back"));
    }
    Ok(())
}

fn is_only(user: u32, group: u32) -> io::Result<bool> {
    let mut users = [0; 3];
    let [real, effective, saved] = &mut users;
    // SAFETY: three integers to be written, alive over the call.
    check(unsafe { libc::getresuid(real, effective, saved) })?;
    let mut groups = [0; 3];
    let [real, effective, saved] = &mut groups;
    // SAFETY: as above.
    check(unsafe { libc::getresgid(real, effective, saved) })?;
    Ok(users == [user; 3] && groups == [group; 3])
}

/// Whether this process may do anything that an ordinary user may not. Inheritable capabilities do not
/// count: they are of no use to a process whose programs get no new rights.
fn has_capabilities() -> io::Result<bool> {
    let sets = rustix::thread::capabilities(None)?;
    Ok(!sets.effective.is_empty() || !sets.permitted.is_empty())
}

/// Gives away the very file that is open here, under any name that it has by now.
pub(crate) fn give_open(file: &File, user: u32, group: u32) -> io::Result<()> {
    let itself = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    let user = Some(Uid::from_raw(user));
    let group = Some(Gid::from_raw(group));
    rustix::fs::chownat(file, c"", user, group, itself)?;
    Ok(())
}
