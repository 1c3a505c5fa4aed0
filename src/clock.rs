//! Wall-clock times as people and rows read them: RFC 3339, UTC, whole seconds.
//!
//! The clock of a Pi, or of a machine that has just booted, may be wrong. So a time is shown and
//! decides nothing: the order of episodes comes from `seq`, and a wait is measured with `Instant`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;

/// As HTTP writes them.
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// `2026-11-23T23:46:12Z`. A time before 1970 is shown as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let unix_s = unix_seconds(time);
    let (year, month, day) = civil_from_days(unix_s / DAY_S);
    let hour = unix_s / 3600 % 24;
    let minute = unix_s / 60 % 60;
    let second = unix_s % 60;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, as HTTP's `Date` wants it (RFC 9110, 5.6.7).
pub fn http_date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let unix_s = unix_seconds(time);
    let days = unix_s / DAY_S;
    let (year, month, day) = civil_from_days(days);
    let hour = unix_s / 3600 % 24;
    let minute = unix_s / 60 % 60;
    let second = unix_s % 60;
    let weekday = DAYS[(days % 7) as usize];
    let month = MONTHS[(month as usize - 1) % 12];
    format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

/// The time of a text that [`http_date`] would make; `None` for any other text, such as the older forms
/// of RFC 9110.
pub fn parse_http_date(text: &str) -> Option<SystemTime> {
    let (_, date) = text.trim().split_once(", ")?;
    let [day, month, year, time, "GMT"] = date.split(' ').collect::<Vec<_>>()[..] else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let unix_s = parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z"))?;
    Some(UNIX_EPOCH + Duration::from_secs(unix_s))
}

/// Seconds since 1970-01-01T00:00:00Z; 0 for an earlier time.
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

/// The time of a text that [`rfc3339`] made, as seconds since 1970; `None` for any other text.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    const SHAPE: &[u8; 20] = b"0000-00-00T00:00:00Z";
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        _ => byte == shape,
    };
    if text.len() != SHAPE.len() || !text.as_bytes().iter().zip(SHAPE).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u64>().ok();
    let year = number(0, 4)?;
    let month = number(5, 7)?;
    let day = number(8, 10)?;
    let hour = number(11, 13)?;
    let minute = number(14, 16)?;
    let second = number(17, 19)?;
    let is_date = year >= 1970 && (1..=12).contains(&month) && (1..=31).contains(&day);
    // The 60 of a leap second is a time.
    let is_time_of_day = hour <= 23 && minute <= 59 && second <= 60;
    if !is_date || !is_time_of_day {
        return None;
    }
    Some(days_from_civil(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second)
}

/// The inverse of [`civil_from_days`].
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let era = year / 400;
    let year_of_era = year % 400;
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
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
    fn http_dates_are_those_of_the_rfc() {
        for (unix_s, want) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(unix_s);
            assert_eq!(http_date(time), want);
            assert_eq!(parse_http_date(want), Some(time));
        }
        for odd in [
            "",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET",
            "Sun, 06 Nov 1994 08:49:37 GMT more",
        ] {
            assert_eq!(parse_http_date(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn known_times_are_formatted_and_parsed() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (1_795_477_572, "2026-11-23T23:46:12Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(unix_s)), text);
            assert_eq!(parse_rfc3339(text), Some(unix_s));
        }
    }

    #[test]
    fn a_text_of_another_shape_is_no_time() {
        for odd in [
            "",
            "2026-11-23T23:46:12",
            "2026-11-23T23:46:12+01:00",
            "2026-11-23 23:46:12Z",
            "2026-13-23T23:46:12Z",
            "2026-11-23T24:46:12Z",
            "1969-12-31T23:59:59Z",
            "2026-11-2\u{e9}T23:46:1Z",
            "+026-11-23T23:46:12Z",
        ] {
            assert_eq!(parse_rfc3339(odd), None, "{odd:?}");
        }
    }
}
