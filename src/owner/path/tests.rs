//! Whose a folder is, and which paths others could exchange.

use std::os::unix::fs::{PermissionsExt, chown, symlink};

use super::*;
use crate::owner::account::is_whole;
use crate::receiver::store::testing::Folder;

/// A user who owns a part of the path, or a link to nowhere on it, could make the missing folder.
#[test]
fn a_missing_folder_belongs_to_the_user_who_could_make_it() {
    let folder = Folder::new("owner-missing");
    let at = |path: &str| folder.path().join(path);
    for dir in ["his", "roots", "thirds", "open"] {
        fs::create_dir(at(dir)).unwrap();
    }
    if chown(at("his"), Some(4711), Some(0)).is_err()
        || !is_whole(&fs::read_to_string("/proc/self/uid_map").unwrap())
    {
        eprintln!("skipped: a_missing_folder_belongs_to_the_user_who_could_make_it: needs root");
        return;
    }
    chown(at("thirds"), Some(4712), Some(4712)).unwrap();
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink(at("roots/none"), at("his/link")).unwrap();
    symlink(at("roots/none"), at("roots/link")).unwrap();
    symlink(at("thirds/none"), at("his/to-third")).unwrap();
    symlink(at("his/link"), at("roots/through")).unwrap();
    symlink(at("roots/none"), at("open/link")).unwrap();
    let look = |path: &str| match owner_or_maker(&at(path)) {
        Ok(Owner::Root) => "root".to_owned(),
        Ok(Owner::User { uid }) => uid.to_string(),
        Err(Unsafe::Io { error, .. }) => error.kind().to_string(),
        Err(Unsafe::Open { words, .. }) => words,
    };
    assert_eq!(look("roots"), "root");
    assert_eq!(look("roots/none"), "root");
    assert_eq!(look("roots/link"), "root");
    assert_eq!(look("his"), "4711");
    assert_eq!(look("his/none/below"), "4711");
    assert_eq!(look("his/link"), "4711");
    assert_eq!(look("his/link/below"), "4711");
    assert_eq!(look("roots/through"), "4711");
    assert!(look("his/to-third").contains("belongs to the user"));
    assert!(look("open/none").contains("everybody on this machine may write"));
    std::os::unix::fs::lchown(at("open/link"), Some(4711), None).unwrap();
    assert!(look("open/link").contains("everybody on this machine may write"));
}

/// A user who may replace a part of the path decides on which folder root would work.
#[test]
fn a_path_that_others_could_exchange_is_refused() {
    let folder = Folder::new("owner-path");
    let at = |path: &str| folder.path().join(path);
    for dir in ["a", "a/b", "a/b/c", "other"] {
        fs::create_dir(at(dir)).unwrap();
    }
    if chown(at("a/b/c"), Some(4711), Some(4711)).is_err()
        || !is_whole(&fs::read_to_string("/proc/self/uid_map").unwrap())
    {
        eprintln!("skipped: a_path_that_others_could_exchange_is_refused: needs root");
        return;
    }
    symlink("a/b", at("link")).unwrap();
    symlink("../other", at("a/up")).unwrap();
    let set = |path: &str, uid: u32, mode: u32| {
        chown(at(path), Some(uid), Some(uid)).unwrap();
        fs::set_permissions(at(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    let look = |path: &str| match owner_of(&at(path)) {
        Ok(Owner::Root) => "root".to_owned(),
        Ok(Owner::User { uid }) => uid.to_string(),
        Err(Unsafe::Io { error, .. }) => error.kind().to_string(),
        Err(Unsafe::Open { words, .. }) => words,
    };
    let his = |path: &str| assert_eq!(look(path), "4711", "{path}");
    let refused = |path: &str, words: &str| {
        let said = look(path);
        assert!(said.contains(words), "{path}: {said}");
    };
    his("a/b/c");
    his("link/c");
    assert_eq!(look("a/b"), "root");
    assert_eq!(look("a/up"), "root");
    assert_eq!(look("a/none"), "entity not found");
    set("a/b", 4711, 0o755);
    his("a/b/c");
    set("a/b", 4712, 0o755);
    refused("a/b/c", "belongs to the user 4712");
    refused("link/c", "belongs to the user 4712");
    set("a/b", 0, 0o777);
    refused("a/b/c", "everybody on this machine may write");
    refused("a/b", "everybody on this machine may write");
    set("a/b", 0, 0o1777);
    his("a/b/c");
    set("a/b/c", 4712, 0o755);
    assert_eq!(look("a/b/c"), "4712");
    set("a/b", 0, 0o755);
    // A link of his, in a folder that is root's and sticky, is his to exchange.
    set("a", 0, 0o1777);
    std::os::unix::fs::lchown(at("a/up"), Some(4711), None).unwrap();
    refused("a/up", "everybody on this machine may write");
    set("other", 4711, 0o700);
    his("a/up");
    chown(at("a"), None, Some(4711)).unwrap();
    set("a", 0, 0o755);
    set("a/b/c", 0, 0o755);
    assert_eq!(look("a/b/c"), "root");
    chown(at("a/b"), None, Some(4711)).unwrap();
    fs::set_permissions(at("a/b"), fs::Permissions::from_mode(0o775)).unwrap();
    refused("a/b/c", "the group 4711 may write");
    // A list of access (version 2): the owner, the user 4712, the group, the mask, all others.
    set("a", 0, 0o755);
    set("a/b", 0, 0o755);
    fs::set_permissions(at("a/b/c"), fs::Permissions::from_mode(0o755)).unwrap();
    chown(at("a/b/c"), Some(4711), None).unwrap();
    his("a/b/c");
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, may, id) in [
        (0x01u16, 7u16, u32::MAX),
        (0x02, 7, 4712),
        (0x04, 5, u32::MAX),
        (0x10, 7, u32::MAX),
        (0x20, 5, u32::MAX),
    ] {
        list.extend(
            [
                &tag.to_le_bytes()[..],
                &may.to_le_bytes(),
                &id.to_le_bytes(),
            ]
            .concat(),
        );
    }
    let open = fs::File::open(at("a/b")).unwrap();
    if sys::set_xattr(&open, c"system.posix_acl_access", &list).is_ok() {
        refused("a/b/c", "access list");
    }
    set("a/b", 0, 0o755);
}
