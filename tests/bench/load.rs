//! The load generator. Bodies are made and hashed before the clock starts, and sent from memory over
//! connections that are kept; answers are read whole. Large writes keep the generator's share of the
//! CPU small. sendfile would cost the generator less and the servers more, since they would copy from
//! memory that is in no cache. A sink that reads and forgets shows the most that the generator can do.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::dice::noise;
use crate::servers::Running;

const PATIENCE: Duration = Duration::from_secs(120);
/// The bytes of one write of a body.
const WRITE_BYTES: usize = 256 << 10;
/// The bytes that make each body different.
const PREFIX_BYTES: usize = 16;

/// Incompressible bytes, of which all bodies are made.
pub struct Payload(Vec<u8>);

impl Payload {
    pub fn new(bytes: usize) -> Payload {
        Payload(noise(490, bytes))
    }
}

/// The body of one upload: a prefix of its own, then the payload, repeated up to the length.
#[derive(Clone)]
pub struct Body {
    prefix: [u8; PREFIX_BYTES],
    pub bytes: usize,
    pub sha256: String,
}

impl Body {
    pub fn new(payload: &Payload, number: usize, bytes: usize) -> Body {
        let mut prefix = [b'-'; PREFIX_BYTES];
        let text = format!("{number}");
        prefix[..text.len()].copy_from_slice(text.as_bytes());
        let mut hasher = Sha256::new();
        hasher.update(prefix);
        let mut left = bytes - PREFIX_BYTES;
        while left > 0 {
            let part = left.min(payload.0.len());
            hasher.update(&payload.0[..part]);
            left -= part;
        }
        let digest = hasher.finalize();
        Body {
            prefix,
            bytes,
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

/// A connection that is kept for many requests.
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection {
            stream,
            answer: vec![0; 64 << 10],
        })
    }

    /// Sends one upload. The status of its answer.
    pub fn put(&mut self, head: &str, body: &Body, payload: &Payload) -> io::Result<u16> {
        self.put_in_pieces(head, body, payload, WRITE_BYTES, |_| {})
    }

    /// Sends one upload in pieces of so many bytes; `wait` is called before each piece, with its length. The head is sent
    /// before that, together with the body if that has 64 KiB at most. The status of its answer.
    pub fn put_in_pieces(
        &mut self,
        head: &str,
        body: &Body,
        payload: &Payload,
        piece_bytes: usize,
        mut wait: impl FnMut(usize),
    ) -> io::Result<u16> {
        let mut first = Vec::with_capacity(head.len() + PREFIX_BYTES + (64 << 10));
        first.extend_from_slice(head.as_bytes());
        first.extend_from_slice(&body.prefix);
        let mut left = body.bytes - PREFIX_BYTES;
        if left <= 64 << 10 {
            // A small upload leaves in one write.
            first.extend_from_slice(&payload.0[..left]);
            left = 0;
        }
        self.stream.write_all(&first)?;
        while left > 0 {
            let part = left.min(payload.0.len());
            for piece in payload.0[..part].chunks(piece_bytes) {
                wait(piece.len());
                self.stream.write_all(piece)?;
            }
            left -= part;
        }
        self.answer()
    }

    /// Reads one answer to its end. Its status.
    pub fn answer(&mut self) -> io::Result<u16> {
        let mut have = 0;
        loop {
            let head_end = find(&self.answer[..have], b"\r\n\r\n");
            if let Some(end) = head_end {
                let head = String::from_utf8_lossy(&self.answer[..end]).to_ascii_lowercase();
                let length = head
                    .split("\r\n")
                    .find_map(|line| line.strip_prefix("content-length:"))
                    .map_or(0, |text| text.trim().parse::<usize>().unwrap_or(0));
                if have >= end + 4 + length {
                    let status = head.get(9..12).and_then(|text| text.parse().ok());
                    return status.ok_or_else(|| io::Error::other(head));
                }
            }
            match self.stream.read(&mut self.answer[have..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => have += n,
            }
        }
    }

    /// Asks for a path. The status of the answer.
    pub fn get(&mut self, path: &str) -> io::Result<u16> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: pi\r\n\r\n");
        self.stream.write_all(head.as_bytes())?;
        self.answer()
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|part| part == what)
}

/// Uploads all bodies over so many connections. The time until the last answer.
pub fn put_all(
    server: &Running,
    payload: &Payload,
    bodies: &[Body],
    connections: usize,
) -> Duration {
    put_from(0, server, payload, bodies, connections)
}

/// The same, of which the first has this number, and so its name.
pub fn put_from(
    first: usize,
    server: &Running,
    payload: &Payload,
    bodies: &[Body],
    connections: usize,
) -> Duration {
    let next = AtomicUsize::new(0);
    let connections: Vec<Connection> = (0..connections)
        .map(|_| Connection::open(server.address).expect("a connection"))
        .collect();
    let began = Instant::now();
    thread::scope(|scope| {
        for mut connection in connections {
            let next = &next;
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(body) = bodies.get(number) else {
                        return;
                    };
                    let head = server.kind.put_head(first + number, body);
                    let status = connection.put(&head, body, payload);
                    let good = matches!(status, Ok(200..=204));
                    assert!(good, "{}: {status:?}", server.kind.name());
                }
            });
        }
    });
    began.elapsed()
}

/// The sink, a server that reads and forgets. It runs until it is killed.
pub fn sink() -> ! {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    println!("{}", listener.local_addr().expect("an address"));
    for stream in listener.incoming().flatten() {
        thread::spawn(move || read_and_forget(stream));
    }
    unreachable!("incoming never ends")
}

fn read_and_forget(mut stream: TcpStream) {
    let mut buffer = vec![0; 1 << 20];
    let mut have = 0;
    loop {
        let Some(end) = find(&buffer[..have.min(4096)], b"\r\n\r\n") else {
            match stream.read(&mut buffer[have..]) {
                Ok(n) if n > 0 => have += n,
                _ => return,
            }
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let length = head
            .split("\r\n")
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|text| text.trim().parse::<usize>().ok())
            .unwrap_or(0);
        let mut left = (end + 4 + length).saturating_sub(have);
        while left > 0 {
            match stream.read(&mut buffer) {
                Ok(n) if n > 0 => left = left.saturating_sub(n),
                _ => return,
            }
        }
        have = 0;
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}
