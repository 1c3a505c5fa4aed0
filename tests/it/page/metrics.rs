//! `GET /metrics` and the example alerts, checked by Prometheus' own promtool.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::Lab;
use crate::here::find;
use crate::world::{TempDir, World};

fn promtool(test: &str, args: &[&str], input: &str) -> Option<Output> {
    let Some(program) = find("promtool") else {
        skip!("{test}: there is no promtool (Debian: prometheus)");
        return None;
    };
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    Some(child.wait_with_output().unwrap())
}

fn assert_good(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "promtool says:\n{said}");
}

/// The value of a sample; `None` if it is not there.
fn value(metrics: &str, sample: &str) -> Option<f64> {
    let line = metrics.lines().find(|line| {
        line.strip_prefix(sample)
            .is_some_and(|rest| rest.starts_with(' '))
    });
    line.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

#[test]
fn promtool_finds_nothing_to_say_of_the_metrics() {
    let lab = Lab::with_trouble();
    let answer = lab.world.get("/metrics");
    assert_eq!(
        answer.header("Content-Type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let test = "promtool_finds_nothing_to_say_of_the_metrics";
    if let Some(output) = promtool(test, &["check", "metrics"], &answer.body) {
        assert_good(&output);
        assert!(
            output.stdout.is_empty() && output.stderr.is_empty(),
            "{output:?}"
        );
    }
}

#[test]
fn each_event_is_counted() {
    let world = World::new();
    let good = world.good();
    assert_eq!(world.put(&good).status, 201);
    assert_eq!(world.put(&good).status, 200);
    assert_eq!(
        world
            .put(&good.clone().episode("old").commit(world.too_old()))
            .status,
        412
    );
    assert_eq!(
        world
            .put(&good.clone().episode("damaged").sha256(&"0".repeat(64)))
            .status,
        422
    );
    assert_eq!(
        world
            .put(&good.clone().path("/v1/episodes/never-seen/x").no_commit())
            .status,
        400
    );
    assert_eq!(world.get("/nothing").status, 404);
    let bytes = good.body.len() as f64;
    let wanted = [
        (
            r#"cis490_uploads_total{host="lab-1",outcome="stored"}"#,
            1.0,
        ),
        (
            r#"cis490_uploads_total{host="lab-1",outcome="stored_already"}"#,
            1.0,
        ),
        (
            r#"cis490_uploads_total{host="lab-1",outcome="refused"}"#,
            2.0,
        ),
        (
            r#"cis490_uploads_total{host="_other",outcome="refused"}"#,
            1.0,
        ),
        (
            r#"cis490_upload_bytes_total{host="lab-1",outcome="stored"}"#,
            bytes,
        ),
        (
            r#"cis490_upload_bytes_total{host="lab-1",outcome="stored_already"}"#,
            0.0,
        ),
        // The body of the damaged one was taken before that was seen.
        (
            r#"cis490_upload_bytes_total{host="lab-1",outcome="refused"}"#,
            bytes,
        ),
        (
            r#"cis490_refusals_total{reason="not-in-window",kind="upload"}"#,
            1.0,
        ),
        (
            r#"cis490_refusals_total{reason="digest-mismatch",kind="upload"}"#,
            1.0,
        ),
        (
            r#"cis490_refusals_total{reason="bad-commit",kind="upload"}"#,
            1.0,
        ),
        (
            r#"cis490_refusals_total{reason="not-found",kind="other"}"#,
            1.0,
        ),
        (r#"cis490_upload_duration_seconds_count"#, 1.0),
        (r#"cis490_host_episodes{host="lab-1"}"#, 1.0),
        (r#"cis490_host_commit_position{host="lab-1"}"#, 1.0),
        (r#"cis490_gate_source{source="git"}"#, 1.0),
        (r#"cis490_gate_window_known_commits"#, 3.0),
        (r#"cis490_disk_floor_bytes"#, 0.0),
        (r#"cis490_refusals_dropped_total"#, 0.0),
    ];
    world.wait_until("all is counted", |world| {
        let metrics = world.get("/metrics").body;
        wanted
            .iter()
            .all(|(sample, count)| value(&metrics, sample) == Some(*count))
    });
    let metrics = world.get("/metrics").body;
    let read =
        |sample: &str| value(&metrics, sample).unwrap_or_else(|| panic!("{sample}\n{metrics}"));
    assert!(read(r#"cis490_fsync_duration_seconds_count{what="file"}"#) >= 1.0);
    assert!(read(r#"cis490_fsync_duration_seconds_count{what="index"}"#) >= 1.0);
    assert!(read("cis490_disk_free_bytes") > 0.0);
    assert!(read("cis490_connections") >= 1.0);
    assert!(read(r#"cis490_host_last_success_timestamp_seconds{host="lab-1"}"#) > 1.7e9);
    assert!(read(r#"cis490_host_last_refusal_timestamp_seconds{host="lab-1"}"#) > 1.7e9);
}

/// Invented names must not become labels without end.
#[test]
fn labels_are_bounded_for_any_sender() {
    let world = World::new();
    for number in 0..400 {
        let put = world.good().path(&format!("/v1/episodes/h-{number}/x"));
        // A commit that is too old would wait for the gate to look again.
        let (put, status) = match number < 300 {
            true => (put, 201),
            false => (put.sha256("odd"), 400),
        };
        assert_eq!(world.put(&put).status, status, "{world}");
    }
    world.wait_until("all are counted", |world| {
        let metrics = world.get("/metrics").body;
        let others = r#"cis490_uploads_total{host="_other",outcome="#;
        value(&metrics, &format!("{others}\"stored\"}}")) == Some(44.0)
            && value(&metrics, &format!("{others}\"refused\"}}")) == Some(100.0)
    });
    let metrics = world.get("/metrics").body;
    let hosts = metrics
        .lines()
        .filter(|line| line.starts_with("cis490_host_episodes{"))
        .count();
    assert_eq!(hosts, 257);
    assert!(metrics.len() < 256 << 10, "{} bytes", metrics.len());
    // The refusals of one peer are written down until there are enough of them.
    let kept = std::fs::read_to_string(world.data_dir().join("refusals.jsonl")).unwrap();
    assert_eq!(kept.lines().count(), 60);
}

#[test]
fn the_example_alerts_fire_when_they_should() {
    let test = "the_example_alerts_fire_when_they_should";
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/prometheus-alerts.yml");
    let Some(output) = promtool(test, &["check", "rules", rules.to_str().unwrap()], "") else {
        return;
    };
    assert_good(&output);
    let dir = TempDir::new();
    let cases = dir.path().join("cases.yml");
    let text = include_str!("alerts_test.yml").replace("RULES", rules.to_str().unwrap());
    std::fs::write(&cases, text).unwrap();
    let output = promtool(test, &["test", "rules", cases.to_str().unwrap()], "").unwrap();
    assert_good(&output);
}

/// The names that the alerts watch and the dashboard draws are names of our metrics.
#[test]
fn the_examples_look_at_metrics_that_there_are() {
    let lab = Lab::with_trouble();
    let metrics = lab.world.get("/metrics").body;
    let alerts = include_str!("../../../etc/prometheus-alerts.yml");
    let expressions = dashboard_expressions();
    for (what, text) in [("alerts", alerts), ("dashboard", &expressions.join("\n"))] {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let names = text
            .split(|c| !is_part(c))
            .filter(|word| word.starts_with("cis490_"))
            // A receiver with an archive alone has these: see `archive::copying`.
            .filter(|word| !word.starts_with("cis490_archive_"));
        let mut count = 0;
        for name in names {
            count += 1;
            // The buckets of a histogram have its name and an ending.
            let metric = name.strip_suffix("_bucket").unwrap_or(name);
            assert!(
                metrics.contains(&format!("\n# TYPE {metric} ")),
                "{what}: {name}"
            );
        }
        assert!(count >= 4, "{what}: {count}");
    }
    // And the kinds that they name are kinds that there are.
    for kind in ["store-unwritable", "disk-low", "gate-not-loaded"] {
        assert!(alerts.contains(kind), "{kind}");
        assert!(
            metrics.contains(&format!(
                "\ncis490_finding{{kind=\"{kind}\",severity=\"error\"}} "
            )),
            "{metrics}"
        );
    }
}

/// The expressions of the example dashboard.
fn dashboard_expressions() -> Vec<String> {
    let dashboard = include_str!("../../../etc/grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_example_dashboard_asks_what_prometheus_understands() {
    let test = "the_example_dashboard_asks_what_prometheus_understands";
    let mut rules = "groups:\n- name: dashboard\n  rules:\n".to_owned();
    for (number, expression) in dashboard_expressions().iter().enumerate() {
        let expression = expression.replace("$instance", ".*");
        rules += &format!("  - record: dashboard:{number}\n    expr: '{expression}'\n");
    }
    let dir = TempDir::new();
    let file = dir.path().join("dashboard.yml");
    std::fs::write(&file, rules).unwrap();
    if let Some(output) = promtool(test, &["check", "rules", file.to_str().unwrap()], "") {
        assert_good(&output);
    }
}
