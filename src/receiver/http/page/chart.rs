//! The chart of the uploads in each hour of the last two days.

use std::fmt::Write;

use super::html::counted;
use super::{HOUR_S, Scene};
use crate::human;
use crate::receiver::stats::Totals;

const HOURS: u64 = 48;
/// Height of the chart, which is stretched to the width of the page.
const HEIGHT: u64 = 64;

pub(super) fn section(scene: &Scene) -> String {
    let now_hour = scene.now_s / HOUR_S;
    let first = now_hour.saturating_sub(HOURS - 1);
    let hours: Vec<_> = (first..=now_hour)
        .map(|hour| (hour, scene.books.hour(hour)))
        .collect();
    let most = hours
        .iter()
        .map(|(_, totals)| totals.episodes)
        .max()
        .unwrap_or(0);
    let all: Totals = hours.iter().map(|(_, totals)| *totals).sum();
    let sum = format!(
        "{}, {}",
        counted(all.episodes, "episode"),
        human::bytes(all.bytes)
    );
    let mut svg = format!(
        "<section class=c><h2>Uploads per hour, last two days</h2>\n<svg viewBox=\"0 0 {} {HEIGHT}\" preserveAspectRatio=none role=img aria-label=\"{sum} in two days, at most {most} in an hour\">",
        HOURS * 10
    );
    for (place, (hour, totals)) in hours.iter().enumerate() {
        let x = place as u64 * 10;
        // Writing to a String cannot fail.
        if hour % 24 == 0 {
            let _ = write!(svg, "<path d=\"M{x} 0v{HEIGHT}\"/>");
        }
        if totals.episodes > 0 {
            let height = (totals.episodes * (HEIGHT - 2) / most).max(2);
            let _ = write!(
                svg,
                "<rect x={} y={} width=8 height={height}><title>{}:00 UTC: {}, {}</title></rect>",
                x + 1,
                HEIGHT - height,
                hour % 24,
                totals.episodes,
                human::bytes(totals.bytes)
            );
        }
    }
    let _ = writeln!(
        svg,
        "</svg>\n<p><span>two days ago</span><span>{sum}; at most {} in an hour</span><span>now</span></section>",
        human::count(most)
    );
    svg
}
