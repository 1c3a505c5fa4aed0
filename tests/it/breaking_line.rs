//! A line between a lab host and the receiver that breaks after so many bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// A line that breaks once so many bytes have gone up.
pub struct Line {
    pub url: String,
    pub up_bytes: Arc<AtomicU64>,
    pub breaks_after: Arc<AtomicU64>,
    pub breaks: Arc<AtomicU64>,
}

impl Line {
    pub fn to(address: SocketAddr, breaks_after: u64) -> Line {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Line {
            url: format!("http://{}", listener.local_addr().unwrap()),
            up_bytes: Arc::default(),
            breaks_after: Arc::new(AtomicU64::new(breaks_after)),
            breaks: Arc::default(),
        };
        let (up, after, breaks) = (
            line.up_bytes.clone(),
            line.breaks_after.clone(),
            line.breaks.clone(),
        );
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (up, after, breaks) = (up.clone(), after.clone(), breaks.clone());
                thread::spawn(move || pass(&client, address, &up, &after, &breaks));
            }
        });
        line
    }
}

fn pass(
    client: &TcpStream,
    address: SocketAddr,
    up: &AtomicU64,
    breaks_after: &AtomicU64,
    breaks: &AtomicU64,
) {
    let Ok(server) = TcpStream::connect(address) else {
        return;
    };
    let (mut back, mut down) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let _ = std::io::copy(&mut back, &mut down);
        let _ = down.shutdown(Shutdown::Write);
    });
    let (mut from, mut into) = (client, &server);
    let mut buffer = vec![0; 64 << 10];
    let mut passed = 0;
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 || into.write_all(&buffer[..count]).is_err() {
            break;
        }
        up.fetch_add(count as u64, Ordering::SeqCst);
        passed += count as u64;
        if passed >= breaks_after.load(Ordering::SeqCst) {
            breaks.fetch_add(1, Ordering::SeqCst);
            let _ = client.shutdown(Shutdown::Both);
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Write);
}
