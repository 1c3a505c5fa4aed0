//! A socket against a peer on this machine that answers early, late, or not at all.

use super::*;
use std::net::TcpListener;
use std::thread;

use super::super::Unattended;

const PATIENCE: Duration = Duration::from_secs(20);
/// More than the kernel's socket buffers hold.
const BODY_BYTES: usize = 64 << 20;

/// Has enough once the flag is set.
#[derive(Debug)]
struct Impatient(AtomicBool);

impl Attendant for Impatient {
    fn attend(&self) -> io::Result<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(io::Error::other("enough"));
        }
        Ok(())
    }
}

/// A connected socket, and its other end.
fn pair() -> (Socket, TcpStream) {
    pair_with(Arc::new(Unattended))
}

fn pair_with(attendant: Arc<dyn Attendant>) -> (Socket, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addrs = [listener.local_addr().unwrap()];
    let early_response = EarlyResponse::default();
    let socket = Socket::connect(&addrs, PATIENCE, early_response, attendant).unwrap();
    let (peer, _) = listener.accept().unwrap();
    (socket, peer)
}

fn receive_all(socket: &mut Socket) -> String {
    let mut text = Vec::new();
    let mut buffer = [0; 100];
    while let Ok(n @ 1..) = socket.receive(&mut buffer, PATIENCE) {
        text.extend_from_slice(&buffer[..n]);
    }
    String::from_utf8(text).unwrap()
}

#[test]
fn an_answer_ends_the_sending_whether_the_peer_reads_stays_or_resets() {
    for reset in [false, true] {
        let (mut socket, mut peer) = pair();
        let other_side = thread::spawn(move || {
            peer.read_exact(&mut [0; 1000]).unwrap();
            peer.write_all(b"HTTP/1.1 412 No").unwrap();
            // Dropped with bytes unread, it resets the connection.
            (!reset).then_some(peer)
        });
        socket.send(&vec![0; BODY_BYTES], PATIENCE).unwrap();
        assert!(socket.early_response.is_set());
        let peer = other_side.join().unwrap();
        drop(peer);
        assert_eq!(
            receive_all(&mut socket),
            "HTTP/1.1 412 No",
            "reset: {reset}"
        );
    }
}

#[test]
fn an_answer_after_a_late_continue_is_heard_in_mid_body() {
    let (mut socket, mut peer) = pair();
    let other_side = thread::spawn(move || {
        peer.read_exact(&mut [0; 1000]).unwrap();
        let late = b"HTTP/1.1 100 Continue\r\nServer: x\r\n\r\n";
        peer.write_all(late).unwrap();
        peer.read_exact(&mut [0; 1 << 20]).unwrap();
        peer.write_all(b"HTTP/1.1 413 No").unwrap();
        peer
    });
    socket.send(&vec![0; BODY_BYTES], PATIENCE).unwrap();
    assert!(socket.early_response.is_set());
    drop(other_side.join().unwrap());
    assert_eq!(receive_all(&mut socket), "HTTP/1.1 413 No");
}

#[test]
fn what_comes_in_place_of_a_continue_is_the_answer() {
    for (said, goes_on) in [
        (
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 100 Continue\r\nA: b\r\n\r\n",
            true,
        ),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 412 No", false),
        ("", false),
    ] {
        let (mut socket, mut peer) = pair();
        peer.write_all(said.as_bytes()).unwrap();
        if said.is_empty() {
            drop(peer);
            assert!(!socket.await_continue(PATIENCE).unwrap(), "hung up");
            continue;
        }
        assert_eq!(socket.await_continue(PATIENCE).unwrap(), goes_on, "{said}");
        drop(peer);
        let rest = if goes_on { "" } else { "HTTP/1.1 412 No" };
        assert_eq!(receive_all(&mut socket), rest);
    }
    let (mut socket, _peer) = pair();
    let silent = socket.await_continue(Duration::from_millis(50));
    assert_eq!(silent.unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn a_late_continue_is_no_answer() {
    let (mut socket, mut peer) = pair();
    let other_side = thread::spawn(move || {
        peer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = Vec::new();
        peer.read_to_end(&mut body).unwrap();
        body.len()
    });
    assert!(sys::wait_socket(&socket.stream, Direction::Readable, PATIENCE).unwrap());
    socket.send(&vec![0; BODY_BYTES], PATIENCE).unwrap();
    assert!(!socket.early_response.is_set());
    drop(socket);
    assert_eq!(other_side.join().unwrap(), BODY_BYTES);
}

#[test]
fn a_peer_that_takes_nothing_is_a_timeout_and_a_stop_is_heard() {
    let attendant = Arc::new(Impatient(AtomicBool::new(false)));
    let (mut socket, _peer) = pair_with(attendant.clone());
    let body = vec![0; BODY_BYTES];
    let stalled = socket.send(&body, Duration::from_millis(50)).unwrap_err();
    assert_eq!(stalled.kind(), io::ErrorKind::TimedOut);
    let silent = socket
        .receive(&mut [0], Duration::from_millis(50))
        .unwrap_err();
    assert_eq!(silent.kind(), io::ErrorKind::TimedOut);
    attendant.0.store(true, Ordering::SeqCst);
    let stopped = socket.send(&body, PATIENCE).unwrap_err();
    assert_eq!(stopped.to_string(), "enough");
}
