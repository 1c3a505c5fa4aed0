//! What the tarball of a directory holds, by the reference tools; and that the same directory is the
//! same bytes.

use std::fs::{self, File};
use std::io::Read;
use std::ops::ControlFlow::Continue;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use cis490::episode::{self, inspect, read_meta};
use sha2::{Digest, Sha256};

use super::{COMMIT, Folder, META, noise, pack, write};

/// Runs a program of the reference implementations; `None`, said by name, where it is missing.
fn reference(program: &str, args: &[&str], stdin: File) -> Option<Vec<u8>> {
    let child = Command::new(program)
        .args(args)
        .stdin(stdin)
        .stderr(Stdio::inherit())
        .output();
    match child {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{program} {args:?}: {}",
                output.status
            );
            Some(output.stdout)
        }
        Err(error) => {
            skip!("comparing with {program}, which does not run: {error}");
            None
        }
    }
}

#[test]
fn the_reference_tools_read_what_was_packed() {
    let folder = Folder::new();
    let dir = folder.episode("recorded");
    let tarball = folder.join("t.tar.zst");
    let packed = pack(&dir, &tarball).unwrap();
    let bytes = fs::read(&tarball).unwrap();
    assert_eq!(packed.bytes, bytes.len() as u64);
    assert_eq!(packed.sha256.as_bytes()[..], Sha256::digest(&bytes)[..]);
    assert_eq!(packed.meta, inspect(&dir).unwrap().meta);
    assert_eq!(read_meta(&bytes[..]).unwrap().commit.to_string(), COMMIT);

    let Some(tar) = reference("zstd", &["-dc"], File::open(&tarball).unwrap()) else {
        return;
    };
    let plain = folder.join("t.tar");
    fs::write(&plain, &tar).unwrap();
    let unpacked = folder.join("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let into = unpacked.to_str().unwrap();
    if reference(
        "tar",
        &["-xf", "-", "-C", into],
        File::open(&plain).unwrap(),
    )
    .is_none()
    {
        return;
    }
    let same = Command::new("diff")
        .args(["-r"])
        .arg(&dir)
        .arg(unpacked.join("ep"))
        .output();
    let same = same.unwrap();
    assert!(
        same.status.success(),
        "{}",
        String::from_utf8_lossy(&same.stdout)
    );
    let modified = |path: PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let to_the_second = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    assert_eq!(modified(unpacked.join("ep/a.bin")), to_the_second);
    assert_eq!(modified(unpacked.join("ep/frames")), to_the_second);
}

#[test]
fn meta_json_is_first_and_the_rest_in_order() {
    let folder = Folder::new();
    let tarball = folder.join("t.tar.zst");
    pack(&folder.episode("recorded"), &tarball).unwrap();
    let decoder = ruzstd::decoding::StreamingDecoder::new(File::open(&tarball).unwrap()).unwrap();
    let mut archive = tar::Archive::new(decoder);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!(
            (header.username_bytes(), header.groupname_bytes()),
            (Some(&b""[..]), Some(&b""[..]))
        );
        names.push(entry.path_bytes().into_owned());
    }
    assert_eq!(names[0], b"ep/meta.json");
    assert_eq!(names[1], b"ep/");
    let expected = [
        "a.bin",
        "b.csv",
        "deep/",
        "deep/ddd",
        "deep/ddd",
        "empty",
        "exactly",
        "frames/",
        "frames/0001.png",
        "frames/meta.json",
        "not-utf8",
        "nothing in here/",
        "zeros",
    ];
    assert_eq!(names.len(), 2 + expected.len());
    for (name, expected) in names[2..].iter().zip(expected) {
        let name = String::from_utf8_lossy(name);
        assert!(
            name.starts_with(&format!("ep/{expected}")),
            "{name} is not {expected}"
        );
    }
}

#[test]
fn the_same_directory_is_the_same_bytes_elsewhere_and_later() {
    let folder = Folder::new();
    let (one, two) = (folder.episode("one"), folder.episode("elsewhere/two"));
    let first = pack(&one, &folder.join("1")).unwrap();
    assert_eq!(first, pack(&one, &folder.join("2")).unwrap());
    // What an archiver could also see and must not: who may read, when somebody looked.
    fs::set_permissions(two.join("a.bin"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(two.join("frames/.swp"), b"").unwrap();
    fs::remove_file(two.join("frames/.swp")).unwrap();
    fs::hard_link(two.join("b.csv"), folder.join("a backup")).unwrap();
    assert_eq!(first, pack(&two, &folder.join("3")).unwrap());
    assert_eq!(
        fs::read(folder.join("1")).unwrap(),
        fs::read(folder.join("3")).unwrap()
    );

    fs::set_permissions(two.join("a.bin"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_ne!(first.sha256, pack(&two, &folder.join("4")).unwrap().sha256);
}

/// Every size about a block's edge, of bytes of many kinds: the encoder is young, and what it
/// writes is all that will be left of an episode.
#[test]
fn the_reference_decoder_agrees_on_many_contents() {
    let folder = Folder::new();
    let words: Vec<u8> = (0..400_000_u32)
        .flat_map(|i| format!("{},", i % 977 * (i % 31)).into_bytes())
        .collect();
    let floats: Vec<u8> = (0..100_000)
        .flat_map(|i| (f64::from(i) * 0.01).sin().to_le_bytes())
        .collect();
    let mixed = [
        noise(5000),
        vec![0; 300_000],
        words[..9000].to_vec(),
        noise(200_000),
    ]
    .concat();
    for (kind, content) in [
        ("words", words),
        ("floats", floats),
        ("mixed", mixed),
        ("noise", noise(400_000)),
    ] {
        for bytes in [
            1, 2, 511, 512, 513, 1024, 129_023, 129_024, 129_025, 131_072, 260_000, 400_000,
        ] {
            let dir = folder.join("ep");
            write(&dir, "meta.json", META);
            write(&dir, "data", &content[..bytes]);
            let tarball = folder.join("t.tar.zst");
            pack(&dir, &tarball).unwrap();
            let Some(tar) = reference("zstd", &["-dc"], File::open(&tarball).unwrap()) else {
                return;
            };
            let mut archive = tar::Archive::new(&tar[..]);
            let mut entry = archive.entries().unwrap().nth(2).unwrap().unwrap();
            let mut unpacked = Vec::new();
            entry.read_to_end(&mut unpacked).unwrap();
            assert!(
                unpacked == content[..bytes],
                "{bytes} bytes of {kind} came back changed"
            );
        }
    }
}

/// ruzstd 0.9.1 wrote a frame that no decoder reads when a block's literals became a little
/// smaller and its sequences made up for it: the block was then stored as it is, and the next one
/// referred to a Huffman table that was never written. Two such blocks, where the tarball's begin.
#[test]
fn a_block_stored_as_it_is_leaves_nothing_for_the_next_to_build_on() {
    let folder = Folder::new();
    let dir = folder.join("ep");
    write(&dir, "meta.json", META);
    for frequent in [65_212, 65_228, 65_244] {
        let unlucky = unlucky_blocks(frequent);
        // Headers and meta.json take 2048 bytes of the first block.
        write(
            &dir,
            "data",
            [&vec![0; (128 << 10) - 2048], &unlucky[..]].concat(),
        );
        let tarball = folder.join("t.tar.zst");
        let mut out = File::create(&tarball).unwrap();
        let packed = episode::pack(&dir, "ep", &mut out, &mut |_, _| Continue(())).unwrap();
        assert_eq!(packed.bytes, fs::metadata(&tarball).unwrap().len());
        let bytes = fs::read(&tarball).unwrap();
        assert_eq!(packed.sha256.as_bytes()[..], Sha256::digest(&bytes)[..]);
        let mut archive =
            tar::Archive::new(ruzstd::decoding::StreamingDecoder::new(&bytes[..]).unwrap());
        let mut entry = archive.entries().unwrap().nth(2).unwrap().unwrap();
        let mut unpacked = Vec::new();
        entry.read_to_end(&mut unpacked).unwrap();
        assert!(unpacked.ends_with(&unlucky));
    }
}

/// Two blocks of 255 values, of which every second is a bit more frequent, in two random orders;
/// and in the first one repetition, far from where it was seen.
///
/// The orders are by a generator of their own: most orders make no unlucky block, and these do.
fn unlucky_blocks(frequent: usize) -> Vec<u8> {
    let rest = (128 << 10) - frequent;
    let count = |value: usize| match value % 2 {
        1 => frequent / 127 + usize::from(value / 2 < frequent % 127),
        _ => rest / 128 + usize::from(value / 2 < rest % 128),
    };
    let sorted: Vec<u8> = (0..255)
        .flat_map(|value| vec![value as u8; count(value)])
        .collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ frequent as u64;
    let mut shuffled = || {
        let mut block = sorted.clone();
        for last in (1..block.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.swap(last, (state >> 11) as usize % (last + 1));
        }
        block
    };
    let mut blocks = [shuffled(), shuffled()].concat();
    blocks.copy_within(20..25, 130_012);
    blocks
}
