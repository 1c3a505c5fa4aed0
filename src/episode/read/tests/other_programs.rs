//! Archives of other programs: their headers, and what they put before the `meta.json`.

use super::*;

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
