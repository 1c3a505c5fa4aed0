//! The table of refusals: each way in which the receiver says no, what it means and what to do about it.
//! Answers, the log, metrics, `cis490 help refusals`, `cis490 refusals` and the status page read it.
//!
//! A refusal with its data (`Refusal::TooLarge { bytes, .. }`) and the words that need the data are
//! in `src/receiver/refusal.rs`. A new refusal gets an entry here and a variant there: the compiler
//! reports a variant without an entry, and an entry that no variant uses.

/// What all refusals of one kind have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// As in `urn:cis490:problem:<name>`, in `reason=` of the log and in metrics.
    pub name: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// The `Retry-After` of the answer, in seconds; `None` for a refusal that does not pass by itself.
    pub retry_after_s: Option<u32>,
    /// The `title` of the answer.
    pub title: &'static str,
    /// What happened, to which request.
    pub meaning: &'static str,
    /// What happens to the episode meanwhile.
    pub episode: Fate,
    /// What the reader of the manual does, on the lab host or on the receiver.
    pub to_do: &'static str,
    /// What the maintainer does about an upload with this refusal, in a line; `None` if it passes by
    /// itself or the sender must fix it.
    pub maintainer: Option<&'static str>,
}

/// What the shipper does with an episode that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is sent again.
    Waits,
    /// It goes to refused/.
    SetAside,
    /// It waits with all others of its commit.
    Held,
    /// It is compared with its digest, and then sent or packed again.
    Checked,
    /// No shipper gets this answer.
    Unaffected,
}

impl Fate {
    /// The fate as a sentence.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Fate::Waits => "It stays on the lab host and is sent again automatically.",
            Fate::SetAside => {
                "It is moved to refused/ on the lab host, with the reason in a file beside it; nothing is lost."
            }
            Fate::Held => {
                "Every episode of that commit is held on the lab host; others are still sent."
            }
            Fate::Checked => {
                "The lab host checks its own file: an intact one is sent again, a damaged one is packed again."
            }
            Fate::Unaffected => "No episode is affected.",
        }
    }
}

/// Seconds after which a refusal of this kind may have passed.
const RETRY_DOWNLOAD_S: u32 = 2;
const RETRY_GATE_S: u32 = 5;
const RETRY_LIST_S: u32 = 5;
const RETRY_BUSY_S: u32 = 10;
const RETRY_DRAIN_S: u32 = 30;
const RETRY_DISK_S: u32 = 60;

impl Kind {
    pub(crate) fn entry(self) -> &'static Entry {
        // The entries are made in the order of the variants.
        &ENTRIES[self.index()]
    }

    /// The index of the entry in [`ENTRIES`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn name(self) -> &'static str {
        self.entry().name
    }

    /// `None` for a name that this version does not know.
    pub(crate) fn of(name: &str) -> Option<Kind> {
        KINDS.iter().copied().find(|kind| kind.name() == name)
    }
}

/// Whether the refusal with this name is the gate's answer about a commit.
pub(crate) fn is_about_the_commit(reason: &str) -> bool {
    const KINDS: [Kind; 5] = [
        Kind::NotInWindow,
        Kind::BadCommit,
        Kind::NotOnBranch,
        Kind::NeverPushed,
        Kind::GateCannotTell,
    ];
    KINDS.iter().any(|kind| kind.name() == reason)
}

/// The status of the refusal with this name; `None` for a name that this version does not know.
pub(crate) fn status_of(reason: &str) -> Option<u16> {
    let entry = ENTRIES.iter().find(|entry| entry.name == reason)?;
    Some(entry.status)
}

/// Whether the refusal with this name passes without anybody's help: the answer says when to try again.
pub(crate) fn passes_by_itself(reason: &str) -> bool {
    let entry = ENTRIES.iter().find(|entry| entry.name == reason);
    entry.is_some_and(|entry| entry.retry_after_s.is_some())
}

/// What the maintainer does about an upload that was refused for this reason. `None` if it passes by
/// itself or the sender must fix it, and for a reason that this version does not know.
pub(crate) fn what_to_do(reason: &str) -> Option<&'static str> {
    let entry = ENTRIES.iter().find(|entry| entry.name == reason)?;
    entry.maintainer
}

macro_rules! option {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

macro_rules! refusals {
    ($($status:literal $name:literal $kind:ident {
        title: $title:literal,
        $(retry_after: $retry_after_s:ident,)?
        meaning: $meaning:literal,
        episode: $episode:ident,
        to_do: $to_do:literal,
        $(maintainer: $maintainer:literal,)?
    })*) => {
        /// The kind of a refusal: one for each entry of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Kind {
            $($kind),*
        }

        const KINDS: &[Kind] = &[$(Kind::$kind),*];

        /// The table, in the order of the statuses.
        pub(crate) const ENTRIES: &[Entry] = &[$(Entry {
            name: $name,
            status: $status,
            retry_after_s: option!($($retry_after_s)?),
            title: $title,
            meaning: $meaning,
            episode: Fate::$episode,
            to_do: $to_do,
            maintainer: option!($($maintainer)?),
        }),*];
    };
}

refusals! {
400 "bad-commit" BadCommit {
    title: "The code commit is missing or malformed",
    meaning: "The request does not say which commit of the code made the episode: a proxy removed the header, somebody uploaded by hand, or the code is too old to say so.",
    episode: Waits,
    to_do: "Check the proxy in front of the receiver: it must pass on every X-Cis490-* header. Without a proxy: paste the remediation on the lab host.",
    maintainer: "update the lab host: paste the remediation there",
}
400 "bad-name" BadName {
    title: "A name in the path is not allowed",
    meaning: "The name of the host or the episode is not allowed.",
    episode: SetAside,
    to_do: "cis490 requeue NAME --new-id ID, with 1-128 of A-Z, a-z, 0-9, . _ -",
    maintainer: "find out what sends this: it is not a cis490 shipper",
}
400 "bad-head" BadHead {
    title: "The request's head is malformed",
    meaning: "The request was malformed: another program, or a proxy that changes headers.",
    episode: Waits,
    to_do: "Check the proxy in front of the receiver, or let the lab host reach the receiver without one.",
    maintainer: "find out what sends this: it is not a cis490 shipper",
}
400 "bad-query" BadQuery {
    title: "The query is malformed",
    meaning: "A question for the list had a key that is not known, a key twice, or a value that is not allowed; the words name the key.",
    episode: Unaffected,
    to_do: "cursor, limit (1 to 1000), host and tail (1 to 1000) are the keys, and nothing in them is percent-encoded.",
}
400 "bad-cursor" BadCursor {
    title: "The cursor is not one of this index",
    meaning: "The list was asked for from a cursor at which no row begins: the index was rebuilt, or another store has this address now.",
    episode: Unaffected,
    to_do: "Ask again without a cursor. cis490 pull does so by itself.",
}
400 "bad-report" BadReport {
    title: "The report on a queue is malformed",
    meaning: "A lab host's report on its own queue is not the JSON that it should be: another program sent it.",
    episode: Unaffected,
    to_do: "Find out by the address in the log what sends it: a cis490 shipper sends what this receiver reads.",
}
401 "no-token" NoToken {
    title: "A token is needed",
    meaning: "The receiver requires a token from every host, and none was sent.",
    episode: Waits,
    to_do: "Put the token that cis490 token printed into the file named by token_file in shipper.toml, then systemctl reload cis490-shipper.",
    maintainer: "give the lab host its token (cis490 token), and its digest to [[host]] in receiver.toml",
}
401 "unknown-token" UnknownToken {
    title: "The token is not known here",
    meaning: "The receiver does not know this token.",
    episode: Waits,
    to_do: "cis490 token HOST prints a new pair: put the token on the lab host and the digest into its [[host]] in receiver.toml, then systemctl reload cis490-receiver.",
    maintainer: "give the lab host its token (cis490 token), and its digest to [[host]] in receiver.toml",
}
401 "no-reader-token" NoReaderToken {
    title: "A reader's token is needed",
    meaning: "Somebody asked for the list or for an episode's bytes without a token, and may read only with one.",
    episode: Unaffected,
    to_do: "Send Authorization: Bearer with the token that cis490 token --reader printed (--token-file of cis490 list and cis490 pull).",
    maintainer: "give the reader its token (cis490 token --reader ID), and its digest to [[reader]] in receiver.toml",
}
401 "unknown-reader-token" UnknownReaderToken {
    title: "The reader's token is not known here",
    meaning: "Somebody asked for the list or for an episode's bytes with a token that no [[reader]] has.",
    episode: Unaffected,
    to_do: "cis490 token --reader ID prints a new pair: give the token to the reader and put the digest into its [[reader]] in receiver.toml, then systemctl reload cis490-receiver.",
    maintainer: "give the reader its token (cis490 token --reader ID), and its digest to [[reader]] in receiver.toml",
}
403 "not-your-name" NotYourName {
    title: "You may not upload under this host's name",
    meaning: "The token or the address belongs to a different host than the name it uploads under.",
    episode: Waits,
    to_do: "Fix host_id in shipper.toml, or id and address of its [[host]] in receiver.toml.",
    maintainer: "compare host_id in its shipper.toml with [[host]] in receiver.toml",
}
403 "from-a-browser" FromABrowser {
    title: "A web page may not upload",
    meaning: "An upload with an Origin header: a web page sent it, and no page may upload.",
    episode: Unaffected,
    to_do: "Find out by the address in the log in whose browser such a page is open, and close it.",
    maintainer: "a web page in a browser in the lab's network tries to upload: find out which, and close it",
}
403 "not-a-reader" NotAReader {
    title: "You may not read here",
    meaning: "Somebody asked for the list or for an episode's bytes, and no [[reader]] in receiver.toml lets that address read. Without any [[reader]] nobody may.",
    episode: Unaffected,
    to_do: "On the receiver: add a [[reader]] with an id and an address (or a network, or the token_sha256 that cis490 token --reader ID prints) to receiver.toml, then systemctl reload cis490-receiver.",
    maintainer: "if the peer in the log is to read: add a [[reader]] with its address or a token_sha256 to receiver.toml",
}
403 "page-may-not-read" PageMayNotRead {
    title: "A web page may not read here",
    meaning: "A request for the list or for an episode's bytes with an Origin header: the script of a web page sent it. A browser's own download has none.",
    episode: Unaffected,
    to_do: "Type the address into the browser, or use cis490 list, cis490 pull or another program.",
    maintainer: "a web page in a reader's browser tries to read: find out which, and close it",
}
404 "not-found" NotFound {
    title: "There is nothing here",
    meaning: "Nothing exists at this path: another version, a proxy, or a typo.",
    episode: Waits,
    to_do: "receiver_url must be http://HOST:PORT and nothing more; cis490 doctor shows what answers there.",
}
404 "nothing-kept" NothingKept {
    title: "Nothing of this upload is kept",
    meaning: "A host wanted to go on with a broken upload of which nothing is kept: it broke off early, more than an hour ago, or the receiver was started since, or needed the room.",
    episode: Waits,
    to_do: "Nothing: the lab host sends the whole episode automatically.",
}
405 "method-not-allowed" MethodNotAllowed {
    title: "This path does not accept this method",
    meaning: "The path exists, but not for this method.",
    episode: Waits,
    to_do: "As not-found.",
}
408 "body-too-slow" BodyTooSlow {
    title: "The body came too slowly",
    meaning: "The upload was slower than min_body_bytes_per_second, or stopped.",
    episode: Waits,
    to_do: "Nothing if it happens once. If it happens again: the network, or the MTU of the path; cis490 doctor on the lab host tests both.",
}
409 "taken" Taken {
    title: "Other bytes are stored under this name",
    meaning: "Other bytes are stored under this name: two recordings have the same id, or one was changed after it was sent.",
    episode: SetAside,
    to_do: "cis490 requeue NAME --new-id ID sends it under a new name. A stored episode never changes.",
    maintainer: "another episode has this name already: look in refused/ on the lab host, give it a new name",
}
409 "offset-mismatch" OffsetMismatch {
    title: "The rest of this upload begins at another byte",
    meaning: "A host wanted to go on with a broken upload at another byte than the one at which the kept part ends.",
    episode: Waits,
    to_do: "Nothing: the lab host asks for the right byte and goes on there automatically.",
}
411 "length-required" LengthRequired {
    title: "A Content-Length is needed",
    meaning: "The request stated no length: a proxy is in between.",
    episode: Waits,
    to_do: "Let the lab host reach the receiver without a proxy.",
}
412 "precondition-failed" PreconditionFailed {
    title: "A condition of the request does not hold",
    meaning: "The request had an If-Match that does not name what is stored. No shipper sends one; a reader's program that goes on with a download may.",
    episode: Waits,
    to_do: "Let the lab host reach the receiver without a proxy. A reader fetches the episode from its first byte.",
}
412 "not-in-window" NotInWindow {
    title: "The code that made this episode is out of date",
    meaning: "The code that made the episode is older than the newest commits of the branch: the lab host is out of date.",
    episode: Held,
    to_do: "Paste the remediation on the lab host (cis490 status shows it). The next episodes are then accepted; to give up the held ones: cis490 set-aside --commit X.",
    maintainer: "update the lab host: paste the remediation there",
}
412 "not-on-branch" NotOnBranch {
    title: "The code that made this episode is not on the branch",
    meaning: "The repository has the commit, but not on the branch that the gate follows: it is on another branch, or a force-push took it back.",
    episode: Held,
    to_do: "Put the lab host on the branch (git fetch, then git switch or git reset). The next episodes are then accepted. The held ones are sent automatically if their commit is ever merged; to give them up: cis490 set-aside --commit X.",
    maintainer: "put the lab host on the branch that the gate follows: its code is from another branch, or a force-push took it back",
}
412 "never-pushed" NeverPushed {
    title: "The code that made this episode was never pushed",
    meaning: "The repository does not have the commit: the code was changed on the lab host, or somewhere else, and never pushed.",
    episode: Held,
    to_do: "Push the commit to the branch: the held episodes are then sent automatically. A pull does not help.",
    maintainer: "push the commit from where it was made; a pull does not help",
}
412 "gate-cannot-tell" GateCannotTell {
    title: "The version gate cannot tell what this commit is",
    meaning: "The receiver does not know the commit and cannot ask its source: the commit may be newer than what it knows. The lab host may be up to date.",
    episode: Held,
    to_do: "Nothing on the lab host, which asks again automatically. On the receiver: cis490 doctor says what is wrong with the source.",
    maintainer: "nothing on the lab host, which asks again automatically; fix the source of the gate that the log names (gate_refresh_failed), or ask cis490 doctor",
}
413 "too-large" TooLarge {
    title: "The episode is too large",
    meaning: "The episode is larger than max_episode_bytes.",
    episode: SetAside,
    to_do: "Raise max_episode_bytes in receiver.toml and systemctl reload cis490-receiver, or record shorter episodes; then cis490 requeue NAME.",
    maintainer: "raise max_episode_bytes, or record shorter episodes",
}
413 "report-too-large" ReportTooLarge {
    title: "The report on a queue is too large",
    meaning: "A lab host's report on its own queue had more than 16 KiB: another program sent it.",
    episode: Unaffected,
    to_do: "As bad-report.",
}
415 "not-a-partial-upload" NotAPartialUpload {
    title: "This is not the rest of an upload",
    meaning: "A PATCH had another Content-Type than application/partial-upload: another program, or a proxy that changes headers.",
    episode: Waits,
    to_do: "Check the proxy in front of the receiver: it must pass on Content-Type, Upload-Offset and Upload-Complete.",
    maintainer: "find out what sends this: it is not a cis490 shipper",
}
416 "outside" Outside {
    title: "The episode has no such bytes",
    meaning: "A reader asked for a range of an episode's bytes that begins behind their end.",
    episode: Unaffected,
    to_do: "Content-Range of the answer says how many bytes the episode has. A file that is longer is another one: fetch the episode from its first byte.",
}
417 "bad-expectation" BadExpectation {
    title: "This expectation cannot be met",
    meaning: "The Expect header is unknown: a proxy or another program sent it.",
    episode: Waits,
    to_do: "As length-required.",
}
421 "misdirected" Misdirected {
    title: "This connection is not for https",
    meaning: "The request is for https, and came on a connection without TLS: a proxy is set up wrongly.",
    episode: Waits,
    to_do: "Have the proxy ask with a path and not with a whole URL.",
}
422 "digest-mismatch" DigestMismatch {
    title: "The bytes received do not have the stated digest",
    meaning: "The bytes that arrived do not have the stated digest: they were damaged on the way or on the lab host's disk.",
    episode: Checked,
    to_do: "Nothing if it happens once. If it happens again: check that host's memory and disk.",
    maintainer: "look at the lab host's disk and network: bytes were damaged on the way",
}
422 "body-cut-short" BodyCutShort {
    title: "The body ended early",
    meaning: "The connection ended in the middle of the upload.",
    episode: Checked,
    to_do: "Nothing if it happens once; otherwise check the network.",
}
431 "head-too-large" HeadTooLarge {
    title: "The request's head is too large",
    meaning: "The head of the request was too large. No shipper sends such a head.",
    episode: Waits,
    to_do: "As length-required.",
}
431 "too-many-fields" TooManyFields {
    title: "The request has too many header fields",
    meaning: "The request had more than 16 header fields: a proxy in between adds some.",
    episode: Waits,
    to_do: "Have the proxy leave out the fields that nobody needs.",
}
500 "internal" Internal {
    title: "The receiver failed",
    meaning: "The receiver failed; nothing was stored.",
    episode: Waits,
    to_do: "On the receiver: read its log (store_fault, lookup_failed, no_thread) and run cis490 doctor.",
    maintainer: "read the log of this receiver (journalctl -u cis490-receiver)",
}
500 "stored-file-odd" StoredFileOdd {
    title: "The stored file is not the one of its row",
    meaning: "A reader asked for an episode whose file has another size than its row in the index. None of its bytes were sent.",
    episode: Unaffected,
    to_do: "On the receiver: cis490 scrub names all such files; stored_file_odd in its log names this one. Send the episode again (on the lab host: cis490 resend NAME), or restore the file from a backup.",
    maintainer: "look at the health of the disk (dmesg, smartctl), run cis490 scrub, and send the episode again",
}
501 "transfer-encoding" TransferEncoding {
    title: "Transfer codings are not supported",
    meaning: "The body came in chunks: a proxy is in between.",
    episode: Waits,
    to_do: "As length-required.",
}
501 "unknown-method" UnknownMethod {
    title: "This method is not known here",
    meaning: "The receiver does not know the method: another program sent the request.",
    episode: Unaffected,
    to_do: "As not-found.",
}
503 "gate-not-loaded" GateNotLoaded {
    title: "The version gate has not loaded its window yet",
    retry_after: RETRY_GATE_S,
    meaning: "The receiver does not know any commit yet.",
    episode: Waits,
    to_do: "On the receiver: cis490 doctor asks each source and says what to fix.",
    maintainer: "fix the source of the gate that the log names",
}
503 "gate-busy" GateBusy {
    title: "The version gate could not look again in time",
    retry_after: RETRY_GATE_S,
    meaning: "The commit may be newer than what the receiver knows, and Forgejo has not answered in time.",
    episode: Waits,
    to_do: "Nothing if it happens once; otherwise find out why Forgejo is slow.",
    maintainer: "fix the source of the gate that the log names",
}
503 "too-many-uploads" TooManyUploads {
    title: "Too many uploads at once",
    retry_after: RETRY_BUSY_S,
    meaning: "max_uploads are already running.",
    episode: Waits,
    to_do: "Nothing; if it happens often, raise max_uploads.",
}
503 "too-many-uploads-of-yours" TooManyUploadsOfYours {
    title: "Too many uploads at once from your address",
    retry_after: RETRY_BUSY_S,
    meaning: "Most running uploads come from this address, and the rest of max_uploads is kept for others.",
    episode: Waits,
    to_do: "Nothing; a lab host sends four at a time at most, so find out what else uploads from there. Or raise max_uploads.",
}
503 "still-under-way" StillUnderWay {
    title: "Another upload of these bytes has not ended yet",
    retry_after: RETRY_BUSY_S,
    meaning: "A host wanted to go on with an upload that is still being written or stored.",
    episode: Waits,
    to_do: "Nothing if it happens once. If it happens again: the disk of the receiver is slow (dmesg).",
}
503 "too-many-downloads" TooManyDownloads {
    title: "Too many downloads at once",
    retry_after: RETRY_DOWNLOAD_S,
    meaning: "max_downloads are already running.",
    episode: Unaffected,
    to_do: "Nothing: cis490 pull asks again automatically. If it happens often, raise max_downloads.",
}
503 "too-many-downloads-of-yours" TooManyDownloadsOfYours {
    title: "Too many downloads at once from your address",
    retry_after: RETRY_DOWNLOAD_S,
    meaning: "Half of max_downloads already run from this address, and the rest is for others.",
    episode: Unaffected,
    to_do: "Nothing: cis490 pull asks again automatically. Fetch fewer at once (--jobs of cis490 pull), or raise max_downloads.",
}
503 "too-many-lists" TooManyLists {
    title: "Too many lists at once",
    retry_after: RETRY_LIST_S,
    meaning: "As many lists are being sent as the receiver has places for, or half of them to one address.",
    episode: Unaffected,
    to_do: "Nothing if it happens once; otherwise find out which reader asks for many and does not read them.",
}
503 "too-many-reports" TooManyReports {
    title: "Too many reports at once",
    retry_after: RETRY_BUSY_S,
    meaning: "As many reports of lab hosts on their queues are being read as the receiver has places for.",
    episode: Unaffected,
    to_do: "Nothing: each lab host sends another one within a minute.",
}
503 "too-many-connections" TooManyConnections {
    title: "Too many connections at once",
    retry_after: RETRY_BUSY_S,
    meaning: "max_connections are already open.",
    episode: Waits,
    to_do: "Nothing if it happens once; otherwise find out who holds them (ss -tn), or raise max_connections.",
}
503 "draining" Draining {
    title: "The receiver is stopping",
    retry_after: RETRY_DRAIN_S,
    meaning: "The receiver is stopping or restarting.",
    episode: Waits,
    to_do: "Nothing.",
}
503 "store-unwritable" StoreUnwritable {
    title: "The store cannot be written",
    retry_after: RETRY_DISK_S,
    meaning: "The disk of the receiver's store accepts no writes, or is gone: read-only after an error, unmounted, moved, not writable for its user, or without inodes.",
    episode: Waits,
    to_do: "On the receiver: cis490 doctor, cis490 status and its page say which of these it is and what to do.",
    maintainer: "find out what is wrong with the disk of data_dir (cis490 doctor, dmesg)",
}
503 "disk-at-floor" DiskAtFloor {
    title: "The store is out of space",
    retry_after: RETRY_DISK_S,
    meaning: "/v1/health answers this while the disk is full.",
    episode: Unaffected,
    to_do: "As disk-full.",
    maintainer: "free space under data_dir",
}
507 "disk-full" DiskFull {
    title: "The store is out of space",
    retry_after: RETRY_DISK_S,
    meaning: "The upload would leave less than min_free_bytes on the receiver's disk.",
    episode: Waits,
    to_do: "On the receiver: make room, or move data_dir to a larger disk.",
    maintainer: "free space under data_dir",
}
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_name_stands_once_and_the_statuses_rise() {
        let names: BTreeSet<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), ENTRIES.len());
        assert!(ENTRIES.is_sorted_by_key(|entry| entry.status));
    }

    #[test]
    fn only_what_passes_by_itself_says_when_to_come_again() {
        for entry in ENTRIES {
            let passes = matches!(entry.status, 503 | 507);
            assert_eq!(entry.retry_after_s.is_some(), passes, "{}", entry.name);
        }
    }

    #[test]
    fn a_reason_of_another_version_has_no_remedy() {
        assert_eq!(what_to_do("taken"), Kind::Taken.entry().maintainer);
        assert_eq!(what_to_do("draining"), None);
        assert_eq!(what_to_do("of-another-version"), None);
    }
}
