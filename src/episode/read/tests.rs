//! Archives as anybody may make them, in memory: what is found, what is not, what is told.

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

#[test]
fn what_is_no_zstd_is_told() {
    let whole = zstd(&file("ep/meta.json", &meta(COMMIT)));
    let window_of_256_mib = [&whole[..4], &[0b0000_0000, 18 << 3], &whole[6..]].concat();
    let dictionary = [&whole[..4], &[0b0000_0001, whole[5], 7], &whole[6..]].concat();
    for (what, bytes, words) in [
        ("nothing", &b""[..], "no meta.json"),
        ("text", b"not zstd at all", "not zstd"),
        ("three bytes", &whole[..3], "cannot be read"),
        ("a frame's head", &whole[..6], "cannot be read"),
        ("a wide window", &window_of_256_mib, "window of 256 MiB"),
        ("a dictionary", &dictionary, "a dictionary"),
        (
            "a skippable frame alone",
            b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
            "no meta.json",
        ),
    ] {
        let told = read_meta(bytes).unwrap_err().to_string();
        assert!(told.contains(words), "{what}: {told}");
    }
}

#[test]
fn frames_follow_each_other() {
    let tar = [
        file("ep/data", &[7; 3000]),
        file("ep/meta.json", &meta(COMMIT)),
    ]
    .concat();
    let skippable = b"\x51\x2a\x4d\x18\x03\0\0\0abc";
    let frames = [
        skippable,
        &zstd(&tar[..700])[..],
        &zstd(b""),
        skippable,
        &zstd(&tar[700..]),
    ];
    assert!(read_meta(&frames.concat()[..]).is_ok());
}

/// A gigabyte in a few kilobytes: blocks that say "128 KiB of zeros".
#[test]
fn a_bomb_is_looked_at_for_so_long_and_no_longer() {
    let zeros = entry(EntryType::Regular, b"ep/data", 1 << 40, b"");
    let mut bomb = zstd(&zeros);
    let no_checksum = bomb[4] & !0b100;
    bomb.truncate(6);
    bomb[4] = no_checksum;
    let raw_block = |bytes: &[u8]| [&(bytes.len() as u32 * 8).to_le_bytes()[..3], bytes].concat();
    bomb.extend(raw_block(&zeros));
    let rle_of_128_kib: u32 = (128 << 10) << 3 | 0b010;
    let block = [&rle_of_128_kib.to_le_bytes()[..3], &[0]].concat();
    bomb.extend(block.repeat(8192));
    let limit = 4 << 20;
    let mut left = &bomb[..];
    let error = read_meta_within(&mut left, limit).unwrap_err();
    assert!(matches!(error, ReadError::TooFar), "{error}");
    assert!(
        left.len() > bomb.len() / 2,
        "{} of {} left",
        left.len(),
        bomb.len()
    );
}

/// Whatever is cut off or flipped: an answer, and no panic that the decoder did not keep to itself.
#[test]
fn damage_of_every_kind_gets_an_answer() {
    let noise: Vec<u8> = (0..2000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let text = b"0.1,0.2,0.3;".repeat(200);
    let tar = [
        file("ep/a", &noise),
        file("ep/b", &text),
        file("ep/meta.json", &meta(COMMIT)),
    ]
    .concat();
    let whole = zstd(&tar);
    assert!(read_meta(&whole[..]).is_ok());
    for length in 0..whole.len() {
        if let Ok(meta) = read_meta(&whole[..length]) {
            assert_eq!(meta.commit.to_string(), COMMIT, "cut to {length}");
        }
    }
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let read = read_meta(&damaged[..]);
        let gave_up = matches!(&read, Err(ReadError::Damaged(words)) if words.contains("gave up"));
        assert!(!gave_up, "bit {bit} makes the decoder panic");
    }
}

/// A header as old or odd programs write one: with other bytes in some fields, and a right checksum.
fn odd(kind: u8, name: &[u8], fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[124..136].copy_from_slice(b"00000000000 ");
    block[156] = kind;
    for (at, bytes) in fields {
        block[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:>6o}\0 ").as_bytes());
    block
}

/// What other programs write before the `meta.json`, all of it legal or read by GNU tar, bsdtar and
/// Python's tarfile alike.
#[test]
fn what_other_programs_write_before_it_is_read_as_they_read_it() {
    const SIZE: usize = 124;
    let blank = |byte| [byte; 12];
    let attributes = format!("SCHILY.xattr.user.x={}\n", "v".repeat(300_000));
    let long = format!("{} {attributes}", attributes.len() + 7);
    assert_eq!(long.split(' ').next(), Some(&long.len().to_string()[..]));
    let good = meta(COMMIT);
    let content = file("x", &good)[512..].to_vec();
    let size_of_good = format!("{:011o} ", good.len()).into_bytes();
    let as_meta = |kind, fields: &[(usize, &[u8])]| {
        let fields = [fields, &[(SIZE, &size_of_good[..])]].concat();
        [odd(kind, b"ep/meta.json", &fields), content.clone()].concat()
    };
    let plain = file("ep/meta.json", &good);
    let global = |records: &str| {
        let bytes = records.len() as u64;
        entry(
            EntryType::XGlobalHeader,
            b"pax_global_header",
            bytes,
            records.as_bytes(),
        )
    };
    let mut signed = odd(b'0', "ep/d\u{e9}".as_bytes(), &[]);
    let sum: i32 = signed
        .iter()
        .enumerate()
        .map(|(i, &byte)| {
            if (148..156).contains(&i) {
                32
            } else {
                i32::from(byte.cast_signed())
            }
        })
        .sum();
    signed[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    for (what, entries) in [
        (
            "a label",
            vec![odd(b'V', b"label", &[(100, &[0; 48])]), plain.clone()],
        ),
        (
            "a label of blanks",
            vec![odd(b'V', b"label", &[(100, &[b' '; 48])]), plain.clone()],
        ),
        (
            "a directory without a size",
            vec![odd(b'5', b"ep/", &[(SIZE, &blank(0))]), plain.clone()],
        ),
        (
            "a directory of odd size",
            vec![odd(b'5', b"ep/", &[(SIZE, b"none")]), plain.clone()],
        ),
        (
            "a directory of 4096",
            vec![odd(b'5', b"ep/", &[(SIZE, b"00000010000 ")]), plain.clone()],
        ),
        (
            "a link of a size",
            vec![
                odd(b'2', b"ep/l", &[(SIZE, b"00000000012 ")]),
                plain.clone(),
            ],
        ),
        (
            "a hard link of a size",
            vec![
                odd(b'1', b"ep/l", &[(SIZE, b"00000077777 ")]),
                plain.clone(),
            ],
        ),
        (
            "a hard link with a body",
            vec![
                odd(b'1', b"ep/l", &[(SIZE, b"00000000003 ")]),
                {
                    let mut body = b"abc".to_vec();
                    body.resize(512, 0);
                    body
                },
                plain.clone(),
            ],
        ),
        (
            "a device of a negative size",
            vec![odd(b'3', b"ep/d", &[(SIZE, &[0xff; 12])]), plain.clone()],
        ),
        (
            "an empty file of a blank size",
            vec![odd(b'0', b"ep/e", &[(SIZE, &blank(b' '))]), plain.clone()],
        ),
        (
            "a negative time",
            vec![odd(b'0', b"ep/e", &[(136, &[0xff; 12])]), plain.clone()],
        ),
        ("a signed checksum", vec![signed, plain.clone()]),
        (
            "a global comment",
            vec![global("19 comment=abcdefg\n"), plain.clone()],
        ),
        ("a long global header", vec![global(&long), plain.clone()]),
        (
            "long attributes",
            vec![
                pax(&format!("{long}21 path=ep/meta.json\n")),
                file("x", &good),
            ],
        ),
        (
            "long attributes behind",
            vec![
                pax(&format!("21 path=ep/meta.json\n{long}")),
                file("x", &good),
            ],
        ),
        (
            "an empty path",
            vec![pax("21 path=ep/elsewhere\n8 path=\n"), plain.clone()],
        ),
        (
            "a size for all",
            vec![
                global(&format!("11 size={}\n", good.len())),
                odd(b'0', b"ep/meta.json", &[]),
                content.clone(),
            ],
        ),
        (
            "as Solaris has it",
            vec![
                {
                    let mut header = pax("21 path=ep/meta.json\n");
                    header.splice(..512, odd(b'X', b"x", &[(SIZE, b"00000000025 ")]));
                    header
                },
                file("x", &good),
            ],
        ),
        (
            "an access list",
            vec![
                odd(b'A', b"acl", &[(SIZE, b"00000001000 ")]),
                vec![7; 512],
                plain.clone(),
            ],
        ),
        ("of v7", vec![as_meta(0, &[])]),
        ("contiguous", vec![as_meta(b'7', &[])]),
        (
            "by prefix",
            vec![{
                let fields: [(usize, &[u8]); 3] =
                    [(257, b"ustar\x0000"), (345, b"ep"), (SIZE, &size_of_good)];
                [odd(b'0', b"meta.json", &fields), content.clone()].concat()
            }],
        ),
    ] {
        let read = read(&entries).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(read.commit.to_string(), COMMIT, "{what}");
    }
}

#[test]
fn a_window_of_128_mib_is_read() {
    let mut wide = zstd(&file("ep/meta.json", &meta(COMMIT)));
    assert_eq!(
        wide[4] & 0b0010_0000,
        0,
        "the frame has a byte for its window"
    );
    wide[5] = 17 << 3;
    assert_eq!(read_meta(&wide[..]).unwrap().commit.to_string(), COMMIT);
}

#[test]
fn how_far_it_was_looked_is_said() {
    let tar = [
        file("ep/data", &[7; 30_000]),
        file("ep/meta.json", &meta(COMMIT)),
    ]
    .concat();
    let whole = zstd(&tar);
    assert!(matches!(
        read_meta_within(&whole[..], 10_000),
        Err(ReadError::TooFar)
    ));
    let cut = read_meta(&whole[..whole.len() - 20])
        .unwrap_err()
        .to_string();
    assert!(!cut.contains("in its first"), "{cut}");
}
