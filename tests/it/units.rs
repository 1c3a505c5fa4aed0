//! The units in systemd/: they fit the program's own limits, and systemd finds nothing to say.

use std::process::Command;

use cis490::receiver::config::Config;
use cis490::receiver::files_wanted;

const RECEIVER: &str = include_str!("../../systemd/cis490-receiver.service");
const SHIPPER: &str = include_str!("../../systemd/cis490-shipper.service");

fn setting<'a>(unit: &'a str, key: &str) -> &'a str {
    let mut lines = unit.lines().filter_map(|line| line.split_once('='));
    let found = lines.find(|(known, _)| *known == key);
    found.unwrap_or_else(|| panic!("no {key}")).1
}

#[test]
fn the_limit_on_files_fits_the_connections() {
    let (soft, hard) = setting(RECEIVER, "LimitNOFILE").split_once(':').unwrap();
    let number = |text: &str| text.parse::<u64>().unwrap();
    let config: Config = toml::from_str("data_dir = \"/d\"").unwrap();
    let usual = files_wanted(
        config.max_connections,
        config.max_uploads,
        config.max_downloads,
    );
    assert!(usual <= number(soft), "{usual}");
    // The largest that the configuration takes.
    let most = files_wanted(65_536, 1024, 1024);
    assert!(most <= number(hard), "{most}");
    let beyond = "data_dir = \"/d\"\nmax_connections = 65537\n";
    assert!(Config::parse(beyond, "receiver.toml".as_ref()).is_err());
}

#[test]
fn systemd_waits_as_long_as_the_receiver_drains() {
    let config: Config = toml::from_str("data_dir = \"/d\"").unwrap();
    let patience: u64 = setting(RECEIVER, "TimeoutStopSec").parse().unwrap();
    assert!(config.drain_seconds + 20 <= patience, "{patience}");
}

#[test]
fn a_service_that_fails_is_started_again_for_ever_and_never_hot() {
    for unit in [RECEIVER, SHIPPER] {
        assert_eq!(setting(unit, "Type"), "notify");
        assert_eq!(setting(unit, "Restart"), "always");
        assert_eq!(setting(unit, "StartLimitIntervalSec"), "0");
        assert!(setting(unit, "RestartSec").parse::<u32>().unwrap() >= 5);
        assert_eq!(setting(unit, "WatchdogSec"), "5min");
        assert_eq!(setting(unit, "User"), "cis490");
    }
    assert_eq!(setting(SHIPPER, "LoadCredential"), "cis490-token");
    // What the program asks for by this name, and cannot see itself.
    assert_eq!(setting(SHIPPER, "ProcSubset"), "pid");
    assert_eq!(setting(SHIPPER, "Environment"), "CIS490_BOOT_ID=%b");
}

#[test]
fn systemd_finds_little_exposed() {
    for unit in ["cis490-receiver.service", "cis490-shipper.service"] {
        let path = format!("{}/systemd/{unit}", env!("CARGO_MANIFEST_DIR"));
        let asked = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", &path])
            .output();
        let Ok(output) = asked else {
            skip!("systemd_finds_little_exposed: no systemd-analyze here");
            return;
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let level = text.rsplit(&format!("exposure level for {unit}: ")).next();
        let level = level.and_then(|rest| rest.split(' ').next());
        let level: f64 = level
            .and_then(|level| level.parse().ok())
            .unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)));
        assert!(level <= 1.2, "{level}\n{text}");
    }
}
