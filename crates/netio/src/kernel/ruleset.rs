//! The nftables table as text, from what is to be in force. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ipnet::IpNet;

use super::forwarding::{ALL, Opened};
use crate::fabric::{EgressRule, FabricAssociation, Uplink, link_name};

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
/// The half of a mark that says it is ours.
pub(super) const MARK_MASK: u32 = 0xffff_0000;
/// All but the bit in which [`UP_MARK`] and [`REPLY_MARK`] differ, of the upper half.
pub(super) const UP_OR_REPLY_MASK: u32 = 0xfffe_0000;
/// All but the bit in which an association's two marks differ.
pub(super) const ANY_MARK_MASK: u32 = 0xfffe_ffff;

/// Mark of an association's connections and replies.
pub(super) fn reply_mark(index: u16) -> u32 {
    REPLY_MARK | u32::from(index)
}

/// What an association's two marks have in common, under [`ANY_MARK_MASK`].
pub(super) fn any_mark(index: u16) -> u32 {
    reply_mark(index) & ANY_MARK_MASK
}

/// An association's routing table.
pub(super) fn table(index: u16) -> u32 {
    REPLY_MARK | u32::from(index)
}

/// An association's uplink's routing table.
pub(super) fn uplink_table(index: u16) -> u32 {
    UP_MARK | u32::from(index)
}

/// Chains of an association, and the maps that lead there by the name of its device.
const CHAINS: [(&str, &str); 5] =
    [("raw", "raw_of"), ("mark", "mark_of"), ("to", "to_of"), ("out", "out_of"), ("from", "from_of")];

/// One transaction that replaces the whole table; without associations it is gone.
pub(super) fn whole<'a>(
    associations: impl Iterator<Item = &'a FabricAssociation> + Clone,
    opened: &Opened,
) -> String {
    let mut text = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
    if associations.clone().next().is_none() {
        return text;
    }
    let mut chains = String::new();
    let mut elements: BTreeMap<&str, String> = BTreeMap::new();
    for association in associations.clone() {
        render_chains(&mut chains, association);
        each_element(association, &mut |set, element| {
            push_element(elements.entry(set).or_default(), &element);
        });
    }
    for (name, interfaces) in noted(opened) {
        elements.insert(name, quoted(interfaces));
    }
    let _ = writeln!(text, "table inet {TABLE} {{");
    let declare = |kind: &str, name: &str, types: &str| {
        let elements = elements.get(name).filter(|list| !list.is_empty());
        let elements = elements.map_or_else(String::new, |list| format!(" elements = {{ {list} }};"));
        format!("{kind} {name} {{ type {types};{elements} }}\n")
    };
    for (name, types) in [
        ("links", "ifname"),
        (OPENED, "ifname"),
        (OPENED_V6, "ifname"),
        (ACCEPT_RA, "ifname"),
        ("plain", "mark"),
    ] {
        text.push_str(&declare("set", name, types));
    }
    text.push_str(&declare("map", "own_address", "mark : ipv4_addr"));
    text.push_str(&chains);
    for (_, name) in CHAINS {
        text.push_str(&declare("map", name, "ifname : verdict"));
    }
    render_lost(&mut text, associations);
    render_guard(&mut text, opened);
    text.push_str(&BASE.replace("OURS", &format!("& {MARK_MASK:#010x} == {REPLY_MARK:#010x}")));
    text.push_str("}\n");
    text
}

/// Guards these interfaces, too.
pub(super) fn opens(opened: &Opened) -> String {
    let mut text = String::new();
    for (name, interfaces) in noted(opened) {
        let list = quoted(interfaces);
        if !list.is_empty() {
            let _ = writeln!(text, "add element inet {TABLE} {name} {{ {list} }}");
        }
    }
    if !opened.v6.is_empty() {
        let _ = writeln!(text, "flush chain inet {TABLE} guard6\ntable inet {TABLE} {{");
        render_guard(&mut text, opened);
        text.push_str("}\n");
    }
    text
}

/// What is opened, by the set that notes it.
fn noted(opened: &Opened) -> [(&'static str, &BTreeSet<String>); 3] {
    [(OPENED, &opened.v4), (OPENED_V6, &opened.v6), (ACCEPT_RA, &opened.accept_ra)]
}

fn quoted(interfaces: &BTreeSet<String>) -> String {
    let mut list = String::new();
    for interface in interfaces.iter().filter(|name| quotable(name)) {
        push_element(&mut list, &format!("\"{interface}\""));
    }
    list
}

/// What comes in by IPv6 where we have it forwarded, and is for no tunnel.
fn render_guard(out: &mut String, opened: &Opened) {
    let by = if opened.v6.contains(ALL) { String::new() } else { format!("iifname @{OPENED_V6} ") };
    let _ = writeln!(out, "chain guard6 {{\n  {by}counter drop\n}}");
}

/// The rule against packets that miss their tunnel, once an association comes or has gone whose clients have IPv6; nothing if
/// they have none.
pub(super) fn lost<'a>(
    changed: &FabricAssociation,
    associations: impl Iterator<Item = &'a FabricAssociation>,
) -> String {
    if changed.client_cidr.v6.is_none() {
        return String::new();
    }
    let mut text = format!("flush chain inet {TABLE} lost\ntable inet {TABLE} {{\n");
    render_lost(&mut text, associations);
    text.push_str("}\n");
    text
}

/// What is for a client and does not go to its tunnel would go back where it came from, for ever.
fn render_lost<'a>(out: &mut String, associations: impl Iterator<Item = &'a FabricAssociation>) {
    // Associations of one endpoint have the same block.
    let nets: BTreeSet<_> = associations.filter_map(|of| of.client_cidr.v6).map(|net| net.trunc()).collect();
    let mut clients = String::new();
    for net in nets {
        push_element(&mut clients, &net.to_string());
    }
    out.push_str("chain lost {\n");
    if !clients.is_empty() {
        let _ = writeln!(out, "  ip6 daddr {{ {clients} }} counter drop");
    }
    out.push_str("}\n");
}

/// Adds one association to the table and touches no other's. What is there under its index is replaced.
pub(super) fn joins(association: &FabricAssociation) -> String {
    let index = association.index;
    let mut text = String::new();
    for (name, _) in CHAINS {
        let _ =
            writeln!(text, "add chain inet {TABLE} {name}_{index}\nflush chain inet {TABLE} {name}_{index}");
    }
    let _ = writeln!(text, "table inet {TABLE} {{");
    render_chains(&mut text, association);
    text.push_str("}\n");
    each_element(association, &mut |set, element| {
        let _ = writeln!(text, "add element inet {TABLE} {set} {{ {element} }}");
    });
    text
}

/// Takes one association out of the table and touches no other's. An error of `nft` if it is not all there.
pub(super) fn leaves(association: &FabricAssociation) -> String {
    let mut text = String::new();
    each_element(association, &mut |set, element| {
        let _ = writeln!(text, "delete element inet {TABLE} {set} {{ {element} }}");
    });
    for (name, _) in CHAINS {
        let _ = writeln!(text, "delete chain inet {TABLE} {name}_{}", association.index);
    }
    text
}

/// Replaces what may leave one association, and touches no other's.
pub(super) fn outlet(association: &FabricAssociation) -> String {
    let mut text = format!("flush chain inet {TABLE} from_{}\ntable inet {TABLE} {{\n", association.index);
    render_outlet(&mut text, association);
    text.push_str("}\n");
    text
}

/// The elements of sets and maps that make an association's packets known.
fn each_element(association: &FabricAssociation, each: &mut dyn FnMut(&'static str, String)) {
    let (link, index) = (link_name(&association.key), association.index);
    if !association.source_nat {
        each("plain", format!("{:#010x}", reply_mark(index)));
    } else if let Some(address) = association.uplink.as_ref().and_then(|uplink| uplink.nat_address) {
        each("own_address", format!("{:#010x} : {address}", reply_mark(index)));
    }
    for (name, map) in CHAINS {
        each(map, format!("\"{link}\" : jump {name}_{index}"));
    }
    each("links", format!("\"{link}\""));
}

/// The hooks, the same whatever associations there are. `OURS` stands for a test of the connection's mark.
///
/// Others ask whether there is a way back to a packet's source, by its mark (firewalld, of IPv6). To a client it is in the
/// association's table, so what comes from a tunnel bears its mark before they ask. To a network it is in the main table, so an
/// answer bears its own only behind them (`homeward`), and no longer where it is forwarded (`to_`).
const BASE: &str = "
chain prerouting_raw {
  type filter hook prerouting priority -300; policy accept;
  iifname vmap @raw_of
}
chain prerouting {
  type filter hook prerouting priority -150; policy accept;
  iifname vmap @mark_of
}
chain homeward {
  type filter hook prerouting priority 200; policy accept;
  iifname != @links ct direction reply ct mark OURS meta mark set ct mark
}
chain input {
  type filter hook input priority 0; policy accept;
  iifname @links counter drop
}
chain forward {
  type filter hook forward priority 0; policy accept;
  oifname vmap @to_of
  meta nfproto ipv6 jump lost
  iifname vmap @from_of
  meta nfproto ipv4 iifname @opened counter drop
  meta nfproto ipv6 jump guard6
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
  oifname != @links snat ip to ct mark map @own_address
  oifname != @links ct mark OURS masquerade
}
";

fn render_chains(out: &mut String, association: &FabricAssociation) {
    let FabricAssociation { index, client_cidr, .. } = association;
    // Another network of the host may have the same addresses: an answer from there is none.
    let fence = uplink_fence(association, "iifname");
    let [reply, up] = [REPLY_MARK, UP_MARK].map(|mark| mark | u32::from(*index));
    let mut own = String::new();
    for (family, word, net) in
        [("ipv4", "ip", client_cidr.v4.map(IpNet::V4)), ("ipv6", "ip6", client_cidr.v6.map(IpNet::V6))]
    {
        let Some(net) = net.map(|net| net.trunc()) else {
            let _ = writeln!(own, "  meta nfproto {family} drop");
            continue;
        };
        // What is for another client goes there before it is a packet of the kernel's.
        let _ = writeln!(own, "  {word} saddr != {net} drop\n  {word} daddr {net} drop");
    }
    let _ = write!(
        out,
        "chain raw_{index} {{
  meta nfproto != {{ ipv4, ipv6 }} drop
{own}  ct original zone set {index} meta mark set {up:#010x}
}}
chain mark_{index} {{
  ct state new ct mark set {reply:#010x}
}}
chain to_{index} {{
  iifname @links counter drop
{fence}  ct mark {reply:#010x} ct direction reply ct state established,related meta mark set 0 accept
  counter drop
}}
chain out_{index} {{
  ct mark {reply:#010x} return
  counter drop
}}
"
    );
    render_outlet(out, association);
}

/// Drops what passes by another interface than the uplink's, if there is one.
fn uplink_fence(association: &FabricAssociation, way: &str) -> String {
    let fence = |uplink: &Uplink| format!("  {way} != \"{}\" counter drop\n", uplink.interface);
    association.uplink.as_ref().map_or_else(String::new, fence)
}

/// What may leave.
fn render_outlet(out: &mut String, association: &FabricAssociation) {
    let fence = uplink_fence(association, "oifname");
    let _ = write!(
        out,
        "chain from_{} {{
  ct state invalid counter drop
{fence}  meta l4proto {{ 1, 58 }} ct state related accept
",
        association.index
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
