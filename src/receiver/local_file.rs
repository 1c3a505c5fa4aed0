//! The local file of an episode, in words that the store and the archive share.

/// What the store says of an episode's file; `T` is what was asked for.
#[derive(Debug)]
pub(crate) enum LocalFile<T> {
    /// The file is whole, of the row that was asked about, and on the disk for good.
    Whole(T),
    /// An upload of its name is in flight: in a moment the file is whole, or another, or gone.
    InFlight,
    /// There is no file, or none of the row, or it is not to be had for this.
    Nothing,
}

/// What came of removing a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// So many bytes are free.
    Removed(u64),
    /// An upload or a download has it: later.
    InUse,
    /// There is no such file, or it is not to be removed.
    Nothing,
}

impl<T> LocalFile<T> {
    pub(crate) fn map<U>(self, of: impl FnOnce(T) -> U) -> LocalFile<U> {
        match self {
            LocalFile::Whole(whole) => LocalFile::Whole(of(whole)),
            LocalFile::InFlight => LocalFile::InFlight,
            LocalFile::Nothing => LocalFile::Nothing,
        }
    }
}
