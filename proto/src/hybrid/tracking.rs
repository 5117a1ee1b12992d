//! The tail of every refusal text: `TrackingId:…, SystemTracker:sb://…, Timestamp:…`.

use core::fmt::{self, Write};

use crate::{
    limits::{TRACKING_ID_MAX, TRACKING_NAMESPACE_MAX, TRACKING_PATH_MAX},
    time::UnixTime,
};

/// What a refusal is about, for the person who reads the text on the other side.
#[derive(Debug, Clone, Copy)]
pub struct Tracking<'a> {
    /// Tracking id of the connection; the part after a GUID is the relay's own suffix. Never a rendezvous
    /// ticket.
    pub id: &'a str,
    /// Namespace: the host the peer asked for.
    pub namespace: &'a str,
    /// Decoded path the peer asked for, empty if it is not known.
    pub path: &'a str,
    /// When.
    pub at: UnixTime,
}

impl fmt::Display for Tracking<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrackingId:")?;
        visible(f, self.id, TRACKING_ID_MAX)?;
        f.write_str(", SystemTracker:sb://")?;
        visible(f, self.namespace, TRACKING_NAMESPACE_MAX)?;
        f.write_char('/')?;
        visible(f, self.path, TRACKING_PATH_MAX)?;
        write!(f, ", Timestamp:{}", Timestamp(self.at))
    }
}

/// UTC date and time, `2025-04-24T11:08:15`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub UnixTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.0.min(END_OF_YEAR_9999);
        let (year, month, day) = civil_from_days(seconds / 86_400);
        let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
        )
    }
}

/// Writes at most `max` characters of a peer's text; what does not belong into a status line becomes `?`.
fn visible(f: &mut fmt::Formatter<'_>, text: &str, max: usize) -> fmt::Result {
    for c in text.chars().take(max) {
        f.write_char(if c.is_ascii_graphic() || c == ' ' { c } else { '?' })?;
    }
    Ok(())
}

/// Year, month and day of a day number since 1970-01-01, in the proleptic Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last day of a year, and in eras of 400 years,
/// which all have 146,097 days.
const fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468; // 0000-03-01 is day 0
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * months_from_march + 2) / 5 + 1;
    let month = (months_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + (month <= 2) as u64;
    (year, month, day)
}

/// 9999-12-31T23:59:59; later times are written as this one.
const END_OF_YEAR_9999: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use std::{format, string::ToString};

    use super::*;

    #[test]
    fn timestamps_match_known_dates() {
        let known = [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (1_745_492_895, "2025-04-24T11:08:15"),
            (4_107_542_399, "2100-02-28T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (253_402_300_799, "9999-12-31T23:59:59"),
            (u64::MAX, "9999-12-31T23:59:59"),
        ];
        for (seconds, text) in known {
            assert_eq!(Timestamp(UnixTime(seconds)).to_string(), text);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut before = civil_from_days(0);
        for day in 1..146_097 {
            let today = civil_from_days(day);
            let next_day = today == (before.0, before.1, before.2 + 1);
            let next_month = today == (before.0, before.1 + 1, 1) && before.2 >= 28;
            let next_year = today == (before.0 + 1, 1, 1) && (before.1, before.2) == (12, 31);
            assert!(next_day || next_month || next_year, "{before:?} {today:?}");
            before = today;
        }
        assert_eq!(civil_from_days(146_097), (2370, 1, 1));
    }

    #[test]
    fn peer_text_cannot_break_the_line_or_fill_it() {
        let long = "p".repeat(5000);
        let tracking = Tracking {
            id: "a\r\nX: y",
            namespace: "h\u{7f}ø",
            path: &long,
            at: UnixTime(0),
        };
        let text = tracking.to_string();
        assert!(text.starts_with("TrackingId:a??X: y, SystemTracker:sb://h??/ppp"));
        assert!(text.ends_with("p, Timestamp:1970-01-01T00:00:00"));
        assert!(format!("{text:>1}").len() < 900);
    }
}
