//! The rules of an association's outlet, asked once per flow.

use std::net::IpAddr;

use netio::{EgressRule, Outlet};

use crate::flow::Key;
use crate::packet::{ICMP, ICMP_V6, TCP, UDP};

/// "Any" for the type or code of an ICMP rule.
const ICMP_ANY: u16 = u16::MAX;
/// Type and code of an echo request.
const ECHO: (u16, u16) = (8, 0);
const ECHO_V6: (u16, u16) = (128, 0);

/// Whether a flow may leave. Fail closed: what no rule names does not.
pub(crate) fn allows(outlet: &Outlet, key: &Key) -> bool {
    outlet.egress.iter().any(|rule| matches(rule, key.protocol, key.far.ip(), key.far.port()))
}

fn matches(rule: &EgressRule, protocol: u8, far: IpAddr, port: u16) -> bool {
    if !rule.cidr.contains(&far) || rule.protocol.is_some_and(|wanted| wanted != protocol) {
        return false;
    }
    let Some((first, last)) = rule.ports else { return true };
    let is = |wanted: u16, own: u16| wanted == ICMP_ANY || wanted == own;
    match (rule.protocol, protocol) {
        // Ports say something only beside a protocol that has them.
        (Some(_), TCP | UDP) => (first..=last).contains(&port),
        (Some(_), ICMP) => is(first, ECHO.0) && is(last, ECHO.1),
        (Some(_), ICMP_V6) => is(first, ECHO_V6.0) && is(last, ECHO_V6.1),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_leaves_by_a_rule_or_not_at_all() {
        type Rule = (Option<u8>, Option<(u16, u16)>, &'static str);
        let web: Rule = (Some(TCP), Some((80, 443)), "10.0.0.0/8");
        let rows: &[(&[Rule], u8, &str, bool)] = &[
            (&[], TCP, "10.0.0.1:80", false),
            (&[(None, None, "0.0.0.0/0")], TCP, "10.0.0.1:80", true),
            (&[(None, None, "0.0.0.0/0")], TCP, "[fd00::1]:80", false),
            (&[(None, None, "::/0")], TCP, "[fd00::1]:80", true),
            (&[web], TCP, "10.0.0.1:80", true),
            (&[web], TCP, "10.0.0.1:443", true),
            (&[web], TCP, "10.0.0.1:444", false),
            (&[web], TCP, "10.0.0.1:79", false),
            (&[web], UDP, "10.0.0.1:80", false),
            (&[web], TCP, "11.0.0.1:80", false),
            (&[web], ICMP, "10.0.0.1:0", false),
            (&[web, (Some(UDP), None, "11.0.0.0/8")], UDP, "11.0.0.1:5", true),
            (&[(Some(ICMP), None, "10.0.0.0/8")], ICMP, "10.0.0.1:0", true),
            (&[(Some(ICMP), Some((8, 65_535)), "10.0.0.0/8")], ICMP, "10.0.0.1:0", true),
            (&[(Some(ICMP), Some((8, 0)), "10.0.0.0/8")], ICMP, "10.0.0.1:0", true),
            (&[(Some(ICMP), Some((0, 0)), "10.0.0.0/8")], ICMP, "10.0.0.1:0", false),
            (&[(Some(ICMP), Some((3, 4)), "10.0.0.0/8")], ICMP, "10.0.0.1:0", false),
            (&[(Some(47), None, "10.0.0.0/8")], TCP, "10.0.0.1:80", false),
        ];
        for (rules, protocol, far, expected) in rows {
            let egress = rules
                .iter()
                .map(|(protocol, ports, cidr)| EgressRule {
                    protocol: *protocol,
                    ports: *ports,
                    cidr: cidr.parse().unwrap(),
                })
                .collect();
            let outlet = Outlet { egress, toward: Vec::new() };
            let key = Key {
                protocol: *protocol,
                client: "10.8.0.2:1000".parse().unwrap(),
                far: far.parse().unwrap(),
            };
            assert_eq!(allows(&outlet, &key), *expected, "{rules:?} {protocol} {far}");
        }
    }
}
