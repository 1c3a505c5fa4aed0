//! Packing beside the reference `zstd -3`, on one thread each: size, and CPU time.

use std::fs::{self, File};
use std::ops::ControlFlow::Continue;
use std::path::Path;
use std::process::{Command, Stdio};

use cis490::episode;

use crate::Plan;
use crate::dice::{Dice, noise};
use crate::ground::Ground;
use crate::process;
use crate::report::{Goal, median, spread, verdict};

pub const META: &str = r#"{"code_version":{"commit":"4904904904904904904904904904904904904904"}}"#;

pub fn run(plan: &Plan) {
    if !plan.wants("packing") {
        return;
    }
    let ground = Ground::new(plan);
    let bytes = plan.scaled(40 << 20);
    println!(
        "\npacking: {bytes} bytes of each kind, four times as many of the last; MB of input a second of CPU"
    );
    let kinds: [(&str, Vec<u8>); 4] = [
        ("JSON lines", json_lines(bytes)),
        ("CSV of floats", csv(bytes)),
        ("binary samples", samples(bytes)),
        // CPU time is counted in ticks of 10 ms, and these are packed in few of them.
        ("incompressible", noise(3, 4 * bytes)),
    ];
    for (name, data) in kinds {
        measure(plan, &ground.fresh(), name, &data);
    }
}

fn measure(plan: &Plan, dir: &Path, name: &str, data: &[u8]) {
    let source = dir.join("ep");
    fs::create_dir(&source).expect("a folder");
    fs::write(source.join("meta.json"), META).expect("a file");
    fs::write(source.join("data"), data).expect("a file");
    let packed = dir.join("ep.tar.zst");
    let by_reference = dir.join("reference.zst");
    let mut ours = Vec::new();
    let mut reference = Vec::new();
    let mb = data.len() as f64 / 1e6;
    for round in 0..=plan.rounds {
        let before = process::own_cpu_s();
        let mut out = File::create(&packed).expect("a file");
        episode::pack(&source, "ep", &mut out, &mut |_, _| Continue(())).expect("packing");
        let own = process::own_cpu_s() - before;
        let before = process::children_cpu_s();
        let ran = Command::new("zstd")
            .args(["-3", "--single-thread", "-q", "-f", "-o"])
            .args([&by_reference, &source.join("data")])
            .status();
        if !ran.is_ok_and(|status| status.success()) {
            return println!("  zstd is missing: nothing to compare with");
        }
        let others = process::children_cpu_s() - before;
        if round > 0 {
            ours.push(mb / own.max(0.01));
            reference.push(mb / others.max(0.01));
        }
    }
    let read = Command::new("zstd")
        .args(["-t", "-q"])
        .arg(&packed)
        .stderr(Stdio::inherit())
        .status();
    assert!(
        read.is_ok_and(|status| status.success()),
        "zstd does not decode the tarball"
    );
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len()) as f64;
    println!(
        "  {name:<16} ours {}   zstd -3 {}",
        spread(&ours),
        spread(&reference)
    );
    if name == "incompressible" {
        return verdict(name, median(&ours), "MB/s", Goal::AtLeast(500.0, 500.0));
    }
    let ratio = size(&packed) / size(&by_reference);
    verdict(
        "  size, ours / zstd -3",
        ratio,
        "",
        Goal::AtMost(1.02, 1.02),
    );
    let ratio = median(&ours) / median(&reference);
    verdict(
        "  speed, ours / zstd -3",
        ratio,
        "",
        Goal::AtLeast(0.7, 0.7),
    );
}

/// Random walks of eight values, the same in every run.
struct Walk {
    dice: Dice,
    values: [f64; 8],
}

impl Walk {
    fn new() -> Walk {
        Walk {
            dice: Dice::new(490),
            values: [0.0; 8],
        }
    }

    /// From 0 to 1.
    fn random(&mut self) -> f64 {
        (self.dice.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn step(&mut self, width: f64) -> [f64; 8] {
        for i in 0..self.values.len() {
            let normal: f64 = (0..6).map(|_| self.random() - 0.5).sum();
            self.values[i] = self.values[i] * 0.985 + normal * width;
        }
        self.values
    }
}

pub fn json_lines(bytes: usize) -> Vec<u8> {
    let mut walk = Walk::new();
    let mut text = String::new();
    let mut t = 1_764_000_000.0;
    let mut seq = 0;
    while text.len() < bytes {
        let [a, b, c, d, e, f, g, h] = walk.step(0.06);
        t += 0.01 + walk.random() * 0.0005;
        seq += 1;
        let state = ["idle", "swing", "settle", "record"][seq / 257 % 4];
        text += &format!(
            "{{\"seq\":{seq},\"t\":{t:.6},\"host\":\"lab-07\",\"sensor\":\"imu-{}\",\"accel\":[{a:.4},{b:.4},{:.4}],\"gyro\":[{:.5},{:.5},{:.5}],\"temp_c\":{:.2},\"battery_v\":{:.3},\"state\":\"{state}\",\"ok\":true}}\n",
            seq % 4,
            9.81 + c,
            d * 0.1,
            e * 0.1,
            f * 0.1,
            24.0 + g,
            12.0 + h * 0.1
        );
    }
    text.truncate(bytes);
    text.into_bytes()
}

fn csv(bytes: usize) -> Vec<u8> {
    let mut walk = Walk::new();
    let mut text = "t,x,y,z,vx,vy,vz\n".to_owned();
    let mut t = 0.0;
    while text.len() < bytes {
        let [a, b, c, d, e, f, ..] = walk.step(0.03);
        t += 0.001;
        text += &format!("{t:.3},{a:.6},{b:.6},{c:.6},{d:.6},{e:.6},{f:.6}\n");
    }
    text.truncate(bytes);
    text.into_bytes()
}

/// A counter, a time in microseconds, and six readings of 16 bits.
fn samples(bytes: usize) -> Vec<u8> {
    let mut walk = Walk::new();
    let mut out = Vec::with_capacity(bytes + 32);
    let mut number = 0u32;
    while out.len() < bytes {
        number += 1;
        let time_us =
            1_764_000_000_000_000 + u64::from(number) * 1000 + (walk.random() * 8.0) as u64;
        out.extend(number.to_le_bytes());
        out.extend(time_us.to_le_bytes());
        for value in &walk.step(250.0)[..6] {
            out.extend((*value as i16).to_le_bytes());
        }
    }
    out.truncate(bytes);
    out
}
