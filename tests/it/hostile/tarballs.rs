//! Tarballs that anybody may have sent, read by `cis490 backfill` for the commit in their
//! `meta.json`: bounded in memory and time, a row for each, and not a byte written anywhere else.
//!
//! The archives are made here byte by byte: no archiver makes these.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::sha256;
use crate::world::{World, cis490};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "ffffffffffffffffffffffffffffffffffffffff";

/// Far below what the bombs unpack to, and above what the program is in itself.
const ADDRESS_SPACE_KIB: u32 = 256 << 10;

fn meta(commit: &str) -> Vec<u8> {
    format!(r#"{{"code_version":{{"commit":"{commit}"}}}}"#).into_bytes()
}

/// A tar entry whose stated size need not be its content's.
fn entry(kind: u8, name: &str, stated_bytes: u64, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..108].copy_from_slice(b"0000644\0");
    if stated_bytes < 1 << 33 {
        block[124..136].copy_from_slice(format!("{stated_bytes:011o}\0").as_bytes());
    } else {
        block[124] = 0x80; // in base 256, as GNU tar has it
        block[128..136].copy_from_slice(&stated_bytes.to_be_bytes());
    }
    block[156] = kind;
    block[157..163].copy_from_slice(b"target");
    block[257..265].copy_from_slice(b"ustar  \0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

fn file(name: &str, content: &[u8]) -> Vec<u8> {
    entry(b'0', name, content.len() as u64, content)
}

fn good() -> Vec<u8> {
    file("ep/meta.json", &meta(COMMIT))
}

/// A window of 2^(10 + exponent) bytes.
fn frame_begin(exponent: u8) -> Vec<u8> {
    vec![0x28, 0xb5, 0x2f, 0xfd, 0, exponent << 3]
}

fn block(kind: u32, bytes: usize, last: bool) -> Vec<u8> {
    let header = (bytes as u32) << 3 | kind << 1 | u32::from(last);
    header.to_le_bytes()[..3].to_vec()
}

/// One frame of blocks that are not compressed.
fn frame_with(exponent: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = frame_begin(exponent);
    for chunk in content.chunks(64 << 10) {
        frame.extend(block(0, chunk.len(), false));
        frame.extend_from_slice(chunk);
    }
    frame.extend(block(0, 0, true));
    frame
}

fn frame(content: &[u8]) -> Vec<u8> {
    frame_with(10, content)
}

/// `content`, then one byte `mib` million times over, four bytes for every 128 KiB.
fn bomb(content: &[u8], byte: u8, mib: usize) -> Vec<u8> {
    let mut frame = frame_begin(10);
    frame.extend(block(0, content.len(), false));
    frame.extend_from_slice(content);
    for _ in 0..mib * 8 {
        frame.extend(block(1, 128 << 10, false));
        frame.push(byte);
    }
    frame.extend(block(0, 0, true));
    frame
}

fn skippable(stated_bytes: u32, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x5a, 0x2a, 0x4d, 0x18];
    frame.extend(stated_bytes.to_le_bytes());
    frame.extend_from_slice(content);
    frame
}

fn pax(records: &str) -> Vec<u8> {
    entry(
        b'x',
        "PaxHeaders/x",
        records.len() as u64,
        records.as_bytes(),
    )
}

/// Each with the commit that is found in it. `mib`: how much the large ones unpack to.
#[rustfmt::skip] // a row a line
fn tarballs(mib: usize) -> Vec<(&'static str, Vec<u8>, Option<&'static str>)> {
    let found = Some(COMMIT);
    let whole = frame(&[good(), file("ep/data", &[7; 100_000])].concat());
    let no_meta = file("ep/data", b"x");
    let huge = |kind, name: &str| bomb(&entry(kind, name, 1 << 60, b""), b'a', mib);
    let long_name = entry(b'L', "././@LongLink", 60_000, &[b'n'; 60_000]);
    let mut sparse = entry(b'S', "ep/sparse", 0, b"");
    sparse[482] = 1;
    sparse[148..156].fill(b' ');
    let sum: u32 = sparse.iter().map(|&byte| u32::from(byte)).sum();
    sparse[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    vec![
        ("good", whole.clone(), found),
        ("window-of-8-mib", frame_with(13, &good()), found),
        ("window-of-128-mib", frame_with(17, &good()), found),
        ("window-of-256-mib", frame_with(18, &good()), None),
        ("window-of-3-tib", frame_with(31, &good()), None),
        ("bomb-before", [bomb(&no_meta, 0, mib), frame(&good())].concat(), None),
        ("bomb-as-a-file", huge(b'0', "ep/data"), None),
        ("bomb-behind", [frame(&good()), huge(b'0', "ep/data")].concat(), found),
        ("bomb-as-meta", huge(b'0', "ep/meta.json"), None),
        ("bomb-as-a-long-name", huge(b'L', "././@LongLink"), None),
        ("bomb-as-a-long-link", huge(b'K', "././@LongLink"), None),
        ("bomb-as-pax", huge(b'x', "PaxHeaders/x"), None),
        ("bomb-as-global-pax", huge(b'g', "pax_global_header"), None),
        ("bomb-as-sparse-maps", bomb(&sparse, 1, mib), None),
        ("meta-of-a-gigabyte", frame(&entry(b'0', "ep/meta.json", 1 << 30, b"{")), None),
        ("long-names-without-end", frame(&long_name.repeat(mib * 4)), None),
        ("long-names-then-meta", frame(&[long_name.repeat(20), no_meta.clone(), good()].concat()), found),
        ("pax-of-nothing", frame(&[pax("0 "), good()].concat()), None),
        ("pax-size-of-2-to-the-70", frame(&[pax("31 size=1180591620717411303424\n"), good()].concat()), None),
        ("pax-path-upwards", frame(&[pax("25 path=../../meta.json\n\n"), good()].concat()), None),
        ("two-metas", frame(&[good(), file("ep/meta.json", &meta(OTHER))].concat()), found),
        ("link", frame(&entry(b'2', "ep/meta.json", 0, b"")), None),
        ("hard-link", frame(&entry(b'1', "ep/meta.json", 0, b"")), None),
        ("device", frame(&entry(b'3', "ep/meta.json", 0, b"")), None),
        ("fifo", frame(&entry(b'6', "ep/meta.json", 0, b"")), None),
        ("absolute", frame(&file("/meta.json", &meta(OTHER))), None),
        ("upwards", frame(&file("../meta.json", &meta(OTHER))), None),
        ("upwards-inside", frame(&[file("ep/../meta.json", &meta(OTHER)), good()].concat()), found),
        ("deep-json", frame(&file("ep/meta.json", "[".repeat(900_000).as_bytes())), None),
        ("empty", Vec::new(), None),
        ("garbage", b"not a tarball at all".repeat(1000), None),
        ("cut-in-the-magic", whole[..3].to_vec(), None),
        ("cut-in-the-header", whole[..300].to_vec(), None),
        ("cut-in-the-meta", whole[..540].to_vec(), None),
        ("cut-behind-the-meta", whole[..60_000].to_vec(), None),
        ("cut-in-the-second-block", whole[..90_000].to_vec(), None),
        ("dictionary", [&[0x28, 0xb5, 0x2f, 0xfd, 1, 80, 9][..], &whole[6..]].concat(), None),
        ("reserved-block", [frame_begin(10), block(3, 5, true), b"hello".to_vec()].concat(), None),
        ("skippable-first", [skippable(4, b"skip"), whole.clone()].concat(), found),
        ("skippable-of-4-gib", [skippable(u32::MAX, b""), whole.clone()].concat(), None),
        ("skippables-without-end", [skippable(0, b"").repeat(mib << 13), whole.clone()].concat(), found),
        ("frames-without-end", [frame(b"").repeat(mib << 13), whole.clone()].concat(), found),
        ("a-frame-a-byte", good().iter().flat_map(|&byte| frame(&[byte])).collect(), found),
        ("empty-blocks", {
            let blocks = block(0, 0, false).repeat(mib << 14);
            [frame_begin(13), blocks, block(0, 0, true), whole.clone()].concat()
        }, found),
    ]
}

/// What reading them took.
pub struct Took {
    pub tarballs: usize,
    pub time: Duration,
    pub peak_kib: u64,
}

/// Stores them by hand, so that only the tarballs themselves tell what they are, and backfills.
pub fn backfilled(mib: usize) -> Took {
    let world = World::prepared("");
    let dir = world.data_dir().join("episodes/lab-1");
    fs::create_dir_all(&dir).unwrap();
    let tarballs = tarballs(mib);
    for (name, bytes, _) in &tarballs {
        fs::write(dir.join(format!("{name}.tar.zst")), bytes).unwrap();
    }
    let mut before = everything_in(world.dir());
    before.insert("data/lock".to_owned(), sha256(b""));
    before.remove("data/index.jsonl");
    let (time, peak_kib) = backfill(&world);
    let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
    for row in world.rows() {
        let commit = row["commit"].as_str().map(str::to_owned);
        found.insert(row["episode"].as_str().unwrap().to_owned(), commit);
    }
    for (name, _, commit) in &tarballs {
        assert_eq!(
            found.remove(*name),
            Some(commit.map(str::to_owned)),
            "{name}"
        );
    }
    assert!(found.is_empty(), "{found:?}");
    let mut after = everything_in(world.dir());
    after.remove("data/index.jsonl").expect("it has rows now");
    after
        .remove("data/sequence")
        .expect("their numbers are noted");
    assert!(
        before
            .iter()
            .all(|(path, digest)| after.remove(path).as_ref() == Some(digest))
    );
    assert!(after.is_empty(), "new files: {after:?}");
    Took {
        tarballs: tarballs.len(),
        time,
        peak_kib,
    }
}

/// Runs it in a small address space; how long, and the most memory it had.
fn backfill(world: &World) -> (Duration, u64) {
    let program = cis490();
    let began = Instant::now();
    let mut limited = Command::new("sh");
    // An emulator needs its own.
    let limit = match std::env::var("CIS490_RUNNER") {
        Ok(_) => "exec \"$@\"".to_owned(),
        Err(_) => format!("ulimit -v {ADDRESS_SPACE_KIB} && exec \"$@\""),
    };
    limited.args(["-c", &limit, "sh"]);
    limited.arg(program.get_program()).args(program.get_args());
    limited.args(["backfill", "--config", &world.config_path()]);
    let mut child = limited.stdout(Stdio::null()).spawn().unwrap();
    let mut peak_kib = 0;
    let status = loop {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak_kib = peak.map_or(peak_kib, |peak| {
            peak.trim().trim_end_matches(" kB").parse().unwrap()
        });
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success(), "{world}");
    (began.elapsed(), peak_kib)
}

/// Every file below `dir`, with the digest of its content.
fn everything_in(dir: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                dirs.push(path);
                continue;
            }
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            files.insert(name, sha256(&fs::read(&path).unwrap()));
        }
    }
    files
}

#[test]
fn hostile_tarballs_are_read_within_bounds() {
    let took = backfilled(16);
    println!("{} tarballs in {:?}", took.tarballs, took.time);
    assert!(
        took.peak_kib < 128 << 10,
        "{} KiB at the peak",
        took.peak_kib
    );
}
