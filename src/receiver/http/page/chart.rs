//! The chart of the last two days, hour by hour: uploads upwards, and refusals downwards on a scale of their own,
//! so that many of one do not hide the other.

use std::fmt::Write;

use super::html::{counted, date};
use super::{HOUR_S, Scene};
use crate::human;
use crate::receiver::stats::Totals;

const HOURS: u64 = 48;
/// Heights in the chart, which is stretched to the width of the page: of the uploads, and of the refusals below
/// them.
const UP: u64 = 64;
const DOWN: u64 = 16;
/// The width of an hour.
const WIDTH: u64 = 10;

/// What came in one hour.
struct Hour {
    /// Its number since 1970.
    number: u64,
    stored: Totals,
    refused: u64,
}

pub(super) fn section(scene: &Scene) -> String {
    let hours = hours(scene);
    let most = |of: fn(&Hour) -> u64| hours.iter().map(of).max().unwrap_or(0);
    let most_stored = most(|hour| hour.stored.episodes);
    let most_refused = most(|hour| hour.refused);
    let all: Totals = hours.iter().map(|hour| hour.stored).sum();
    let refused = hours
        .iter()
        .fold(0_u64, |sum, hour| sum.saturating_add(hour.refused));
    let sum = format!(
        "{}, {}",
        counted(all.episodes, "episode"),
        human::bytes(all.bytes)
    );
    let top = round_up(most_stored);
    let height = if refused > 0 { UP + DOWN } else { UP };
    let mut chart = format!(
        "<section class=c><h2>Uploads per hour, last two days (UTC)</h2>\n<div><p>{}</p><svg role=img aria-label=\"{sum} in two days, at most {most_stored} in an hour; {refused} refused\"><svg viewBox=\"0 0 {} {height}\" preserveAspectRatio=none height={height}>",
        axis(top, most_refused),
        HOURS * WIDTH
    );
    chart += &grid(&hours, height);
    for (place, hour) in (0..).zip(&hours) {
        chart += &bars(place * WIDTH, hour, top, most_refused);
    }
    chart += "</svg>";
    chart += &dates(&hours, height);
    let refused = match refused {
        0 => String::new(),
        refused => format!("; <i>{} refused</i>", human::count(refused)),
    };
    let _ = writeln!(
        chart,
        "</svg></div>\n<p><span>{sum}{refused}</span></section>"
    );
    chart
}

fn hours(scene: &Scene) -> Vec<Hour> {
    let now = scene.now_s / HOUR_S;
    let of = |number| Hour {
        number,
        stored: scene.books.hour(number),
        refused: scene.books.refused_in(number),
    };
    (now.saturating_sub(HOURS - 1)..=now).map(of).collect()
}

/// The numbers beside the chart, from its top to its bottom.
fn axis(top: u64, most_refused: u64) -> String {
    let [top, middle] = [top, top / 2].map(human::count);
    let mut axis = format!("<b>{top}</b><b>{middle}</b><b>0</b>");
    if most_refused > 0 {
        let _ = write!(axis, "<i>{}</i>", human::count(most_refused));
    }
    axis
}

/// The end of the axis for so many: one of 2, 4, 6, 8, 10, 12, 16, 20, 40 and so on, whose half is a whole number.
fn round_up(most: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        for step in [2, 4, 6, 8, 10, 12, 16] {
            let top = unit.saturating_mul(step);
            if top >= most {
                return top;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

/// An hour's two bars, which say what they are when one points at them.
fn bars(x: u64, hour: &Hour, top: u64, most_refused: u64) -> String {
    let Hour {
        number,
        stored,
        refused,
    } = hour;
    let hour = format!("{} {}:00", date(number * HOUR_S), number % 24);
    let middle = x + WIDTH / 2;
    let mut bars = String::new();
    // Writing to a String cannot fail.
    if stored.episodes > 0 {
        let height = share(stored.episodes, top, UP);
        let _ = write!(
            bars,
            "<path d=M{middle},{UP}v-{height}><title>{hour}: {}, {}</title></path>",
            stored.episodes,
            human::bytes(stored.bytes)
        );
    }
    if *refused > 0 {
        let height = share(*refused, most_refused, DOWN);
        let _ = write!(
            bars,
            "<path d=M{middle},{UP}v{height} class=x><title>{hour}: {refused} refused</title></path>"
        );
    }
    bars
}

/// The height of a bar, of which the smallest can be seen.
fn share(count: u64, of: u64, height: u64) -> u64 {
    let exact = u128::from(count) * u128::from(height) / u128::from(of.max(1));
    u64::try_from(exact).unwrap_or(height).clamp(2, height)
}

/// The lines of the axis' numbers and of the midnights.
fn grid(hours: &[Hour], height: u64) -> String {
    let width = HOURS * WIDTH;
    let mut lines = format!("M0,.5h{width}M0,{}h{width}M0,{UP}h{width}", UP / 2);
    for (place, _) in midnights(hours) {
        let _ = write!(lines, "M{},0v{height}", place * WIDTH);
    }
    format!("<path d={lines} class=l />")
}

/// The date of each midnight, below its line.
fn dates(hours: &[Hour], height: u64) -> String {
    let mut dates = String::new();
    for (place, hour) in midnights(hours) {
        let per_mille = place * 1000 / HOURS;
        // What stands at the right end would stick out: it ends there.
        let anchor = if per_mille > 900 {
            " text-anchor=end"
        } else {
            ""
        };
        let _ = write!(
            dates,
            "<text x={}.{}% y={}{anchor}>{}</text>",
            per_mille / 10,
            per_mille % 10,
            height + 13,
            date(hour.number * HOUR_S)
        );
    }
    dates
}

fn midnights(hours: &[Hour]) -> impl Iterator<Item = (u64, &Hour)> {
    let placed = (0..).zip(hours);
    placed.filter(|(_, hour)| hour.number.is_multiple_of(24))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_ends_at_a_round_number() {
        for (most, top) in [
            (0, 2),
            (1, 2),
            (3, 4),
            (5, 6),
            (9, 10),
            (11, 12),
            (100, 100),
            (101, 120),
            (81_000, 100_000),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(round_up(most), top, "{most}");
        }
    }

    #[test]
    fn a_bar_is_seen_and_stays_in_its_chart() {
        for (count, of, height) in [
            (1, 1000, 2),
            (500, 1000, 32),
            (1000, 1000, 64),
            (u64::MAX, 1, 64),
        ] {
            assert_eq!(share(count, of, UP), height);
        }
    }
}
