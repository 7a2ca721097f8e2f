//! What the text of the table says. That it does what it means is shown with packets, in `tests/fabric`.

use super::*;
use crate::fabric::{Outlet, Uplink};

fn opened(v4: &[&str], v6: &[&str]) -> Opened {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Opened::noted(names(v4), names(v6), BTreeSet::new())
}

fn association(key: &str, index: u16) -> FabricAssociation {
    FabricAssociation {
        key: key.into(),
        index,
        client_cidr: "10.8.0.0/22".parse().unwrap(),
        source_nat: true,
        uplink: None,
        queues: 1,
        mtu: 1500,
        outlet: Outlet { egress: Vec::new(), toward: vec!["10.0.0.0/24".parse().unwrap()] },
    }
}

#[test]
fn without_associations_the_table_goes() {
    assert_eq!(
        whole([].iter(), &opened(&["eth0"], &[])),
        "add table inet bascule\ndelete table inet bascule\n"
    );
}

#[test]
fn each_association_has_its_chains_and_marks() {
    let both =
        [association("cvpn-assoc-0aaaaaaaaaaaaaaaa", 1), association("cvpn-assoc-0bbbbbbbbbbbbbbbb", 0xfffe)];
    let text = whole(both.iter(), &opened(&["eth0", "bad\" drop"], &["net1"]));
    for expected in [
        "set links { type ifname; elements = { \"bsc0aaaaaaaaaaa\", \"bsc0bbbbbbbbbbb\" }; }",
        "set opened { type ifname; elements = { \"eth0\" }; }",
        "set opened6 { type ifname; elements = { \"net1\" }; }",
        "set accept_ra { type ifname; }",
        "chain guard6 {\n  iifname @opened6 counter drop\n}",
        "  ip saddr != 10.8.0.0/22 drop\n  ip daddr 10.8.0.0/22 drop\n  meta nfproto ipv6 drop\n",
        "\"bsc0bbbbbbbbbbb\" : jump from_65534",
        "ct original zone set 65534 meta mark set 0x0ba4fffe",
        "ct state new ct mark set 0x0ba50001",
        "oifname != @links ct mark & 0xffff0000 == 0x0ba50000 masquerade",
        "set plain { type mark; }",
        "map own_address { type mark : ipv4_addr; }",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    for placeholder in ["OURS", "LOST", "GUARDED", "ip6 "] {
        assert!(!text.contains(placeholder), "{placeholder} in\n{text}");
    }
    let [first, second] = both;
    let plain = [first, FabricAssociation { source_nat: false, ..second }];
    let text = whole(plain.iter(), &Opened::default());
    assert!(text.contains("set plain { type mark; elements = { 0x0ba5fffe }; }"), "{text}");
}

fn by_uplink(source_nat: bool) -> FabricAssociation {
    let uplink = Uplink {
        interface: "eth1".into(),
        next_hop: None,
        next_hop_ipv6: None,
        nat_address: Some("10.0.0.9".parse().unwrap()),
    };
    FabricAssociation { uplink: Some(uplink), source_nat, ..association("cvpn-assoc-0aaaaaaaaaaaaaaaa", 1) }
}

#[test]
fn an_uplink_is_a_fence_and_an_address() {
    let text = whole([by_uplink(true)].iter(), &Opened::default());
    for expected in [
        "map own_address { type mark : ipv4_addr; elements = { 0x0ba50001 : 10.0.0.9 }; }",
        "iifname != \"eth1\" counter drop",
        "oifname != \"eth1\" counter drop",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let text = whole([by_uplink(false)].iter(), &Opened::default());
    assert!(text.contains("plain { type mark; elements") && !text.contains("10.0.0.9"), "{text}");
}

/// A change of one association says nothing of others, and joining says the same as the whole does.
#[test]
fn a_change_is_of_one_association() {
    let (one, other) = (by_uplink(true), association("cvpn-assoc-0bbbbbbbbbbbbbbbb", 2));
    let all = whole([one.clone(), other].iter(), &Opened::default());
    let lines = |text: &str| -> BTreeSet<String> {
        text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    };
    let joined = joins(&one);
    let inside = joined.split_once("{\n").unwrap().1.split_once("\n}\n").unwrap().0;
    assert!(lines(inside).is_subset(&lines(&all)), "{inside}");
    for script in [joined, leaves(&one), outlet(&one)] {
        for foreign in ["_2", "0bbb", "0x0ba50002", "delete table", "hook"] {
            assert!(!script.contains(foreign), "{foreign} in\n{script}");
        }
    }
    assert_eq!(opens(&Opened::default()), "");
    assert_eq!(opens(&opened(&["eth1"], &[])), "add element inet bascule opened { \"eth1\" }\n");
}

#[test]
fn egress_rules_become_tests() {
    let rule = |protocol, ports, cidr: &str| EgressRule { protocol, ports, cidr: cidr.parse().unwrap() };
    for (rule, expected) in [
        (rule(None, None, "0.0.0.0/0"), Some("ip daddr 0.0.0.0/0")),
        (rule(None, Some((1, 2)), "10.1.2.3/8"), Some("ip daddr 10.0.0.0/8")),
        (
            rule(Some(6), Some((80, 443)), "10.0.0.0/8"),
            Some("ip daddr 10.0.0.0/8 meta l4proto 6 th dport 80-443"),
        ),
        (rule(Some(17), None, "10.0.0.0/8"), Some("ip daddr 10.0.0.0/8 meta l4proto 17")),
        (rule(Some(47), Some((1, 2)), "10.0.0.0/8"), Some("ip daddr 10.0.0.0/8 meta l4proto 47")),
        (
            rule(Some(1), Some((8, 65535)), "10.0.0.0/8"),
            Some("ip daddr 10.0.0.0/8 meta l4proto 1 icmp type 8"),
        ),
        (
            rule(Some(1), Some((3, 4)), "10.0.0.0/8"),
            Some("ip daddr 10.0.0.0/8 meta l4proto 1 icmp type 3 icmp code 4"),
        ),
        (rule(Some(1), Some((65535, 65535)), "10.0.0.0/8"), Some("ip daddr 10.0.0.0/8 meta l4proto 1")),
        (rule(Some(6), Some((443, 80)), "10.0.0.0/8"), None),
        (rule(None, None, "2001:db8::1/32"), Some("ip6 daddr 2001:db8::/32")),
        (
            rule(Some(17), Some((53, 53)), "2001:db8::/32"),
            Some("ip6 daddr 2001:db8::/32 meta l4proto 17 th dport 53-53"),
        ),
        (
            rule(Some(58), Some((128, 0)), "::/0"),
            Some("ip6 daddr ::/0 meta l4proto 58 icmpv6 type 128 icmpv6 code 0"),
        ),
        (rule(Some(58), None, "::/0"), Some("ip6 daddr ::/0 meta l4proto 58")),
        (rule(Some(58), Some((128, 65535)), "0.0.0.0/0"), None),
        (rule(Some(1), Some((8, 65535)), "::/0"), None),
    ] {
        assert_eq!(egress_match(&rule).as_deref(), expected, "{rule:?}");
    }
}

#[test]
fn each_ip_version_has_its_tests() {
    let base = association("cvpn-assoc-0aaaaaaaaaaaaaaaa", 7);
    let with = |nets: &str| FabricAssociation { client_cidr: nets.parse().unwrap(), ..base.clone() };
    let text = whole([with("fd00:9::/64")].iter(), &Opened::default());
    for expected in [
        "  meta nfproto ipv4 drop\n  ip6 saddr != fd00:9::/64 drop\n  ip6 daddr fd00:9::/64 drop\n",
        "chain lost {\n  ip6 daddr { fd00:9::/64 } counter drop\n}",
        "  meta nfproto ipv6 return\n",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    let text = whole([with("10.8.0.0/22,fd00:9::/64")].iter(), &opened(&[], &[ALL]));
    for expected in [
        "  ip daddr 10.8.0.0/22 drop\n  ip6 saddr != fd00:9::/64 drop\n  ip6 daddr fd00:9::/64 drop\n  ct original",
        "chain guard6 {\n  counter drop\n}",
        "set opened6 { type ifname; elements = { \"all\" }; }",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
}

#[test]
fn link_names_fit_the_kernel_and_the_quotes() {
    for (key, name) in [
        ("cvpn-assoc-0123456789abcdef0", "bsc0123456789ab"),
        ("0123456789abcdef0", "bsc0123456789ab"),
        ("cvpn-assoc-01234567", "bsc01234567"),
    ] {
        assert_eq!(link_name(key), name);
    }
    for key in ["", "x", "cvpn-assoc-", "a\" drop; \"-..", "cvpn-assoc-0123456789ABCDEF0", "é"] {
        let name = link_name(key);
        assert_eq!(name.len(), 15, "{key}");
        assert!(name.bytes().skip(3).all(|b| b.is_ascii_hexdigit()), "{name}");
    }
    assert_ne!(link_name("x"), link_name("y"));
}

#[test]
fn marks_differ_where_the_masks_do_not_look() {
    for index in [1, 0x00ff, 0xffff] {
        let marks = [REPLY_MARK, UP_MARK].map(|mark| mark | u32::from(index));
        assert!(marks.iter().all(|mark| mark & ANY_MARK_MASK == any_mark(index)));
        assert!(marks.iter().all(|mark| mark & UP_OR_REPLY_MASK == UP_MARK & UP_OR_REPLY_MASK));
    }
    assert_ne!(any_mark(1), any_mark(2));
}
