//! The last step of an installation: asks the receiver whether it answers, and says so.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::side::Side;
use crate::failure::Failure;
use crate::receiver::config as receiver;
use crate::shipper::probe::{self, Entry};
use crate::shipper::{ReceiverClient, Stop, config as shipper};
use crate::terminal::say;
use crate::wire::Problem;

/// How long a receiver has to be ready. Most of it is the gate's, for its first window.
const PATIENCE: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_millis(200);
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Asks the receiver: the installed one, or the one that the installed shipper sends to. `text` is the
/// configuration that the service runs with.
///
/// Errors: the installed receiver does not answer.
pub(super) fn check(side: Side, text: &str) -> Result<(), Failure> {
    let path = Path::new(side.config_path());
    match side {
        Side::Receiver => check_receiver(&receiver::Config::parse(text, path)?),
        Side::LabHost => check_shipper(&shipper::Config::parse(text, path)?),
    }
}

fn check_receiver(config: &receiver::Config) -> Result<(), Failure> {
    let address = receiver::own_address(config.listen);
    let until = Instant::now() + PATIENCE;
    loop {
        let asked = ask_health(address);
        let is_late = until <= Instant::now();
        match asked {
            Ok((200, _)) => {
                say!("The receiver answers on {address} and accepts uploads.");
                return Ok(());
            }
            Ok((status, why)) if is_late => {
                say!(
                    "The receiver answers on {address}, but accepts no uploads yet: {status}, {why}"
                );
                say!(
                    "See [version_gate] in {}, then: systemctl restart {}",
                    receiver::DEFAULT_PATH,
                    Side::Receiver.unit()
                );
                return Ok(());
            }
            Err(error) if is_late => {
                show_log(Side::Receiver.unit());
                return Err(Failure::new(
                    format!("the receiver runs, but does not answer on {address}: {error}"),
                    "see its log above, and look for a packet filter that drops the connection",
                ));
            }
            _ => thread::sleep(BETWEEN),
        }
    }
}

/// The status of `GET /v1/health`, and the problem's words.
fn ask_health(address: std::net::SocketAddr) -> std::io::Result<(u16, String)> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(b"GET /v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let problem: Option<Problem> = serde_json::from_slice(body.as_bytes()).ok();
    let why = problem.map_or(String::new(), |problem| problem.detail);
    let odd = || std::io::Error::other("another program answers there");
    Ok((status.ok_or_else(odd)?, why))
}

/// The shipper runs: systemctl would have failed otherwise. The receiver is another machine, so its
/// absence is reported and does not make the installation a failure.
fn check_shipper(config: &shipper::Config) -> Result<(), Failure> {
    let receiver = ReceiverClient::new(config, Stop::default())?;
    let url = &config.receiver_url;
    match probe::send(config, &receiver).map(|probe| probe.entry()) {
        Ok(Entry::Open) => say!(
            "The shipper runs, and the receiver at {url} answers and lets this host in. cis490 status shows the queue."
        ),
        Ok(Entry::Closed(why)) => say!(
            "The shipper runs, and the receiver at {url} does not let this host in ({why}): episodes wait here until it does. cis490 doctor says what to do."
        ),
        Ok(Entry::Unknown(why)) => say!(
            "The shipper runs, and the receiver at {url} accepts nothing yet ({why}): episodes wait here until it does."
        ),
        Err(error) => say!(
            "The shipper runs, and the receiver at {url} does not answer yet ({error}): episodes wait here until it does."
        ),
    }
    Ok(())
}

/// Shows the end of a unit's log, after a failure.
pub(super) fn show_log(unit: &str) {
    say!("The end of its log (journalctl -u {unit}):");
    // Without journalctl there is nothing to show; the failure that follows says where to look.
    let _ = Command::new("journalctl")
        .args(["-u", unit, "-n", "15", "--no-pager", "-o", "cat"])
        .status();
}
