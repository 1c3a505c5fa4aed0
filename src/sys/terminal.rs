//! The terminal of this process, as the kernel sees it.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{self, LocalModes, OptionalActions, Termios};

/// Columns of the terminal behind `file`; `None` if there is no terminal, or it does not say.
pub(crate) fn terminal_columns(file: &impl AsFd) -> Option<u16> {
    let columns = termios::tcgetwinsize(file).ok()?.ws_col;
    (columns > 0).then_some(columns)
}

/// Columns and rows of the terminal behind `file`; `None` if there is no terminal, or it does not say.
pub(crate) fn terminal_size(file: &impl AsFd) -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(file).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// Whether this process has a controlling terminal.
pub(super) fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

/// stdin as a terminal that gives each key as it is pressed, without an echo. It is as before once this is
/// dropped.
pub(crate) struct KeyByKey(Arc<Termios>);

impl KeyByKey {
    /// `None` if stdin is no terminal, or cannot be set.
    pub(crate) fn begin() -> Option<KeyByKey> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut modes = before.clone();
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        termios::tcsetattr(&stdin, OptionalActions::Now, &modes).ok()?;
        Some(KeyByKey(Arc::new(before)))
    }

    /// Makes the terminal what it was, from any thread.
    pub(crate) fn restorer(&self) -> impl FnOnce() + Send + use<> {
        let before = Arc::clone(&self.0);
        move || restore(&before)
    }

    /// The next key, if one is pressed within this time.
    pub(crate) fn wait(&self, time: Duration) -> Option<u8> {
        let stdin = io::stdin();
        let mut polls = [PollFd::new(&stdin, PollFlags::IN)];
        let time_spec = Timespec::try_from(time).ok();
        if poll(&mut polls, time_spec.as_ref()) != Ok(1) {
            return None;
        }
        let mut key = [0];
        // Past std's own buffer, which the wait does not see.
        match rustix::io::read(&stdin, &mut key) {
            Ok(1) => Some(key[0]),
            _ => {
                // The terminal is gone: there is nothing to wait for.
                std::thread::sleep(time);
                None
            }
        }
    }
}

impl Drop for KeyByKey {
    fn drop(&mut self) {
        restore(&self.0);
    }
}

fn restore(before: &Termios) {
    // A terminal that is gone needs none of it.
    let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
}
