//! The chart: its numbers, its midnights and the refusals in it.

use std::time::{Duration, SystemTime};

use cis490::clock;

use super::Lab;
use crate::client::Put;

fn chart(page: &str) -> &str {
    let (_, rest) = page.split_once("<section class=c>").unwrap();
    rest.split_once("</section>").unwrap().0
}

/// `28 Nov`, of a time that RFC 3339 writes.
fn date(time: &str) -> String {
    let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let month: usize = time[5..7].parse().unwrap();
    let day: u32 = time[8..10].parse().unwrap();
    format!("{day} {}", &months[month * 3 - 3..month * 3])
}

#[test]
fn the_chart_has_an_axis_its_midnights_and_the_refusals() {
    let mut lab = Lab::new("");
    // Thirty within one hour, and one a day before.
    let into_hour = clock::unix_seconds(SystemTime::now()) % 3600;
    lab.uploads("lab-1", 1, 30, into_hour + 600, 10);
    lab.uploads("lab-2", 1, 1, 86_400, 1);
    let lab = lab.start();
    for number in 0..3 {
        let old = Put::sample(&lab.commit(120)).path(&format!("/v1/episodes/lab-1/old-{number}"));
        assert_eq!(lab.world.put(&old).status, 412);
    }
    lab.wait_for_text("old-2");
    let before = clock::rfc3339(SystemTime::now());
    let page = lab.world.get("/").body;
    let chart = chart(&page);
    // The axis ends at a round number; that of the refusals, below it, at the most in an hour.
    let axis = "<p><b>40</b><b>20</b><b>0</b><i>";
    assert!(chart.contains(axis), "{chart}");
    assert!(chart.contains(": 30, "), "{chart}");
    assert!(chart.contains(": 1, 4.0 MB</title>"), "{chart}");
    let refused: u32 = chart
        .split("class=x><title>")
        .skip(1)
        .map(|bar| {
            let (_, count) = bar.split_once(":00: ").unwrap();
            count
                .split_once(" refused")
                .unwrap()
                .0
                .parse::<u32>()
                .unwrap()
        })
        .sum();
    assert_eq!(refused, 3, "{chart}");
    assert!(chart.contains("; <i>3 refused</i>"), "{chart}");
    // Each of the last two midnights has its line and its date.
    let yesterday = clock::rfc3339(SystemTime::now() - Duration::from_secs(86_400));
    for day in [yesterday, before] {
        assert!(
            chart.contains(&format!(">{}</text>", date(&day))),
            "{day} {chart}"
        );
    }
    assert_eq!(chart.matches("</text>").count(), 2, "{chart}");
    let (_, lines) = chart.split_once("<path d=M0,.5h480").unwrap();
    let (lines, _) = lines.split_once(" class=l").unwrap();
    assert_eq!(lines.matches("v80").count(), 2, "{chart}");
}

/// Without refusals there is no scale for them, and without uploads there is an axis all the same.
#[test]
fn an_empty_chart_has_an_axis() {
    let lab = Lab::new("").start();
    let page = lab.world.get("/").body;
    let chart = chart(&page);
    assert!(chart.contains("<p><b>2</b><b>1</b><b>0</b></p>"), "{chart}");
    assert!(!chart.contains("class=x"), "{chart}");
}
