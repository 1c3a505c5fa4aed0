//! One upload that cannot be one, for `doctor`: full packets on the way that episodes take, TLS
//! included, and no library in between, since what arrives is to be seen.

use std::io;
use std::time::{Duration, Instant};

use super::config::Config;
use super::socket::{Hush, Socket, Stop};
use crate::doctor::Answer;
use crate::wire;

/// For each of: connect, prove, send, arrive, answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at what has arrived.
const LOOK: Duration = Duration::from_millis(5);

/// What came of it.
#[derive(Debug)]
pub struct Probe {
    /// `None`: small packets arrived, and not all of the full ones did.
    pub answer: Option<Answer>,
    pub took: Duration,
    /// The path MTU that the kernel goes by, in bytes.
    pub mtu: Option<u32>,
}

/// Sends a head and so many zeros to the receiver, whatever it says meanwhile.
///
/// Errors: no connection, no proof by TLS, or what answers speaks no HTTP.
pub fn send(config: &Config, head: &str, zeros: usize) -> io::Result<Probe> {
    let trust = config.trust().map_err(io::Error::other)?;
    let place = config.place().map_err(io::Error::other)?;
    let addresses = place.resolve()?;
    let begun = Instant::now();
    let mut socket = Socket::connect(&addresses, PATIENCE, Hush::default(), Stop::default())?;
    if let Some(trust) = &trust {
        socket.secure(trust, &place.host, PATIENCE)?;
    }
    socket.stop_listening();
    socket.send(head.as_bytes(), PATIENCE)?;
    // It may hang up at so much of a body that it refuses; one that takes no more is seen below.
    let _ = socket.send(&vec![0; zeros], PATIENCE);
    let give_up_at = Instant::now() + PATIENCE;
    let arrived = loop {
        if socket.unacked_bytes()? == 0 {
            break true;
        }
        if Instant::now() >= give_up_at {
            break false;
        }
        std::thread::sleep(LOOK);
    };
    let mtu = socket.path_mtu();
    let answer = match arrived {
        true => Some(Answer::read(&heard(&mut socket))?),
        false => None,
    };
    Ok(Probe {
        answer,
        took: begun.elapsed(),
        mtu,
    })
}

fn heard(socket: &mut Socket) -> Vec<u8> {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    while text.len() < wire::ANSWER_BYTES_MAX as usize
        && let Ok(n @ 1..) = socket.receive(&mut buffer, PATIENCE)
    {
        text.extend_from_slice(&buffer[..n]);
    }
    text
}
