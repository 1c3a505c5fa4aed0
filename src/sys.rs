//! The system calls that std lacks, each behind a safe function.
//!
//! 1. Unsafe code is in this folder and nowhere else in the crate, and only where neither std nor rustix
//!    has a safe call that serves. Each such place says in `SAFETY:` why it is sound.
//! 2. Errors are those of the system (`io::Error` with its errno). A call that a signal interrupted is
//!    repeated where nobody else could do it: in waits, and in reserving disk space.
//! 3. rustix asks the kernel without the C library. So what a C library does beyond the call, such as
//!    setting the user of every thread (`identity`), is asked of libc.

mod clock;
mod directories;
mod files;
mod identity;
mod intake;
mod memory;
mod processes;
mod random;
mod signals;
mod sockets;
mod tcp_counters;
mod terminal;
mod thread_cache;

pub(crate) use self::clock::{clock_is_synchronised, local_minute};
pub(crate) use self::directories::{
    Open, list_some, open_at, open_flags, remove_dir_at, unlink_at,
};
pub(crate) use self::files::{
    DiskBytes, begin_writeback, disk_bytes, fallocate_keep_size, forget_cached, forget_cached_part,
    free_bytes, free_inodes, get_xattr, has_xattr, may_read, may_write_in, read_in_order,
    rename_no_replace, set_xattr, sync_filesystem, syncs_as_a_whole, write_out,
};
pub(crate) use self::identity::{become_user, effective_user, give_open};
pub(crate) use self::intake::{set_intake, set_outlet};
pub(crate) use self::memory::{HugeHalf, huge_halves};
pub(crate) use self::processes::{
    ask_to_stop, ends_with_us, give_way, in_own_session, is_process, kill_group, raise_file_limit,
    run_when_idle,
};
pub(crate) use self::random::fill_random;
pub(crate) use self::signals::{Signal, block_signals, ended_by_signals, wait_signal};
pub(crate) use self::sockets::{
    Direction, dup_socket, path_mtu, read_socket, reset_on_close, send_ahead, send_file, shut_down,
    unacked_bytes, unread_bytes, wait_any, wait_socket, wake_readers, wake_readers_at,
};
pub(crate) use self::tcp_counters::{TcpCounters, tcp_counters};
pub(crate) use self::terminal::{KeyByKey, terminal_columns, terminal_size};
pub use self::thread_cache::ThreadCache;
pub(crate) use self::thread_cache::{KeptBlocks, keep_freed_blocks};

/// -1 is an error with errno set; anything else a result.
fn check(result: libc::c_int) -> std::io::Result<libc::c_int> {
    if result == -1 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(result)
}
