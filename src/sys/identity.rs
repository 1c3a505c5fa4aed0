//! Who this process is, and how root becomes somebody else for good.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::check;

/// The user whose rights this process has.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: no arguments, and it cannot fail.
    unsafe { libc::geteuid() }
}

/// From here on the process is this user with these groups, in all its threads (the C library's
/// calls see to that) and for good: no program that it starts gets more rights either.
///
/// To be called by root, while the process has one thread.
///
/// Errors: the system refused a step, or a step could be taken back afterwards. The process must
/// then end: it may be half of each.
pub(crate) fn become_user(user: u32, group: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: plain integers. Not supported is no fault: the checks below decide.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // The count's type differs between C libraries.
    // SAFETY: as many groups as are stated, alive over the call.
    check(unsafe { libc::setgroups(groups.len() as _, groups.as_ptr()) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresgid(group, group, group) })?;
    // SAFETY: plain integers.
    check(unsafe { libc::setresuid(user, user, user) })?;
    // Another process of the user may neither look into our memory, where root's secrets are, nor
    // make us do things. The kernel does so by itself, unless it is told otherwise.
    // SAFETY: plain integers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) })?;
    // SAFETY: plain integers.
    let way_back = unsafe { libc::setresuid(0, 0, 0) };
    if way_back != -1 || !is_only(user, group)? || has_capabilities()? {
        return Err(io::Error::other("root's rights could be had back"));
    }
    Ok(())
}

fn is_only(user: u32, group: u32) -> io::Result<bool> {
    let (mut users, mut groups) = ([0; 3], [0; 3]);
    let [real, effective, saved] = &mut users;
    // SAFETY: three integers to be written, alive over the call.
    check(unsafe { libc::getresuid(real, effective, saved) })?;
    let [real, effective, saved] = &mut groups;
    // SAFETY: as above.
    check(unsafe { libc::getresgid(real, effective, saved) })?;
    Ok(users == [user; 3] && groups == [group; 3])
}

/// The kernel's `struct __user_cap_header_struct`, as in linux/capability.h.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

/// The kernel's `struct __user_cap_data_struct`: 32 capabilities.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySet {
    effective: u32,
    permitted: u32,
    /// Of no use to a process whose programs get no new rights.
    inheritable: u32,
}

/// Whether this process may do anything that an ordinary user may not.
fn has_capabilities() -> io::Result<bool> {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = CapabilityHeader {
        version: VERSION_3,
        pid: 0,
    };
    let mut sets = [CapabilitySet::default(); 2];
    // SAFETY: version 3 reads one header and writes two sets, all alive over the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_capget,
            &raw mut header,
            sets.as_mut_ptr().cast::<libc::c_void>(),
        )
    };
    check(result as libc::c_int)?;
    Ok(sets
        .iter()
        .any(|set| set.effective != 0 || set.permitted != 0))
}

/// Gives away the very file that is open here, whatever its name is by now.
pub(crate) fn give_open(file: &File, user: u32, group: u32) -> io::Result<()> {
    let itself = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: an empty, NUL-terminated path, plain integers, and a descriptor that `file` keeps open.
    check(unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), user, group, itself) })?;
    Ok(())
}

/// Has the process that `command` will start begin a session of its own, without a terminal, and so
/// a process group of its own. Whose program it is, it cannot type into the terminal of who started it.
pub(crate) fn in_own_session(command: &mut Command) {
    let begin = || {
        // SAFETY: no arguments. A process that was just forked leads no group, so that it cannot fail.
        check(unsafe { libc::setsid() })?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed, and setsid is one.
    unsafe { command.pre_exec(begin) };
}
