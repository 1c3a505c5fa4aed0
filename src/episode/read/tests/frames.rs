//! The zstd frames around an archive: damaged, endless, one after the other, with a large window.

use super::*;

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

/// A tarball with any byte cut off or changed gets an answer, and no panic leaves `read_meta`.
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
