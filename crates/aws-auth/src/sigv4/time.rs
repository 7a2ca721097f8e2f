//! The times of signatures: `YYYYMMDDTHHMMSSZ`, or an HTTP date.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// Seconds since the Unix epoch as `YYYYMMDDTHHMMSSZ`; `None` outside the years of the calendar.
pub(crate) fn format(unix: i64) -> Option<String> {
    Timestamp::from_second(unix).ok().map(|time| time.strftime(FORMAT).to_string())
}

/// `YYYYMMDDTHHMMSSZ`, in this form only.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let shaped = text.len() == 16
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    if !shaped {
        return None;
    }
    DateTime::strptime(FORMAT, text)
        .ok()?
        .to_zoned(TimeZone::UTC)
        .ok()
        .map(|time| time.timestamp().as_second())
}

/// The value of a `Date` header: an HTTP date, or the form of [`parse`].
pub(crate) fn parse_http(text: &str) -> Option<i64> {
    parse(text).or_else(|| {
        jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(|time| time.as_second())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows() {
        assert_eq!(parse("20150830T123600Z"), Some(1_440_938_160));
        assert_eq!(format(1_440_938_160).as_deref(), Some("20150830T123600Z"));
        assert_eq!(parse_http("Sun, 30 Aug 2015 12:36:00 GMT"), Some(1_440_938_160));
        assert_eq!(parse_http("20150830T123600Z"), Some(1_440_938_160));
        for bad in [
            "",
            "20150830T123600",
            "2015-08-30T12:36:00Z",
            "20151330T123600Z",
            "20150830T126000Z",
            "+0150830T123600Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(format(i64::MAX), None);
    }
}
