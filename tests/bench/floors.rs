//! What no receiver can beat on this machine: hashing the bytes, and writing and syncing them.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::Plan;
use crate::dice::noise;
use crate::ground::Ground;
use crate::report::spread;

pub fn run(plan: &Plan) {
    if !plan.wants("floors") {
        return;
    }
    let ground = Ground::new(plan);
    let mib = plan.scaled(1 << 30) >> 20;
    let source = ground.path().join("source");
    let bytes = noise(1, mib << 20);
    fs::write(&source, &bytes).expect("room for the source");
    let mb = bytes.len() as f64 / 1e6;
    drop(bytes);
    println!("\nfloors: {mib} MiB, MB/s");
    let target = ground.path().join("target");
    let target_arg = format!("of={}", target.display());
    let source_arg = format!("if={}", source.display());
    let source = source.display().to_string();
    let dd = |flags: &'static [&'static str]| {
        let own = [
            source_arg.as_str(),
            target_arg.as_str(),
            "bs=1M",
            "conv=fsync,notrunc",
        ];
        [&own[..], flags].concat()
    };
    let floors: [(&str, &str, Vec<&str>); 3] = [
        ("sha256sum", "sha256sum", vec![source.as_str()]),
        ("dd conv=fsync", "dd", dd(&[])),
        ("dd conv=fsync, direct", "dd", dd(&["oflag=direct"])),
    ];
    for (name, program, args) in floors {
        let mut rates = Vec::new();
        for round in 0..=plan.rounds {
            let began = Instant::now();
            let ran = Command::new(program)
                .args(&args)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            if !ran.is_ok_and(|status| status.success()) {
                println!("  {name:<24} missing or failed");
                break;
            }
            if round > 0 {
                rates.push(mb / began.elapsed().as_secs_f64());
            }
        }
        if !rates.is_empty() {
            println!("  {name:<24} {}", spread(&rates));
        }
    }
}
