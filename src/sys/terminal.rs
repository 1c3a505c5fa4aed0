//! The terminal of this process, as the kernel sees it.

use std::fs::File;
use std::os::fd::AsFd;

/// Columns of the terminal behind `file`; `None` if there is no terminal, or it does not say.
pub(crate) fn terminal_columns(file: &impl AsFd) -> Option<u16> {
    let columns = rustix::termios::tcgetwinsize(file).ok()?.ws_col;
    (columns > 0).then_some(columns)
}

/// Whether this process has a controlling terminal.
pub(super) fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
