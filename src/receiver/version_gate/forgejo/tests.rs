//! The two routes to the head, with a server whose routes fail each in its own way.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

const HEAD: &str = "5555555555555555555555555555555555555555";

/// What a route answers: its status, and bytes that its body has more.
type Says = (u16, usize);

const WELL: Says = (200, 0);

#[derive(Clone, Copy)]
struct Routes {
    by_ref: Says,
    by_branch: Says,
    repository: Says,
}

struct Server {
    routes: Mutex<Routes>,
    asked: Mutex<Vec<String>>,
}

impl Server {
    /// A server, and who asks it.
    fn new(routes: Routes) -> (Arc<Server>, Forgejo) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = GateConfig {
            forgejo_url: Some(format!("http://{}", listener.local_addr().unwrap())),
            repo_owner: Some("lab".to_owned()),
            repo_name: Some("cis490".to_owned()),
            ..GateConfig::default()
        };
        let server = Arc::new(Server {
            routes: Mutex::new(routes),
            asked: Mutex::default(),
        });
        let shared = Arc::clone(&server);
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A peer that goes away shows in the test's own assertion.
                let _ = stream.and_then(|stream| shared.answer(&stream));
            }
        });
        (server, Forgejo::new(&config).unwrap().unwrap())
    }

    fn set(&self, change: impl FnOnce(&mut Routes)) {
        change(&mut self.routes.lock().unwrap());
    }

    /// How many requests there were since the last call.
    fn count(&self) -> usize {
        std::mem::take(&mut *self.asked.lock().unwrap()).len()
    }

    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let line = lines.next().unwrap_or(Ok(String::new()))?;
        while lines
            .next()
            .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
        {}
        let routes = *self.routes.lock().unwrap();
        let ((status, more), body) = if line.contains("/git/refs") {
            let body = format!(r#"[{{"ref":"refs/heads/main","object":{{"sha":"{HEAD}"}}}}]"#);
            (routes.by_ref, body)
        } else if line.contains("/branches/") {
            (
                routes.by_branch,
                format!(r#"{{"commit":{{"id":"{HEAD}"}}}}"#),
            )
        } else {
            (routes.repository, r#"{"empty":false}"#.to_owned())
        };
        self.asked.lock().unwrap().push(line);
        let body = match status {
            404 => r#"{"message":"The target couldn't be found.","errors":[]}"#.to_owned(),
            _ => body + &" ".repeat(more),
        };
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

fn wait_a_minute(forgejo: &mut Forgejo) -> bool {
    let before = Instant::now().checked_sub(LOOK_AGAIN_AFTER);
    if let (Some(diagnosis), Some(before)) = (&mut forgejo.diagnosis, before) {
        diagnosis.looked = before;
        return true;
    }
    false
}

/// One route is shut for good, and the other was in trouble for a moment when it was first asked.
#[test]
fn a_trouble_that_passes_on_the_other_route_is_over_with_the_next_poll() {
    const TOO_LARGE: usize = HEAD_BYTES_MAX as usize;
    for by_ref in [(405, 0), (200, TOO_LARGE), (500, 0)] {
        for in_passing in [502, 503, 429, 401] {
            let (server, mut forgejo) = Server::new(Routes {
                by_ref,
                by_branch: (in_passing, 0),
                repository: WELL,
            });
            assert!(forgejo.head().is_err(), "{by_ref:?} {in_passing}");
            for _ in 0..12 {
                assert!(forgejo.head().is_err(), "{by_ref:?} {in_passing}");
            }
            assert!(server.count() <= 26, "{by_ref:?} {in_passing}");
            server.set(|routes| routes.by_branch = WELL);
            assert_eq!(
                forgejo.head().map(|head| head.to_string()).ok().as_deref(),
                Some(HEAD),
                "{by_ref:?} {in_passing}"
            );
            // The route that answers is the one that is asked from now on.
            server.count();
            assert!(forgejo.head().is_ok());
            assert_eq!(server.count(), 1, "{by_ref:?} {in_passing}");
        }
    }
}

/// Both routes are shut, which costs one request a poll; each minute the other is asked again.
#[test]
fn a_trouble_of_both_routes_is_looked_at_again_each_minute() {
    for (by_ref, by_branch) in [(405, 500), (500, 500), (500, 404), (404, 500)] {
        let (server, mut forgejo) = Server::new(Routes {
            by_ref: (by_ref, 0),
            by_branch: (by_branch, 0),
            repository: WELL,
        });
        assert!(forgejo.head().is_err());
        server.count();
        for _ in 0..12 {
            assert!(forgejo.head().is_err());
        }
        assert_eq!(server.count(), 12, "{by_ref} {by_branch}");
        server.set(|routes| routes.by_branch = WELL);
        if wait_a_minute(&mut forgejo) {
            assert!(forgejo.head().is_ok(), "{by_ref} {by_branch}");
        }
    }
}

/// A repository that is not there: one request a poll, and the repository in place of one a minute.
#[test]
fn a_repository_that_is_missing_costs_no_more_than_one_that_is_there() {
    let (server, mut forgejo) = Server::new(Routes {
        by_ref: (404, 0),
        by_branch: (404, 0),
        repository: (404, 0),
    });
    assert!(forgejo.head().is_err());
    server.count();
    for _ in 0..11 {
        assert!(forgejo.head().is_err());
    }
    wait_a_minute(&mut forgejo);
    assert!(forgejo.head().is_err());
    assert_eq!(server.count(), 12);
    server.set(|routes| (routes.by_ref, routes.repository) = (WELL, WELL));
    assert!(forgejo.head().is_ok());
}
