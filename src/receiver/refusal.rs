//! Every way the receiver says no, with what its answer says about this one request. What all refusals
//! of a kind have in common (status, name, title, what to do) is in `src/refusal_table.rs`.

mod not_admitted;

use std::fmt;

pub(crate) use self::not_admitted::{NotAReader, NotYours};

use crate::events::Refused;
use crate::human::counted;
use crate::names::{self, CommitHash, HostId};
use crate::refusal_table::{Entry, Kind};
use crate::wire::{self, Failing, Known, Problem, Slot};

/// The members that a 412 and a 400 for the commit have besides their words.
#[derive(Clone, Debug)]
pub struct GateFacts {
    pub head_commit: Option<CommitHash>,
    /// The configured number of commits.
    pub window: u32,
    pub age_seconds: Option<u64>,
    pub remediation: String,
    /// Why the gate cannot ask its source now; `None` while it can.
    pub failing: Option<Failing>,
}

#[derive(Debug)]
pub(crate) enum Refusal {
    /// A commit header that is missing or malformed: made by code older than the header, or by hand.
    BadCommit {
        why: String,
        facts: Box<GateFacts>,
    },
    BadName(names::BadName),
    /// Any other malformed head; the words say which part.
    BadHead(String),
    /// The query of a list; the words name the key.
    BadQuery(String),
    /// What a list is to begin at is no row of this index.
    BadCursor,
    /// A lab host's report that is not what it should be: the words say where.
    BadReport(String),
    ReportTooLarge {
        bytes: u64,
    },
    TooManyReports,
    NoToken,
    UnknownToken,
    /// A token or address that does not belong to this host.
    NotYourName {
        host: HostId,
        why: NotYours,
    },
    /// A PUT with an `Origin`: a web page sent it.
    FromABrowser,
    NotAReader(NotAReader),
    NoReaderToken,
    UnknownReaderToken,
    /// A GET for readers with an `Origin`: a script of a web page sent it.
    PageMayNotRead,
    NotFound {
        what: String,
    },
    /// Nothing of an upload with this name and digest is kept.
    NothingKept(Slot),
    MethodNotAllowed {
        allow: &'static str,
    },
    /// A method that is not one of HTTP's, or that only a proxy uses.
    UnknownMethod(String),
    /// An https:// target on a connection without TLS.
    Misdirected,
    LengthRequired,
    Expectation(String),
    HeadTooLarge,
    TooManyFields,
    TransferEncoding,
    Taken(Slot),
    /// The rest of a broken upload begins at `right`.
    OffsetMismatch {
        stated: u64,
        right: u64,
    },
    /// A PATCH of another type.
    NotAPartialUpload(String),
    NotInWindow {
        commit: CommitHash,
        /// `None` where no source was asked: a disabled gate refuses only in its log.
        known: Option<Known>,
        facts: Box<GateFacts>,
    },
    /// `If-Match` on a PUT names bytes that are not stored under its name.
    PreconditionFailed(Slot),
    /// `If-Match` on a GET names other bytes than those that are stored.
    OtherBytesStored(Slot),
    /// A range that begins behind the last byte.
    Outside {
        bytes: u64,
    },
    StoredFileOdd(Slot),
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
    /// The places that are left are for other addresses.
    TooManyUploadsOfYours {
        under_way: u32,
    },
    /// An upload of the same bytes is being written or stored.
    StillUnderWay(Slot),
    TooManyDownloads {
        downloads_max: u32,
    },
    /// The places that are left are for other addresses.
    TooManyDownloadsOfYours {
        under_way: u32,
    },
    /// Lists under way: as many as there may be, or as many as one address may have.
    TooManyLists {
        of_yours: bool,
    },
    TooManyConnections,
    Draining,
    DiskFull,
    /// The disk of the store accepts no writes, or is gone: what is wrong, and what to do.
    StoreUnwritable {
        why: String,
        remedy: String,
    },
    /// The answer of `GET /v1/health` while less than `min_free_bytes` is free.
    DiskAtFloor,
}

impl Refusal {
    /// The refusal as a log line shows it.
    pub(crate) fn as_event(&self) -> Refused<'static> {
        Refused {
            status: self.status(),
            reason: self.name(),
            why: self.to_string(),
        }
    }

    /// The refusal's entry in the table of `src/refusal_table.rs`.
    pub(in crate::receiver) fn kind(&self) -> Kind {
        match self {
            Refusal::BadCommit { .. } => Kind::BadCommit,
            Refusal::BadName(_) => Kind::BadName,
            Refusal::BadHead(_) => Kind::BadHead,
            Refusal::BadQuery(_) => Kind::BadQuery,
            Refusal::BadCursor => Kind::BadCursor,
            Refusal::BadReport(_) => Kind::BadReport,
            Refusal::ReportTooLarge { .. } => Kind::ReportTooLarge,
            Refusal::TooManyReports => Kind::TooManyReports,
            Refusal::NoToken => Kind::NoToken,
            Refusal::UnknownToken => Kind::UnknownToken,
            Refusal::NotYourName { .. } => Kind::NotYourName,
            Refusal::FromABrowser => Kind::FromABrowser,
            Refusal::NotAReader(_) => Kind::NotAReader,
            Refusal::NoReaderToken => Kind::NoReaderToken,
            Refusal::UnknownReaderToken => Kind::UnknownReaderToken,
            Refusal::PageMayNotRead => Kind::PageMayNotRead,
            Refusal::NotFound { .. } => Kind::NotFound,
            Refusal::NothingKept(_) => Kind::NothingKept,
            Refusal::MethodNotAllowed { .. } => Kind::MethodNotAllowed,
            Refusal::UnknownMethod(_) => Kind::UnknownMethod,
            Refusal::Misdirected => Kind::Misdirected,
            Refusal::LengthRequired => Kind::LengthRequired,
            Refusal::Expectation(_) => Kind::BadExpectation,
            Refusal::HeadTooLarge => Kind::HeadTooLarge,
            Refusal::TooManyFields => Kind::TooManyFields,
            Refusal::TransferEncoding => Kind::TransferEncoding,
            Refusal::Taken(_) => Kind::Taken,
            Refusal::OffsetMismatch { .. } => Kind::OffsetMismatch,
            Refusal::NotAPartialUpload(_) => Kind::NotAPartialUpload,
            Refusal::PreconditionFailed(_) | Refusal::OtherBytesStored(_) => {
                Kind::PreconditionFailed
            }
            Refusal::Outside { .. } => Kind::Outside,
            Refusal::StoredFileOdd(_) => Kind::StoredFileOdd,
            Refusal::NotInWindow { known, .. } => known.map_or(Kind::NotInWindow, kind_of),
            Refusal::TooLarge { .. } => Kind::TooLarge,
            Refusal::DigestMismatch { .. } => Kind::DigestMismatch,
            Refusal::BodyCutShort { .. } => Kind::BodyCutShort,
            Refusal::BodyTooSlow(_) => Kind::BodyTooSlow,
            Refusal::Internal => Kind::Internal,
            Refusal::GateNotLoaded => Kind::GateNotLoaded,
            Refusal::GateBusy => Kind::GateBusy,
            Refusal::TooManyUploads { .. } => Kind::TooManyUploads,
            Refusal::TooManyUploadsOfYours { .. } => Kind::TooManyUploadsOfYours,
            Refusal::StillUnderWay(_) => Kind::StillUnderWay,
            Refusal::TooManyDownloads { .. } => Kind::TooManyDownloads,
            Refusal::TooManyDownloadsOfYours { .. } => Kind::TooManyDownloadsOfYours,
            Refusal::TooManyLists { .. } => Kind::TooManyLists,
            Refusal::TooManyConnections => Kind::TooManyConnections,
            Refusal::Draining => Kind::Draining,
            Refusal::DiskFull => Kind::DiskFull,
            Refusal::StoreUnwritable { .. } => Kind::StoreUnwritable,
            Refusal::DiskAtFloor => Kind::DiskAtFloor,
        }
    }

    /// What this refusal has in common with all of its kind.
    fn entry(&self) -> &'static Entry {
        self.kind().entry()
    }

    pub(crate) fn status(&self) -> u16 {
        self.entry().status
    }

    /// The `<name>` of `urn:cis490:problem:<name>`, and of the log.
    pub(crate) fn name(&self) -> &'static str {
        self.entry().name
    }

    /// The `Retry-After`, in seconds, of a refusal that passes by itself.
    pub(crate) fn retry_after_s(&self) -> Option<u32> {
        self.entry().retry_after_s
    }

    /// The body of the answer.
    pub(crate) fn problem(&self) -> Problem {
        let mut problem = Problem {
            kind: format!("{}{}", wire::PROBLEM_KIND, self.name()),
            title: self.entry().title.to_owned(),
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
        // The lines bring a host that is behind up to date. For any other commit they are of no use.
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
            Refusal::BadHead(why) | Refusal::BadQuery(why) => f.write_str(why),
            Refusal::BadCursor => f.write_str(
                "cursor is not where a row of this index begins: the index was rebuilt, or the store is another one; begin again without a cursor",
            ),
            Refusal::BadReport(why) => write!(
                f,
                "the report on the lab host's queue is not the JSON that it should be: {why}"
            ),
            Refusal::ReportTooLarge { bytes } => write!(
                f,
                "the report on the lab host's queue has {bytes} bytes, and may have {}",
                wire::LAB_STATE_BYTES_MAX
            ),
            Refusal::TooManyReports => f.write_str(
                "as many reports are being read as there are places for; send it again later",
            ),
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
            Refusal::NotAReader(why) => write!(f, "{why}"),
            Refusal::NoReaderToken => f.write_str(
                "this receiver requires a token from you; send Authorization: Bearer with the token that `cis490 token --reader` printed (--token-file of cis490 list and cis490 pull)",
            ),
            Refusal::UnknownReaderToken => f.write_str(
                "no [[reader]] of this receiver has that token; compare the token with token_sha256 in receiver.toml",
            ),
            Refusal::PageMayNotRead => f.write_str(
                "a request with an Origin header comes from a script of a web page, and no page may read; type the address into the browser, or use another program",
            ),
            Refusal::NotFound { what } => f.write_str(what),
            Refusal::NothingKept(slot) => write!(
                f,
                "nothing of an upload of {slot} with this digest is kept; send all of it with PUT {}",
                slot.path()
            ),
            Refusal::MethodNotAllowed { allow } => write!(f, "this path accepts {allow}"),
            Refusal::UnknownMethod(method) => write!(
                f,
                "the method {method:?} is not known here; PUT, PATCH, GET, HEAD and OPTIONS are"
            ),
            Refusal::Misdirected => f.write_str(
                "this receiver speaks http on this connection, and the target is https; a proxy in front that speaks TLS must ask with a path alone",
            ),
            Refusal::LengthRequired => {
                f.write_str("an upload states its length in Content-Length: digits only, once")
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
            Refusal::OffsetMismatch { stated, right } => write!(
                f,
                "the rest of this upload begins at byte {right}, and not at {stated}; send it from there"
            ),
            Refusal::NotAPartialUpload(found) => write!(
                f,
                "the Content-Type of a PATCH is {}, and not {found:?}",
                wire::PARTIAL_UPLOAD
            ),
            Refusal::PreconditionFailed(slot) => write!(
                f,
                "If-Match does not name what is stored as {slot}; send the episode without If-Match"
            ),
            Refusal::OtherBytesStored(slot) => write!(
                f,
                "If-Match does not name the bytes that are stored as {slot}; fetch the episode from its first byte"
            ),
            Refusal::Outside { bytes } => write!(
                f,
                "the episode has {bytes} bytes, and the range begins behind them; a file that is longer is not this episode's, so fetch it from its first byte"
            ),
            Refusal::StoredFileOdd(slot) => write!(
                f,
                "the file of {slot} is not what its row says, and nothing of it is sent; the receiver's log has the details, and the episode must be sent to the receiver again"
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
            Refusal::StillUnderWay(slot) => write!(
                f,
                "another upload of {slot} with this digest has not ended yet; try again"
            ),
            Refusal::TooManyDownloads { downloads_max } => write!(
                f,
                "the limit of {} at a time is reached; try again",
                counted(downloads_max, "download")
            ),
            Refusal::TooManyDownloadsOfYours { under_way } => write!(
                f,
                "{} from your address already running, and the rest of max_downloads is kept for others; try again, or raise max_downloads",
                counted(under_way, "download")
            ),
            Refusal::TooManyLists { of_yours: true } => f.write_str(
                "too many lists are being sent to your address; read one to its end before you ask for the next",
            ),
            Refusal::TooManyLists { of_yours: false } => {
                f.write_str("too many lists are being sent; try again")
            }
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

/// The kind of a 412, by what is known of its commit.
pub(in crate::receiver) fn kind_of(known: Known) -> Kind {
    match known {
        Known::Older => Kind::NotInWindow,
        Known::Elsewhere => Kind::NotOnBranch,
        Known::NeverPushed => Kind::NeverPushed,
        Known::Unknown => Kind::GateCannotTell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shipper knows this one refusal by its whole kind.
    #[test]
    fn the_412_that_is_not_the_gates_has_the_kind_that_the_shipper_knows() {
        let slot = Slot::parse("lab-1/ep-1").unwrap();
        let problem = Refusal::PreconditionFailed(slot).problem();
        assert_eq!(problem.kind, wire::PRECONDITION_FAILED);
        assert_eq!(problem.name(), Some("precondition-failed"));
    }
}
