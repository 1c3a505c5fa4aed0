//! `send_hours`: the part of the day, in local time, in which uploads are begun.

use std::fmt;
use std::time::{Duration, SystemTime};

use crate::{clock, sys};

const DAY_MINUTES: u16 = 24 * 60;

/// From one minute of the day to before another; over midnight if that is the smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SendHours {
    from: u16,
    to: u16,
}

impl SendHours {
    /// `22:00-06:00`. `None` for anything else, and for two equal times.
    pub(crate) fn parse(text: &str) -> Option<SendHours> {
        let (from, to) = text.split_once('-')?;
        let hours = SendHours {
            from: minute(from)?,
            to: minute(to)?,
        };
        (hours.from != hours.to).then_some(hours)
    }

    /// How long it is until the hours begin; `None` within them. Where the local time cannot be had, all hours
    /// are good: an episode must not wait for ever.
    pub(super) fn until_open(self) -> Option<Duration> {
        let now = SystemTime::now();
        let minutes = self.minutes_until(sys::local_minute(now)?)?;
        // All time zones begin their minutes together.
        let of_this_minute = clock::unix_seconds(now) % 60;
        let wait_s = (u64::from(minutes) * 60).saturating_sub(of_this_minute);
        Some(Duration::from_secs(wait_s))
    }

    fn minutes_until(self, minute: u16) -> Option<u16> {
        let SendHours { from, to } = self;
        let is_within = if from < to {
            (from..to).contains(&minute)
        } else {
            from <= minute || minute < to
        };
        (!is_within).then(|| (from + DAY_MINUTES - minute) % DAY_MINUTES)
    }
}

impl fmt::Display for SendHours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SendHours { from, to } = self;
        let (of_from, of_to) = (from % 60, to % 60);
        write!(f, "{:02}:{of_from:02}-{:02}:{of_to:02}", from / 60, to / 60)
    }
}

/// `HH:MM`, as a minute of the day.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_: &u16| is_number)
    };
    let (hour, minute) = (number(hour)?, number(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_two_times_of_day() {
        for text in ["22:00-06:00", "00:00-23:59", "08:30-17:15"] {
            let hours = SendHours::parse(text).unwrap();
            assert_eq!(hours.to_string(), text);
        }
        for text in [
            "",
            "22-06",
            "22:00",
            "22:00-22:00",
            "24:00-06:00",
            "22:60-06:00",
            "2:00-06:00",
            "22:00-06:00 ",
            "+2:00-06:00",
            "22:00-06:00-07:00",
        ] {
            assert_eq!(SendHours::parse(text), None, "{text}");
        }
    }

    #[test]
    fn they_may_cross_midnight() {
        let night = SendHours::parse("22:00-06:00").unwrap();
        for (time, wait) in [
            ("22:00", None),
            ("23:59", None),
            ("00:00", None),
            ("05:59", None),
            ("06:00", Some(16 * 60)),
            ("21:59", Some(1)),
        ] {
            let minute = minute(time).unwrap();
            assert_eq!(night.minutes_until(minute), wait, "{time}");
        }
        let day = SendHours::parse("08:30-17:15").unwrap();
        for (time, wait) in [
            ("08:29", Some(1)),
            ("08:30", None),
            ("17:14", None),
            ("17:15", Some(15 * 60 + 15)),
            ("00:00", Some(8 * 60 + 30)),
        ] {
            let minute = minute(time).unwrap();
            assert_eq!(day.minutes_until(minute), wait, "{time}");
        }
    }
}
