//! The wall clock, and times and durations as people type and read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};

use crate::error::CliError;

/// The time in seconds since 1970; 0 before that.
pub fn wall_clock_seconds() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX)
}

/// True if the text is a time, and not a change id or a tag. Tags contain no spaces.
pub fn looks_like_time(text: &str) -> bool {
    let has_date = text.starts_with(|c: char| c.is_ascii_digit()) && text.contains(['-', ':']);
    has_date || text.contains(' ') || ["now", "today", "yesterday"].contains(&text)
}

/// Parses a time into seconds since 1970. It takes RFC 3339, `2026-03-01` and `2026-03-01 12:30` in local
/// time, `2h ago`, `yesterday`, `today` and `now`.
pub fn parse_time(text: &str) -> Result<i64, CliError> {
    let text = text.trim();
    let now = Zoned::now();
    let invalid_time = || {
        CliError::usage(format!("`{text}` is not a time")).with_hint(
            "write 2026-03-01T12:30:00Z, 2026-03-01, \"2026-03-01 12:30\", \"2h ago\" or yesterday",
        )
    };
    match text {
        "now" => return Ok(now.timestamp().as_second()),
        "today" => {
            return now.start_of_day().map(|time| time.timestamp().as_second()).map_err(|_| invalid_time());
        }
        "yesterday" => {
            let day = now.yesterday().and_then(|day| day.start_of_day());
            return day.map(|time| time.timestamp().as_second()).map_err(|_| invalid_time());
        }
        _ => {}
    }
    if let Some(span) = text.strip_suffix("ago") {
        let span: Span = span.trim().parse().map_err(|_| invalid_time())?;
        return now.checked_sub(span).map(|time| time.timestamp().as_second()).map_err(|_| invalid_time());
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_second());
    }
    let local_time = text.parse::<DateTime>().map_err(|_| invalid_time())?;
    local_time
        .to_zoned(TimeZone::system())
        .map(|time| time.timestamp().as_second())
        .map_err(|_| invalid_time())
}

/// Parses a duration such as `90s`, `30m`, `1h`, `7d`, `2w` or `1h 30m`. A bare number is in seconds.
pub fn parse_duration(text: &str) -> Result<Duration, CliError> {
    let invalid_duration =
        || CliError::usage(format!("`{text}` is not a duration; write 90s, 30m, 1h, 7d or \"1h 30m\""));
    let typed = text.trim();
    if let Ok(seconds @ 1..) = typed.parse::<u32>() {
        return Ok(Duration::from_secs(u64::from(seconds)));
    }
    let span: Span = typed.parse().map_err(|_| invalid_duration())?;
    let now = Zoned::now();
    let end = now.checked_add(span).map_err(|_| invalid_duration())?;
    match Duration::try_from(end.duration_since(&now)) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(invalid_duration()),
    }
}

/// Formats a time in the local time zone, to the second.
pub fn local(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(time) => time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => "(invalid time)".to_owned(),
    }
}

/// Formats the time since `seconds` in one unit.
pub fn format_ago(seconds: i64, now: i64) -> String {
    let seconds_ago = SignedDuration::from_secs(now.saturating_sub(seconds).max(0)).as_secs();
    match seconds_ago {
        0..=1 => "now".to_owned(),
        2..=119 => format!("{seconds_ago} s ago"),
        120..=7199 => format!("{} min ago", seconds_ago / 60),
        7200..=172_799 => format!("{} h ago", seconds_ago / 3600),
        _ => format!("{} d ago", seconds_ago / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_and_relative_times_are_parsed() {
        assert_eq!(parse_time("2023-11-14T22:13:20Z").unwrap(), 1_700_000_000);
        let now = Timestamp::now().as_second();
        assert!((now - parse_time("2h ago").unwrap() - 7200).abs() <= 2);
        assert!((now - parse_time("now").unwrap()).abs() <= 2);
        assert!(parse_time("2026-03-01").unwrap() < parse_time("2026-03-01 12:30").unwrap());
        for text in ["", "soon", "2026-13-01", "ago", "5"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        assert!(looks_like_time("2026-03-01") && looks_like_time("2h ago") && !looks_like_time("deadbee"));
    }

    #[test]
    fn only_positive_durations_are_parsed() {
        assert_eq!(parse_duration("1h").unwrap(), Duration::from_secs(3600));
        assert_eq!(parse_duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_duration("1h 30m").unwrap(), Duration::from_secs(5400));
        for text in ["", "0", "0s", "-1h", "x"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
