//! The local file of an episode, in words that the store and the archive share.

/// What is known of a file, and what its holder wants of it.
#[derive(Debug)]
pub(crate) enum LocalFile<T> {
    /// Whole, of the row that was asked about, and on the disk for good.
    Whole(T),
    /// An upload has it in its hands: in a moment it is whole, or another, or gone.
    Unsettled,
    /// Not there, not of the row, or not for this purpose.
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
            LocalFile::Unsettled => LocalFile::Unsettled,
            LocalFile::Nothing => LocalFile::Nothing,
        }
    }
}
