//! Which of may_minihttp's descriptors is guarded by which connection. Each `recv` and `send` of this process
//! looks here for the connection that decides what may be read and written.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::connection::Connection;
use crate::sys;

/// Descriptors to a page of the table.
const PAGE: usize = 1024;
const PAGES: usize = 1024;

type Page = Box<[ArcSwapOption<Connection>]>;

/// The guard of each connection, by may_minihttp's descriptor. Read at each `recv` and `send` of the process,
/// without a lock.
static GUARDS: [OnceLock<Page>; PAGES] = [const { OnceLock::new() }; PAGES];

/// From here on each read of a guarded descriptor by may_minihttp is answered by [`Connection::give`], and each
/// write that is not wanted is taken by [`Connection::takes_away`].
///
/// Errors: the system reads or writes past us, so nothing could be guarded.
pub(super) fn start() -> io::Result<()> {
    sys::set_intake(answer_recv)?;
    sys::set_outlet(answer_send)
}

fn answer_send(fd: RawFd, bytes: &[u8]) -> Option<usize> {
    let connection = guard_of(fd, false)?.load();
    connection.as_ref()?.takes_away().then_some(bytes.len())
}

fn answer_recv(fd: RawFd, buffer: &mut [MaybeUninit<u8>]) -> Option<io::Result<usize>> {
    let connection = guard_of(fd, false)?.load();
    Some(connection.as_ref()?.give(buffer))
}

fn guard_of(fd: RawFd, may_make: bool) -> Option<&'static ArcSwapOption<Connection>> {
    let fd = usize::try_from(fd).ok()?;
    let page = GUARDS.get(fd / PAGE)?;
    let page = if may_make {
        page.get_or_init(|| (0..PAGE).map(|_| ArcSwapOption::empty()).collect())
    } else {
        page.get()?
    };
    page.get(fd % PAGE)
}

/// A connection whose reads come here, for as long as this lives. It must end before the descriptor
/// is closed, which another connection then has.
pub(super) struct Guarded(RawFd);

impl Guarded {
    /// `None` if the descriptor is none, or its number is beyond the table.
    pub(super) fn new(fd: RawFd, connection: &Arc<Connection>) -> Option<Guarded> {
        guard_of(fd, true)?.store(Some(Arc::clone(connection)));
        Some(Guarded(fd))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(guard) = guard_of(self.0, false) {
            guard.store(None);
        }
    }
}
