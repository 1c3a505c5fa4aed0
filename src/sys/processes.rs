//! This process among others: its children, its turn on the processor, its limits.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use rustix::io::Errno;
use rustix::process::{self, Pid, Resource, Rlimit, Signal};

use super::check;

/// Has the kernel kill the process that `command` will start when this one ends, however it ends.
pub(crate) fn ends_with_us(command: &mut Command) {
    let ask_kernel = || {
        // On failure the child just outlives us.
        let _ = process::set_parent_process_death_signal(Some(Signal::KILL));
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed. This one is a single
    // system call, which touches no memory of ours.
    unsafe { command.pre_exec(ask_kernel) };
}

/// Has the process that `command` will start begin a session of its own, without a terminal, and so
/// a process group of its own: no program of another user can type into the terminal of the one who
/// started it.
pub(crate) fn in_own_session(command: &mut Command) {
    let begin = || {
        // It cannot fail: a process that was just forked leads no group.
        process::setsid()?;
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed, and setsid is one.
    unsafe { command.pre_exec(begin) };
}

/// Sends SIGTERM to a process that we started and have not yet waited for: its id is not another's yet.
pub(crate) fn ask_to_stop(child: &Child) {
    // A child that has ended needs no signal.
    let _ = process::kill_process(Pid::from_child(child), Signal::TERM);
}

/// Kills a process group that we started ([`in_own_session`]), at once.
///
/// The leader must not have been waited for yet: until then its id cannot be given to another.
///
/// Errors: `ESRCH` for a group that is gone already.
pub(crate) fn kill_group(leader: u32) -> io::Result<()> {
    let group = i32::try_from(leader)
        .ok()
        .filter(|&group| group > 1) // 0 and 1 would mean our own group and everybody
        .and_then(Pid::from_raw)
        .ok_or(Errno::SRCH)?;
    process::kill_process_group(group, Signal::KILL)?;
    Ok(())
}

/// Whether there is a process of this number, anybody's.
pub(crate) fn is_process(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| process::test_kill_process(pid) != Err(Errno::SRCH))
}

/// From here on this thread, with those that it starts, takes the processor and the disk only when nobody
/// else needs them. Schedulers that do not know such a class treat it as any other.
pub(crate) fn run_when_idle() {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    let _ = process::setpriority_process(None, 19);
    // SAFETY: plain integers, about this thread alone.
    unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) };
}

/// From here on this thread, with those that it starts, takes the processor after others of the
/// process that need it, by so many steps of niceness; so does it with the disk, where the scheduler
/// goes by niceness. On two cores eight bodies that were hashed let `GET /v1/health` wait 7 to
/// 21 ms at its 99th percentile (`just bench health`), and 3 ms with 5 steps. It cannot be undone without a
/// privilege.
pub(crate) fn give_way(steps: i32) {
    // On Linux each thread has its own nice value, though POSIX gives the process one.
    let _ = process::nice(steps);
}

/// Raises the limit on open files to at least `wanted`, or as far as the hard limit allows; the limit
/// that now holds.
///
/// Errors: a filter of system calls forbids it.
pub(crate) fn raise_file_limit(wanted: u64) -> io::Result<u64> {
    let limit = file_limit()?;
    if limit.rlim_cur >= wanted {
        return Ok(limit.rlim_cur);
    }
    let raised = wanted.min(limit.rlim_max);
    let limit = Rlimit {
        current: Some(raised),
        maximum: (limit.rlim_max != libc::RLIM_INFINITY).then_some(limit.rlim_max),
    };
    process::setrlimit(Resource::Nofile, limit)?;
    Ok(raised)
}

/// rustix has this call too, but takes it for one that cannot fail: where a filter of system calls
/// forbids it, that limit would be any number.
fn file_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: room for one rlimit, alive over the call.
    check(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    Ok(limit)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_gives_way_does_so_alone() {
        let nice = || process::getpriority_process(None).unwrap();
        let before = nice();
        let given_way = thread::spawn(move || {
            give_way(5);
            nice()
        });
        assert_eq!(given_way.join().unwrap(), (before + 5).min(19));
        assert_eq!(nice(), before);
    }

    #[test]
    fn no_group_of_everybody_is_killed() {
        for leader in [0, 1, u32::MAX] {
            let error = kill_group(leader).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ESRCH), "{leader}");
        }
    }

    #[test]
    fn a_file_limit_that_is_high_enough_stays() {
        assert_eq!(raise_file_limit(1).unwrap(), raise_file_limit(0).unwrap());
    }
}
