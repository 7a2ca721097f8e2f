//! Times as AWS writes them (spec: aws-client-vpn §2.0): strings, UTC.

use model::Timestamp;

/// `2020-11-13T11:37:27`: of endpoints.
pub(crate) fn with_t(time: Timestamp) -> String {
    format(time, "%Y-%m-%dT%H:%M:%S")
}

/// `2019-08-12 07:58:34`: of connections.
pub(crate) fn with_space(time: Timestamp) -> String {
    format(time, "%Y-%m-%d %H:%M:%S")
}

/// `2019-08-12T07:58:34Z`: of conditions in policies.
pub(crate) fn iso(time: Timestamp) -> String {
    format(time, "%Y-%m-%dT%H:%M:%SZ")
}

fn format(time: Timestamp, pattern: &str) -> String {
    let instant = jiff::Timestamp::from_second(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    instant.strftime(pattern).to_string()
}

/// Now, by the machine's clock.
pub(crate) fn wall() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aws_forms() {
        assert_eq!(with_t(Timestamp(1_605_267_447)), "2020-11-13T11:37:27");
        assert_eq!(with_space(Timestamp(1_565_596_714)), "2019-08-12 07:58:34");
        assert_eq!(iso(Timestamp(0)), "1970-01-01T00:00:00Z");
    }
}
