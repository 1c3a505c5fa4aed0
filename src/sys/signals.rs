//! The signals that the program acts on: blocked everywhere, and waited for by one thread. Before that
//! thread is there, they end a process that waits for a file ([`ended_by_signals`]).

#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::check;
use super::terminal::has_terminal;

/// The signals that the program acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// SIGTERM or SIGINT: finish what is under way and end.
    Stop,
    /// SIGHUP: look now, and not only when the interval is over.
    Reload,
}

fn our_signals() -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset initialises the set, sigaddset gets valid signal numbers.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

/// Blocks our signals in this thread and all that it starts, so that only [`wait_signal`] gets
/// them. To be called before any thread is started.
pub(crate) fn block_signals() {
    HANGS_UP.store(has_terminal() && !ignores_hangup(), Ordering::Relaxed);
    let set = our_signals();
    // SAFETY: a set that lives over the call; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()) };
    UNHEARD.store(true, Ordering::Relaxed);
}

/// Whether our signals are blocked, and no thread waits for them yet.
static UNHEARD: AtomicBool = AtomicBool::new(false);

/// Calls `wait`, which may wait without end, such as for the writer of a pipe. Where our signals are
/// blocked and no thread waits for them, SIGTERM and SIGINT end the process meanwhile, as the kernel
/// does by default. So does SIGHUP if the process ends with its terminal; elsewhere SIGHUP stays
/// [`Signal::Reload`], for when `wait` has returned.
pub(crate) fn ended_by_signals<T>(wait: impl FnOnce() -> T) -> T {
    if !UNHEARD.load(Ordering::Relaxed) {
        return wait();
    }
    let mut signals = our_signals();
    if !HANGS_UP.load(Ordering::Relaxed) {
        // SAFETY: an initialised set and a valid signal number.
        unsafe { libc::sigdelset(&mut signals, libc::SIGHUP) };
    }
    // SAFETY: a set that lives over the call; the old mask is not asked for.
    unsafe { libc::pthread_sigmask(libc::SIG_UNBLOCK, &signals, ptr::null_mut()) };
    let result = wait();
    // SAFETY: as above.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &signals, ptr::null_mut()) };
    result
}

/// Waits for the next of our signals. [`block_signals`] must have been called.
pub(crate) fn wait_signal() -> Signal {
    UNHEARD.store(false, Ordering::Relaxed);
    let set = our_signals();
    loop {
        let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
        // SAFETY: a set and room for one siginfo, both alive over the call.
        match unsafe { libc::sigwaitinfo(&set, info.as_mut_ptr()) } {
            libc::SIGTERM | libc::SIGINT => return Signal::Stop,
            libc::SIGHUP => {
                // SAFETY: a siginfo of zeros is a valid one, and sigwaitinfo has filled it.
                let is_of_kernel = unsafe { info.assume_init() }.si_code == libc::SI_KERNEL;
                let stops = HANGS_UP.load(Ordering::Relaxed) && (is_of_kernel || terminal_ended());
                return if stops { Signal::Stop } else { Signal::Reload };
            }
            _ => {} // interrupted by a debugger, or by a stop and continue
        }
    }
}

/// Whether this process ends with its terminal: it was started on a terminal, and not by `nohup`.
static HANGS_UP: AtomicBool = AtomicBool::new(false);

/// The shell passes a hang-up on to its jobs, and may do so before the terminal is gone.
const TERMINAL_ENDS_WITHIN: Duration = Duration::from_millis(200);

/// Whether the terminal that this process was started on is gone, or goes now. On a terminal that stays,
/// SIGHUP is from `kill` and means [`Signal::Reload`].
fn terminal_ended() -> bool {
    let until = Instant::now() + TERMINAL_ENDS_WITHIN;
    while has_terminal() {
        if until <= Instant::now() {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

/// Whether SIGHUP was ignored when this process was started, as `nohup` does.
fn ignores_hangup() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: nothing is changed, and there is room for one sigaction over the call.
    let asked = check(unsafe { libc::sigaction(libc::SIGHUP, ptr::null(), action.as_mut_ptr()) });
    // SAFETY: a sigaction of zeros is a valid one, and the call may have filled it.
    asked.is_ok() && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}
