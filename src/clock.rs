//! Wall-clock times as people and rows read them: RFC 3339, UTC, whole seconds.
//!
//! No clock on a Pi or a fresh boot can be trusted, so a time is told and never decides: order
//! comes from `seq`, waiting from `Instant`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;

/// `2026-11-23T23:46:12Z`. A time before 1970 is told as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let unix_s = unix_seconds(time);
    let (year, month, day) = civil_from_days(unix_s / DAY_S);
    let (hour, minute, second) = (unix_s / 3600 % 24, unix_s / 60 % 60, unix_s % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// What [`rfc3339`] prints, or a day alone, which begins at midnight; `None` for anything else.
pub fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = match text.strip_suffix('Z') {
        Some(instant) => instant.split_once('T')?,
        None => (text, "00:00:00"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_time = hour < 24 && minute < 60 && second < 60;
    // The day whose date this is lies within a few of here, and a date that is none has no day.
    let about = year.checked_sub(1970)? * 365 + (year - 1969) / 4;
    let days = (about.saturating_sub(40)..about + 400)
        .find(|&days| civil_from_days(days) == (year, month, day))?;
    let unix_s = days * DAY_S + hour * 3600 + minute * 60 + second;
    is_time.then(|| UNIX_EPOCH + Duration::from_secs(unix_s))
}

fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        let is_number = part.bytes().all(|b| b.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_number)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Seconds since 1970, 0 before.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

/// Days since 1970-01-01 to year, month, day: Howard Hinnant's `civil_from_days`, for years
/// from 1970 on. It counts in 400-year eras that begin on 1 March, so that the leap day is last.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_795_477_572, "2026-11-23T23:46:12Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(unix_s);
            assert_eq!(rfc3339(time), text);
            assert_eq!(parse(text), Some(time));
        }
    }
}
