//! The manual of the log: each event once, with its level, its meaning and what to do about it.
//! `cis490 help events` prints it. The log has no line without an entry here.
//!
//! An entry is `level name "its meaning" "what to do";`. An entry that no line uses is an error of the
//! compiler too, so that nothing is explained which cannot happen.

use log::Level;

/// One kind of log line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    /// As in `event=NAME`.
    pub name: &'static str,
    pub level: Level,
    /// A sentence or more: what has happened.
    pub meaning: &'static str,
    /// The reader's next step.
    pub to_do: &'static str,
}

/// What to do about most lines.
pub(crate) const NOTHING: &str = "Nothing.";

/// Events that belong together.
pub(crate) struct Chapter {
    pub title: &'static str,
    pub events: &'static [Event],
}

macro_rules! level {
    (error) => {
        Level::Error
    };
    (warn) => {
        Level::Warn
    };
    (info) => {
        Level::Info
    };
}

macro_rules! manual {
    ($($title:literal { $($level:ident $name:ident $meaning:literal $to_do:literal;)* })*) => {
        /// A constant for each event, with the event's name: `line!` looks it up.
        #[allow(non_upper_case_globals)] // They are spelled as in the log.
        pub(super) mod event {
            use super::*;
            $($(pub(in super::super) const $name: Event = entry!($level $name $meaning $to_do);)*)*
        }

        /// Every event there is.
        // Not made of the constants above, so that the compiler reports those that are never used.
        pub(crate) const CHAPTERS: &[Chapter] = &[$(Chapter {
            title: $title,
            events: &[$(entry!($level $name $meaning $to_do)),*],
        }),*];
    };
}

macro_rules! entry {
    ($level:ident $name:ident $meaning:literal $to_do:literal) => {
        Event {
            name: stringify!($name),
            level: level!($level),
            meaning: $meaning,
            to_do: $to_do,
        }
    };
}

manual! {
"either side" {
    error failed
        "The program ended; why= says what happened. Only systemd's journal has this line: a person at a terminal reads the same as two lines of words."
        "What do= says. systemd starts the program again.";
    error panic
        "A fault in the program itself. In a thread that serves one request, that request is answered 500; in any other the program ends, starts again and recovers."
        "Report it, with this line and the lines around it.";
    info became_user
        "Root started the program on a folder of this user. The program has the rights of that user from here on, and no others."
        "Nothing. systemctl start, or sudo -u USER, starts it as that user from the beginning.";
    warn secret_of_root
        "Only root can read this file, and the program, which root started, has become the folder's user: the content that root read at the start stays in use."
        "Restart the program to have a new file read, or let the user read it (chgrp, chmod g+r).";
    info reloaded
        "SIGHUP arrived: the configuration was read again, and the keys in changed= have new values from here on. What is under way ends by the old ones."
        "Nothing.";
    warn config_waiting
        "SIGHUP arrived: these keys were changed in the configuration, and need a restart. Until then the old values hold; all other keys were applied."
        "systemctl restart the service when it suits: running uploads may finish, and nothing is lost.";
    error reload_failed
        "SIGHUP arrived, and the configuration has a mistake or cannot be read by the service's user: nothing was changed."
        "Do what why= says (cis490 config and cis490 doctor report the same), then systemctl reload the service again.";
    warn library
        "A library that this program is built on reports something."
        "Nothing if all works. Otherwise report it.";
}

"the receiver: start, stop, connections" {
    info listening
        "The receiver accepts connections at this address. If port 0 is configured, this is the port that the system chose."
        "Nothing.";
    warn open_to_all
        "No [[host]] is configured: anyone who can reach the port may upload under any name."
        "Nothing behind WireGuard. Elsewhere give each lab host a [[host]] table with its address, a token (cis490 token), or both.";
    info readers_reloaded
        "SIGHUP arrived: the [[reader]] tables were read again, and hold from here on."
        "Nothing. Without any [[reader]] nobody may list or fetch.";
    info notified
        "A finding of severity error has begun or ended, and the webhook or the command of [notify] has received it."
        "Nothing here: cis490 status shows the finding and what to do about it.";
    warn notify_failed
        "The webhook or the command of [notify] was not reached, or failed. It is tried again for an hour; given_up=true is the last try."
        "Do what why= says, and look at url or command in [notify]. Nothing else waits for it.";
    warn notified_unwritable
        "The file that keeps what was reported (notified.json) could not be written: a restart may report it again."
        "Make sure that data_dir has room and belongs to the user that runs cis490 receive.";
    info draining
        "SIGTERM arrived: new uploads and downloads are refused, and running ones may finish within wait_s."
        "Nothing.";
    info stopped
        "The receiver has stopped. Lab hosts send again what was cut off, and readers fetch the rest."
        "Nothing. If many uploads were cut off, raise drain_seconds.";
    warn few_files
        "The limit on open files is lower than the configured connections and uploads may need, so fewer of them are served."
        "Raise LimitNOFILE in the unit (ulimit -n in a shell), or lower max_connections.";
    error parts_silent
        "These parts of the receiver have not answered for since_s seconds, so systemd's watchdog gets no sign of life."
        "Nothing: if it lasts, systemd starts the receiver again. Look at the disk (dmesg), and report it if it happens again.";
    warn cannot_probe
        "The receiver cannot connect to itself, so its watchdog works without that check."
        "Check whether a packet filter forbids it, and whether this machine still has the address in listen.";
    warn crowded
        "All connections were in use, so idle ones were closed to admit new ones: displaced= of them since the last such line. peer= held the most."
        "Look at what that peer is doing; if it is legitimate, raise max_connections.";
    info connection_ended
        "The receiver closed a connection that made no progress."
        "Nothing for a few. Many from one peer mean a bad network, or somebody probing.";
    info left_out
        "Lines of the event in of= that peer caused were not written, since the last such line: there were too many of them."
        "Find out what peer is doing. The counters at /metrics include them all.";
    error no_thread
        "The system refused a thread for an upload or a download. The peer was asked to try again later."
        "Raise TasksMax in the unit or free memory.";
}

"the receiver: uploads" {
    info stored
        "An episode is safely on disk: data, file name and index entry."
        "Nothing.";
    info stored_already
        "The same bytes were stored before: the sender never received that answer."
        "Nothing.";
    info upload_kept
        "An upload broke off, and its first offset= bytes are kept for an hour: its sender need not send them again."
        "Nothing for a few. Many from one host: its line is bad, or the MTU of the path is wrong (cis490 doctor on the lab host).";
    info upload_resumed
        "An upload that had broken off goes on at the byte in offset=."
        "Nothing.";
    info upload_given_up
        "A broken upload is kept no longer; its sender begins with the first byte again. reason=too-old: nobody went on with it for an hour; no-place: max_uploads newer ones are kept; no-room: another upload needed the room on the disk; another-put: the host has begun the upload anew, or the episode is stored by now; failed: its file could not be used again (store_fault says why); stopped: the receiver has stopped."
        "Nothing for most. no-room: make room on the disk. failed: look at the disk (dmesg).";
    warn refused
        "An upload was refused; reason= says why."
        "cis490 help refusals explains each reason. not-in-window: update the lab host. never-pushed: push the commit. not-on-branch: put the lab host on the branch. gate-cannot-tell: nothing on the lab host, see gate_refresh_failed. bad-commit and bad-head: a proxy in between loses a header. no-token, unknown-token and not-your-name: fix its token_file or the [[host]] here. disk-full: free space here.";
    info probed
        "A lab host asked how an upload would be answered (cis490 doctor, install); the question is not stored, counted or shown. reason=- if it would be accepted."
        "Nothing.";
    info download_ended
        "A reader's download has ended. outcome=complete: the reader has all bytes it asked for; peer-gone: it ended the connection; too-slow: it took nothing for idle_timeout_seconds, or less than min_body_bytes_per_second; file-changed: the file became shorter, or could not be read; failed: the receiver's own fault. bytes= is what the reader took of of=, from the byte in from= on."
        "Nothing for complete and peer-gone; a reader that goes on asks for the rest. file-changed: look at the disk (dmesg), and run cis490 scrub.";
    info bundle_ended
        "A reader's download of the small episodes of a page of the list (/v1/episodes.tar) has ended. outcome= is as in download_ended; peer-gone may be a reader that had all that it lacked. episodes= is how many were sent, and bytes= what the reader took of them."
        "Nothing: a reader asks for each that it lacks by its own path.";
    info download_redirected
        "A reader asked for an episode that is in the archive alone. The answer was 307 with an address in the store that holds for 15 minutes."
        "Nothing. If readers cannot reach the store at archive.endpoint, set archive.public_endpoint.";
    error stored_file_missing
        "A reader asked for an episode that has a row in the index and no file. The answer was 404."
        "Nothing if somebody archived it by hand. Otherwise cis490 scrub names all such episodes: send them again (on the lab host: cis490 resend NAME), or restore them from a backup.";
    error stored_file_odd
        "A reader asked for an episode whose file is not what its row in the index says. The answer was 500, and none of its bytes were sent."
        "Look at the disk's health (dmesg, smartctl) and run cis490 scrub. Send the episode again (on the lab host: cis490 resend NAME), or restore it from a backup.";
    info refused_request
        "A request that is not an upload was refused."
        "Nothing for a few: a typo, a proxy, or somebody probing.";
    info unreadable_request
        "The bytes that arrived are not an HTTP request: begins= shows the first of them. The receiver answered with a problem and closed the connection."
        "Nothing for a few: somebody probing, or a program that speaks https or another protocol to this port. too-many-fields: have the proxy in front leave out the fields that nobody needs.";
    warn refusals_unreadable
        "The refusals of earlier runs cannot be read; the status page starts without them."
        "Check the owner of the file: it must be the user that runs cis490 receive.";
    warn refusals_unwritable
        "Refusals cannot be written to refusals.jsonl for now. Uploads go on, and the page still shows the newest refusals."
        "Look at the disk (dmesg) and at the owner of the file.";
    error lookup_failed
        "The disk did not answer a question about an episode. The request got a 500, and the lab host tries again."
        "Look at the disk (dmesg) and at the owner of data_dir.";
    error list_failed
        "The index could not be read for a list. The reader got a 500."
        "Look at the disk (dmesg) and at the owner of data_dir.";
    error store_fault
        "The receiver failed to store an upload: the sender got a 500, keeps its episode and tries again."
        "Look at the disk (dmesg) and at the owner of data_dir; cis490 doctor tries both.";
}

"the receiver: the store" {
    info store_id
        "A store of an older version has been given an id, by which its readers know it (X-Cis490-Store of a list)."
        "Nothing.";
    warn store_id_unwritable
        "A store of an older version has no id, and it cannot be written into the file in path=. The receiver works with an id for this run; after the next start cis490 pull compares all that it has with the list."
        "Make room, or look at the owner of the file and at the disk (dmesg).";
    info store_opened
        "The store is open. episodes= is what the index holds, recovered= and swept= are unfinished uploads of the last run that were completed or removed."
        "Nothing.";
    warn quarantined
        "The receiver found something that no part of the program made, or a file whose upload the last run had not finished and whose bytes nobody can vouch for: why= says which. It is kept in quarantine/, under the name in kept_as=."
        "Look at it when there is time. The program never deletes anything there.";
    warn torn_upload
        "The power went while an upload was being stored, and its file is not whole. It was never acknowledged, and was removed."
        "Nothing: its sender comes again. If it happens without a power cut, look at the disk's health (dmesg, smartctl).";
    warn commit_unknown
        "A stored episode got a row after a crash, and its tarball does not say which code made it."
        "Nothing is lost. If the commit matters, find out from the lab host which code made the episode.";
    error index_fault
        "index.jsonl was missing at start (kind=index-missing), or shorter than it is known to have been (index-short): rows were lost, and why= says what is known. No episode is lost by that, and no number is given a second time."
        "Stop the receiver, run cis490 backfill, start the receiver. Until then hosts that send such an episode again get the row back. Keep logrotate and editors away from index.jsonl.";
    warn sequence_unreadable
        "The file sequence, which keeps the numbers of rows, is not one that the program wrote. It is kept in quarantine/, and the numbers continue after the largest of the index and of the kept refusals."
        "Nothing, unless the index was lost too: then numbers may be given a second time.";
    warn sequence_unwritable
        "The length of the index could not be noted. The receiver tries it again, and adds rows only with numbers that are noted."
        "Look at the disk (dmesg) and at who owns data_dir.";
    error store_unwritable
        "The store cannot be written: why= says whether its disk is read-only, unmounted or without inodes, a folder was moved or is not writable for the receiver, or a write failed. Uploads are answered 503 (after a failed write they are tried), health too, and nothing is lost."
        "What do= says. It ends automatically once the store can be written again (store_writable).";
    info store_writable
        "The store can be written again."
        "Nothing.";
    warn number_too_large
        "A row's number is larger than 9223372036854775807. The number is ignored, and the row itself is used."
        "Correct the row by hand with the receiver stopped: seq may be null.";
    warn index_tail_cut
        "The index ended in the middle of a row, as after a power cut, or lacks its last line break. The torn piece is in kept_as=, and row= names the episode whose row it looked like; no acknowledged episode can be in it."
        "Nothing; cis490 scrub shows whether a stored file lacks its row.";
    warn unreadable_row
        "A line of index.jsonl is not a valid receipt. It stays where it is and is ignored."
        "Stop the receiver and run cis490 backfill: it writes missing rows from the tarballs.";
    warn unreadable_rows
        "The same as unreadable_row, for count= more lines that are not listed one by one."
        "The same as for unreadable_row; also look at the disk's health.";
    warn no_attributes
        "The filesystem of data_dir has no extended attributes, so stored files cannot carry their receipts."
        "Nothing is lost. On ext4, xfs, btrfs or f2fs a lost index could be rebuilt with times and gate positions too.";
    warn store_untidy
        "Some housekeeping of the store failed. The next start tries it again."
        "Nothing for one. If it happens again: who owns data_dir, and is the disk full or read-only?";
    error scrub_found
        "cis490 scrub found something that does not match the index: kind= is rotten, unreadable, missing, unindexed, bad row or odd."
        "Rotten: stop the receiver, run cis490 backfill --set-aside-rotten, start the receiver, and only then send the episode again (on the lab host: cis490 resend NAME) or restore it from a backup: until then the receiver takes the rotten file for the episode and answers 200. Unreadable: look at the disk (dmesg, smartctl) and restore the file from a backup. Unindexed: cis490 backfill. Missing: nothing if somebody archived it by hand; otherwise send it again too.";
    warn scrub_cannot_note
        "cis490 scrub cannot save its position. It reads on, but if it is interrupted the next one starts from the beginning."
        "Make sure that data_dir has room, and run scrub as the user that data_dir belongs to.";
    error damaged_file_replaced
        "A stored file did not match its row, or without a row the receipt that it carries, and the same episode arrived again intact. The damaged file is kept in kept_as=."
        "The disk is losing data: look at its health (dmesg, smartctl) and run cis490 scrub.";
}

"the receiver: the version gate" {
    info gate_window
        "The accepted commits have changed, or come from another source. commits= is how many are known of the configured number in window=."
        "Nothing; with source=git-fallback, find out why Forgejo does not report them (gate_refresh_failed).";
    warn gate_refresh_failed
        "A source did not report the newest commits. The window known so far stays in use; it is age_s old. Logged when this begins and every ten minutes while it lasts."
        "What do= says.";
    warn gate_cannot_tell
        "Forgejo reports the branch, and could not be asked about a commit that is not in the window: the answer to its host is that nothing is known. Logged when this begins and every ten minutes while it lasts."
        "What do= says. A Forgejo of before 2023 cannot tell: upgrade it.";
    info gate_token_read_again
        "Forgejo refused the token. auth_token_file holds another one by now, and the receiver tries that one."
        "Nothing.";
    info gate_source_back
        "The source reports the newest commits again."
        "Nothing.";
    error gate_has_no_window
        "No source has reported any commits since the start, so every upload waits (503). Logged when this begins and every ten minutes."
        "Fix what gate_refresh_failed names; cis490 doctor asks each source now.";
    warn gate_is_disabled
        "version_gate.enabled = false: episodes of any commit are accepted."
        "Nothing while you only collect. To keep out-of-date hosts out, set it to true and restart.";
    warn gate_would_refuse
        "The gate is disabled and has admitted an upload that it would otherwise have refused."
        "Update that lab host before you enable the gate. episode=doctor is only its cis490 doctor.";
    warn gate_file_unreadable
        "window.json is damaged: the gate starts without what it knew."
        "Nothing: the file is written again.";
    info gate_file_of_another
        "window.json belongs to another repository or branch, as after a change of the configuration. The gate starts without it."
        "Nothing.";
    warn gate_file_unwritable
        "window.json could not be written. After a restart the gate knows less until a source answers."
        "Make sure that data_dir has room and belongs to the user that runs cis490 receive.";
}

"the receiver: the archive" {
    info archive_started
        "Episodes are copied to this bucket, read back, and lose their local files when room is needed."
        "Nothing.";
    info archive_proven
        "The episode's object was read back from the bucket and has the receipt's digest. From now on there are two copies; the local one may go when room is needed."
        "Nothing.";
    warn archive_failing
        "The store did not do what was asked, and is asked again after wait_s. Nothing is evicted meanwhile, and uploads go on as long as the disk has room. Logged when this begins and every ten minutes while it lasts."
        "What do= says.";
    error archive_stopped
        "The store has refused three times in a row what only a person can change: keys, rights, the bucket, the region. It is asked again every five minutes. Logged when this begins and every ten minutes while it lasts."
        "What do= says; cis490 doctor tries the store step by step.";
    info archive_back
        "The store does what is asked again."
        "Nothing.";
    warn archive_refused
        "The store refused this episode alone, or its local file cannot be read. The episode goes to the end of the line and holds up no other; its local file stays."
        "What do= says.";
    error archive_mismatch
        "An object in the bucket is not what was stored there: it has another length, other bytes, or cannot be found. The local file was not removed, and is copied again."
        "Look at the store: it has lost or changed bytes. If there are many, set evict_below_bytes = 0 until it is repaired.";
    error archive_lost
        "An object that was known to be in the bucket is gone. If the local file is here, it is copied again; if not, this episode is lost until its lab host sends it again."
        "Find out who deletes objects: a lifecycle rule, a person, the store. On the lab host cis490 resend NAME brings the episode back, for as long as it is in shipped/.";
    info archive_evicted
        "The disk needed room: the local file of this episode was removed. It is in the bucket, read back at least a day ago, and there now."
        "Nothing.";
    warn archive_no_room
        "The disk needs room, and there is no local file that may be removed: each of the others is not proven yet, was proven less than a day ago, or is in use. Logged when this begins and every ten minutes while it lasts."
        "Look why episodes wait (archive_failing, archive_stopped); or give the receiver a larger disk.";
    error archive_disk
        "The archive cannot read or write its ledger (archive.jsonl), the index or a folder on this machine's own disk. It tries again in a minute; after a failed sync, after a restart."
        "Look at the disk (dmesg, df), then systemctl restart cis490-receiver.";
}

"the lab host: start and stop" {
    info shipper_started
        "The shipper is running."
        "Nothing.";
    info shipper_reloading
        "SIGHUP arrived: the configuration and the token are read again, and everything is tried now."
        "Nothing.";
    info shipper_stopping
        "SIGTERM or SIGINT arrived, or the terminal was closed."
        "Nothing.";
    info shipper_stopped
        "The shipper has stopped cleanly."
        "Nothing.";
    info report_not_sent
        "The receiver did not accept this lab host's report on its own queue, or the report could not be made. Logged once per reason. Episodes do not wait for it."
        "Nothing for an older receiver (404, 405): it is asked again in an hour. 401 and 403: as not_let_in.";
    warn shipper_cut_short
        "The shipper was stopped while it packed or sent an episode. It starts that episode again next time."
        "Nothing.";
}

"the lab host: packing and sending" {
    info packed
        "An episode was packed into a tarball."
        "Nothing.";
    warn compressor_failed
        "blocks= blocks of this episode did not decompress to what went in, so they were stored uncompressed: intact, and larger."
        "Nothing for the episode; please report it.";
    info shipped
        "The receiver has the episode on its disk. status=200 means that it had it before. kept= is its name in shipped/."
        "Nothing.";
    info resumed
        "An upload that had broken off goes on: the receiver has the bytes before offset=."
        "Nothing.";
    warn deferred
        "This episode waits wait_s seconds before the next try; the others go on."
        "Nothing for one. If it goes on: why= says what the receiver answered.";
    warn receiver_away
        "All episodes wait wait_s seconds: the receiver cannot be reached, or accepts nothing now. episode= was being sent, and waits episode_wait_s seconds itself."
        "Nothing for an hour. After that: does the receiver run, is WireGuard up? cis490 doctor tries each step.";
    error not_let_in
        "The receiver does not let this host in (401, 403). Episodes are kept and tried again."
        "Fix token_file or host_id here, or [[host]] in receiver.toml on the receiver; then systemctl reload cis490-shipper.";
    error garbled
        "The receiver cannot read the head of the request (400), which was well-formed when it was sent: a proxy in between removes or changes a header. The episode is kept; after three in a row all wait."
        "Check the proxy in front of the receiver: it must pass on Content-Length, Authorization and every X-Cis490-* header. Or let receiver_url name the receiver itself.";
    error too_large_for_proxy
        "A proxy in between accepts no body of this size (413, and not in the receiver's words). The episode is kept, and episodes as large as it wait with it."
        "Raise or remove the proxy's limit (nginx: client_max_body_size 0), as in etc/nginx.conf.example. The receiver has a limit of its own.";
    error receipt_wrong
        "The server confirmed an upload, but the receipt does not match what was sent. The episode is kept."
        "Find out what answers at receiver_url: a proxy, another program, or another version.";
    error set_aside
        "An episode was moved to refused/, under the name in kept=: as it is, the receiver will never accept it."
        "Read why= (or its .why.json), fix the cause, then cis490 requeue NAME, or --reason R for all of one kind. cis490 help refusals explains each answer.";
    error held
        "Logged once per reason of a hold: the gate refuses this commit, so its episodes are kept and not sent. why= says whether it is older than the window, on another branch, or was never pushed. The lines to paste follow, indented, if there are any."
        "Older: paste them on this lab host. An update helps the next episodes; those already held stay held (cis490 status). Never pushed: push the commit. On another branch: put this lab host on the right branch.";
    warn held_unknown
        "The receiver does not know this commit, and cannot ask its source: the commit may be newer than what it knows. Its episodes are kept and not sent. failing_s= is how long that has been so, 0 if only this question was not answered in time."
        "Nothing here: the receiver is asked again automatically, and its answer is logged once. If it lasts: on the receiver, cis490 doctor.";
    info released
        "The gate accepts a held commit again: its episodes are sent."
        "Nothing.";
    warn gate_unclear
        "The gate was asked about a held commit and said neither yes nor no. It is asked again later."
        "Nothing for one; otherwise the same as for receiver_away.";
    warn changed_after_packing
        "Files of an episode were added, changed or removed after it was packed. It is packed again before it is sent."
        "Let the recorder write meta.json last, when nothing changes any more.";
    warn changed_after_sending
        "Files of an episode changed after they were sent, and the receiver has stored what was sent. The episode stays in the queue; the present files are packed and sent, and go to refused/ if the receiver has other bytes under its name."
        "Let the recorder write meta.json last. cis490 requeue NAME --new-id ID sends an episode in refused/ under a new name.";
    warn falling_out
        "Logged once per change: fewer than 20 commits remain until this one falls out of the window and its episodes are held."
        "Update this lab host now. Once it is too late, cis490 check shows the lines to paste.";
}

"the lab host: its disk" {
    error disk_full
        "The disk is full. Packing waits, packed episodes are still sent, and nothing unsent is deleted."
        "Free space on the disk of root=.";
    warn short_of_space
        "Less than min_free_bytes was free, so removed= accepted episodes left shipped/ before keep_shipped_days was over. The receiver has them."
        "Nothing is lost. For longer copies on this host make room on its disk, or lower min_free_bytes in shipper.toml.";
    info shipped_removed
        "The local copy of a stored episode was removed: it was older than keep_shipped_days, or the disk was short of space."
        "Nothing.";
    info orphan_swept
        "A tarball without its episode was removed: the episode had been moved before a crash."
        "Nothing.";
    info partial_swept
        "A half-packed tarball of an earlier run was removed."
        "Nothing.";
    warn odd_in_episodes
        "Logged once each: something in episodes/ is left alone and not sent, since it is not a directory or its name is not an episode id."
        "cis490 status shows the command that gives it an allowed name: 1-128 of A-Z, a-z, 0-9, . _ - and first a letter or digit.";
    warn odd_in_outbox
        "Logged once each: something in outbox/ is left alone, since the shipper makes nothing with such a name."
        "Move it away.";
    warn cannot_sweep
        "A left-over in outbox/ cannot be removed. It does no harm."
        "Remove it by hand, or give it to the shipper's user.";
    warn cannot_look
        "Logged once each: an episode cannot be read, so it is not sent."
        "Fix its permissions: the shipper's user must be able to read it.";
    warn state_unreadable
        "state.json is damaged or of another program; the shipper starts a new one."
        "Nothing: the shipper learns its holds again.";
    warn state_unwritable
        "Logged once: state.json cannot be written, so cis490 status shows old information."
        "Make sure that root has room and belongs to the shipper's user.";
    error shipper_trouble
        "Something failed in the shipper itself. It goes on and tries again."
        "Read why=: the cause is mostly permissions or the disk.";
}
}

/// The event of that name.
pub(crate) fn find(name: &str) -> Option<&'static Event> {
    all().find(|event| event.name == name)
}

/// Every event, in the order of the manual.
pub(crate) fn all() -> impl Iterator<Item = &'static Event> {
    CHAPTERS.iter().flat_map(|chapter| chapter.events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_says_something_once() {
        let mut names: Vec<_> = all().map(|event| event.name).collect();
        for event in all() {
            for text in [event.meaning, event.to_do] {
                assert!(
                    text.len() >= 8 && text.starts_with(char::is_alphabetic),
                    "{event:?}"
                );
            }
            let needs_action = event.level == Level::Error;
            assert!(!needs_action || event.to_do != NOTHING, "{event:?}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name has two entries");
    }
}
