//! Packing real directories: what the tarball holds, that the same directory is the same bytes,
//! and what is refused, by name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::ops::ControlFlow::Continue;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use cis490::episode::{self, PackError, Packed, Unfit, inspect, read_meta};
use sha2::{Digest, Sha256};

use crate::world::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const META: &str =
    r#"{"code_version":{"commit":"0123456789abcdef0123456789abcdef01234567","dirty":false},"n":3}"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(TempDir::new())
    }

    fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    /// An episode with a bit of everything that is allowed.
    fn episode(&self, name: &str) -> PathBuf {
        let dir = self.join(name);
        write(&dir, "meta.json", META.as_bytes());
        write(&dir, "b.csv", b"0.25,0.5\n".repeat(50_000));
        write(&dir, "a.bin", noise(300_000));
        write(&dir, "empty", b"");
        write(&dir, "zeros", vec![0; 1_000_000]);
        write(&dir, "frames/0001.png", noise(70_000));
        write(&dir, "frames/meta.json", b"{}");
        write(
            &dir,
            format!("deep/{}/x", "d".repeat(200)),
            b"at a long name",
        );
        write(
            &dir,
            format!("exactly-{}", "1".repeat(100 - 8 - 3)),
            b"100 bytes",
        );
        write(&dir, OsStr::from_bytes(b"not-utf8-\xff\xfe"), b"any name");
        fs::create_dir(dir.join("nothing in here")).unwrap();
        dir
    }
}

fn write(dir: &Path, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
}

/// Bytes that no compressor makes smaller.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ bytes as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// Packs as `ep` into `tarball`.
fn pack(dir: &Path, tarball: &Path) -> Result<Packed, PackError> {
    let mut out = File::create(tarball).unwrap();
    episode::pack(dir, "ep", &mut out, &mut |_, _| Continue(()))
}

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

#[test]
fn what_is_neither_file_nor_directory_is_named() {
    let folder = Folder::new();
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil, &str); 7] = [
        (
            "a link",
            |dir| symlink("a.bin", dir.join("frames/odd")).unwrap(),
            "frames/odd\" is a symbolic link",
        ),
        (
            "a link to nothing",
            |dir| symlink("/nowhere", dir.join("odd")).unwrap(),
            "odd\" is a symbolic link",
        ),
        (
            "a link to a directory",
            |dir| symlink("/etc", dir.join("odd")).unwrap(),
            "odd\" is a symbolic link",
        ),
        (
            "a socket",
            |dir| drop(UnixListener::bind(dir.join("odd")).unwrap()),
            "odd\" is a socket",
        ),
        ("a fifo", |dir| fifo(&dir.join("odd")), "odd\" is a fifo"),
        (
            "meta.json a link",
            |dir| {
                fs::rename(dir.join("meta.json"), dir.join("m")).unwrap();
                symlink("m", dir.join("meta.json")).unwrap();
            },
            "meta.json\" is a symbolic link",
        ),
        (
            "meta.json a fifo",
            |dir| {
                fs::remove_file(dir.join("meta.json")).unwrap();
                fifo(&dir.join("meta.json"));
            },
            "meta.json\" is a fifo",
        ),
    ];
    for (name, spoil, words) in cases {
        let dir = folder.episode(name);
        spoil(&dir);
        let unfit = inspect(&dir).unwrap_err();
        assert!(
            !unfit.is_passing() && unfit.to_string().contains(words),
            "{name}: {unfit}"
        );
        let error = pack(&dir, &folder.join("t")).unwrap_err();
        assert!(
            !error.is_passing() && error.to_string().contains(words),
            "{name}: {error}"
        );
    }
    let target = folder.episode("target");
    symlink(&target, folder.join("link")).unwrap();
    assert!(!inspect(&folder.join("link")).unwrap_err().is_passing());
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[test]
fn meta_json_decides_whether_it_is_finished_and_fit() {
    let folder = Folder::new();
    let dir = folder.join("ep");
    fs::create_dir(&dir).unwrap();
    for missing in [dir.clone(), folder.join("gone")] {
        let unfit = inspect(&missing).unwrap_err();
        assert!(
            matches!(unfit, Unfit::Unfinished(_)) && unfit.is_passing(),
            "{unfit}"
        );
    }
    for (json, words) in [
        (&b"{"[..], "not JSON"),
        (b"{}", "no code_version.commit"),
        (
            br#"{"code_version":{"commit":"main"}}"#,
            "\"main\" is not a commit hash",
        ),
        (&vec![b' '; (1 << 20) + 1], "larger than 1 MiB"),
    ] {
        write(&dir, "meta.json", json);
        let unfit = inspect(&dir).unwrap_err();
        assert!(
            !unfit.is_passing() && unfit.to_string().contains(words),
            "{unfit}"
        );
    }
}

/// As another user, if this one is root and reads everything.
#[test]
fn what_cannot_be_read_may_be_readable_later() {
    const ROLE: &str = "CIS490_TEST_PACK_LOCKED";
    const NAME: &str = "episode::what_cannot_be_read_may_be_readable_later";
    const NOBODY: u32 = 65_534;
    if let Some(dir) = std::env::var_os(ROLE) {
        return check_locked(Path::new(&dir));
    }
    let folder = Folder::new();
    let dir = folder.episode("ep");
    let locked = dir.join("a.bin");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&locked).is_err() {
        return check_locked(&dir);
    }
    let mut as_nobody = Command::new(std::env::current_exe().unwrap());
    as_nobody
        .args(["--exact", NAME])
        .env(ROLE, &dir)
        .uid(NOBODY);
    match as_nobody.output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => skip!("an unreadable file, since nobody may start us: {error}"),
    }
}

fn check_locked(dir: &Path) {
    let mut nowhere = File::options().write(true).open("/dev/null").unwrap();
    let error = episode::pack(dir, "ep", &mut nowhere, &mut |_, _| Continue(())).unwrap_err();
    let words = error.to_string();
    assert!(
        error.is_passing() && words.contains("let the user that runs cis490"),
        "{words}"
    );
    assert!(words.contains("a.bin"), "{words}");
}

/// A file grows, shrinks, is rewritten or vanishes at the moment when its neighbour was read.
#[test]
fn a_file_that_changes_under_our_hands_is_an_error_that_passes() {
    let folder = Folder::new();
    type Change = fn(&Path);
    let cases: [(&str, Change); 5] = [
        ("grows", |path| {
            File::options()
                .append(true)
                .open(path)
                .unwrap()
                .write_all(b"more")
                .unwrap()
        }),
        ("shrinks", |path| {
            File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_len(300_000)
                .unwrap()
        }),
        ("is emptied", |path| drop(File::create(path).unwrap())),
        ("is rewritten", |path| {
            fs::write(path, noise(400_000)).unwrap()
        }),
        ("becomes a fifo", |path| {
            fs::remove_file(path).unwrap();
            fifo(path);
        }),
    ];
    for (name, change) in cases {
        for changed in ["b", "c"] {
            let dir = folder.join(name).join(changed);
            write(&dir, "meta.json", META);
            write(&dir, "b", noise(400_000));
            write(&dir, "c", noise(400_000));
            let mut out = File::create(folder.join("t")).unwrap();
            let mut done = false;
            let packed = episode::pack(&dir, "ep", &mut out, &mut |read, total| {
                assert_eq!(total, 800_000 + META.len() as u64);
                // Within b: it is open, and c is not yet.
                if read > 200_000 && !done {
                    done = true;
                    change(&dir.join(changed));
                }
                Continue(())
            });
            assert!(done);
            match (packed, name, changed) {
                // An open file that loses its name is still the file that it was.
                (Ok(_), "becomes a fifo", "b") => {}
                // c was not yet looked at: what it has become is packed, or is no file.
                (Ok(_), "grows" | "shrinks" | "is emptied" | "is rewritten", "c") => {}
                (Err(error), "becomes a fifo", "c") => assert!(!error.is_passing(), "{error}"),
                (Err(error), _, "b") => assert!(
                    error.is_passing()
                        && error
                            .to_string()
                            .contains("changed while it was being packed"),
                    "{name} {changed}: {error}"
                ),
                (other, ..) => panic!("{name} {changed}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_full_disk_is_an_error_and_no_panic() {
    let folder = Folder::new();
    let dir = folder.episode("ep");
    let Ok(mut full) = File::options().write(true).open("/dev/full") else {
        skip!("a full disk, since there is no /dev/full");
        return;
    };
    match episode::pack(&dir, "ep", &mut full, &mut |_, _| Continue(())) {
        Err(PackError::Io(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
        other => panic!("{other:?}"),
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

#[test]
fn progress_ends_at_the_total() {
    let folder = Folder::new();
    let dir = folder.episode("ep");
    let mut heard = Vec::new();
    let mut out = File::create(folder.join("t")).unwrap();
    episode::pack(&dir, "ep", &mut out, &mut |read, total| {
        heard.push((read, total));
        Continue(())
    })
    .unwrap();
    assert!(heard.is_sorted());
    let (read, total) = *heard.last().unwrap();
    assert!(read == total && total > 1_800_000, "{read} of {total}");
    assert_eq!(
        out.stream_position().unwrap(),
        out.metadata().unwrap().len()
    );
}

/// Packs in a process of its own, whose largest size the kernel tells.
#[test]
fn memory_stays_small_whatever_the_size() {
    const ROLE: &str = "CIS490_TEST_PACK_IN";
    if let Some(folder) = std::env::var_os(ROLE) {
        let folder = Path::new(&folder);
        pack(&folder.join("ep"), &folder.join("t")).unwrap();
        println!("{}", fs::read_to_string("/proc/self/status").unwrap());
        return;
    }
    let folder = Folder::new();
    let dir = folder.join("ep");
    write(&dir, "meta.json", META);
    write(&dir, "noise", noise(2 << 20));
    write(&dir, "sparse", b"");
    File::options()
        .write(true)
        .open(dir.join("sparse"))
        .unwrap()
        .set_len(64 << 20)
        .unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "episode::memory_stays_small_whatever_the_size",
            "--nocapture",
        ])
        .env(ROLE, folder.0.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&child.stdout);
    let peak = told
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect(&told);
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 16 << 10, "{peak_kib} KiB");
    eprintln!("packing 66 MiB took {peak_kib} KiB at most, the test program included");
}
