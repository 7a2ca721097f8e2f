//! Filters that a lab can hardly load, judged. Others are rows of the lab's own test.

use super::*;

struct Both;

impl Programs for Both {
    fn iptables(&self, tool: Tool, family: &str) -> Option<String> {
        let name = if family == "ip6" { "ip6tables" } else { "iptables" };
        Some(if tool == Tool::Legacy { format!("{name}-legacy") } else { name.to_owned() })
    }
}

fn ways() -> Ways {
    let inside = |name: &str| vec![Inside { name: Some(name.to_owned()), certain: true }];
    Ways {
        doors: vec![("10.99.0.2".parse().unwrap(), Some("eth0".to_owned()))],
        ports: Ports::Each(vec![443, 1194]),
        inside: [inside("eth1"), inside("eth1")],
    }
}

/// What is said, one finding a line.
fn judged(ruleset: &Ruleset) -> String {
    let lines = judge(ruleset, &ways(), &Both).into_iter().map(|finding| match finding {
        Finding::Good(what) => format!("ok {what}\n"),
        Finding::Note { what, do_this } => format!("note {what} | {do_this}\n"),
        Finding::Unknown { what, do_this } => format!("unknown {what} | {do_this}\n"),
        Finding::Lack { what, do_this } => format!("MISSING {what} | {do_this}\n"),
    });
    lines.collect()
}

fn saved(tool: Tool, text: &str) -> String {
    let mut ruleset = Ruleset::default();
    iptables::read(text, tool, "ip", &mut ruleset);
    judged(&ruleset)
}

#[test]
fn rules_of_iptables_mean_what_they_say() {
    // Rules of FORWARD under the policy ACCEPT; how the finding begins, nothing where all is well.
    let rows = [
        ("-A FORWARD -j DROP", "MISSING"),
        ("-A FORWARD -p icmp -m icmp --icmp-type 8 -j DROP", ""),
        ("-A FORWARD -m conntrack --ctstate INVALID -j DROP", ""),
        ("-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j DROP", "MISSING"),
        ("-A FORWARD ! -i bsc+ -o docker0 -j DROP", ""),
        ("-A FORWARD ! -i docker0 -j REJECT --reject-with icmp-port-unreachable", "MISSING"),
        ("-A FORWARD -s 192.0.2.0/24 -j DROP", ""),
        ("-A FORWARD ! -s 192.0.2.0/24 -j DROP", "unknown"),
        ("-A FORWARD -m set --match-set banned src -j DROP", "unknown"),
        ("-A FORWARD -m set --match-set banned src -j LOG --log-prefix \"no -j DROP\"", ""),
        ("-A FORWARD -m hashlimit --hashlimit-above 9/sec --hashlimit-name x -j DROP", ""),
        ("-A FORWARD -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW -j DROP", ""),
        ("-A FORWARD -m mark --mark 0x4000/0x4000 -j DROP", "unknown"),
        ("-A FORWARD -j NFQUEUE --queue-num 1", "unknown"),
        ("-A FORWARD -j MYSTERY", "unknown"),
        ("-A FORWARD -m addrtype --dst-type LOCAL -j DROP", ""),
        ("-A FORWARD -j away\n-A away -i bsc+ -j RETURN\n-A away -o bsc+ -j RETURN\n-A away -j DROP", ""),
        ("-A FORWARD -g away\n-A FORWARD -j DROP\n-A away -i lo -j DROP", ""),
        ("-A FORWARD -j away\n-A away -m set --match-set x src -j RETURN\n-A away -j DROP", "unknown"),
        ("-A FORWARD -j FORWARD", "unknown"),
    ];
    for (rules, begins) in rows {
        let text = format!("*filter\n:FORWARD ACCEPT [0:0]\n:away - [0:0]\n{rules}\nCOMMIT\n");
        let said = saved(Tool::Iptables, &text);
        assert!(said.starts_with(begins) && said.is_empty() == begins.is_empty(), "{rules}: {said}");
    }
}

#[test]
fn older_tables_have_their_own_tool() {
    let said = saved(Tool::Legacy, "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n");
    assert!(said.contains("| iptables-legacy -I FORWARD -i bsc+ -j ACCEPT; iptables-legacy -I"), "{said}");
}

#[test]
fn whether_a_way_back_is_there_depends_on_the_mark() {
    let rows = [
        ("mangle", "-m rpfilter --validmark --invert -j DROP", ""),
        ("mangle", "-m rpfilter --validmark -j RETURN\n-A PREROUTING -j DROP", ""),
        ("mangle", "-m rpfilter --invert -j DROP", "MISSING"),
        ("mangle", "-m rpfilter --loose --invert -j DROP", "unknown"),
        // Ours stands at the same place.
        ("raw", "-m rpfilter --validmark --invert -j DROP", "unknown"),
        // Another mark than ours.
        (
            "mangle",
            "-j MARK --set-xmark 0x1/0x1\n-A PREROUTING -m rpfilter --validmark --invert -j DROP",
            "unknown",
        ),
    ];
    for (table, rules, begins) in rows {
        let text = format!("*{table}\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {rules}\nCOMMIT\n");
        let said = saved(Tool::Iptables, &text);
        assert!(said.starts_with(begins) && said.is_empty() == begins.is_empty(), "{table} {rules}: {said}");
    }
}

/// As firewalld writes them for iptables, the outer interface in this zone.
fn zoned(zone: &str, denied: &str) -> String {
    let (mut chains, mut rules) = (String::new(), String::new());
    for (hook, place) in [("INPUT", "IN"), ("FORWARD", "FWD")] {
        chains.push_str(&format!(":{hook} ACCEPT [0:0]\n:{hook}_ZONES - [0:0]\n"));
        rules.push_str(&format!(
            "-A {hook} -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A {hook} -j {hook}_ZONES\n-A {hook} -j REJECT --reject-with icmp-host-prohibited
-A {hook}_ZONES -i eth0 -g {place}_{zone}\n-A {hook}_ZONES -g {place}_public\n"
        ));
        for zone in [zone, "public"] {
            chains.push_str(&format!(
                ":{place}_{zone} - [0:0]\n:{place}_{zone}_deny - [0:0]\n:{place}_{zone}_allow - [0:0]\n"
            ));
            rules.push_str(&format!(
                "-A {place}_{zone} -j {place}_{zone}_deny\n-A {place}_{zone} -j {place}_{zone}_allow
-A {place}_{zone} -j REJECT --reject-with icmp-port-unreachable\n"
            ));
        }
    }
    format!("*filter\n{chains}{rules}-A IN_{zone}_allow -p tcp -m tcp --dport 22 -j ACCEPT\n{denied}COMMIT\n")
}

#[test]
fn firewalld_opens_ports_of_the_zone_that_clients_come_in_by() {
    let said = saved(Tool::Iptables, &zoned("external", ""));
    for words in [
        "(firewalld's) drops (in IN_external) what comes to UDP 443 and 1194",
        "| firewall-cmd --permanent --zone=external --add-port=443/udp --add-port=1194/udp --add-port=443/tcp \
         --add-port=1194/tcp; firewall-cmd --reload\n",
        "(firewalld's) drops (in FWD_public) what clients send",
        "| firewall-cmd --permanent --zone=trusted --change-interface=bsc+; firewall-cmd --reload\n",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    // Of another version.
    let newer = "*filter\n:INPUT ACCEPT [0:0]\n:INPUT_dispatch - [0:0]\n:FORWARD_dispatch - [0:0]\n:IN_home_to_HOST - [0:0]
:IN_home - [0:0]\n:IN_home_allow - [0:0]\n-A INPUT -j INPUT_dispatch\n-A INPUT_dispatch -j IN_home_to_HOST
-A IN_home_to_HOST -j IN_home\n-A IN_home_to_HOST -j REJECT\n-A IN_home -j IN_home_allow\n";
    let said = saved(Tool::Iptables, newer);
    assert!(said.contains("| firewall-cmd --permanent --zone=home --add-port=443/udp"), "{said}");
    // What the zone denies it denies before it looks at ports that are open.
    let said = saved(Tool::Iptables, &zoned("external", "-A IN_external_deny -p udp -j DROP\n"));
    assert!(said.contains("| iptables -I INPUT -p udp") && !said.contains("--add-port"), "{said}");
}

#[test]
fn advice_that_would_not_help_is_not_given() {
    // What Docker leaves to its users comes behind the drop.
    let text =
        "*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DROP\n-A FORWARD -j DOCKER-USER\n";
    let said = saved(Tool::Iptables, text);
    assert!(said.contains("iptables -I FORWARD -i bsc+") && !said.contains("DOCKER-USER"), "{said}");
}

#[test]
fn more_rules_than_are_looked_at_are_unknown() {
    let rules = "-A FORWARD -i lo -j DROP\n".repeat(50_001);
    let said = saved(Tool::Iptables, &format!("*filter\n:FORWARD ACCEPT [0:0]\n{rules}"));
    assert!(said.starts_with("unknown") && said.contains("the many rules of the chain FORWARD"), "{said}");
}

#[test]
fn a_listing_of_anything_else_is_none() {
    for text in ["", "[]", "{}", "{\"nftables\": 1}"] {
        assert!(nft::read(text).is_none(), "{text}");
    }
    assert!(
        judged(&nft::read("{\"nftables\": [{}, {\"rule\": 1}, {\"chain\": {\"expr\": []}}]}").unwrap())
            .is_empty()
    );
}
