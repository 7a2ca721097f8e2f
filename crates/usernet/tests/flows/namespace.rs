//! Tests that need a network of their own: they run once more, in a network namespace, where they may have one.

use std::process::Command;

const INSIDE: &str = "USERNET_TEST_NAMESPACE";
/// The network: two ends of a cable, and clients of any group may ping.
const NETWORK: &str = "ip link set lo up && ip link add left type veth peer name right \
    && ip link set left up && ip link set right up \
    && ip address add 10.99.0.1/24 dev left \
    && ip address add fd99:77::1/64 dev left nodad \
    && ip address add fd99:78::1/64 dev right nodad \
    && ip route add local fd99:88::/64 dev lo \
    && sysctl -q -w net.ipv6.conf.all.forwarding=1 net.ipv4.ping_group_range='0 2147483647'";

/// Whether this is the test's run in its namespace. Else it is made to run there; false then, or where that may not be.
pub(super) fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = |command: &str| {
        let mut all = Command::new("unshare");
        all.args(["--user", "--map-root-user", "--net", "sh", "-ec", command]);
        all.env(INSIDE, "yes").arg("sh").arg(std::env::current_exe().unwrap());
        all
    };
    let network = unshare(NETWORK).output();
    if !network.as_ref().is_ok_and(|output| output.status.success()) {
        println!("SKIP: there is no network namespace to be had: {network:?}");
        return false;
    }
    let script = format!("{NETWORK} && exec \"$1\" --exact {test} --nocapture");
    let output = unshare(&script).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "in its namespace");
    false
}
