//! What each refusal means for the person who sees it: `cis490 help refusals`.

use crate::failure::Failure;
use crate::terminal::{Paint, columns, wrapped};

/// One refusal, under the name that logs, answers and the page use.
pub struct Entry {
    pub name: &'static str,
    pub status: u16,
    /// What happened, and to which request.
    pub meaning: &'static str,
    /// What happens to the episode meanwhile.
    pub episode: &'static str,
    pub to_do: &'static str,
}

const WAITS: &str = "It stays on the lab host and is sent again automatically.";
const ASIDE: &str = "It is moved to refused/ on the lab host, with the reason in a file beside it; nothing is lost.";

macro_rules! entries {
    ($($status:literal $name:literal $meaning:literal $episode:ident $to_do:literal;)*) => {
        /// Every refusal there is, by status.
        pub const ENTRIES: &[Entry] = &[$(Entry {
            name: $name,
            status: $status,
            meaning: $meaning,
            episode: $episode,
            to_do: $to_do,
        }),*];
    };
}

const HELD: &str = "Every episode of that commit is held on the lab host; others are still sent.";
const LOOKED_AT: &str =
    "The lab host checks its own file: an intact one is sent again, a damaged one is packed again.";
const NONE: &str = "No episode is affected.";

entries! {
    400 "bad-commit" "The request does not say which commit of the code made the episode: a proxy removed the header, somebody uploaded by hand, or the code is too old to say so." WAITS "Check the proxy in front of the receiver: it must pass on every X-Cis490-* header. Without a proxy: paste the remediation on the lab host.";
    400 "bad-name" "The name of the host or the episode is not allowed." ASIDE "cis490 requeue NAME --new-id ID, with 1-128 of A-Z, a-z, 0-9, . _ -";
    400 "bad-head" "The request was malformed: another program, or a proxy that changes headers." WAITS "Check the proxy in front of the receiver, or let the lab host reach the receiver without one.";
    401 "no-token" "The receiver requires a token from every host, and none was sent." WAITS "Put the token that cis490 token printed into the file named by token_file in shipper.toml, then systemctl reload cis490-shipper.";
    401 "unknown-token" "The receiver does not know this token." WAITS "cis490 token HOST prints a new pair: put the token on the lab host and the digest into its [[host]] in receiver.toml, then restart the receiver.";
    403 "not-your-name" "The token or the address belongs to a different host than the name it uploads under." WAITS "Fix host_id in shipper.toml, or id and address of its [[host]] in receiver.toml.";
    403 "from-a-browser" "An upload with an Origin header: a web page sent it, and no page may upload." NONE "Find out by the address in the log in whose browser such a page is open, and close it.";
    404 "not-found" "Nothing exists at this path: another version, a proxy, or a typo." WAITS "receiver_url must be http://HOST:PORT and nothing more; cis490 doctor shows what answers there.";
    405 "method-not-allowed" "The path exists, but not for this method." WAITS "As not-found.";
    408 "body-too-slow" "The upload was slower than min_body_bytes_per_second, or stopped." WAITS "Nothing if it happens once. If it happens again: the network, or the MTU of the path; cis490 doctor on the lab host tests both.";
    409 "taken" "Other bytes are stored under this name: two recordings have the same id, or one was changed after it was sent." ASIDE "cis490 requeue NAME --new-id ID sends it under a new name. A stored episode never changes.";
    411 "length-required" "The request stated no length: a proxy is in between." WAITS "Let the lab host reach the receiver without a proxy.";
    412 "precondition-failed" "The request had an If-Match that does not name what is stored. No shipper sends one." WAITS "Let the lab host reach the receiver without a proxy.";
    412 "not-in-window" "The code that made the episode is older than the newest commits of the branch: the lab host is out of date." HELD "Paste the remediation on the lab host (cis490 status shows it). The next episodes are then accepted; to give up the held ones: cis490 set-aside --commit X.";
    412 "not-on-branch" "The repository has the commit, but not on the branch that the gate follows: it is on another branch, or a force-push took it back." HELD "Put the lab host on the branch (git fetch, then git switch or git reset). The next episodes are then accepted. The held ones are sent automatically if their commit is ever merged; to give them up: cis490 set-aside --commit X.";
    412 "never-pushed" "The repository does not have the commit: the code was changed on the lab host, or somewhere else, and never pushed." HELD "Push the commit to the branch: the held episodes are then sent automatically. A pull does not help.";
    412 "gate-cannot-tell" "The receiver does not know the commit and cannot ask its source: the commit may be newer than what it knows. The lab host may be up to date." HELD "Nothing on the lab host, which asks again automatically. On the receiver: cis490 doctor says what is wrong with the source.";
    413 "too-large" "The episode is larger than max_episode_bytes." ASIDE "Raise max_episode_bytes in receiver.toml and restart the receiver, or record shorter episodes; then cis490 requeue NAME.";
    417 "bad-expectation" "The Expect header is unknown: a proxy or another program sent it." WAITS "As length-required.";
    421 "misdirected" "The request is for https, and came on a connection without TLS: a proxy is set up wrongly." WAITS "Have the proxy ask with a path and not with a whole URL.";
    422 "digest-mismatch" "The bytes that arrived do not have the stated digest: they were damaged on the way or on the lab host's disk." LOOKED_AT "Nothing if it happens once. If it happens again: check that host's memory and disk.";
    422 "body-cut-short" "The connection ended in the middle of the upload." LOOKED_AT "Nothing if it happens once; otherwise check the network.";
    431 "head-too-large" "The head of the request was too large. No shipper sends such a head." WAITS "As length-required.";
    431 "too-many-fields" "The request had more than 16 header fields: a proxy in between adds some." WAITS "Have the proxy leave out the fields that nobody needs.";
    500 "internal" "The receiver failed; nothing was stored." WAITS "On the receiver: read its log (store_fault, lookup_failed, no_thread) and run cis490 doctor.";
    501 "transfer-encoding" "The body came in chunks: a proxy is in between." WAITS "As length-required.";
    501 "unknown-method" "The receiver does not know the method: another program sent the request." NONE "As not-found.";
    503 "gate-not-loaded" "The receiver does not know any commit yet." WAITS "On the receiver: cis490 doctor asks each source and says what to fix.";
    503 "gate-busy" "The commit may be newer than what the receiver knows, and Forgejo has not answered in time." WAITS "Nothing if it happens once; otherwise find out why Forgejo is slow.";
    503 "too-many-uploads" "max_uploads are already running." WAITS "Nothing; if it happens often, raise max_uploads.";
    503 "too-many-uploads-of-yours" "Most running uploads come from this address, and the rest of max_uploads is kept for others." WAITS "Nothing; a lab host sends one at a time, so find out what else uploads from there. Or raise max_uploads.";
    503 "too-many-connections" "max_connections are already open." WAITS "Nothing if it happens once; otherwise find out who holds them (ss -tn), or raise max_connections.";
    503 "draining" "The receiver is stopping or restarting." WAITS "Nothing.";
    503 "store-unwritable" "The disk of the receiver's store accepts no writes, or is gone: read-only after an error, unmounted, moved, not writable for its user, or without inodes." WAITS "On the receiver: cis490 doctor, cis490 status and its page say which of these it is and what to do.";
    503 "disk-at-floor" "/v1/health answers this while the disk is full." NONE "As disk-full.";
    507 "disk-full" "The upload would leave less than min_free_bytes on the receiver's disk." WAITS "On the receiver: make room, or move data_dir to a larger disk.";
}

/// All of them, or the one that is named by its reason or status.
pub fn text(wanted: Option<&str>) -> Result<String, Failure> {
    let paint = Paint::for_stdout();
    let is_wanted = |entry: &&Entry| {
        wanted.is_none_or(|wanted| entry.name == wanted || entry.status.to_string() == wanted)
    };
    let mut text = String::new();
    for entry in ENTRIES.iter().filter(is_wanted) {
        text += &format!(
            "{}  {}\n",
            paint.bold(&entry.status.to_string()),
            paint.bold(entry.name)
        );
        text += &wrapped(entry.meaning, 5, columns());
        text += &wrapped(entry.episode, 5, columns());
        text += &wrapped(&format!("do: {}", entry.to_do), 5, columns());
    }
    match (text.is_empty(), wanted) {
        (true, Some(wanted)) => {
            let known = ENTRIES.iter().map(|entry| entry.name);
            let meant = super::line::nearest(wanted, known);
            let meant = meant.map_or(String::new(), |name| format!("did you mean {name}? "));
            Err(Failure::new(
                format!("there is no refusal {wanted}"),
                format!("{meant}cis490 help refusals lists them all"),
            ))
        }
        _ => Ok(text),
    }
}
