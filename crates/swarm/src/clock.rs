//! Time for the sans-IO parts: microseconds since this process began to look.

use std::sync::LazyLock;
use std::time::Duration;

static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);

/// Now, for the protocol.
pub(crate) fn now() -> openvpn::Instant {
    openvpn::Instant(u64::try_from(ORIGIN.elapsed().as_micros()).unwrap_or(u64::MAX))
}

/// The wall clock, for replay ids.
pub(crate) fn wall() -> openvpn::UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    openvpn::UnixTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The same moment for the timers of the runtime.
pub(crate) fn timer(at: openvpn::Instant) -> tokio::time::Instant {
    (*ORIGIN + Duration::from_micros(at.0)).into()
}

/// The same moment for the stack.
pub(crate) fn of_stack(at: openvpn::Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(at.0).unwrap_or(i64::MAX))
}

/// A moment of the stack.
pub(crate) fn from_stack(at: smoltcp::time::Instant) -> openvpn::Instant {
    openvpn::Instant(u64::try_from(at.total_micros()).unwrap_or(0))
}
