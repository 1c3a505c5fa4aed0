//! Archives as anybody may make them, in memory: which `meta.json` is found in them, and which error
//! the others get.

mod frames;
mod other_programs;

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tar::{EntryType, Header};

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "ffffffffffffffffffffffffffffffffffffffff";

fn meta(commit: &str) -> Vec<u8> {
    format!(r#"{{"code_version":{{"commit":"{commit}","dirty":true}}}}"#).into_bytes()
}

/// One entry as any archiver may write it: the size that is stated need not be the content's.
fn entry(kind: EntryType, name: &[u8], stated_bytes: u64, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(stated_bytes);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let bytes = content.len() as u64;
    entry(EntryType::Regular, name.as_bytes(), bytes, content)
}

fn zstd(tar: &[u8]) -> Vec<u8> {
    compress_to_vec(tar, CompressionLevel::Fastest)
}

/// What is read of entries, followed by an archive's end.
fn read(entries: &[Vec<u8>]) -> Result<Meta, ReadError> {
    let mut tar = entries.concat();
    tar.resize(tar.len() + 1024, 0);
    read_meta(&zstd(&tar)[..])
}

fn pax(records: &str) -> Vec<u8> {
    let bytes = records.len() as u64;
    entry(
        EntryType::XHeader,
        b"PaxHeaders/x",
        bytes,
        records.as_bytes(),
    )
}

#[test]
fn a_regular_meta_json_at_the_top_is_found_wherever_it_stands() {
    let deep = "d/".repeat(60) + "data";
    let long = deep.len() as u64;
    let by_long_name = entry(
        EntryType::GNULongName,
        b"././@LongLink",
        12,
        b"ep/meta.json",
    );
    let with_nul = entry(
        EntryType::GNULongName,
        b"././@LongLink",
        13,
        b"ep/meta.json\0",
    );
    for (what, entries) in [
        (
            "ours",
            vec![file("ep/meta.json", &meta(COMMIT)), file("ep/data", b"x")],
        ),
        ("bare", vec![file("meta.json", &meta(COMMIT))]),
        ("dots", vec![file("./ep/./meta.json", &meta(COMMIT))]),
        ("dot", vec![file("./meta.json", &meta(COMMIT))]),
        (
            "last",
            vec![
                file("ep/a", &[7; 3000]),
                file("ep/b", b""),
                file("ep/meta.json", &meta(COMMIT)),
            ],
        ),
        (
            "first of two",
            vec![
                file("ep/meta.json", &meta(COMMIT)),
                file("ep/meta.json", &meta(OTHER)),
            ],
        ),
        (
            "after a long name",
            vec![
                entry(
                    EntryType::GNULongName,
                    b"././@LongLink",
                    long,
                    deep.as_bytes(),
                ),
                file("ignored", b"x"),
                file("ep/meta.json", &meta(COMMIT)),
            ],
        ),
        (
            "by a long name",
            vec![by_long_name, file("ignored", &meta(COMMIT))],
        ),
        (
            "by a long name with NUL",
            vec![with_nul, file("ignored", &meta(COMMIT))],
        ),
        (
            "by pax",
            vec![
                pax("30 mtime=1700000000.123456789\n21 path=ep/meta.json\n"),
                file("ignored", &meta(COMMIT)),
            ],
        ),
        (
            "size by pax",
            vec![
                pax("10 size=3\n"),
                entry(EntryType::Regular, b"ep/data", 0, b"abc"),
                file("ep/meta.json", &meta(COMMIT)),
            ],
        ),
    ] {
        let read = read(&entries).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(
            (read.commit.to_string(), read.dirty),
            (COMMIT.into(), Some(true)),
            "{what}"
        );
    }
}

#[test]
fn what_only_looks_like_it_does_not_count() {
    let decoy = meta(OTHER);
    let bytes = decoy.len() as u64;
    let of_kind = |kind| entry(kind, b"ep/meta.json", bytes, &decoy);
    for (what, decoy) in [
        ("deeper down", file("ep/sub/meta.json", &decoy)),
        ("absolute", file("/ep/meta.json", &decoy)),
        ("at the root", file("/meta.json", &decoy)),
        ("above", file("../meta.json", &decoy)),
        ("a directory's name", file("ep/meta.json/", &decoy)),
        ("another name", file("ep/meta.json.bak", &decoy)),
        ("a hard link", of_kind(EntryType::Link)),
        ("a symbolic link", of_kind(EntryType::Symlink)),
        ("a device", of_kind(EntryType::Char)),
        ("a fifo", of_kind(EntryType::Fifo)),
        ("a directory", of_kind(EntryType::Directory)),
        ("a kind that nobody knows", of_kind(EntryType::new(b'?'))),
        (
            "renamed away",
            [
                entry(EntryType::GNULongName, b"././@LongLink", 5, b"ep/ab"),
                file("ep/meta.json", &decoy),
            ]
            .concat(),
        ),
    ] {
        let alone = read(std::slice::from_ref(&decoy));
        assert!(matches!(alone, Err(ReadError::NoMeta)), "{what}: {alone:?}");
        let read = read(&[decoy, file("ep/meta.json", &meta(COMMIT))]).unwrap();
        assert_eq!(read.commit.to_string(), COMMIT, "{what}");
    }
}

#[test]
fn a_sparse_file_with_maps_of_its_own_is_stepped_over() {
    let mut sparse = Header::new_gnu();
    sparse.as_old_mut().name[..7].copy_from_slice(b"ep/data");
    sparse.set_entry_type(EntryType::GNUSparse);
    sparse.set_size(512);
    if let Some(gnu) = sparse.as_gnu_mut() {
        gnu.isextended[0] = 1;
    }
    sparse.set_cksum();
    let mut map = [1; 512];
    let mut last_map = [2; 512];
    (map[504], last_map[504]) = (1, 0);
    let data = [3; 512];
    let sparse = [&sparse.as_bytes()[..], &map, &last_map, &data].concat();
    assert!(read(&[sparse, file("ep/meta.json", &meta(COMMIT))]).is_ok());
}

#[test]
fn what_is_too_large_or_malformed_is_told() {
    let huge = |kind, name: &[u8]| entry(kind, name, 1 << 60, b"");
    let mut damaged = file("ep/meta.json", &meta(COMMIT));
    damaged[0] ^= 1;
    for (what, entries, words) in [
        ("nothing", vec![], "no meta.json"),
        ("no JSON", vec![file("ep/meta.json", b"{")], "not JSON"),
        (
            "a meta.json of a gigabyte",
            vec![entry(EntryType::Regular, b"ep/meta.json", 1 << 30, b"{}")],
            "larger than",
        ),
        (
            "an endless name",
            vec![huge(EntryType::GNULongName, b"././@LongLink")],
            "longer than any name",
        ),
        (
            "an endless extension",
            vec![huge(EntryType::XHeader, b"x"), vec![b'1'; 1024]],
            "malformed",
        ),
        (
            "an endless path",
            vec![
                huge(EntryType::XHeader, b"x"),
                b"1000000000000 path=".to_vec(),
            ],
            "longer than any name",
        ),
        (
            "an endless link name",
            vec![huge(EntryType::GNULongLink, b"././@LongLink")],
            "cut short",
        ),
        (
            "an endless file",
            vec![huge(EntryType::Regular, b"ep/data")],
            "cut short",
        ),
        (
            "a size past all sizes",
            vec![pax("27 size=18446744073709551615\n"), file("ep/data", b"")],
            "header",
        ),
        (
            "a size of no digits",
            vec![pax("11 size=-1\n"), file("ep/data", b"")],
            "malformed",
        ),
        (
            "a record past its end",
            vec![pax("99 path=a\n"), file("ep/data", b"")],
            "malformed",
        ),
        (
            "a record of no length",
            vec![pax("0 path=a\n"), file("ep/data", b"")],
            "malformed",
        ),
        ("a header of other bytes", vec![damaged], "header"),
    ] {
        let told = read(&entries).unwrap_err().to_string();
        assert!(told.contains(words), "{what}: {told}");
    }
}
