//! An episode: one finished recording, as a directory on a lab host and as a tarball on the way.
//!
//! 1. An episode is files and directories, and a `meta.json` that names the commit of the code
//!    that made it. Anything else in it (a link, a socket, a device) makes it unfit; the error names it.
//! 2. The same directory gives the same bytes: names in byte order, `meta.json` first, owners and
//!    device numbers zero, times and the executable bit from the files. See [`pack`].
//! 3. The `meta.json` that the shipper sends as headers is the one in the tarball: both come from one
//!    reading of the file.
//! 4. Reading a tarball writes nothing, and uses no more memory and time than it is allowed,
//!    whatever the bytes say. See [`read_meta`] and [`read_meta_json`].
//!
//! Packing reads files and takes long: it is called from plain threads, never from a coroutine.

mod contents;
#[cfg(any(test, fuzzing))]
pub mod fuzzed;
mod meta;
mod pack;
mod read;
mod scan;
mod tar_stream;
mod tree;
mod unfit;

pub(crate) use cis490_zstd::Compressor;
pub use contents::{Contents, contents};
pub use meta::{BadMeta, META_BYTES_MAX, Meta};
pub(crate) use pack::pack_by;
pub use pack::{PackError, Packed, pack};
pub use read::{ReadError, read_meta, read_meta_json};
pub use tree::{Inspected, inspect, meta_of};
pub use unfit::Unfit;

/// The file that finishes an episode: the recorder writes it last.
pub const META_NAME: &str = "meta.json";
