//! The kernel's counters of a TCP connection (`TCP_INFO`).

#![allow(unsafe_code)]

use std::mem;
use std::net::TcpStream;
use std::os::fd::AsRawFd;

/// The state of one TCP connection as the kernel counts it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TcpCounters {
    /// Payload bytes that were given to the socket: sent at least once, or waiting to be.
    pub written: u64,
    /// The peer sends no more: its FIN is here, though it may still lie behind unread bytes.
    pub peer_has_ended: bool,
    /// Nothing goes either way any more: a reset came. Bytes that had come before it can still be read.
    pub is_closed: bool,
}

/// `TCP_CLOSE_WAIT` of the kernel's include/net/tcp_states.h.
const CLOSE_WAIT: u8 = 8;
/// `TCP_CLOSE` of the same file.
const CLOSED: u8 = 7;

/// The head of the kernel's `struct tcp_info` up to `tcpi_bytes_retrans`, as in linux/tcp.h; libc's
/// own type ends earlier on some targets.
#[repr(C)]
#[derive(Default)]
struct TcpInfo {
    small: [u8; 8],
    words: [u32; 24],
    pacing_rate: u64,
    max_pacing_rate: u64,
    bytes_acked: u64,
    bytes_received: u64,
    segs_out: u32,
    segs_in: u32,
    notsent_bytes: u32,
    min_rtt: u32,
    data_segs_in: u32,
    data_segs_out: u32,
    delivery_rate: u64,
    busy_time: u64,
    rwnd_limited: u64,
    sndbuf_limited: u64,
    delivered: u32,
    delivered_ce: u32,
    bytes_sent: u64,
    bytes_retrans: u64,
}

/// The connection's counters; `None` where the kernel does not report them all (before Linux 4.19,
/// and under qemu-user).
pub(crate) fn tcp_counters(socket: &TcpStream) -> Option<TcpCounters> {
    let mut info = TcpInfo::default();
    let mut length = mem::size_of::<TcpInfo>() as libc::socklen_t;
    // SAFETY: info is writable for `length` bytes, all its fields are integers, and the descriptor is
    // open over the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &mut length,
        )
    };
    if result != 0 || (length as usize) < mem::size_of::<TcpInfo>() {
        return None;
    }
    Some(TcpCounters {
        peer_has_ended: info.small[0] == CLOSE_WAIT,
        is_closed: info.small[0] == CLOSED,
        // The kernel counts a retransmission before the sending: unknown while it is between the two.
        written: info.bytes_sent.checked_sub(info.bytes_retrans)? + u64::from(info.notsent_bytes),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn tcp_counters_count_what_was_written() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (there, _) = listener.accept().unwrap();
        here.write_all(b"0123456789").unwrap();
        assert_eq!(tcp_counters(&here).unwrap().written, 10);
        assert!(!tcp_counters(&there).unwrap().peer_has_ended);
    }
}
