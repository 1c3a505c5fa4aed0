//! What each refusal means for the person who sees it: `cis490 help refusals`.

use crate::failure::Failure;
use crate::terminal::{Paint, columns, wrapped};

/// One refusal: the name that logs, answers and pages give it.
pub struct Entry {
    pub name: &'static str,
    pub status: u16,
    /// What happened, and to whom.
    pub meaning: &'static str,
    /// What happens to the episode meanwhile.
    pub episode: &'static str,
    pub to_do: &'static str,
}

const WAITS: &str = "It stays on the lab host and is sent again by itself.";
const ASIDE: &str =
    "It is moved to refused/ on the lab host, with the reason beside it; nothing is lost.";

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

const HELD: &str = "Every episode of that commit stays on the lab host, held; others go on.";
const LOOKED_AT: &str =
    "The lab host reads its own file again: it is sent again if it is whole, packed again if not.";
const NONE: &str = "No episode is touched.";

entries! {
    400 "bad-commit" "The request does not say which commit of the code made the episode: a proxy took the header away, or it was an upload by hand or by code that is too old to say so." WAITS "Look at the proxy before the receiver: it has to pass on every X-Cis490-* header. Without one: paste the remediation on the lab host.";
    400 "bad-name" "The host's or the episode's name has a letter that is not allowed." ASIDE "cis490 requeue NAME --new-id ID, with 1-128 of A-Z, a-z, 0-9, . _ -";
    400 "bad-head" "The request was malformed: another program, or a proxy that changes headers." WAITS "Look at the proxy before the receiver, or let the lab host reach the receiver without one.";
    401 "no-token" "The receiver wants a token from every host, and none came." WAITS "Put the token that cis490 token made into the file that token_file of shipper.toml names, then systemctl reload cis490-shipper.";
    401 "unknown-token" "The token is none that the receiver knows." WAITS "Compare: cis490 token HOST makes a new pair; one half goes to the lab host, the other into [[host]] of receiver.toml, then restart the receiver.";
    403 "not-your-name" "The token or the address belongs to another host than the one it uploads as." WAITS "Mend host_id in shipper.toml, or id and address of [[host]] in receiver.toml.";
    403 "from-a-browser" "An upload with an Origin header: a web page sent it, and no page may upload." NONE "Find out in whose browser such a page is open, by the address in the log, and close it.";
    404 "not-found" "There is nothing at this path: another version, a proxy, or a typo." WAITS "receiver_url is http://HOST:PORT and no more; cis490 doctor shows who answers.";
    405 "method-not-allowed" "The path is right and the method is not." WAITS "As not-found.";
    408 "body-too-slow" "The upload came more slowly than min_body_bytes_per_second, or stopped." WAITS "Nothing once; again and again: the network, or the path's MTU. cis490 doctor on the lab host measures it.";
    409 "taken" "Other bytes are stored under this name: two recordings got one id, or one was changed after it was sent." ASIDE "cis490 requeue NAME --new-id ID sends it under a new name. What is stored never changes.";
    411 "length-required" "No length was stated: a proxy in between." WAITS "Let the lab host reach the receiver without a proxy.";
    412 "precondition-failed" "The request had an If-Match that does not name what is stored: not ours." WAITS "Let the lab host reach the receiver without a proxy.";
    412 "not-in-window" "The code that made the episode is older than the newest commits of the branch: the lab host is out of date." HELD "Paste the remediation on the lab host (cis490 status shows it). The next episodes get in; to give up the held ones: cis490 set-aside --commit X.";
    412 "not-on-branch" "The repository has the commit, but not on the branch that the gate follows: it is on another one, or a force-push took it back." HELD "Put the lab host on the branch (git fetch, then git switch or git reset). The next episodes get in; the held ones go by themselves if their commit is ever merged, or give them up: cis490 set-aside --commit X.";
    412 "never-pushed" "The repository does not have the commit: the code was changed on the lab host, or somewhere else, and never pushed." HELD "Push the commit to the branch: the held episodes go by themselves then. A pull does not help.";
    412 "gate-cannot-tell" "The receiver does not know the commit and cannot ask its source: the commit may be newer than what it knows. The lab host may be as it should." HELD "Nothing on the lab host, which asks again by itself. On the receiver: cis490 doctor says what is wrong with the source.";
    413 "too-large" "The episode is larger than max_episode_bytes." ASIDE "Raise max_episode_bytes in receiver.toml and restart it, or record shorter; then cis490 requeue NAME.";
    417 "bad-expectation" "An Expect header that is not known: a proxy or another program." WAITS "As length-required.";
    421 "misdirected" "The request is for https, and came on a connection without TLS: a proxy that is set up wrongly." WAITS "Have the proxy ask with a path and not with a whole URL.";
    422 "digest-mismatch" "What arrived is not what was stated: damaged on the way or on the lab host's disk." LOOKED_AT "Nothing once; again and again: that host's memory and disk.";
    422 "body-cut-short" "The connection ended in the middle of the upload." LOOKED_AT "Nothing once; else the network.";
    431 "head-too-large" "The request's head was too large: not ours." WAITS "As length-required.";
    431 "too-many-fields" "The request had more than 16 header fields: a proxy in between adds some." WAITS "Have the proxy leave out the fields that nobody needs.";
    500 "internal" "A fault of the receiver's own; nothing was stored." WAITS "On the receiver: its log says which (store_fault, lookup_failed, no_thread); cis490 doctor.";
    501 "transfer-encoding" "The body came in chunks: a proxy in between." WAITS "As length-required.";
    501 "unknown-method" "The method is none that the receiver knows: another program." NONE "As not-found.";
    503 "gate-not-loaded" "The receiver does not know any commit yet." WAITS "On the receiver: cis490 doctor asks each source and says what to mend.";
    503 "gate-busy" "The commit may be newer than what the receiver knows, and Forgejo has not answered in time." WAITS "Nothing once; else see why Forgejo is slow.";
    503 "too-many-uploads" "max_uploads run already." WAITS "Nothing; more often than not: raise max_uploads.";
    503 "too-many-uploads-of-yours" "Most uploads that run come from this address, and the room that is left is kept for others." WAITS "Nothing; a lab host sends one at a time, so look who else uploads from there. Or raise max_uploads.";
    503 "too-many-connections" "max_connections are open already." WAITS "Nothing once; else look who holds them (ss -tn), or raise max_connections.";
    503 "draining" "The receiver is stopping or restarting." WAITS "Nothing.";
    503 "store-unwritable" "The disk of the receiver's store takes no writes, or is gone: read-only after an error, unmounted, moved, not writable for its user, or without inodes." WAITS "On the receiver: cis490 doctor, cis490 status and its page say which and what to do.";
    503 "disk-at-floor" "The answer of /v1/health while the disk is full." NONE "As disk-full.";
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
                format!("no refusal is called {wanted}"),
                format!("{meant}cis490 help refusals lists them all"),
            ))
        }
        _ => Ok(text),
    }
}
