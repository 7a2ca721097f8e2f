//! Tests that need a network of their own: they run once more, in a network namespace, where they may have one.

use std::process::Command;

const INSIDE: &str = "USERNET_TEST_NAMESPACE";
/// The network: a cable's two ends, of which this host is a router, and a network that is this host's as a whole. Root may
/// ping, and connections have little memory in the system.
const NETWORK: &str = "ip link set lo up && ip link add left type veth peer name right \
    && ip link set left up && ip link set right up \
    && ip address add 10.99.0.1/24 dev left \
    && ip address add fd99:77::1/64 dev left nodad \
    && ip address add fd99:78::1/64 dev right nodad \
    && ip route add local fd99:88::/64 dev lo \
    && sysctl -q -w net.ipv6.conf.all.forwarding=1 net.ipv4.ping_group_range='0 0' \
        net.ipv4.tcp_rmem='4096 16384 16384' net.ipv4.tcp_wmem='4096 16384 16384'";
/// As root, and as one who may only be root of a namespace.
const WAYS: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];

/// Whether this is the test's run in its namespace. Else it is made to run there; false then, or where that may not be.
pub(super) fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let run = |way: &[&str], script: &str| {
        let mut command = Command::new("unshare");
        command.args(way).args(["sh", "-ec", script, "sh"]).arg(std::env::current_exe().unwrap());
        command.env(INSIDE, "yes").output()
    };
    let mut why = Vec::new();
    let way = WAYS.into_iter().find(|way| match run(way, NETWORK) {
        Ok(output) if output.status.success() => true,
        other => {
            why.push(other);
            false
        }
    });
    let Some(way) = way else {
        println!("SKIP: there is no network namespace to be had: {why:?}");
        return false;
    };
    let output = run(way, &format!("{NETWORK} && exec \"$1\" --exact {test} --nocapture")).unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "in its namespace");
    false
}
