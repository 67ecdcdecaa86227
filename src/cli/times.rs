//! Points in time for people: in the zone of the reader, to the second, with the distance from now. It reads the clock and
//! the zone once for each text, so that the times of a text agree.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// The moment and the zone of a reader.
pub(super) struct Reader {
    now: Timestamp,
    zone: TimeZone,
}

impl Reader {
    /// Now, in the zone of the system (`TZ`).
    pub(super) fn here() -> Reader {
        Reader { now: Timestamp::now(), zone: TimeZone::system() }
    }

    #[cfg(test)]
    pub(super) fn at(now: &str) -> Reader {
        let now: ZonedDateTime = now.parse().expect("a time with a zone");
        Reader { now: now.timestamp(), zone: now.time_zone().clone() }
    }

    /// `2026-03-01 23:00:04 CET`; a text that is no time stays as it is.
    pub(super) fn time(&self, text: &str) -> String {
        match text.parse::<Timestamp>() {
            Ok(time) => self.local(time).strftime("%Y-%m-%d %H:%M:%S %Z").to_string(),
            Err(_) => text.to_owned(),
        }
    }

    /// `2026-03-01 23:00:04 CET (3 min ago)`.
    pub(super) fn time_and_distance(&self, text: &str) -> String {
        match self.distance(text) {
            Some(distance) => format!("{} ({distance})", self.time(text)),
            None => self.time(text),
        }
    }

    /// `23:00:04`.
    pub(super) fn time_of_day(&self) -> String {
        self.local(self.now).strftime("%H:%M:%S").to_string()
    }

    /// Seconds until a time; 0 if it is over.
    pub(super) fn seconds_until(&self, text: &str) -> Option<u64> {
        let time: Timestamp = text.parse().ok()?;
        let left = time.duration_since(self.now);
        Some(if left.is_negative() { 0 } else { left.unsigned_abs().as_secs() })
    }

    /// `3 min ago`, `in 2 h`.
    fn distance(&self, text: &str) -> Option<String> {
        let time: Timestamp = text.parse().ok()?;
        let distance = time.duration_since(self.now);
        let length = length(distance.unsigned_abs().as_secs());
        Some(match (distance.unsigned_abs().as_secs(), distance.is_negative()) {
            (0, _) => "now".to_owned(),
            (_, true) => format!("{length} ago"),
            (_, false) => format!("in {length}"),
        })
    }

    fn local(&self, time: Timestamp) -> ZonedDateTime {
        time.to_zoned_datetime(self.zone.clone())
    }
}

/// The two largest units of a length of time: `45 s`, `3 min`, `2 h 5 min`, `4 d 7 h`.
pub(super) fn length(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |first: String, rest: u64, unit: &str| match rest {
        0 => first,
        rest => format!("{first} {rest} {unit}"),
    };
    match () {
        () if minutes == 0 => format!("{seconds} s"),
        () if hours == 0 => format!("{minutes} min"),
        () if days == 0 => two(format!("{hours} h"), minutes % 60, "min"),
        () => two(format!("{days} d"), hours % 24, "h"),
    }
}

/// Milliseconds as people read them: `0.3 s`, `61 s`.
pub(super) fn seconds_of(millis: u64) -> String {
    let tenths = (millis + 50) / 100;
    if tenths < 100 { format!("{}.{} s", tenths / 10, tenths % 10) } else { format!("{} s", (millis + 500) / 1000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_reader() {
        let reader = Reader::at("2026-03-29T05:00:00+02:00[Europe/Berlin]");
        for (text, wanted) in [
            ("2026-03-29T02:57:00.123456789Z", "2026-03-29 04:57:00 CEST (2 min ago)"),
            ("2026-03-29T00:30:00Z", "2026-03-29 01:30:00 CET (2 h 30 min ago)"),
            ("2026-03-29T05:00:30Z", "2026-03-29 07:00:30 CEST (in 2 h)"),
            ("2026-04-02T04:00:00Z", "2026-04-02 06:00:00 CEST (in 4 d 1 h)"),
            ("2026-03-29T03:00:00Z", "2026-03-29 05:00:00 CEST (now)"),
            ("soon", "soon"),
        ] {
            assert_eq!(reader.time_and_distance(text), wanted);
        }
        assert_eq!(reader.seconds_until("2026-03-29T03:00:45Z"), Some(45));
        assert_eq!(reader.seconds_until("2026-03-29T02:00:00Z"), Some(0));
        assert_eq!([0, 59, 60, 3599, 3600, 90_000].map(length).join("|"), "0 s|59 s|1 min|59 min|1 h|1 d 1 h");
        assert_eq!([40, 350, 9_949, 9_950, 61_200].map(seconds_of).join("|"), "0.0 s|0.4 s|9.9 s|10 s|61 s");
    }
}
