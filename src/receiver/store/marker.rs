//! `cis490-store`: the file that marks a folder as a store. It has the format's number, and the store's id.
//!
//! 1. The id is random and stays: readers know the store by it, and the objects of an archive do.
//! 2. A store of an older version has none. The first start on it gives it one.

use std::fs;
use std::io;
use std::path::Path;

use super::layout::Layout;
use crate::failure::Failure;
use crate::names::StoreId;
use crate::receiver::config::Config;
use crate::{clock, durable, events, owner, sys};

/// The first line of the marker. The number goes up when an older program must not touch the folder any
/// more.
const MARKER_LINE: &str = "cis490 store, format 1";
/// What stands before the store's id, in the second line. An older store has none.
const ID_KEY: &str = "id ";
/// Of a marker that a later version wrote, so much is shown.
const MARKER_BYTES_MAX: u64 = 4096;

pub(super) fn text(id: StoreId) -> String {
    format!("{MARKER_LINE}\n{ID_KEY}{id}\n")
}

pub(super) fn random_id() -> io::Result<StoreId> {
    let mut bytes = [0; 8];
    sys::fill_random(&mut bytes)?;
    Ok(StoreId::from_bytes(bytes))
}

/// The id of a store that this process has the lock of. A store without one gets it here, on the disk
/// before this returns. On a disk that cannot be written the id is that of this process alone: readers
/// notice another one after the next start, and begin again.
pub(crate) fn ensure_id(layout: &Layout) -> Result<StoreId, Failure> {
    if let Some(id) = check(layout, Path::new(""))?.id {
        return Ok(id);
    }
    let id = random_id().map_err(|error| {
        Failure::new(
            format!("the system gives no random numbers: {error}"),
            "this is a fault of the system; please report it",
        )
    })?;
    match durable::publish(&layout.marker(), text(id).as_bytes()) {
        Ok(()) => events::store_id(layout.root(), id),
        Err(error) => events::store_id_unwritable(&layout.marker(), &error),
    }
    Ok(id)
}

/// The id in the marker of a store. `None` if the store has none yet, or is none.
pub(crate) fn id(data_dir: &Path) -> Option<StoreId> {
    let marker = check(&Layout::new(data_dir), Path::new(""));
    marker.ok().and_then(|marker| marker.id)
}

/// When the marker was written, in seconds since 1970: when the store was made, or got its id.
pub(crate) fn made_at_s(data_dir: &Path) -> Option<u64> {
    let marker = fs::symlink_metadata(Layout::new(data_dir).marker()).ok()?;
    Some(clock::unix_seconds(marker.modified().ok()?))
}

/// The content of the marker.
pub(super) struct Marker {
    pub id: Option<StoreId>,
}

impl Marker {
    /// `None` for a marker of another format. Lines that a later version may add are passed over.
    fn parse(text: &str) -> Option<Marker> {
        let mut lines = text.lines();
        if lines.next() != Some(MARKER_LINE) || !text.ends_with('\n') {
            return None;
        }
        let id = lines.find_map(|line| line.strip_prefix(ID_KEY));
        Some(Marker {
            id: id.and_then(|id| StoreId::parse(id).ok()),
        })
    }
}

/// Errors: the folder is no store, or one of another format. `config_path` is for the command that a person
/// types to make it one.
pub(super) fn check(layout: &Layout, config_path: &Path) -> Result<Marker, Failure> {
    let root = layout.root().display();
    let marker = durable::read_regular(&layout.marker(), MARKER_BYTES_MAX);
    match marker.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
        Ok(text) => Marker::parse(&text).ok_or_else(|| {
            Failure::new(
                format!(
                    "{} says {:?}, and this cis490 knows {MARKER_LINE:?}",
                    layout.marker().display(),
                    text.lines().next().unwrap_or(""),
                ),
                "install the cis490 that made the folder, or a newer one",
            )
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::new(
            if layout.root().exists() {
                format!("{root} is not a store: it has no file cis490-store")
            } else {
                format!("{root} does not exist")
            },
            format!(
                "is its disk mounted? a new store begins with: {}",
                init_command(config_path, layout.root())
            ),
        )),
        Err(error) => Err(Failure::new(
            format!("cannot read {}: {error}", layout.marker().display()),
            owner::hint(&error, "look at the folder and at its disk (ls -l, dmesg)"),
        )),
    }
}

/// What a person types to make a store of `data_dir`, which a flag may have named instead of the
/// configuration.
fn init_command(config_path: &Path, data_dir: &Path) -> String {
    let mut command = format!("cis490 init --config {}", config_path.display());
    let is_of_config = Config::load(config_path).is_ok_and(|config| config.data_dir == data_dir);
    if !is_of_config {
        command.push_str(&format!(" --data-dir {}", data_dir.display()));
    }
    command
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::receiver::store::store_dir::{self, Made};
    use crate::receiver::store::testing::Folder;

    #[test]
    fn a_store_has_one_id_for_good() {
        let folder = Folder::new("id");
        let root = folder.path().join("store");
        let layout = Layout::new(&root);
        let wanted = StoreId::parse("0123456789abcdef").unwrap();
        store_dir::make_with_id(&root, Some(wanted)).unwrap();
        assert_eq!(id(&root), Some(wanted));
        assert_eq!(ensure_id(&layout).unwrap(), wanted);
        assert_eq!(
            store_dir::make_with_id(&root, Some(wanted)).unwrap(),
            Made::Already
        );
        let other = StoreId::parse("fedcba9876543210").unwrap();
        let words = store_dir::make_with_id(&root, Some(other))
            .unwrap_err()
            .to_string();
        assert!(words.contains("0123456789abcdef"), "{words}");
        assert_eq!(id(&root), Some(wanted));
    }

    #[test]
    fn a_store_of_an_older_version_gets_an_id_once() {
        let folder = Folder::new("older");
        let layout = Layout::new(folder.path());
        store_dir::make(folder.path()).unwrap();
        for text in [
            "cis490 store, format 1\n",
            "cis490 store, format 1\nid odd\n",
        ] {
            fs::write(layout.marker(), text).unwrap();
            assert_eq!(id(folder.path()), None, "{text:?}");
            let wanted = StoreId::parse("0123456789abcdef").unwrap();
            assert!(
                store_dir::make_with_id(folder.path(), Some(wanted)).is_err(),
                "{text:?}"
            );
            let given = ensure_id(&layout).unwrap();
            assert_eq!(ensure_id(&layout).unwrap(), given, "{text:?}");
            assert_eq!(id(folder.path()), Some(given), "{text:?}");
        }
    }

    #[test]
    fn what_a_later_version_adds_to_the_marker_is_passed_over() {
        let text = "cis490 store, format 1\nlater x\nid 0123456789abcdef\n";
        let marker = Marker::parse(text).unwrap();
        assert_eq!(marker.id, StoreId::parse("0123456789abcdef").ok());
        for odd in ["", "cis490 store, format 1", "cis490 store, format 10\n"] {
            assert!(Marker::parse(odd).is_none(), "{odd:?}");
        }
    }
}
