//! The manual of the log: each event once, with its level, what it means and what to do.
//! `cis490 help events` prints it, and a line of the log cannot be made without an entry here.
//!
//! An entry is `level name "what it means" "what to do";`. One that no line uses is an error too,
//! so that nothing is explained that cannot happen.

use log::Level;

/// One kind of log line.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// As in `event=NAME`.
    pub name: &'static str,
    pub level: Level,
    /// What it means.
    pub meaning: &'static str,
    /// What whoever reads it does now.
    pub to_do: &'static str,
}

/// What there is to do about most lines.
pub const NOTHING: &str = "Nothing.";

/// Events that belong together.
pub struct Chapter {
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
        /// A constant for each event, named as it: what `line!` looks up.
        #[allow(non_upper_case_globals)] // They are spelled as in the log.
        pub(super) mod event {
            use super::*;
            $($(pub(in super::super) const $name: Event = entry!($level $name $meaning $to_do);)*)*
        }

        /// Every event there is.
        // Not made of the constants above, so that the compiler tells which of them is never used.
        pub const CHAPTERS: &[Chapter] = &[$(Chapter {
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
        "The program ended, and why. Under systemd alone; a person at a terminal reads the same as two lines of words."
        "What do= says. systemd starts it again.";
    error panic
        "A fault in the program itself. In a thread that serves one request it is that request's 500; otherwise the program ends, starts again and recovers."
        "Report it with the line and what stands around it.";
    info became_user
        "Root started the program on a folder of this user, and it has his rights from here on, and no others."
        "Nothing. systemctl start, or sudo -u USER, starts it so from the beginning.";
    warn secret_of_root
        "Only root can read this file, and the program, which root started, has become the folder's user: what root read at the start is used."
        "Restart the program to have a new file read, or let the user read it (chgrp, chmod g+r).";
    warn library
        "A library that this program is built on has something to say."
        "Nothing, if all works. Else report it.";
}

"the receiver: start, stop, connections" {
    info listening
        "The receiver serves, at this address; with port 0 configured, the port that was really taken."
        "Nothing.";
    warn open_to_all
        "No [[host]] is configured: whoever reaches the port may upload under any name."
        "Nothing behind WireGuard. Elsewhere give each lab host a [[host]] table with its address, a token (cis490 token), or both.";
    info draining
        "SIGTERM came: nothing new is taken, uploads under way may finish within wait_s."
        "Nothing.";
    info stopped
        "The end. Uploads that were cut off are sent again by their hosts."
        "Nothing; with many cut off, raise drain_seconds.";
    warn few_files
        "The limit on open files is lower than connections and uploads may need, and only so many of them are served."
        "Raise LimitNOFILE in the unit (ulimit -n), or lower max_connections.";
    error parts_silent
        "Some part of the receiver has not answered for so long, so systemd's watchdog hears nothing."
        "Nothing: it is started again if that lasts. Look at the disk (dmesg), and report it if it comes again.";
    warn cannot_probe
        "The receiver cannot connect to itself, so its watchdog does without that proof."
        "See whether a packet filter forbids it, and whether the address of listen is still there.";
    warn crowded
        "All connections were in use, and one that only waited made room for another, as displaced did since this was told last; peer held the most."
        "See what peer is doing; if all is as it should be, raise max_connections.";
    info connection_ended
        "A connection was ended for want of progress."
        "Nothing for a few. Many from one peer: a bad network, or somebody probing.";
    info left_out
        "Lines of the event in of= that peer caused were not written, since the last such line: there were too many of them."
        "See what peer is doing. The counters at /metrics have them all.";
    error no_thread
        "The system gave no thread for an upload, which was told to come again later."
        "Raise TasksMax in the unit or free memory.";
}

"the receiver: uploads" {
    info stored
        "An episode is on the disk: file, name and index row."
        "Nothing.";
    info stored_already
        "The same bytes were here before: the sender had not heard of it."
        "Nothing.";
    warn refused
        "An upload was refused; reason= says why."
        "cis490 help refusals explains each reason. not-in-window: have the lab host updated. never-pushed: have the commit pushed. not-on-branch: have the lab host put on the branch. gate-cannot-tell: nothing on the lab host, see gate_refresh_failed. bad-commit and bad-head: a proxy in between loses a header. no-token to not-your-name: fix its token_file or our [[host]]. disk-full: free space here.";
    info probed
        "A lab host asked what an upload of its would get (cis490 doctor, install); nothing of it is kept, counted or shown. reason=- where it would get in."
        "Nothing.";
    info refused_request
        "A request that is no upload was refused."
        "Nothing for a few: a typo, a proxy, or somebody probing.";
    info unreadable_request
        "What came is no HTTP request: begins= shows how it begins. It was answered, and the connection was closed."
        "Nothing for a few: somebody probing, or a program that speaks https or another protocol to this port. too-many-fields: have the proxy in front leave out what nobody needs.";
    warn refusals_unreadable
        "The refusals of earlier runs cannot be read; the status page begins without them."
        "Look who owns the file: it is to be the user of cis490 receive.";
    warn refusals_unwritable
        "Refusals are not written down until that works again. Uploads go on, and the page still shows the newest."
        "Look at the disk (dmesg) and at who owns the file.";
    error lookup_failed
        "The disk could not be asked about an episode; the request got a 500 and the host comes again."
        "Look at the disk (dmesg) and at who owns data_dir.";
    error store_fault
        "Our own fault in storing an upload: the sender was told 500, keeps its episode and comes again."
        "Look at the disk (dmesg) and at who owns data_dir; cis490 doctor tries it.";
}

"the receiver: the store" {
    info store_opened
        "The store is open: how many episodes the index holds, and how many uploads of the last run were recovered and swept."
        "Nothing.";
    warn quarantined
        "Something was found that no part of the program made. It is kept in quarantine/, under the name in kept_as=."
        "Look at it when there is time; nothing there is ever deleted by the program.";
    warn commit_unknown
        "A stored episode got a row after a crash, and its tarball does not say which code made it."
        "Nothing is lost. If the commit matters, find out from the lab host which code made the episode.";
    error index_fault
        "index.jsonl was missing at start (kind=index-missing), or shorter than it is known to have been (index-short): rows were lost, and why= says what is known. No episode is lost by that, and no number is given a second time."
        "Stop the receiver, cis490 backfill, start it. Until then hosts that send such an episode again get the row back. Keep logrotate and editors away from index.jsonl.";
    warn sequence_unreadable
        "The file sequence, which keeps the numbers of rows, is none of ours. It is kept in quarantine/, and the numbers go on behind the largest of the index."
        "Nothing, unless the index was lost too: then numbers may come again.";
    warn sequence_unwritable
        "The length of the index could not be noted. It is tried again, and rows are added only with numbers that are noted."
        "Look at the disk (dmesg) and at who owns data_dir.";
    error store_unwritable
        "The store cannot be written: why= says whether its disk is read-only, unmounted or without inodes, a folder was moved or is not ours to write, or a write failed. Uploads are answered 503 (after a failed write they are tried), health too, and nothing is lost."
        "What do= says. It ends by itself once the store can be written again (store_writable).";
    info store_writable
        "The store can be written again."
        "Nothing.";
    warn number_too_large
        "A row's number is larger than 9223372036854775807: it counts for nothing, the row itself is used."
        "Correct the row by hand with the receiver stopped: seq may be null.";
    warn index_tail_cut
        "The index ended in the middle of a row, as after a power cut, or lacks its last line break. The torn piece is in kept_as=, and row= names the episode whose row it looked like; no acknowledged episode can be in it."
        "Nothing; cis490 scrub shows whether a stored file lacks its row.";
    warn unreadable_row
        "A line of index.jsonl is no receipt. It stays and counts for nothing."
        "cis490 backfill, with the receiver stopped, writes the missing rows from the tarballs.";
    warn unreadable_rows
        "As unreadable_row, for more lines than one wants to read one by one."
        "As unreadable_row; and look at the disk's health.";
    warn no_attributes
        "The filesystem of data_dir keeps no extended attributes, so stored files cannot carry their receipts."
        "Nothing is lost. With ext4, xfs, btrfs or f2fs a lost index could be rebuilt with times and gate places too.";
    warn store_untidy
        "Something of the store's own housekeeping failed. The next start does it again."
        "Nothing for one. If it comes back: who owns data_dir, and is the disk full or read-only?";
    error scrub_found
        "cis490 scrub found something that is not as the index says: kind= is rotten, unreadable, missing, unindexed, bad row or odd."
        "Rotten: stop the receiver, cis490 backfill --set-aside-rotten, start it, and only then send the episode again (on the lab host: cis490 resend NAME) or bring it back from a backup: until then the receiver takes the rotten file for the episode and answers 200. Unreadable: look at the disk (dmesg, smartctl), and bring it back from a backup. Unindexed: cis490 backfill. Missing: nothing if it was archived by hand, else send it again too.";
    warn scrub_cannot_note
        "cis490 scrub cannot keep where it is: it reads on, and if it is ended the next one begins anew."
        "See that data_dir has room, and run it as the user that data_dir belongs to.";
    error damaged_file_replaced
        "A stored file's bytes were not those of its row, or without a row those of the receipt that it carries, and the same episode came again whole: the damaged one is kept in kept_as=."
        "The disk is losing data: look at its health (dmesg, smartctl) and run cis490 scrub.";
}

"the receiver: the version gate" {
    info gate_window
        "The commits that get in have changed, or come from another source. commits= is how many there are of the configured window="
        "Nothing; with source=git-fallback, see why Forgejo does not tell them (gate_refresh_failed).";
    warn gate_refresh_failed
        "A source did not tell the newest commits; the window that we have stays, age_s old. Told when it begins and every ten minutes while it lasts."
        "What do= says.";
    warn gate_cannot_tell
        "Forgejo tells the branch, and could not be asked what it knows of a commit that the window lacks: its host was told that nothing is known. Told when it begins and every ten minutes while it lasts."
        "What do= says. A Forgejo of before 2023 cannot tell: upgrade it.";
    info gate_token_read_again
        "Forgejo refused the token, and auth_token_file holds another one by now, which is tried."
        "Nothing.";
    info gate_source_back
        "The source tells the newest commits again."
        "Nothing.";
    error gate_has_no_window
        "No source has told any commits since the start: every upload waits (503). Told when it begins and every ten minutes."
        "Mend what gate_refresh_failed names; cis490 doctor asks each source now.";
    warn gate_is_disabled
        "version_gate.enabled = false: episodes of any commit are taken."
        "Nothing while you only collect; set it to true and restart to keep out-of-date hosts out.";
    warn gate_would_refuse
        "The disabled gate has let in what it would have refused."
        "Have that lab host updated before the gate is enabled; episode=doctor is only its cis490 doctor.";
    warn gate_file_unreadable
        "window.json is damaged: the gate begins without what it knew."
        "Nothing: it is written anew.";
    info gate_file_of_another
        "window.json is about another repository or branch, as after a change of the configuration: the gate begins without it."
        "Nothing.";
    warn gate_file_unwritable
        "window.json could not be written: after a restart the gate knows less until a source answers."
        "See that data_dir has room and belongs to this program's user.";
}

"the lab host: start and stop" {
    info shipper_started
        "The shipper is up."
        "Nothing.";
    info shipper_reloading
        "SIGHUP came: the token is read again, and everything is tried now."
        "Nothing.";
    info shipper_stopping
        "SIGTERM or SIGINT came."
        "Nothing.";
    info shipper_stopped
        "The shipper has ended by itself."
        "Nothing.";
    warn shipper_cut_short
        "It was ended in the middle of packing or sending an episode: that one is begun anew next time."
        "Nothing.";
}

"the lab host: packing and sending" {
    info packed
        "An episode became a tarball."
        "Nothing.";
    warn compressor_failed
        "So many blocks= of this episode did not read back as what went in, and were stored as they are: whole, and larger."
        "Nothing; worth a report.";
    info shipped
        "The receiver has it on its disk. status=200: it had it before. kept= is its name in shipped/."
        "Nothing.";
    warn deferred
        "This episode waits wait_s and is tried again; the others go on."
        "Nothing for one. If it goes on: why= says what the receiver answered.";
    warn receiver_away
        "All episodes wait wait_s: the receiver is not there, or accepts nothing now. episode= was under way, and waits episode_wait_s itself."
        "Nothing for an hour. Else: does the receiver run, is WireGuard up? cis490 doctor tries each step.";
    error not_let_in
        "The receiver does not let this host in (401, 403). Episodes are kept and tried again."
        "Mend token_file or host_id here, or [[host]] in the receiver's receiver.toml; then systemctl reload cis490-shipper.";
    error garbled
        "The receiver cannot read our request's head (400), which was well-formed when it left: a proxy in between takes a header away or changes one. The episode is kept; after three in a row all wait."
        "Look at the proxy before the receiver: it has to pass on Content-Length, Authorization and every X-Cis490-* header. Or let receiver_url name the receiver itself.";
    error too_large_for_proxy
        "A proxy in between accepts no body of this size (413, and not in the receiver's words). The episode is kept, and what is as large waits with it."
        "Raise or remove the proxy's limit (nginx: client_max_body_size 0), as etc/nginx.conf.example has it. The receiver has a limit of its own.";
    error receipt_wrong
        "Somebody said stored, and the receipt is not for what was sent. The episode is kept."
        "Look who answers at receiver_url: a proxy, another program, or another version.";
    error set_aside
        "An episode went to refused/, under the name in kept=: as it is, it will never get in."
        "Read why= (or its .why.json), fix it, then cis490 requeue NAME, or --reason R for all of one kind. cis490 help refusals explains each answer.";
    error held
        "Once for each reason of a hold: the gate refuses this commit, and its episodes are kept and not sent. why= says whether it is older than the window, on another branch, or was never pushed. The lines to paste follow, indented, if there are any."
        "Older: paste them on this lab host. Pulling helps the next episodes; those that are held stay what they are (cis490 status). Never pushed: push the commit. On another branch: put this lab host on the right one.";
    warn held_unknown
        "The receiver does not know this commit, and cannot ask its source: the commit may be newer than what it knows. Its episodes are kept and not sent. failing_s= is how long that has been so, 0 if only this question was not answered in time."
        "Nothing here: the receiver is asked again by itself, and what it then says is told once. If it lasts: on the receiver, cis490 doctor.";
    info released
        "The gate takes a held commit now: its episodes are sent."
        "Nothing.";
    warn gate_unclear
        "The gate was asked about a held commit, and the answer was no answer. It is asked again later."
        "Nothing for one; else as receiver_away.";
    warn changed_after_packing
        "Files of an episode were added, changed or removed after it was packed. It is packed again before it is sent."
        "Let the recorder write meta.json last, when nothing changes any more.";
    warn changed_after_sending
        "Files of an episode changed after they were sent, and the receiver has stored what was sent. It stays in the queue; what is there now is packed and sent, and goes to refused/ if the receiver has other bytes under its name."
        "Let the recorder write meta.json last. cis490 requeue NAME --new-id ID sends what is in refused/ as another episode.";
    warn falling_out
        "Once a change: fewer than 20 commits remain until this one falls out of the window and its episodes are held."
        "Update this lab host now: cis490 check shows what to paste once it is too late.";
}

"the lab host: its disk" {
    error disk_full
        "The disk is full: packing waits, what is packed is sent, and nothing unsent is deleted."
        "Free space on the disk of root=.";
    warn short_of_space
        "Less than min_free_bytes was free, so removed= accepted episodes left shipped/ before keep_shipped_days was over. The receiver has them."
        "Nothing is lost. For longer copies on this host make room on its disk, or lower min_free_bytes in shipper.toml.";
    info shipped_removed
        "A copy of what the receiver has was removed: older than keep_shipped_days, or the disk ran short."
        "Nothing.";
    info orphan_swept
        "A tarball without its episode was removed: the episode had left before a crash."
        "Nothing.";
    info partial_swept
        "A half-packed tarball of an earlier run was removed."
        "Nothing.";
    warn odd_in_episodes
        "Once each: left alone, since it is no directory or its name is no episode id. It is not sent."
        "cis490 status shows the command that gives it an allowed name: 1-128 of A-Z, a-z, 0-9, . _ - and first a letter or digit.";
    warn odd_in_outbox
        "Once each: left alone, since nothing that the shipper makes has such a name."
        "Move it away.";
    warn cannot_sweep
        "A left-over in outbox/ cannot be removed. It harms nobody."
        "Remove it by hand, or give it to the shipper's user.";
    warn cannot_look
        "Once each: an episode cannot be looked at, and is not sent."
        "Mend its permissions: the shipper's user must read it.";
    warn state_unreadable
        "state.json is not ours or not whole: it is begun anew."
        "Nothing: holds are learned again.";
    warn state_unwritable
        "Once: state.json cannot be written, so that cis490 status tells old news."
        "See that root has room and belongs to the shipper's user.";
    error shipper_trouble
        "Something of the shipper's own failed; it goes on and tries again."
        "Read why=: mostly permissions or the disk.";
}
}

/// The event of that name.
pub fn find(name: &str) -> Option<&'static Event> {
    all().find(|event| event.name == name)
}

/// Every event, in the order of the manual.
pub fn all() -> impl Iterator<Item = &'static Event> {
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
            let wants_a_person = event.level == Level::Error;
            assert!(!wants_a_person || event.to_do != NOTHING, "{event:?}");
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name has two entries");
    }
}
