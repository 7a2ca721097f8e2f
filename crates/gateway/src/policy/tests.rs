//! The guide's scenarios as rows, and the compiled form against the plain algorithm.

use proptest::prelude::*;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn rule(text: &str) -> Rule {
    let (group, destination) = text.split_once("->").unwrap();
    let group = if group == "all" { RuleGroup::All } else { RuleGroup::Group(group.to_owned()) };
    Rule { destination: net(destination), group }
}

fn everywhere() -> Vec<Route> {
    vec![Route { destination: net("0.0.0.0/0"), target: Target::Association }]
}

fn may(rules: &[Rule], group: &str, far: &str) -> bool {
    let groups = if group == "other" { vec![] } else { vec![group.to_owned()] };
    Policy::compile(&everywhere(), rules, &groups).verdict(far.parse().unwrap()) == Verdict::Forward
}

/// spec: aws-client-vpn §4.4, the seven scenarios of the guide.
#[test]
fn scenario_table() {
    const INTERNET: &str = "8.8.8.8";
    const ENG: &str = "172.16.0.9";
    const ENG_HALF: &str = "172.16.0.200";
    const DEV: &str = "10.0.7.7";
    const HOST: &str = "10.0.2.119";
    const MGR: &str = "192.168.0.5";
    let all = [INTERNET, ENG, ENG_HALF, DEV, HOST, MGR];
    let first = ["eng->172.16.0.0/24", "dev->10.0.0.0/16", "mgr->192.168.0.0/24"];
    let base = ["eng->172.16.0.0/24", "dev->10.0.0.0/16", "mgr->0.0.0.0/0"];
    let added = [
        "mgr->10.0.2.119/32",
        "eng->172.16.0.128/25",
        "eng->0.0.0.0/0",
        "mgr->192.168.0.0/24",
        "all->0.0.0.0/0",
    ];
    // Per scenario: how many of `added`, and what eng, dev, mgr and others reach.
    type Row<'a> = (usize, [&'a [&'a str]; 4]);
    let rows: [Row<'_>; 6] = [
        (0, [&[ENG, ENG_HALF], &[DEV, HOST], &[INTERNET, MGR], &[]]),
        (1, [&[ENG, ENG_HALF], &[DEV], &[INTERNET, HOST, MGR], &[]]),
        (2, [&[ENG, ENG_HALF], &[DEV], &[INTERNET, HOST, MGR], &[]]),
        (3, [&[INTERNET, ENG, ENG_HALF, MGR], &[DEV], &[INTERNET, HOST, MGR], &[]]),
        (4, [&[INTERNET, ENG, ENG_HALF], &[DEV], &[INTERNET, HOST, MGR], &[]]),
        // By the algorithm dev also gets the internet; the guide leaves that out.
        (5, [&[INTERNET, ENG, ENG_HALF], &[INTERNET, DEV], &[INTERNET, HOST, MGR], &[INTERNET]]),
    ];
    let check = |name: usize, rules: &[Rule], reach: [&[&str]; 4]| {
        for (group, reach) in ["eng", "dev", "mgr", "other"].into_iter().zip(reach) {
            for far in all {
                assert_eq!(may(rules, group, far), reach.contains(&far), "scenario {name}: {group} to {far}");
            }
        }
    };
    let rules: Vec<Rule> = first.iter().map(|r| rule(r)).collect();
    check(1, &rules, [&[ENG, ENG_HALF], &[DEV, HOST], &[MGR], &[]]);
    for (count, reach) in rows {
        let rules: Vec<Rule> = base.iter().chain(added.iter().take(count)).map(|r| rule(r)).collect();
        check(count + 2, &rules, reach);
    }
}

/// spec: aws-client-vpn §4.4, the Active Directory page's example.
#[test]
fn directory_example() {
    let broad = ["G1->0.0.0.0/0", "G2->0.0.0.0/0", "G3->0.0.0.0/0"].map(rule);
    let specific = ["G1->10.1.0.0/16", "G2->172.131.0.0/16"].map(rule);
    let rules = [broad.as_slice(), specific.as_slice()].concat();
    for (group, far, allowed) in [
        ("G1", "10.1.2.3", true),
        ("G1", "172.131.0.1", false),
        ("G1", "8.8.8.8", true),
        ("G2", "10.1.2.3", false),
        ("G2", "172.131.0.1", true),
        ("G3", "10.1.2.3", false),
        ("G3", "172.131.0.1", false),
        ("G3", "9.9.9.9", true),
        ("g1", "9.9.9.9", false),
    ] {
        assert_eq!(may(&rules, group, far), allowed, "{group} to {far}");
        let without = may(&broad, group, far);
        assert_eq!(without, group.starts_with('G'), "{group} to {far} without the specific rules");
    }
}

#[test]
fn verdicts_tell_why() {
    let routes = [
        Route { destination: net("10.0.0.0/16"), target: Target::Association },
        Route { destination: net("10.9.0.0/22"), target: Target::Local },
        Route { destination: net("10.9.0.0/22"), target: Target::Association },
        Route { destination: net("172.16.0.0/12"), target: Target::Association },
        Route { destination: net("0.0.0.0/0"), target: Target::Association },
        Route { destination: net("169.254.169.253/32"), target: Target::Association },
    ];
    let rules =
        ["all->10.0.0.0/8", "ops->172.16.0.0/16", "all->169.254.0.0/16", "all->224.0.0.0/4"].map(rule);
    let policy = Policy::compile(&routes, &rules, &[]);
    for (far, verdict) in [
        ("10.0.1.1", Verdict::Forward),
        ("10.9.0.1", Verdict::Local),
        ("172.16.0.1", Verdict::NotAuthorized),
        ("172.17.0.1", Verdict::NoRule),
        ("169.254.169.254", Verdict::NoRoute),
        ("169.254.169.253", Verdict::Forward),
        ("224.0.0.251", Verdict::NoRoute),
        ("255.255.255.255", Verdict::NoRoute),
        ("127.0.0.1", Verdict::NoRoute),
        ("0.0.0.0", Verdict::NoRoute),
        ("2001:db8::1", Verdict::NoRoute),
    ] {
        assert_eq!(policy.verdict(far.parse().unwrap()), verdict, "{far}");
    }
    assert_eq!(Policy::default().verdict("10.0.0.1".parse().unwrap()), Verdict::NoRoute);
}

fn any_net() -> impl Strategy<Value = IpNet> {
    // Few leading bits in use, so that prefixes nest often.
    let v4 = (any::<u32>(), 0u8..=32)
        .prop_map(|(a, bits)| IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::from(a & 0x0303_0303), bits)));
    let v6 = (any::<u128>(), 0u8..=128).prop_map(|(a, bits)| {
        IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::from(a & (0x2003_u128 << 112 | 3)), bits))
    });
    prop_oneof![3 => v4, 1 => v6]
}

proptest! {
    #[test]
    fn compiled_is_the_algorithm(
        routes in proptest::collection::vec((any_net(), any::<bool>()), 0..8),
        rules in proptest::collection::vec((any_net(), 0u8..3), 0..8),
        far in any::<u32>(), far6 in any::<u128>(),
    ) {
        let target = |local| if local { Target::Local } else { Target::Association };
        let routes: Vec<Route> =
            routes.into_iter().map(|(destination, local)| Route { destination, target: target(local) }).collect();
        let group = |n: u8| if n == 0 { RuleGroup::All } else { RuleGroup::Group(n.to_string()) };
        let rules: Vec<Rule> =
            rules.into_iter().map(|(destination, n)| Rule { destination, group: group(n) }).collect();
        let groups = ["1".to_owned()];
        let policy = Policy::compile(&routes, &rules, &groups);
        let tables = Tables { routes: &routes, rules: &rules, groups: &groups };
        let edges = routes.iter().map(|r| r.destination).chain(rules.iter().map(|r| r.destination));
        let edges: Vec<IpAddr> = edges.flat_map(|n| [n.network(), n.broadcast()]).collect();
        let drawn = [
            IpAddr::V4(Ipv4Addr::from(far & 0x0303_0303)), IpAddr::V4(Ipv4Addr::from(far)),
            IpAddr::V6(Ipv6Addr::from(far6)),
        ];
        for far in edges.into_iter().chain(drawn) {
            prop_assert_eq!(policy.verdict(far), tables.verdict(far), "{}", far);
        }
    }
}
