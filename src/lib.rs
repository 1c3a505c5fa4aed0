//! cis490: a store-and-forward shipper for lab hosts, a durable receiver for the Pi, and the
//! version gate between them. No public API is promised: this is the program's own inside.
//!
//! The words that the code uses, and the module where each is at home:
//!
//! | word | meaning | module |
//! | --- | --- | --- |
//! | episode | a finished recording on a lab host: a directory with a `meta.json` and data files | `episode` |
//! | tarball | one episode packed, `<id>.tar.zst` | `shipper::outbox` |
//! | slot | where one episode lives: its host and its name | `wire` |
//! | receipt | what the receiver answers for a stored episode | `wire` |
//! | verdict | what the shipper does after an answer, by its status and name | `shipper::verdict` |
//! | refusal | an answer of the receiver that says no, with the data of its request | `receiver::refusal` |
//! | refusal table | what all refusals of one kind have in common: status, title, what to do | `refusal_table` |
//! | refusal log | the file of the newest refused uploads, `refusals.jsonl` | `receiver::refusal_log` |
//! | probe | a request that is judged as an upload would be, and of which nothing is kept | `receiver::http::probe` |
//! | finding | one thing that a person should know or do, with its remedy | `receiver::findings`, `doctor` |
//! | facts | what is known of the receiver and its hosts at one moment: what findings are made of | `receiver::findings` |
//! | ledger | which beginnings and ends of findings wait to be reported | `receiver::notify` |
//! | version gate | admits an upload only if its commit is in the window | `receiver::version_gate` |
//! | window, head | the commits that get in, newest first, and the newest of them | `receiver::version_gate::window` |
//! | source | where the window comes from: Forgejo, or a local repository | `receiver::version_gate::sources` |
//! | remediation | the shell lines that bring a lab host up to date | `receiver::version_gate` |
//! | upload | one episode on its way into the store: its partial file and its reservation | `receiver::store::upload` |
//! | kept upload | an upload whose body broke off, and which its sender may resume | `receiver::http::kept_uploads` |
//! | ticket | the place of an upload under way that may come to be kept | `receiver::http::kept_uploads` |
//! | suspended upload | the file and the hash state of an upload whose body broke off | `receiver::store::upload::suspended` |
//! | partial file | the file in incoming/ that an upload fills | `receiver::store::upload` |
//! | reservation | the bytes of the disk that an upload was promised | `receiver::store::space` |
//! | index, row | `index.jsonl`, and one line of it: a receipt | `receiver::store::index` |
//! | cursor, page | where in the index a list begins, and what one answer shows of it | `receiver::store::row_pages` |
//! | store id | 16 random hex digits by which readers know a store | `receiver::store::marker` |
//! | reader | somebody who may list and fetch what is stored: a `[[reader]]` table | `receiver::access` |
//! | committer | where an upload becomes a stored episode: name and row, both on the disk | `receiver::store::committer` |
//! | commit queue | where uploads that finish together share one batch and its syncs | `receiver::store::commit_queue` |
//! | in flight | a name that was linked and is not known to be on the disk | `receiver::store::committer` |
//! | quarantine | the folder for what lies in the store and is not as the program made it: kept, and not served | `receiver::store::layout` |
//! | request head | the request line and the headers | `receiver::http::head` |
//! | guard | what stands between the HTTP crate and the rest: requests and answers go through it | `receiver::http::guard` |
//! | archive | the bucket that episodes are copied to, read back from, and evicted to | `receiver::archive` |
//! | proof | a line of the ledger: an object was read back and had its receipt's digest | `receiver::archive::ledger` |
//! | eviction | removing the local file of a proven episode when room is needed | `receiver::archive::evict` |
//! | shelf | the store, as far as the archive sees it | `receiver::archive::shelf` |
//! | intake | hands the HTTP crate one whole request head at a time | `receiver::http::guard::connection::intake` |
//! | connection table | the open connections, and which makes room for another | `receiver::http::guard::connection_table` |
//! | permit | the right to one upload, or to one wait for the gate; shared out by address | `receiver::http::fair_limiter` |
//! | blocking pool, clerk | the plain threads that ask the disk for coroutines, and one of them | `receiver::http::blocking_pool` |
//! | lister | a plain thread that reads a page of the index for a list | `receiver::http::list` |
//! | body thread | a plain thread that takes the bodies of a connection's uploads to the store | `receiver::http::body_threads` |
//! | lingering close | closing a connection so that its last answer is still read | `receiver::http::guard::lingering_close` |
//! | liveness | the proof for systemd's watchdog that every part still answers | `receiver::liveness` |
//! | critical thread | one without which the process must not live on | `receiver::critical_thread` |
//! | stats | the figures of each host and hour | `receiver::stats` |
//! | counters | what is counted while requests are answered | `receiver::http::counters` |
//! | queue | the episodes on a lab host, each in the state that its folders say | `shipper::queue` |
//! | report on the queue | what a lab host sends the receiver each minute: what waits, is held and was refused | `wire::lab_state` |
//! | seal | the attribute of a packed tarball: its digest, and the files it was made from | `shipper::outbox` |
//! | hold | a commit that the gate refuses: nothing of it is sent until the gate says yes | `shipper::holds` |
//! | set aside | moved to refused/: these bytes always get the same answer | `shipper::ending_batch` |
//! | receiver client | asks the receiver over HTTP, with a connection for each request | `shipper::client` |
//! | burst | small episodes sent several at once, each as a parcel in memory | `shipper::burst` |
//! | ending batch | the moves of episodes that leave together, with syncs that they share | `shipper::ending_batch` |
//! | early response | an answer that comes before the body is sent: it ends the sending | `http_connection::socket` |
//! | interim response | a 1xx answer: passed over, since the final one follows | `http_connection::interim` |
//! | ureq transport | a socket of ours as ureq's `Transport` | `http_connection::ureq_transport` |
//! | wakeup | how a signal wakes the loop that rests | `shipper::wakeup` |
//! | stop | the flag that everything that waits reads: the shipper is to end | `shipper::stop` |
//! | pull | bringing what a receiver has stored into a folder of another machine | `pull` |
//! | pass | one look of a pull at the receiver's list, and what it fetches | `pull::pass` |
//! | missing | what a receiver lists and does not give: each later pull asks for it again | `pull::missing` |
//! | prefetch | packing the next episode while one is sent | `shipper::prefetch` |

#![deny(unreachable_pub)]

// What a person types.
pub mod commands;

// The two sides, and those who read what is stored.
mod pull;
pub mod receiver;
mod shipper;

// What both sides have agreed on.
pub mod names;
mod refusal_table;
pub mod wire;

// What both sides use: episodes, files, other programs, the system.
mod backoff;
mod child;
mod durable;
pub mod episode;
mod file_identity;
mod folder_lock;
mod git;
mod http_connection;
mod mounts;
mod owner;
mod reader_client;
mod sync;
mod sys;
mod test_times;
mod thread_pool;
pub mod tls;

pub use self::sys::ThreadCache as Allocator;

// Configuration, log, and everything else that people and systemd read.
pub mod clock;
mod config;
mod doctor;
mod events;
mod failure;
mod histogram;
mod human;
mod service;
mod terminal;
mod version;

// For tests.
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(test)]
mod seeded;
