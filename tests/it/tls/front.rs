//! A TLS server before a plain one, as a proxy stands before Forgejo or the receiver. It carries
//! bytes both ways and understands none of them.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection};

/// What it holds for a server that does not read.
const HELD_BYTES_MAX: usize = 1 << 20;

/// Serves `behind` by TLS for as long as the test runs; its port.
pub fn serve(config: Arc<ServerConfig>, behind: SocketAddr) -> u16 {
    serve_and_end(config, behind, true)
}

/// As [`serve`], but its connections end without TLS's end (close_notify), as those of many do.
pub fn serve_rudely(config: Arc<ServerConfig>, behind: SocketAddr) -> u16 {
    serve_and_end(config, behind, false)
}

fn serve_and_end(config: Arc<ServerConfig>, behind: SocketAddr, says_its_end: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let config = config.clone();
            // A peer that does not like our certificate is a test's intention.
            thread::spawn(move || Carrier::new(stream, config, behind, says_its_end)?.carry());
        }
    });
    port
}

struct Carrier {
    tls: ServerConnection,
    client: TcpStream,
    server: TcpStream,
    /// From the client, not yet taken by the server.
    held: Vec<u8>,
    server_takes: bool,
    server_ended: bool,
    says_its_end: bool,
}

impl Carrier {
    fn new(
        mut client: TcpStream,
        config: Arc<ServerConfig>,
        behind: SocketAddr,
        says_its_end: bool,
    ) -> io::Result<Carrier> {
        let mut tls = ServerConnection::new(config).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut client)?;
        }
        let server = TcpStream::connect(behind)?;
        server.set_nonblocking(true)?;
        client.set_nonblocking(true)?;
        Ok(Carrier {
            tls,
            client,
            server,
            held: Vec::new(),
            server_takes: true,
            server_ended: false,
            says_its_end,
        })
    }

    /// Until the client hangs up.
    fn carry(mut self) -> io::Result<()> {
        loop {
            let moved = self.hear_client()? | self.tell_server() | self.hear_server()?;
            let pushed = self.tell_client()?;
            if !moved && !pushed {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn hear_client(&mut self) -> io::Result<bool> {
        if self.held.len() > HELD_BYTES_MAX {
            return Ok(false);
        }
        let held = self.held.len();
        // WouldBlock is its way to say that this was all. The handshake's last read may have
        // brought something, too.
        let _ = self.tls.reader().read_to_end(&mut self.held);
        match self.tls.read_tls(&mut self.client) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(held < self.held.len());
            }
            other => other?,
        };
        self.tls.process_new_packets().map_err(io::Error::other)?;
        Ok(true)
    }

    /// A server that takes no more is no reason to listen to the client no longer.
    fn tell_server(&mut self) -> bool {
        if !self.server_takes {
            self.held.clear();
        }
        if self.held.is_empty() {
            return false;
        }
        match self.server.write(&self.held) {
            Ok(n) => drop(self.held.drain(..n)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => self.server_takes = false,
        }
        true
    }

    fn hear_server(&mut self) -> io::Result<bool> {
        if self.server_ended || self.tls.wants_write() {
            return Ok(false);
        }
        let mut part = [0; 16 << 10];
        match self.server.read(&mut part) {
            Ok(n @ 1..) => self.tls.writer().write_all(&part[..n])?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            _ => {
                self.server_ended = true;
                if !self.says_its_end {
                    self.client.shutdown(Shutdown::Write)?;
                    return Ok(true);
                }
                self.tls.send_close_notify();
            }
        }
        Ok(true)
    }

    fn tell_client(&mut self) -> io::Result<bool> {
        let mut moved = false;
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.client) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(moved),
                other => other?,
            };
            moved = true;
        }
        if moved && self.server_ended && self.says_its_end {
            self.client.shutdown(Shutdown::Write)?;
        }
        Ok(moved)
    }
}
