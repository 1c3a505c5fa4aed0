//! An HTTP client of literal bytes: it sends the bytes that it is given, however wrong, and reads answers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use sha2::{Digest, Sha256};
use socket2::{Domain, Socket, Type};

pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self
            .head
            .split("\r\n")
            .filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One connection.
pub struct Client(pub TcpStream);

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).expect("connect")
    }

    /// `None` if nobody listens.
    pub fn try_connect(address: SocketAddr) -> Option<Client> {
        let stream = TcpStream::connect(address).ok()?;
        Some(Client::of(stream))
    }

    /// From another of this machine's addresses.
    pub fn connect_from(address: SocketAddr, source: Ipv4Addr) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect(&address.into()).expect("connect");
        Client::of(socket.into())
    }

    fn of(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client(stream)
    }

    /// Ends the connection with a reset: neither side's bytes under way arrive.
    pub fn reset(self) {
        let socket = Socket::from(self.0);
        socket.set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Sends bytes. The caller may ignore the error of a peer that has closed already: its answer says why.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The next answer, or `None` if the connection ends before one.
    pub fn answer(&mut self) -> Option<Answer> {
        self.answer_to("GET")
    }

    /// The next answer; one to HEAD has a length and no body.
    pub fn answer_to(&mut self, method: &str) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("reading an answer: {error} after {head:?}"),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut answer = Answer {
            status,
            head,
            body: String::new(),
        };
        let length = answer
            .header("Content-Length")
            .map_or(0, |text| text.parse().unwrap());
        if method != "HEAD" {
            let mut body = vec![0; length];
            // Cut short only when the process was killed in the middle of it.
            self.0.read_exact(&mut body).ok()?;
            answer.body = String::from_utf8(body).unwrap();
        }
        Some(answer)
    }

    /// Everything until the peer closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let mut part = [0; 4096];
        loop {
            match self.0.read(&mut part) {
                Ok(0) => return rest,
                Ok(n) => rest.extend_from_slice(&part[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return rest,
                Err(error) => panic!("waiting for the end: {error} after {rest:?}"),
            }
        }
    }

    pub fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An upload to be sent. `sample` is a good one; each method makes one thing differ.
#[derive(Clone)]
pub struct Put {
    pub path: String,
    pub body: Vec<u8>,
    length: Option<String>,
    commit: Option<String>,
    sha256: Option<String>,
    extra: String,
}

impl Put {
    pub fn sample(commit: &str) -> Put {
        Put {
            path: "/v1/episodes/lab-1/ep-1".to_owned(),
            body: b"the bytes of one episode".to_vec(),
            length: None,
            commit: Some(commit.to_owned()),
            sha256: None,
            extra: String::new(),
        }
    }

    pub fn episode(mut self, name: &str) -> Put {
        self.path = format!("/v1/episodes/lab-1/{name}");
        self
    }

    pub fn path(mut self, path: &str) -> Put {
        self.path = path.to_owned();
        self
    }

    pub fn body(mut self, body: &[u8]) -> Put {
        self.body = body.to_vec();
        self
    }

    pub fn commit(mut self, commit: &str) -> Put {
        self.commit = Some(commit.to_owned());
        self
    }

    pub fn no_commit(mut self) -> Put {
        self.commit = None;
        self
    }

    pub fn sha256(mut self, digest: &str) -> Put {
        self.sha256 = Some(digest.to_owned());
        self
    }

    /// A Content-Length that is not the body's.
    pub fn length(mut self, length: &str) -> Put {
        self.length = Some(length.to_owned());
        self
    }

    /// Further header lines, each ended with CR LF.
    pub fn extra(mut self, lines: &str) -> Put {
        self.extra.push_str(lines);
        self
    }

    pub fn head(&self) -> Vec<u8> {
        let length = self.length.clone().unwrap_or(self.body.len().to_string());
        let digest = self.sha256.clone().unwrap_or(sha256(&self.body));
        let mut head = format!("PUT {} HTTP/1.1\r\nHost: pi\r\n", self.path);
        head += &format!("Content-Length: {length}\r\nX-Cis490-Sha256: {digest}\r\n");
        if let Some(commit) = &self.commit {
            head += &format!("X-Cis490-Code-Commit: {commit}\r\n");
        }
        head += &self.extra;
        head += "\r\n";
        head.into_bytes()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}
