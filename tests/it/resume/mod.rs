//! Broken uploads that go on (design, section 13), at the receiver, in literal bytes.
//!
//! Most tests move the bounds of 64 and 16 MiB to 8 and 2 (`CIS490_RESUMABLE`), which a release build does
//! not know: there they are left out. `bounds` has the bounds as they are.

mod answers;
mod bounds;
mod by_hand;
mod ends;
mod kept;

use std::io::Write;

use crate::client::{Answer, Client, sha256};
use crate::lab::noise;
use crate::world::{World, is_release_build};

pub const MIB: usize = 1 << 20;

/// The least length of a body that is kept, in these tests.
pub fn least() -> usize {
    if is_release_build() {
        64 * MIB
    } else {
        8 * MIB
    }
}

/// The least of it that must have come.
pub fn least_kept() -> usize {
    if is_release_build() {
        16 * MIB
    } else {
        2 * MIB
    }
}

/// A receiver with the bounds of these tests.
pub fn world(config: &str) -> World {
    let mut world = World::prepared(config);
    start(&mut world);
    world
}

pub fn start(world: &mut World) {
    start_with(world, 3_600_000);
}

/// The same, with a time in milliseconds after which a broken upload is given up.
pub fn start_with(world: &mut World, kept_ms: u64) {
    let bounds = format!("{},{},{kept_ms}", least(), least_kept());
    world.env("CIS490_RESUMABLE", bounds);
    world.start();
}

/// One episode that is sent in pieces.
#[derive(Clone)]
pub struct Episode {
    pub name: String,
    pub body: Vec<u8>,
    pub sha256: String,
    pub commit: String,
    /// Further header lines, each ended with CR LF.
    pub extra: String,
}

impl Episode {
    /// The least that is kept, and a little more.
    pub fn new(world: &World, name: &str) -> Episode {
        Episode::of(world, name, &noise(least() + 12_345))
    }

    pub fn of(world: &World, name: &str, body: &[u8]) -> Episode {
        Episode {
            name: name.to_owned(),
            sha256: sha256(body),
            body: body.to_vec(),
            commit: world.repo.head().to_owned(),
            extra: String::new(),
        }
    }

    fn headers(&self, length: usize) -> String {
        format!(
            "Host: pi\r\nContent-Length: {length}\r\nX-Cis490-Sha256: {}\r\nX-Cis490-Code-Commit: {}\r\n{}",
            self.sha256, self.commit, self.extra
        )
    }

    pub fn put_head(&self) -> String {
        let headers = self.headers(self.body.len());
        format!(
            "PUT /v1/episodes/lab-1/{} HTTP/1.1\r\n{headers}\r\n",
            self.name
        )
    }

    pub fn patch_head(&self, offset: usize) -> String {
        self.patch_head_of(&offset.to_string(), self.body.len().saturating_sub(offset))
    }

    pub fn patch_head_of(&self, offset: &str, length: usize) -> String {
        let headers = self.headers(length);
        format!(
            "PATCH /v1/uploads/lab-1/{} HTTP/1.1\r\n{headers}Content-Type: application/partial-upload\r\nUpload-Offset: {offset}\r\nUpload-Complete: ?1\r\n\r\n",
            self.name
        )
    }

    /// Sends the head and the beginning of the body, and leaves the connection open.
    pub fn begin(&self, world: &World, bytes: usize) -> Client {
        let mut client = world.client();
        client.send(self.put_head().as_bytes()).unwrap();
        client.send(&self.body[..bytes]).unwrap();
        client
    }

    /// A PUT that breaks after so many bytes; its offset then.
    pub fn break_at(&self, world: &World, bytes: usize) -> Option<usize> {
        end(self.begin(world, bytes));
        self.offset(world)
    }

    /// A PATCH from `from` that breaks at `to`; the offset then.
    pub fn go_on_to(&self, world: &World, from: usize, to: usize) -> Option<usize> {
        let mut client = world.client();
        client.send(self.patch_head(from).as_bytes()).unwrap();
        client.send(&self.body[from..to]).unwrap();
        end(client);
        self.offset(world)
    }

    pub fn put(&self, world: &World) -> Answer {
        let mut client = world.client();
        let _ = client.send(self.put_head().as_bytes());
        let _ = client.send(&self.body);
        client
            .answer()
            .unwrap_or_else(|| panic!("no answer\n{world}"))
    }

    /// The answer to the rest from `offset` on.
    pub fn patch(&self, world: &World, offset: usize) -> Answer {
        let mut client = world.client();
        let _ = client.send(self.patch_head(offset).as_bytes());
        let _ = client.send(&self.body[offset.min(self.body.len())..]);
        client
            .answer()
            .unwrap_or_else(|| panic!("no answer\n{world}"))
    }

    pub fn head(&self, world: &World) -> Answer {
        let request = format!(
            "HEAD /v1/uploads/lab-1/{} HTTP/1.1\r\nHost: pi\r\nX-Cis490-Sha256: {}\r\n{}\r\n",
            self.name, self.sha256, self.extra
        );
        ask(world, "HEAD", &request)
    }

    /// How far the upload is; `None` where nothing is kept.
    pub fn offset(&self, world: &World) -> Option<usize> {
        let answer = self.head(world);
        if answer.status == 404 {
            return None;
        }
        assert_eq!(answer.status, 204, "{answer:?}\n{world}");
        assert_eq!(answer.header("Upload-Complete"), Some("?0"), "{answer:?}");
        assert_eq!(answer.header("Cache-Control"), Some("no-store"));
        assert_eq!(answer.header("Content-Length"), None, "{answer:?}");
        let length = answer.header("Upload-Length").unwrap();
        assert_eq!(length, self.body.len().to_string(), "{answer:?}");
        Some(answer.header("Upload-Offset").unwrap().parse().unwrap())
    }

    /// The episode is stored, once, and nothing is left of its way.
    pub fn check_stored(&self, world: &World) {
        let stored = world.stored("lab-1", &self.name);
        assert!(stored.as_ref() == Some(&self.body), "{world}");
        let rows = world.rows();
        let own = rows
            .iter()
            .filter(|row| row["episode"] == self.name.as_str());
        assert_eq!(own.count(), 1, "{world}");
        world.wait_until("incoming/ is empty", |world| {
            world.names("incoming").is_empty()
        });
    }
}

/// Ends a connection as a line does that is there again: what was sent arrives, and then the end.
pub fn end(mut client: Client) {
    client.0.flush().unwrap();
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    client.rest();
}

pub fn ask(world: &World, method: &str, request: &str) -> Answer {
    let mut client = world.client();
    client.send(request.as_bytes()).unwrap();
    let answer = client.answer_to(method);
    answer.unwrap_or_else(|| panic!("no answer\n{world}"))
}

/// A figure of /metrics.
pub fn metric(world: &World, name: &str) -> u64 {
    // A text of the last second is kept.
    std::thread::sleep(std::time::Duration::from_millis(1050));
    let text = world.get("/metrics").body;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}\n{text}"))
        .parse()
        .unwrap()
}

pub fn kind(answer: &Answer) -> String {
    let problem = answer.json();
    let kind = problem["type"].as_str().unwrap();
    kind.strip_prefix("urn:cis490:problem:").unwrap().to_owned()
}
