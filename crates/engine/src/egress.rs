//! Security group rules and uplinks → what the fabric lets out, and where. What cannot be expressed lets nothing out.

use model::{SecurityRule, UplinkSource};
use netio::EgressRule;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;
/// The fabric's "any" for an ICMP type or code.
const ICMP_ANY: u16 = 65_535;

/// The fabric's rules for `rules`, and how many of them had to be left out.
pub(crate) fn egress(rules: &[SecurityRule]) -> (Vec<EgressRule>, usize) {
    let out: Vec<_> = rules.iter().filter_map(rule).collect();
    let left_out = rules.len() - out.len();
    (out, left_out)
}

fn rule(rule: &SecurityRule) -> Option<EgressRule> {
    // A rule towards the group itself names interfaces we know no addresses of.
    let cidr = rule.cidr?;
    let protocol = match rule.protocol.as_str() {
        "-1" | "all" => None,
        "tcp" => Some(TCP),
        "udp" => Some(UDP),
        "icmp" => Some(ICMP),
        "icmpv6" => Some(ICMP_V6),
        number => Some(number.parse().ok()?),
    };
    let ports = match protocol {
        Some(TCP | UDP) => ports(rule.from_port, rule.to_port)?,
        Some(ICMP | ICMP_V6) if any(rule.from_port) && any(rule.to_port) => None,
        Some(ICMP | ICMP_V6) => Some((icmp(rule.from_port)?, icmp(rule.to_port)?)),
        _ => None,
    };
    Some(EgressRule { protocol, ports, cidr })
}

fn any(value: Option<i32>) -> bool {
    matches!(value, None | Some(-1))
}

/// A type or code as the fabric takes it.
fn icmp(value: Option<i32>) -> Option<u16> {
    if any(value) { Some(ICMP_ANY) } else { u8::try_from(value?).ok().map(u16::from) }
}

/// `Some(None)`: every port. `None`: nonsense.
fn ports(from: Option<i32>, to: Option<i32>) -> Option<Option<(u16, u16)>> {
    if any(from) && any(to) {
        return Some(None);
    }
    let (from, to) = (u16::try_from(from?).ok()?, u16::try_from(to?).ok()?);
    (from <= to).then_some(if (from, to) == (0, u16::MAX) { None } else { Some((from, to)) })
}

/// An uplink as the fabric takes it. That packets keep the client's address stands beside it.
pub(crate) fn uplink(of: &model::Uplink) -> netio::Uplink {
    netio::Uplink {
        interface: of.interface.clone(),
        next_hop: of.next_hop,
        next_hop_ipv6: of.next_hop_ipv6,
        nat_address: match of.source {
            UplinkSource::Address(address) => Some(address),
            UplinkSource::Interface | UplinkSource::Client => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_kept_or_left_out_but_never_widened() {
        type Row = (&'static str, Option<i32>, Option<i32>, bool, Option<(Option<u8>, Option<(u16, u16)>)>);
        let rows: [Row; 15] = [
            ("-1", None, None, true, Some((None, None))),
            ("-1", Some(-1), Some(-1), true, Some((None, None))),
            ("tcp", Some(443), Some(443), true, Some((Some(6), Some((443, 443))))),
            ("6", Some(0), Some(65535), true, Some((Some(6), None))),
            ("udp", Some(53), Some(60), true, Some((Some(17), Some((53, 60))))),
            ("udp", Some(60), Some(53), true, None),
            ("tcp", Some(443), None, true, None),
            ("icmp", Some(-1), Some(-1), true, Some((Some(1), None))),
            ("icmp", Some(8), Some(-1), true, Some((Some(1), Some((8, 65_535))))),
            ("icmp", Some(3), Some(4), true, Some((Some(1), Some((3, 4))))),
            ("icmp", Some(300), Some(-1), true, None),
            ("icmpv6", Some(-1), Some(-1), true, Some((Some(58), None))),
            ("58", Some(128), Some(0), true, Some((Some(58), Some((128, 0))))),
            ("gre", None, None, true, None),
            ("tcp", Some(443), Some(443), false, None),
        ];
        for (protocol, from_port, to_port, has_cidr, expected) in rows {
            let cidr = has_cidr.then(|| "10.0.0.0/8".parse().unwrap());
            let given = SecurityRule { protocol: protocol.into(), from_port, to_port, cidr };
            let (rules, left_out) = egress(std::slice::from_ref(&given));
            let got = rules.first().map(|rule| (rule.protocol, rule.ports));
            assert_eq!(got, expected, "{given:?}");
            assert_eq!(left_out, usize::from(expected.is_none()), "{given:?}");
        }
    }
}
