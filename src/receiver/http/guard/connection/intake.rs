//! The intake hands may_minihttp one whole request head at a time, and nothing that the crate could
//! not parse.
//!
//! The crate reads all that lies in the socket. It drops all of it if the peer's FIN came along, it writes
//! no answer before every request that it has read is answered, and it prints a line of its own about a
//! head that it cannot parse. None of that can be undone later, and the crate has no hook before its
//! read. So the read itself goes through here: std reads a socket with the C library's `recv`, which this
//! program defines for itself (`sys::intake::recv`), and for a guarded connection (`descriptors`) that
//! comes to [`Connection::give`].
//!
//! 1. A head stays in the kernel's buffer until it is whole: it is looked at (`MSG_PEEK`) and parsed with
//!    the crate's own parser. Only then is it handed over, that one and nothing behind it. A body never
//!    is: the body threads read it.
//! 2. The next head is handed over when the answers before it have left. So an answer may always be
//!    written on our own socket: none overtakes another, none is sent twice, and none waits for a later
//!    request.
//! 3. The peer's end is handed over when all that came before it was answered.
//! 4. A request that was answered on our own socket, and whose connection goes on, gets an answer from the
//!    crate too: a bare 200. The write of it goes through here as well (`sys::intake::send`), and is
//!    taken away ([`Connection::takes_away`]). The crate writes one answer, at once, before it reads again.
//! 5. Bytes that are no head are never handed over. The crate reads an end instead, and the service
//!    answers when it is dropped ([`Connection::unreadable`]): the crate's own line is never printed.
//!
//! Of a stream of uploads only the first head comes this way (`next_request`). What was seen behind it, and that
//! the answers before it had left, holds on: the thread that takes the others writes its answers whole, and may
//! remembers that something came meanwhile.
//!
//! A small upload costs three reads (the look, the head, the body) and one question about the
//! connection's counters. Without this module it was two reads and ten such questions. Deep pipelines
//! of GETs are slower than with the crate alone (0.24 of its rate, measured 16 deep): one head is
//! handed over at a time, which the order of the answers needs.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use super::{Connection, now_ms};
use crate::receiver::http::guard::{FIELDS_MAX, HEAD_BYTES_MAX, Unreadable};
use crate::receiver::refusal::Refusal;
use crate::sync::lock;
use crate::sys;

/// How much of a connection is looked at: a head of the largest size, and a little more, so that one
/// which is too large is seen to be.
const LOOK_BYTES: usize = HEAD_BYTES_MAX + 1024;
/// How many bytes of a head that cannot be parsed are shown in the log.
const SHOWN_BYTES: usize = 80;

/// One connection's account of what was handed over.
pub(crate) struct Intake {
    stage: AtomicU8,
    /// Bytes of a head that was found good which are still to be handed over.
    left: AtomicU64,
    follows: AtomicU8,
    /// When the first bytes of a head were seen whose end has not come; 0 for none.
    head_since_ms: AtomicU64,
    /// A request is here, or the peer's end, and waits until the answers before it have left.
    waits: AtomicBool,
    /// The request was answered on our own socket: what the crate writes for it is not sent.
    answered_elsewhere: AtomicBool,
    /// They had left when the last head was handed over, as the kernel said.
    answers_have_left: AtomicBool,
    unreadable: Mutex<Option<Unreadable>>,
}

#[repr(u8)]
enum Stage {
    /// The next head is looked for.
    Waiting,
    /// A head was found good and is being handed over.
    Handing,
    /// The crate has a request, and gets nothing more until it is answered.
    Given,
    /// The crate reads that the connection has ended.
    Over,
}

/// What lay behind a request when it was handed over.
#[repr(u8)]
enum Follows {
    Nothing,
    /// Another request, or the peer's end: we have to wake the crate for it.
    More,
    /// There may be more than was looked at.
    Unknown,
}

impl Intake {
    pub(crate) fn new() -> Intake {
        Intake {
            stage: AtomicU8::new(Stage::Waiting as u8),
            left: AtomicU64::new(0),
            follows: AtomicU8::new(Follows::Nothing as u8),
            head_since_ms: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            answered_elsewhere: AtomicBool::new(false),
            answers_have_left: AtomicBool::new(false),
            unreadable: Mutex::new(None),
        }
    }
}

/// Everything here but the deadlines' questions is called in the connection's coroutine alone.
/// ([`Connection::is_followed_by_nothing`] and [`Connection::answers_had_left`] are also asked by a thread that the
/// coroutine waits for.)
impl Connection {
    /// Gives may_minihttp what it may read now. `WouldBlock` if that is nothing, 0 for the end.
    pub(crate) fn give(&self, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let stage = self.intake.stage.load(Ordering::Relaxed);
        if self.is_dead() || stage == Stage::Over as u8 {
            return Ok(0);
        }
        if stage == Stage::Given as u8 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if stage == Stage::Waiting as u8 {
            LOOK.with_borrow_mut(|look| self.look(look))?;
            if self.intake.stage.load(Ordering::Relaxed) != Stage::Handing as u8 {
                return Ok(0);
            }
        }
        self.hand_over(buffer)
    }

    fn hand_over(&self, buffer: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
        let left = self.intake.left.load(Ordering::Relaxed);
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let given = sys::read_socket(self.socket(), &mut buffer[..most])?;
        let left = left.saturating_sub(given as u64);
        self.intake.left.store(left, Ordering::Relaxed);
        if left == 0 {
            self.enter_stage(Stage::Given);
        }
        Ok(given)
    }

    /// Looks for the next head. Without an error it is `Handing`, or the connection is `Over`.
    fn look(&self, look: &mut [u8; LOOK_BYTES]) -> io::Result<()> {
        let seen = self.socket().peek(look)?;
        if seen == 0 {
            self.let_answers_leave()?;
            self.enter_stage(Stage::Over);
            return Ok(());
        }
        let seen = &look[..seen];
        match judge(seen) {
            Judged::Head { bytes, body } => self.found(seen.len(), bytes, body),
            Judged::EmptyLines => {
                let bytes = seen.len();
                self.skip(&mut look[..bytes])
            }
            Judged::Part => self.part_is_here(seen),
            Judged::Unreadable(refusal) => self.give_up(refusal, seen),
        }
    }

    fn found(&self, seen: usize, head_bytes: usize, body_bytes: u64) -> io::Result<()> {
        let peer_has_ended = self.let_answers_leave()?;
        let behind = (seen - head_bytes) as u64;
        // Where the kernel does not say whether the peer has ended, it may have.
        let may_have_ended = peer_has_ended.unwrap_or(true);
        let follows = if may_have_ended || behind > body_bytes {
            Follows::More
        } else if seen == LOOK_BYTES {
            Follows::Unknown
        } else {
            Follows::Nothing
        };
        self.intake.follows.store(follows as u8, Ordering::Relaxed);
        self.intake.head_since_ms.store(0, Ordering::Relaxed);
        self.intake.left.store(head_bytes as u64, Ordering::Relaxed);
        let elsewhere = &self.intake.answered_elsewhere;
        elsewhere.store(false, Ordering::Relaxed);
        self.enter_stage(Stage::Handing);
        Ok(())
    }

    /// Empty lines before a request are nothing (RFC 9112, 2.2), and begin no head.
    fn skip(&self, lines: &mut [u8]) -> io::Result<()> {
        io::Read::read(&mut self.socket(), lines)?;
        // The first of two pieces was taken for the beginning of a head.
        self.intake.head_since_ms.store(0, Ordering::Relaxed);
        sys::wake_readers(self.socket());
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Half a head: the rest of it may come.
    fn part_is_here(&self, seen: &[u8]) -> io::Result<()> {
        if seen.len() == LOOK_BYTES {
            return self.give_up(Refusal::HeadTooLarge, seen);
        }
        let counters = sys::tcp_counters(self.socket());
        // What came before a reset can be looked at for ever.
        if counters.is_some_and(|counters| counters.is_closed) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        if counters.is_some_and(|counters| counters.peer_has_ended) {
            return self.part_is_last(seen);
        }
        let since = &self.intake.head_since_ms;
        if since.load(Ordering::Relaxed) == 0 {
            since.store(now_ms().max(1), Ordering::Relaxed);
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Half a head, and the peer has ended.
    fn part_is_last(&self, seen: &[u8]) -> io::Result<()> {
        // The rest may have come after the look, and the end with it.
        let unread = sys::unread_bytes(self.socket()).unwrap_or(0);
        if unread > seen.len() as u64 {
            sys::wake_readers(self.socket());
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let why = "the request ends in the middle of its head; send all of it".to_owned();
        self.give_up(Refusal::BadHead(why), seen)
    }

    fn give_up(&self, refusal: Refusal, seen: &[u8]) -> io::Result<()> {
        self.let_answers_leave()?;
        let begins = String::from_utf8_lossy(&seen[..seen.len().min(SHOWN_BYTES)]).into_owned();
        let mut place = lock(&self.intake.unreadable);
        *place = Some(Unreadable { refusal, begins });
        self.enter_stage(Stage::Over);
        Ok(())
    }

    /// Whether the peer has ended; `None` where the kernel does not say.
    ///
    /// Errors: `WouldBlock` while an answer has not left. The crate goes on writing it, and the watchdog
    /// has the crate look again.
    fn let_answers_leave(&self) -> io::Result<Option<bool>> {
        let counters = sys::tcp_counters(self.socket());
        let waits = counters.is_some_and(|counters| counters.written < self.answered_bytes());
        let have_left = counters.is_some() && !waits;
        let place = &self.intake.answers_have_left;
        place.store(have_left, Ordering::Relaxed);
        self.intake.waits.store(waits, Ordering::Relaxed);
        if waits {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(counters.map(|counters| counters.peer_has_ended))
    }

    /// The request was answered and its body read: the next request may come.
    pub(crate) fn expect_a_head(&self) {
        let follows = self.intake.follows.load(Ordering::Relaxed);
        self.enter_stage(Stage::Waiting);
        let is_unknown = follows == Follows::Unknown as u8;
        let unread = || sys::unread_bytes(self.socket()).is_ok_and(|bytes| bytes > 0);
        if follows == Follows::More as u8 || (is_unknown && unread()) {
            sys::wake_readers(self.socket());
        }
    }

    /// The request was answered on our own socket, and the connection goes on.
    pub(crate) fn end_request_answered_elsewhere(&self) {
        let elsewhere = &self.intake.answered_elsewhere;
        elsewhere.store(true, Ordering::Relaxed);
        self.end_request(0);
    }

    /// Whether what the crate writes now is not to be sent: the request has its answer.
    pub(crate) fn takes_away(&self) -> bool {
        self.intake.answered_elsewhere.load(Ordering::Relaxed)
    }

    /// Whether nothing lay behind the request when it was handed over: neither bytes nor the peer's end.
    pub(crate) fn is_followed_by_nothing(&self) -> bool {
        self.intake.follows.load(Ordering::Relaxed) == Follows::Nothing as u8
    }

    fn enter_stage(&self, stage: Stage) {
        self.intake.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// The last bytes, if they are no request: they are to be answered when the service is dropped.
    pub(crate) fn unreadable(&self) -> Option<Unreadable> {
        lock(&self.intake.unreadable).take()
    }

    /// Whether the answers to earlier requests are known to have left.
    pub(crate) fn answers_had_left(&self) -> bool {
        self.intake.answers_have_left.load(Ordering::Relaxed)
    }

    /// For how long a head has been under way.
    pub(crate) fn head_age(&self) -> Option<Duration> {
        let since_ms = self.intake.head_since_ms.load(Ordering::Relaxed);
        (since_ms > 0).then(|| Duration::from_millis(now_ms().saturating_sub(since_ms)))
    }

    /// Wakes the crate if something waits for earlier answers to leave: they may have left by now.
    pub(crate) fn look_again(&self) {
        if self.intake.waits.load(Ordering::Relaxed) {
            sys::wake_readers(self.socket());
        }
    }
}

/// What the bytes of a connection begin with.
#[derive(Debug)]
enum Judged {
    /// A head of so many bytes, and what it says of its body's.
    Head {
        bytes: usize,
        body: u64,
    },
    EmptyLines,
    Part,
    Unreadable(Refusal),
}

fn judge(bytes: &[u8]) -> Judged {
    let mut fields = [MaybeUninit::uninit(); FIELDS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, &mut fields) {
        Ok(httparse::Status::Complete(head)) => Judged::Head {
            bytes: head,
            body: stated_length(request.headers),
        },
        Ok(httparse::Status::Partial) => {
            let is_blank = |byte: &u8| matches!(byte, b'\r' | b'\n');
            if bytes.ends_with(b"\n") && bytes.iter().all(is_blank) {
                return Judged::EmptyLines;
            }
            Judged::Part
        }
        Err(httparse::Error::TooManyHeaders) => Judged::Unreadable(Refusal::TooManyFields),
        Err(error) => Judged::Unreadable(Refusal::BadHead(in_words(error))),
    }
}

/// Only to know where the next request begins. A length that is odd ends the connection anyway.
fn stated_length(fields: &[httparse::Header]) -> u64 {
    let mut lengths = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("content-length"));
    let text = lengths.next().map(|field| str::from_utf8(field.value));
    text.and_then(|text| text.ok()?.parse().ok()).unwrap_or(0)
}

fn in_words(error: httparse::Error) -> String {
    let what = match error {
        httparse::Error::HeaderName => "a header's name has a byte that none may have, or no colon",
        httparse::Error::HeaderValue => "a header's value has a control byte, or is folded",
        httparse::Error::NewLine => "a line ends with a CR that no LF follows",
        httparse::Error::Version => "the version is neither HTTP/1.1 nor HTTP/1.0",
        httparse::Error::Status | httparse::Error::Token | httparse::Error::TooManyHeaders => {
            "the first line is not METHOD TARGET HTTP/1.1 with one blank between"
        }
    };
    format!("this is not an HTTP/1.1 request: {what}; https needs a proxy in front")
}

thread_local! {
    /// Where a head is looked at. Nothing waits while it is borrowed.
    static LOOK: RefCell<Box<[u8; LOOK_BYTES]>> = RefCell::new(Box::new([0; LOOK_BYTES]));
}

#[cfg(test)]
mod tests;
