//! `GET` and `HEAD` of an episode's bytes, in literal bytes and with the clients that people have.

mod answers;
mod bundle;
mod clients;
pub mod crowd;
mod damage;
mod doors;
mod kept;
mod places;

use std::net::Ipv4Addr;

use socket2::{Domain, Socket, Type};

use crate::client::{Client, Put, sha256};
use crate::reading::{NO_GATE, READER};
use crate::world::World;

/// Of the sample, `lab-1/ep-1`.
const PATH: &str = "/v1/episodes/lab-1/ep-1.tar.zst";
/// Bytes that look like nothing else: 1000 of them.
const BYTES: usize = 1000;
/// More than the kernels on both sides of a connection hold.
const LARGE: usize = 24 << 20;

/// An answer whose body is bytes, with the end of its connection behind it.
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    /// What a connection has brought until its end.
    fn parse(bytes: &[u8]) -> Got {
        let text = String::from_utf8_lossy(bytes);
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no head: {text:?}")) + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Got {
            status: head[9..12].parse().unwrap(),
            head,
            body: bytes[end..].to_vec(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.split("\r\n");
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    fn problem(&self) -> String {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        let kind = problem["type"].as_str().unwrap().to_owned();
        kind.strip_prefix("urn:cis490:problem:").unwrap().to_owned()
    }

    /// The head with `DATE` for the date.
    fn dated(&self) -> String {
        let date = self.header("Date").unwrap();
        self.head.replace(date, "DATE")
    }
}

/// A receiver that the test may read; `config` are further keys of the top level.
fn readable(config: &str) -> World {
    World::with(&format!("{config}{READER}{NO_GATE}"))
}

/// The same with `lab-1/ep-1` in it, of so many bytes.
fn with_episode(config: &str, bytes: usize) -> (World, Vec<u8>) {
    let world = readable(config);
    let body = noise(bytes);
    store(&world, "ep-1", &body);
    (world, body)
}

fn store(world: &World, episode: &str, body: &[u8]) {
    let put = Put::sample(&"c".repeat(40)).episode(episode).body(body);
    let answer = world.put(&put);
    assert_eq!(answer.status, 201, "{answer:?}\n{world}");
}

/// Bytes of which each range differs from every other.
fn noise(bytes: usize) -> Vec<u8> {
    let words = (1..=bytes as u64 / 8 + 1).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut noise: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    noise.truncate(bytes);
    noise
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: pi\r\n{fields}\r\n")
}

/// Asks with further header lines, each ended with CR LF, and reads until the connection ends.
fn ask(world: &World, method: &str, path: &str, fields: &str) -> Got {
    raw(
        world,
        &request(method, path, &format!("Connection: close\r\n{fields}")),
    )
}

fn raw(world: &World, request: &str) -> Got {
    let mut client = world.client();
    client.send(request.as_bytes()).unwrap();
    Got::parse(&client.rest())
}

/// Begins a download of the sample from an address, and reads its first byte and no more.
fn begin(world: &World, source: Ipv4Addr) -> Client {
    use std::io::Read;
    let mut client = Client::connect_from(world.address(), source);
    client.send(request("GET", PATH, "").as_bytes()).unwrap();
    let mut first = [0];
    client.0.read_exact(&mut first).unwrap();
    assert_eq!(first, *b"H");
    client
}

/// A peer that has asked for a path, and has read the first byte of the answer: its own kernel holds a little,
/// and the receiver's the rest.
fn stalling(world: &World, path: &str) -> Client {
    use std::io::Read;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&world.address().into()).unwrap();
    let mut client = Client(socket.into());
    client.send(request("GET", path, "").as_bytes()).unwrap();
    let mut first = [0];
    client.0.read_exact(&mut first).unwrap();
    assert_eq!(first, *b"H");
    client
}

/// The rest of a download that [`begin`] or [`stalling`] has begun.
fn finish(mut client: Client) -> Got {
    let mut bytes = b"H".to_vec();
    bytes.extend(client.rest());
    Got::parse(&bytes)
}

fn etag(body: &[u8]) -> String {
    format!("\"{}\"", sha256(body))
}

/// A sample of the figures.
fn figure(world: &World, sample: &str) -> u64 {
    let metrics = world.get("/metrics").body;
    let mut lines = metrics.lines();
    let value = lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("no {sample}\n{metrics}"))
        .parse()
        .unwrap()
}

fn ended(world: &World, outcome: &str) -> u64 {
    figure(
        world,
        &format!("cis490_downloads_total{{outcome=\"{outcome}\"}}"),
    )
}
