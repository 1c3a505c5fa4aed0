//! A line with a rate and a delay: two ends, each with a network of its own (a network namespace with one TUN device),
//! and a thread that carries each packet from one to the other when its time has come. The processes and sockets that
//! are made at an end are in its network.

#![allow(unsafe_code, reason = "one ioctl and one call that std lacks")]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// The bytes of a packet, as on Ethernet.
const MTU: usize = 1500;

pub struct Wire {
    namespaces: [File; 2],
    is_over: Arc<AtomicBool>,
    carrier: Option<JoinHandle<()>>,
}

/// Which end.
#[derive(Clone, Copy)]
pub enum End {
    Server,
    Client,
}

impl End {
    pub fn ip(self) -> IpAddr {
        IpAddr::from([10, 49, 0, 1 + self as u8])
    }
}

impl Wire {
    /// A line of so many bytes a second, over which a packet is under way for `delay`. It loses none: what the senders
    /// have under way is bounded by their buffers.
    ///
    /// Errors: what is missing for it on this machine.
    pub fn new(bytes_per_s: f64, delay: Duration) -> io::Result<Wire> {
        let (server_namespace, server_device) = network(End::Server)?;
        let (client_namespace, client_device) = network(End::Client)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let devices = [server_device, client_device];
        let flag = Arc::clone(&is_over);
        let carrier = thread::spawn(move || carry(&devices, bytes_per_s, delay, &flag));
        Ok(Wire {
            namespaces: [server_namespace, client_namespace],
            is_over,
            carrier: Some(carrier),
        })
    }

    /// Does the work in the network of this end, on a thread of its own.
    pub fn at<T: Send>(&self, end: End, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.namespaces[end as usize].as_fd();
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(namespace, kind).expect("a network");
                work()
            });
            worker.join().expect("the work ends")
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(carrier) = self.carrier.take() {
            let _ = carrier.join();
        }
    }
}

/// A network of its own, with an address on the one device that it has: its namespace, and the device.
fn network(end: End) -> io::Result<(File, File)> {
    let missing = |what: &str, error: io::Error| io::Error::other(format!("{what}: {error}"));
    // The thread alone moves into the new network.
    let made = thread::spawn(move || {
        // SAFETY: without FILES among the flags the thread goes on sharing its descriptors; only its network changes.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
            .map_err(|error| missing("no network of its own (needs root)", error.into()))?;
        let device = tun().map_err(|error| missing("/dev/net/tun", error))?;
        let set_up = format!(
            "ip link set lo up && ip address add {}/24 dev t0 && ip link set t0 up mtu {MTU} txqueuelen 10000",
            end.ip()
        );
        if !Command::new("sh").args(["-c", &set_up]).status()?.success() {
            return Err(io::Error::other("no ip, or it sets up no device"));
        }
        let namespace = File::open("/proc/thread-self/ns/net")?;
        Ok((namespace, device))
    });
    made.join().expect("the thread ends")
}

fn tun() -> io::Result<File> {
    let device = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: all bytes zero are a valid ifreq.
    let mut wanted: libc::ifreq = unsafe { std::mem::zeroed() };
    wanted.ifr_name[..2].copy_from_slice(&[b't' as libc::c_char, b'0' as libc::c_char]);
    wanted.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the request reads and writes one ifreq, which lives over the call; the descriptor is open.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF as _, &raw mut wanted) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(device)
}

/// What is on its way in one direction.
#[derive(Default)]
struct Lane {
    packets: VecDeque<(Instant, Vec<u8>)>,
    /// When the line has sent the last of them.
    is_free_at: Option<Instant>,
}

/// Carries packets until it is over. It never sleeps: a timer would be too late for a fast line.
fn carry(devices: &[File; 2], bytes_per_s: f64, delay: Duration, is_over: &AtomicBool) {
    let mut lanes: [Lane; 2] = Default::default();
    let mut packet = [0; MTU];
    while !is_over.load(Ordering::Relaxed) {
        for (from, lane) in lanes.iter_mut().enumerate() {
            let (mut device, mut other) = (&devices[from], &devices[1 - from]);
            // A few at a time, so that the other direction does not wait for long.
            for _ in 0..64 {
                let Ok(bytes) = device.read(&mut packet) else {
                    break;
                };
                let now = Instant::now();
                let begins = lane.is_free_at.map_or(now, |at| at.max(now));
                let sent = begins + Duration::from_secs_f64(bytes as f64 / bytes_per_s);
                lane.is_free_at = Some(sent);
                lane.packets
                    .push_back((sent + delay, packet[..bytes].to_vec()));
            }
            let now = Instant::now();
            while lane.packets.front().is_some_and(|next| next.0 <= now) {
                let (_, packet) = lane.packets.pop_front().expect("the first");
                // A network that is going takes nothing.
                let _ = other.write(&packet);
            }
        }
    }
}
