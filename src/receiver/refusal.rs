//! Every way the receiver says no, each with its status, what happened, and what to do: the one
//! place where the table of design section 2 is code.

use std::fmt;
use std::net::IpAddr;

use crate::events::Refused;
use crate::human::counted;
use crate::names::{self, CommitHash, HostId};
use crate::wire::{self, Failing, Known, Problem, Slot};

/// What a 412 and a commit's 400 tell besides the words.
#[derive(Clone, Debug)]
pub struct GateFacts {
    pub head_commit: Option<CommitHash>,
    /// The configured number of commits.
    pub window: u32,
    pub age_seconds: Option<u64>,
    pub remediation: String,
    /// Why the gate cannot ask its source now.
    pub failing: Option<Failing>,
}

/// What kept a host from its own name.
#[derive(Clone, Copy, Debug)]
pub enum NotYours {
    /// No [[host]] table has this name.
    Unknown,
    Address {
        wanted: IpAddr,
        came_from: IpAddr,
    },
    /// The token is another host's.
    Token,
}

impl NotYours {
    fn write(self, host: &HostId, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotYours::Unknown => write!(
                f,
                "this receiver has no [[host]] with the id {host}; add one to receiver.toml, or correct host_id in shipper.toml"
            ),
            NotYours::Address { wanted, came_from } => write!(
                f,
                "{host} may upload only from {wanted}; this came from {came_from}; correct its address in receiver.toml, or send from {wanted}"
            ),
            NotYours::Token => write!(
                f,
                "the token is another host's, not that of {host}; correct token_file or host_id in shipper.toml"
            ),
        }
    }
}

#[derive(Debug)]
pub enum Refusal {
    /// A commit header that is missing or malformed: made by code older than the header, or by hand.
    BadCommit {
        why: String,
        facts: Box<GateFacts>,
    },
    BadName(names::BadName),
    /// Any other malformed head; the words say which part.
    BadHead(String),
    NoToken,
    UnknownToken,
    /// A token or address that does not belong to this host.
    NotYourName {
        host: HostId,
        why: NotYours,
    },
    /// A PUT with an `Origin`: a web page sent it.
    FromABrowser,
    NotFound {
        what: String,
    },
    MethodNotAllowed {
        allow: &'static str,
    },
    /// A method that nobody knows, or that only a proxy has a use for.
    UnknownMethod(String),
    /// An https:// target on a connection without TLS.
    Misdirected,
    LengthRequired,
    Expectation(String),
    HeadTooLarge,
    TooManyFields,
    TransferEncoding,
    Taken(Slot),
    NotInWindow {
        commit: CommitHash,
        /// `None` where nobody was asked: a disabled gate refuses only in its log.
        known: Option<Known>,
        facts: Box<GateFacts>,
    },
    /// `If-Match` on a PUT names bytes that are not stored under its name.
    PreconditionFailed(Slot),
    TooLarge {
        bytes: u64,
        bytes_max: u64,
    },
    DigestMismatch {
        stated: String,
        found: String,
    },
    BodyCutShort {
        stated: u64,
        found: u64,
    },
    /// The peer sent more slowly than the minimum rate, or nothing for too long.
    BodyTooSlow(String),
    Internal,
    GateNotLoaded,
    GateBusy,
    TooManyUploads {
        uploads_max: u32,
    },
    /// What room is left is for other addresses.
    TooManyUploadsOfYours {
        under_way: u32,
    },
    TooManyConnections,
    Draining,
    DiskFull,
    /// The disk of the store takes no writes, or is gone: what is wrong, and what to do.
    StoreUnwritable {
        why: String,
        remedy: String,
    },
    /// What `GET /v1/health` tells while the floor keeps uploads out.
    DiskAtFloor,
}

/// Seconds after which a refusal of this kind may have passed.
const RETRY_GATE_S: u32 = 5;
const RETRY_BUSY_S: u32 = 10;
const RETRY_DRAIN_S: u32 = 30;
const RETRY_DISK_S: u32 = 60;

impl Refusal {
    /// As a log line names it.
    pub fn as_event(&self) -> Refused<'static> {
        Refused {
            status: self.status(),
            reason: self.name(),
            why: self.to_string(),
        }
    }

    pub fn status(&self) -> u16 {
        match self {
            Refusal::BadCommit { .. } | Refusal::BadName(_) | Refusal::BadHead(_) => 400,
            Refusal::NoToken | Refusal::UnknownToken => 401,
            Refusal::NotYourName { .. } | Refusal::FromABrowser => 403,
            Refusal::NotFound { .. } => 404,
            Refusal::MethodNotAllowed { .. } => 405,
            Refusal::BodyTooSlow(_) => 408,
            Refusal::Taken(_) => 409,
            Refusal::LengthRequired => 411,
            Refusal::NotInWindow { .. } | Refusal::PreconditionFailed(_) => 412,
            Refusal::TooLarge { .. } => 413,
            Refusal::Expectation(_) => 417,
            Refusal::Misdirected => 421,
            Refusal::DigestMismatch { .. } | Refusal::BodyCutShort { .. } => 422,
            Refusal::HeadTooLarge | Refusal::TooManyFields => 431,
            Refusal::Internal => 500,
            Refusal::TransferEncoding | Refusal::UnknownMethod(_) => 501,
            Refusal::GateNotLoaded | Refusal::GateBusy => 503,
            Refusal::TooManyUploads { .. } | Refusal::TooManyUploadsOfYours { .. } => 503,
            Refusal::TooManyConnections | Refusal::Draining | Refusal::DiskAtFloor => 503,
            Refusal::StoreUnwritable { .. } => 503,
            Refusal::DiskFull => 507,
        }
    }

    /// The `<name>` of `urn:cis490:problem:<name>`, and of the log.
    pub fn name(&self) -> &'static str {
        match self {
            Refusal::BadCommit { .. } => "bad-commit",
            Refusal::BadName(_) => "bad-name",
            Refusal::BadHead(_) => "bad-head",
            Refusal::NoToken => "no-token",
            Refusal::UnknownToken => "unknown-token",
            Refusal::NotYourName { .. } => "not-your-name",
            Refusal::FromABrowser => "from-a-browser",
            Refusal::NotFound { .. } => "not-found",
            Refusal::MethodNotAllowed { .. } => "method-not-allowed",
            Refusal::UnknownMethod(_) => "unknown-method",
            Refusal::Misdirected => "misdirected",
            Refusal::LengthRequired => "length-required",
            Refusal::Expectation(_) => "bad-expectation",
            Refusal::HeadTooLarge => "head-too-large",
            Refusal::TooManyFields => "too-many-fields",
            Refusal::TransferEncoding => "transfer-encoding",
            Refusal::Taken(_) => "taken",
            Refusal::PreconditionFailed(_) => "precondition-failed",
            Refusal::NotInWindow { known: None, .. } => "not-in-window",
            Refusal::NotInWindow {
                known: Some(known), ..
            } => Refusal::name_of(*known),
            Refusal::TooLarge { .. } => "too-large",
            Refusal::DigestMismatch { .. } => "digest-mismatch",
            Refusal::BodyCutShort { .. } => "body-cut-short",
            Refusal::BodyTooSlow(_) => "body-too-slow",
            Refusal::Internal => "internal",
            Refusal::GateNotLoaded => "gate-not-loaded",
            Refusal::GateBusy => "gate-busy",
            Refusal::TooManyUploads { .. } => "too-many-uploads",
            Refusal::TooManyUploadsOfYours { .. } => "too-many-uploads-of-yours",
            Refusal::TooManyConnections => "too-many-connections",
            Refusal::Draining => "draining",
            Refusal::DiskFull => "disk-full",
            Refusal::StoreUnwritable { .. } => "store-unwritable",
            Refusal::DiskAtFloor => "disk-at-floor",
        }
    }

    /// Of a 412, by what is known of the commit.
    pub fn name_of(known: Known) -> &'static str {
        match known {
            Known::Older => "not-in-window",
            Known::Elsewhere => "not-on-branch",
            Known::NeverPushed => "never-pushed",
            Known::Unknown => Refusal::GATE_CANNOT_TELL,
        }
    }

    /// The name of a 412 that is the gate's own trouble, and not the host's.
    pub const GATE_CANNOT_TELL: &str = "gate-cannot-tell";

    /// All that [`Refusal::name`] can be, so that each can be counted from 0 on.
    pub const NAMES: [&str; 36] = [
        "bad-commit",
        "bad-name",
        "bad-head",
        "no-token",
        "unknown-token",
        "not-your-name",
        "from-a-browser",
        "not-found",
        "method-not-allowed",
        "unknown-method",
        "misdirected",
        "length-required",
        "bad-expectation",
        "head-too-large",
        "too-many-fields",
        "transfer-encoding",
        "taken",
        "not-in-window",
        "precondition-failed",
        "not-on-branch",
        "never-pushed",
        "gate-cannot-tell",
        "too-large",
        "digest-mismatch",
        "body-cut-short",
        "body-too-slow",
        "internal",
        "gate-not-loaded",
        "gate-busy",
        "too-many-uploads",
        "too-many-uploads-of-yours",
        "too-many-connections",
        "draining",
        "disk-full",
        "store-unwritable",
        "disk-at-floor",
    ];

    /// What kind of thing happened, the same for every instance.
    fn title(&self) -> &'static str {
        match self {
            Refusal::BadCommit { .. } => "The code commit is missing or malformed",
            Refusal::BadName(_) => "A name in the path is not allowed",
            Refusal::BadHead(_) => "The request's head is malformed",
            Refusal::NoToken => "A token is needed",
            Refusal::UnknownToken => "The token is not known here",
            Refusal::NotYourName { .. } => "You may not upload under this host's name",
            Refusal::FromABrowser => "A web page may not upload",
            Refusal::NotFound { .. } => "There is nothing here",
            Refusal::MethodNotAllowed { .. } => "This path does not accept this method",
            Refusal::UnknownMethod(_) => "This method is not known here",
            Refusal::Misdirected => "This connection is not for https",
            Refusal::LengthRequired => "A Content-Length is needed",
            Refusal::Expectation(_) => "This expectation cannot be met",
            Refusal::HeadTooLarge => "The request's head is too large",
            Refusal::TooManyFields => "The request has too many header fields",
            Refusal::TransferEncoding => "Transfer codings are not supported",
            Refusal::Taken(_) => "Other bytes are stored under this name",
            Refusal::PreconditionFailed(_) => "A condition of the request does not hold",
            Refusal::NotInWindow { known, .. } => match known {
                Some(Known::Older) | None => "The code that made this episode is out of date",
                Some(Known::Elsewhere) => "The code that made this episode is not on the branch",
                Some(Known::NeverPushed) => "The code that made this episode was never pushed",
                Some(Known::Unknown) => "The version gate cannot tell what this commit is",
            },
            Refusal::TooLarge { .. } => "The episode is too large",
            Refusal::DigestMismatch { .. } => "The bytes received do not have the stated digest",
            Refusal::BodyCutShort { .. } => "The body ended early",
            Refusal::BodyTooSlow(_) => "The body came too slowly",
            Refusal::Internal => "The receiver failed",
            Refusal::GateNotLoaded => "The version gate has not loaded its window yet",
            Refusal::GateBusy => "The version gate could not look again in time",
            Refusal::TooManyUploads { .. } => "Too many uploads at once",
            Refusal::TooManyUploadsOfYours { .. } => "Too many uploads at once from your address",
            Refusal::TooManyConnections => "Too many connections at once",
            Refusal::Draining => "The receiver is stopping",
            Refusal::DiskFull | Refusal::DiskAtFloor => "The store is out of space",
            Refusal::StoreUnwritable { .. } => "The store cannot be written",
        }
    }

    /// When to come again, for what passes by itself.
    pub fn retry_after_s(&self) -> Option<u32> {
        match self {
            Refusal::GateNotLoaded | Refusal::GateBusy => Some(RETRY_GATE_S),
            Refusal::TooManyUploads { .. } | Refusal::TooManyUploadsOfYours { .. } => {
                Some(RETRY_BUSY_S)
            }
            Refusal::TooManyConnections => Some(RETRY_BUSY_S),
            Refusal::Draining => Some(RETRY_DRAIN_S),
            Refusal::DiskFull | Refusal::DiskAtFloor => Some(RETRY_DISK_S),
            Refusal::StoreUnwritable { .. } => Some(RETRY_DISK_S),
            _ => None,
        }
    }

    /// The body of the answer.
    pub fn problem(&self) -> Problem {
        let mut problem = Problem {
            kind: format!("urn:cis490:problem:{}", self.name()),
            title: self.title().to_owned(),
            status: self.status(),
            detail: self.to_string(),
            your_commit: None,
            head_commit: None,
            window: None,
            age_seconds: None,
            known: None,
            failing_seconds: None,
            remediation: None,
        };
        let facts = match self {
            Refusal::BadCommit { facts, .. } => facts,
            Refusal::NotInWindow {
                commit,
                known,
                facts,
            } => {
                problem.your_commit = Some(commit.to_string());
                problem.known = *known;
                problem.failing_seconds = facts.failing.as_ref().map(|failing| failing.seconds);
                facts
            }
            _ => return problem,
        };
        problem.head_commit = facts.head_commit;
        problem.window = Some(facts.window);
        problem.age_seconds = facts.age_seconds;
        // The lines bring a host that is behind up to date: no other commit is helped by them.
        let helps = matches!(problem.known, Some(Known::Older) | None);
        problem.remediation = helps.then(|| facts.remediation.clone());
        problem
    }
}

/// What happened, to what, and what to do now.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::BadCommit { why, .. } => write!(
                f,
                "{why}; {} names the commit of the code that made the episode: update the lab host with the lines in remediation",
                wire::COMMIT_HEADER
            ),
            Refusal::BadName(bad) => write!(f, "{bad}"),
            Refusal::BadHead(why) => f.write_str(why),
            Refusal::NoToken => f.write_str(
                "this receiver requires a token from every host; set token_file in shipper.toml to a file with the token that `cis490 token` printed for this host",
            ),
            Refusal::UnknownToken => f.write_str(
                "no host of this receiver has that token; compare token_file of the lab host with token_sha256 in receiver.toml",
            ),
            Refusal::NotYourName { host, why } => why.write(host, f),
            Refusal::FromABrowser => f.write_str(
                "an upload with an Origin header comes from a web page, and no page may upload; send it with cis490 ship or another program",
            ),
            Refusal::NotFound { what } => f.write_str(what),
            Refusal::MethodNotAllowed { allow } => write!(f, "this path accepts {allow}"),
            Refusal::UnknownMethod(method) => write!(
                f,
                "the method {method:?} is not known here; PUT, GET, HEAD and OPTIONS are"
            ),
            Refusal::Misdirected => f.write_str(
                "this receiver speaks http on this connection, and the target is https; a proxy in front that speaks TLS must ask with a path alone",
            ),
            Refusal::LengthRequired => {
                f.write_str("a PUT states its length in Content-Length: digits only, once")
            }
            Refusal::Expectation(what) => {
                write!(f, "Expect: {what:?} is not known; only 100-continue is")
            }
            Refusal::HeadTooLarge => f.write_str("the request line and headers together may be 16 KiB"),
            Refusal::TooManyFields => f.write_str(
                "a request may have 16 header fields; if a proxy adds some, have it leave out those that nobody needs",
            ),
            Refusal::TransferEncoding => {
                f.write_str("send the body plain with a Content-Length, not in chunks")
            }
            Refusal::Taken(slot) => write!(
                f,
                "{slot} is stored already with other bytes, and a stored episode never changes; give the new one a new id"
            ),
            Refusal::PreconditionFailed(slot) => write!(
                f,
                "If-Match does not name what is stored as {slot}; send the episode without If-Match"
            ),
            Refusal::NotInWindow {
                commit,
                known,
                facts,
            } => not_in_window(f, commit, *known, facts),
            Refusal::TooLarge { bytes, bytes_max } => write!(
                f,
                "{bytes} bytes are more than the {bytes_max} that this receiver accepts; raise max_episode_bytes in receiver.toml or record shorter episodes"
            ),
            Refusal::DigestMismatch { stated, found } => write!(
                f,
                "{} said {stated}, the body has {found}: it was damaged on the way or on the lab host's disk; send it again",
                wire::SHA256_HEADER
            ),
            Refusal::BodyCutShort { stated, found } => {
                write!(f, "the body ended after {found} of {stated} bytes; send it again")
            }
            Refusal::BodyTooSlow(why) => write!(f, "{why}; send it again over a better line"),
            Refusal::Internal => {
                f.write_str("nothing was stored; the receiver's log says why; send it again later")
            }
            Refusal::GateNotLoaded => f.write_str(
                "neither Forgejo nor a local repository has reported the newest commits yet; the receiver's log says what to fix; uploads wait",
            ),
            Refusal::GateBusy => {
                f.write_str("the commit may be newer than what the gate knows, and the source did not answer in time; try again")
            }
            Refusal::TooManyUploads { uploads_max } => {
                write!(f, "the limit of {} at a time is reached; try again", counted(uploads_max, "upload"))
            }
            Refusal::TooManyUploadsOfYours { under_way } => write!(
                f,
                "{} from your address already running, and the rest of max_uploads is kept for others; try again, or raise max_uploads",
                counted(under_way, "upload")
            ),
            Refusal::TooManyConnections => f.write_str("too many connections are open; try again"),
            Refusal::Draining => f.write_str("the receiver is stopping or restarting; try again"),
            Refusal::DiskAtFloor => f.write_str(
                "less than min_free_bytes is free, and every upload is refused; free space under data_dir",
            ),
            Refusal::StoreUnwritable { why, remedy } => write!(f, "{why}; {remedy}"),
            Refusal::DiskFull => f.write_str(
                "storing this would leave less than min_free_bytes; free space under data_dir, senders resume automatically",
            ),
        }
    }
}

fn not_in_window(
    f: &mut fmt::Formatter<'_>,
    commit: &CommitHash,
    known: Option<Known>,
    facts: &GateFacts,
) -> fmt::Result {
    let of_the_branch = format!(
        "commit {commit} is not among the newest {} commits of the branch",
        facts.window
    );
    match (known, &facts.failing) {
        (None, _) => write!(
            f,
            "{of_the_branch}; update the lab host with the lines in remediation"
        ),
        (Some(Known::Older), _) => write!(
            f,
            "{of_the_branch}, it is older; update the lab host with the lines in remediation"
        ),
        (Some(Known::Elsewhere), _) => write!(
            f,
            "{of_the_branch}: it is on another branch, or a force-push took it back; put the lab host on the branch (git fetch, then git switch or git reset), a pull alone does not help"
        ),
        (Some(Known::NeverPushed), _) => write!(
            f,
            "{of_the_branch}, and the repository does not have it: it was never pushed; push it from where it was made, a pull does not help"
        ),
        (Some(Known::Unknown), Some(failing)) => write!(
            f,
            "commit {commit} is not among the {} newest commits that this receiver knows, and for {} s it has not been able to ask its source for newer ones ({}): the commit may be newer; nothing needs to be done on the lab host, which asks again automatically",
            facts.window, failing.seconds, failing.kind
        ),
        (Some(Known::Unknown), None) => write!(
            f,
            "{of_the_branch}, and the source did not say in time what it is; nothing needs to be done now, the lab host asks again automatically"
        ),
    }
}

/// Whether a refusal of this name is the gate's word on a commit.
pub fn is_about_the_commit(reason: &str) -> bool {
    matches!(
        reason,
        "not-in-window"
            | "bad-commit"
            | "not-on-branch"
            | "never-pushed"
            | Refusal::GATE_CANNOT_TELL
    )
}

/// What the maintainer does about an upload that was refused for this reason; `None` for what passes
/// by itself or is the sender's to fix.
pub fn what_to_do(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "not-in-window" | "bad-commit" => "update the lab host: paste the remediation there",
        "never-pushed" => "push the commit from where it was made; a pull does not help",
        "not-on-branch" => {
            "put the lab host on the branch that the gate follows: its code is from another branch, or a force-push took it back"
        }
        "gate-cannot-tell" => {
            "nothing on the lab host, which asks again automatically; fix the source of the gate that the log names (gate_refresh_failed), or ask cis490 doctor"
        }
        "no-token" | "unknown-token" => {
            "give the lab host its token (cis490 token), and its digest to [[host]] in receiver.toml"
        }
        "not-your-name" => "compare host_id in its shipper.toml with [[host]] in receiver.toml",
        "taken" => {
            "another episode has this name already: look in refused/ on the lab host, give it a new name"
        }
        "from-a-browser" => {
            "a web page in a browser in the lab's network tries to upload: find out which, and close it"
        }
        "too-large" => "raise max_episode_bytes, or record shorter episodes",
        "digest-mismatch" => {
            "look at the lab host's disk and network: bytes were damaged on the way"
        }
        "bad-name" | "bad-head" => "find out what sends this: it is not a cis490 shipper",
        "internal" => "read the log of this receiver (journalctl -u cis490-receiver)",
        "gate-not-loaded" | "gate-busy" => "fix the source of the gate that the log names",
        "disk-full" | "disk-at-floor" => "free space under data_dir",
        "store-unwritable" => {
            "find out what is wrong with the disk of data_dir (cis490 doctor, dmesg)"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// `name` and `NAMES` are two lists of one thing; no test can make every variant.
    #[test]
    fn every_name_is_counted_once() {
        let source = include_str!("refusal.rs");
        let names = source
            .split("pub fn name(&self)")
            .nth(1)
            .and_then(|rest| rest.split("pub const NAMES").next())
            .unwrap();
        let made: BTreeSet<&str> = names.split('"').skip(1).step_by(2).collect();
        assert_eq!(made, BTreeSet::from(Refusal::NAMES));
        assert_eq!(made.len(), Refusal::NAMES.len());
    }
}
