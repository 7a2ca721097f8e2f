//! The nftables table as text, from what is to be in force. Pure.

use std::collections::BTreeSet;
use std::fmt::Write;

use ipnet::IpNet;

use super::forwarding::{ALL, Opened};
use crate::fabric::{EgressRule, FabricAssociation, link_name};

/// Name of our table, of family `inet`.
pub(super) const TABLE: &str = "bascule";
/// Name of the set of interfaces that we have forward IPv4.
pub(super) const OPENED: &str = "opened";
/// The same of IPv6.
pub(super) const OPENED_V6: &str = "opened6";
/// Name of the set of interfaces that we have go on taking router advertisements. No rule asks it: it is a note.
pub(super) const ACCEPT_RA: &str = "accept_ra";
/// Upper half of the mark of connections and of reply packets, and of the numbers of tables.
pub(super) const REPLY_MARK: u32 = 0x0ba5_0000;
/// Upper half of the mark of packets from clients to the outside.
pub(super) const UP_MARK: u32 = 0x0ba4_0000;
/// Upper half of the mark of packets from client to client.
const PEER_MARK: u32 = 0x0ba6_0000;
/// The half of a mark that says it is ours.
pub(super) const MARK_MASK: u32 = 0xffff_0000;
/// All but the bit in which [`UP_MARK`] and [`REPLY_MARK`] differ, of the upper half.
pub(super) const UP_OR_REPLY_MASK: u32 = 0xfffe_0000;
/// All but the bits in which an association's three marks differ.
pub(super) const ANY_MARK_MASK: u32 = 0xfffc_ffff;

/// Mark of an association's connections and replies.
pub(super) fn reply_mark(index: u16) -> u32 {
    REPLY_MARK | u32::from(index)
}

/// What an association's three marks have in common, under [`ANY_MARK_MASK`].
pub(super) fn any_mark(index: u16) -> u32 {
    reply_mark(index) & ANY_MARK_MASK
}

/// An association's routing table.
pub(super) fn table(index: u16) -> u32 {
    REPLY_MARK | u32::from(index)
}

/// One transaction that replaces the whole table; without associations it is gone.
pub(super) fn render<'a>(
    associations: impl Iterator<Item = &'a FabricAssociation> + Clone,
    opened: &Opened,
) -> String {
    let mut text = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
    if associations.clone().next().is_none() {
        return text;
    }
    let mut links = String::new();
    let mut chains = String::new();
    let mut maps: [(&str, String); 5] =
        ["raw", "mark", "to", "from", "out"].map(|name| (name, String::new()));
    for association in associations.clone() {
        let (link, index) = (link_name(&association.key), association.index);
        push_element(&mut links, &format!("\"{link}\""));
        for (name, elements) in &mut maps {
            push_element(elements, &format!("\"{link}\" : jump {name}_{index}"));
        }
        render_chains(&mut chains, association, &link);
    }
    let mut clients = String::new();
    for net in associations.clone().filter_map(|association| association.client_cidr.v6) {
        push_element(&mut clients, &net.trunc().to_string());
    }
    let mut plain = String::new();
    for association in associations.filter(|association| !association.source_nat) {
        push_element(&mut plain, &format!("{:#010x}", reply_mark(association.index)));
    }
    let _ = writeln!(text, "table inet {TABLE} {{");
    let _ = writeln!(text, "set links {{ type ifname; elements = {{ {links} }}; }}");
    for (name, interfaces) in [(OPENED, &opened.v4), (OPENED_V6, &opened.v6), (ACCEPT_RA, &opened.accept_ra)]
    {
        let _ = writeln!(text, "set {name} {{ type ifname; {} }}", interface_elements(interfaces));
    }
    let elements = if plain.is_empty() { String::new() } else { format!("elements = {{ {plain} }};") };
    let _ = writeln!(text, "set plain {{ type mark; {elements} }}");
    text.push_str(&chains);
    for (name, elements) in maps {
        let _ = writeln!(text, "map {name}_of {{ type ifname : verdict; elements = {{ {elements} }}; }}");
    }
    let base = BASE.replace("OURS", &format!("& {MARK_MASK:#010x} == {REPLY_MARK:#010x}"));
    // What is for a client and does not go to its tunnel would go back where it came from, for ever.
    let lost =
        if clients.is_empty() { String::new() } else { format!("ip6 daddr {{ {clients} }} counter drop") };
    let guarded = if opened.v6.contains(ALL) { "" } else { "iifname @opened6 " };
    text.push_str(&base.replace("LOST", &lost).replace("GUARDED6", guarded));
    text.push_str("}\n");
    text
}

fn interface_elements(interfaces: &BTreeSet<String>) -> String {
    let mut elements = String::new();
    for interface in interfaces.iter().filter(|name| quotable(name)) {
        push_element(&mut elements, &format!("\"{interface}\""));
    }
    if elements.is_empty() { elements } else { format!("elements = {{ {elements} }};") }
}

/// The hooks, the same whatever associations there are. `OURS` stands for a test of the connection's mark, `LOST` for a rule
/// against packets that miss their tunnel, `GUARDED6` for a test of where IPv6 comes in.
const BASE: &str = "
chain prerouting_raw {
  type filter hook prerouting priority -300; policy accept;
  iifname vmap @raw_of
}
chain prerouting {
  type filter hook prerouting priority -150; policy accept;
  iifname vmap @mark_of
  iifname != @links ct direction reply ct mark OURS meta mark set ct mark
}
chain input {
  type filter hook input priority 0; policy accept;
  iifname @links counter drop
}
chain forward {
  type filter hook forward priority 0; policy accept;
  oifname vmap @to_of
  LOST
  iifname vmap @from_of
  meta nfproto ipv4 iifname @opened counter drop
  meta nfproto ipv6 GUARDED6counter drop
}
chain output {
  type route hook output priority -150; policy accept;
  meta l4proto icmp ct state related ct direction reply ct mark OURS icmp type redirect drop
  meta l4proto { 1, 58 } ct state related ct direction reply ct mark OURS meta mark set ct mark
}
chain postrouting {
  type filter hook postrouting priority 90; policy accept;
  oifname vmap @out_of
}
chain source_nat {
  type nat hook postrouting priority 100; policy accept;
  meta nfproto ipv6 return
  oifname != @links ct mark @plain return
  oifname != @links ct mark OURS masquerade
}
";

fn render_chains(out: &mut String, association: &FabricAssociation, link: &str) {
    let FabricAssociation { index, client_cidr, .. } = association;
    let [reply, up, peer] = [REPLY_MARK, UP_MARK, PEER_MARK].map(|mark| mark | u32::from(*index));
    let (mut own, mut peers) = (String::new(), String::new());
    for (family, word, net) in
        [("ipv4", "ip", client_cidr.v4.map(IpNet::V4)), ("ipv6", "ip6", client_cidr.v6.map(IpNet::V6))]
    {
        let Some(net) = net.map(|net| net.trunc()) else {
            let _ = writeln!(own, "  meta nfproto {family} drop");
            continue;
        };
        let _ = writeln!(own, "  {word} saddr != {net} drop");
        let _ = writeln!(peers, "  {word} daddr {net} ct zone set {index} meta mark set {peer:#010x} return");
    }
    let _ = write!(
        out,
        "chain raw_{index} {{
  meta nfproto != {{ ipv4, ipv6 }} drop
{own}{peers}  ct original zone set {index} meta mark set {up:#010x}
}}
chain mark_{index} {{
  ct state new ct mark set {reply:#010x}
}}
chain to_{index} {{
  iifname \"{link}\" accept
  iifname @links counter drop
  ct mark {reply:#010x} ct direction reply ct state established,related accept
  counter drop
}}
chain out_{index} {{
  ct mark {reply:#010x} return
  counter drop
}}
chain from_{index} {{
  ct state invalid counter drop
  meta l4proto {{ 1, 58 }} ct state related accept
"
    );
    for rule in &association.outlet.egress {
        if let Some(matched) = egress_match(rule) {
            let _ = writeln!(out, "  {matched} accept");
        }
    }
    out.push_str("  counter drop\n}\n");
}

/// The test of one egress rule; `None` for what cannot match any packet.
fn egress_match(rule: &EgressRule) -> Option<String> {
    const ANY_ICMP: u16 = u16::MAX;
    let far = rule.cidr.trunc();
    let mut text = match far {
        IpNet::V4(_) => format!("ip daddr {far}"),
        IpNet::V6(_) => format!("ip6 daddr {far}"),
    };
    let Some(protocol) = rule.protocol else { return Some(text) };
    let _ = write!(text, " meta l4proto {protocol}");
    match (protocol, rule.ports) {
        (6 | 17 | 33 | 132, Some((first, last))) => {
            if first > last {
                return None;
            }
            let _ = write!(text, " th dport {first}-{last}");
        }
        (1 | 58, Some((kind, code))) if kind != ANY_ICMP => {
            // Of the other IP version it is not ICMP that is asked for, and none of it has such a type.
            let word = match (protocol, far) {
                (1, IpNet::V4(_)) => "icmp",
                (58, IpNet::V6(_)) => "icmpv6",
                _ => return None,
            };
            let _ = write!(text, " {word} type {kind}");
            if code != ANY_ICMP {
                let _ = write!(text, " {word} code {code}");
            }
        }
        _ => {}
    }
    Some(text)
}

fn push_element(list: &mut String, element: &str) {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list.push_str(element);
}

/// An interface's name may hold almost any byte; ours go into a quoted string.
fn quotable(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'*'))
}

#[cfg(test)]
#[path = "ruleset/tests.rs"]
mod tests;
