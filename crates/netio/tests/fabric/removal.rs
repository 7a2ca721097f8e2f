//! What `remove` and `sweep` leave behind: nothing, whatever happened before.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use netio::kernel::KernelFabric;
use netio::{Fabric, FabricAssociation, FabricError, HelperFabric, Uplink, link_name};
use tempfile::TempDir;

use crate::cases::ask;
use crate::packet::ping;
use crate::site::{Site, association, client, gateway, open, target};

/// Makes this program the victim of [`a_crash_leaves_nothing_after_a_sweep`].
pub const CRASH_ARGUMENT: &str = "crash";

/// Makes this program the victim of [`killed_after_each_change_of_the_kernel`].
pub const LIFE_ARGUMENT: &str = "life";

pub fn all() -> Vec<(&'static str, fn())> {
    vec![
        ("remove_leaves_nothing_and_is_idempotent", remove_leaves_nothing_and_is_idempotent as fn()),
        ("a_failing_nft_is_transient_and_finished_later", a_failing_nft_is_transient_and_finished_later),
        ("a_failed_add_leaves_nothing", a_failed_add_leaves_nothing),
        ("a_crash_leaves_nothing_after_a_sweep", a_crash_leaves_nothing_after_a_sweep),
        ("killed_after_each_change_of_the_kernel", killed_after_each_change_of_the_kernel),
        ("the_operators_own_stays", the_operators_own_stays),
        ("a_flushed_ruleset_comes_back", a_flushed_ruleset_comes_back),
        ("wrong_associations_are_refused", wrong_associations_are_refused),
        ("the_helper_can_do_little_and_ends_with_us", the_helper_can_do_little_and_ends_with_us),
    ]
}

/// Puts an `nft` before the real one that fails in a namespace for which a file says so.
pub fn put_nft_wrapper_in_path() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let wrapper = folder.path().join("nft");
    let script = format!(
        "#!/bin/sh\nif [ -e \"{}/$(readlink /proc/self/ns/net)\" ]; then echo 'told to fail' >&2; exit 3; fi\n\
         PATH='{path}' exec nft \"$@\"\n",
        folder.path().display()
    );
    std::fs::write(&wrapper, script).unwrap();
    std::fs::set_permissions(&wrapper, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    // SAFETY: there is one thread yet.
    unsafe { std::env::set_var("PATH", format!("{}:{path}", folder.path().display())) };
    folder
}

fn wrapper_folder() -> String {
    std::env::var("PATH").unwrap().split(':').next().unwrap().to_owned()
}

/// Everything the fabric may have made, as text.
pub fn traces(site: &Site) -> String {
    site.gateway.sh(
        "ip -o link show | grep -o 'bsc[0-9a-f]*' | sort -u; ip rule show; ip -4 route show table all; \
         ip -6 rule show; ip -6 route show table all | grep -v 'local fe80' | cat; \
         nft list ruleset; conntrack -L 2>/dev/null | sort | sed 's/^[a-z]* *[0-9]* [0-9]* //'; \
         cd /proc/sys/net/ipv4/conf; grep . net*/forwarding all/forwarding; \
         cd /proc/sys/net/ipv6/conf; grep . net*/*forwarding all/forwarding net*/accept_ra",
    )
}

/// Traffic that makes connections.
fn use_it(tunnel: &crate::packet::Tunnel, number: u8) {
    ask(tunnel, (client(2), 4000), target(number), "used", gateway(number));
    tunnel.send(&ping(client(2), target(number), 9, 64, b""));
    tunnel.next();
}

fn remove_leaves_nothing_and_is_idempotent() {
    let site = Site::new();
    // Connection tracking of the host's own traffic begins with our rules: have one for before and after.
    site.gateway
        .sh("nft add table inet own; nft add chain inet own c '{ type filter hook output priority 0; }'");
    let before = traces(&site);
    let mut fabric = site.fabric();
    for with_queues_open in [true, false] {
        let tunnels = [1, 2].map(|number| open(&mut fabric, &association(number)));
        for (tunnel, number) in tunnels.iter().zip([1, 2]) {
            use_it(tunnel, number);
        }
        let marked = site.gateway.sh("conntrack -L 2>/dev/null | grep -c mark=19536281");
        assert_eq!(marked.trim(), "4", "two connections each");
        if !with_queues_open {
            drop(tunnels);
        }
        fabric.remove(&association(1).key).unwrap();
        let between = traces(&site);
        let (gone, there) = (link_name(&association(1).key), link_name(&association(2).key));
        assert!(!between.contains(&gone) && between.contains(&there), "{between}");
        assert!(!between.contains("ba50001") && between.contains("ba50002"), "{between}");
        assert!(!between.contains(&format!("mark={}", 0x0ba5_0001)), "{between}");
        for _ in 0..2 {
            for number in [1, 2] {
                fabric.remove(&association(number).key).unwrap();
            }
        }
        assert_eq!(traces(&site), before);
    }
    fabric.remove("cvpn-assoc-unknown").unwrap();
    // Adding what is there makes it anew.
    open(&mut fabric, &association(1));
    use_it(&open(&mut fabric, &association(1)), 1);
    fabric.sweep().unwrap();
    assert_eq!(traces(&site), before);
}

fn a_failing_nft_is_transient_and_finished_later() {
    let site = Site::new();
    let before = traces(&site);
    let flag = Path::new(&wrapper_folder()).join(site.gateway.id());
    let mut fabric = site.fabric();
    let tunnel = open(&mut fabric, &association(1));
    use_it(&tunnel, 1);
    std::fs::write(&flag, "").unwrap();
    for _ in 0..2 {
        match fabric.remove(&association(1).key) {
            Err(FabricError::Transient(text)) => assert!(text.contains("told to fail"), "{text}"),
            other => panic!("{other:?}"),
        }
        let link = link_name(&association(1).key);
        assert!(!site.gateway.sh("ip link show").contains(&link));
        assert!(!site.gateway.sh("ip rule show; ip route show table all").contains("0xba5"));
    }
    // What is not all gone holds its index.
    let mut other = association(2);
    other.index = 1;
    assert!(matches!(fabric.add(&other), Err(FabricError::Transient(_))));
    assert!(fabric.sweep().is_err());
    std::fs::remove_file(&flag).unwrap();
    // A sweep that failed does not forget either.
    fabric.remove(&association(1).key).unwrap();
    assert_eq!(traces(&site), before);
    fabric.sweep().unwrap();
    assert_eq!(traces(&site), before);
}

fn a_failed_add_leaves_nothing() {
    let site = Site::new();
    let before = traces(&site);
    let flag = Path::new(&wrapper_folder()).join(site.gateway.id());
    let mut fabric = site.fabric();
    std::fs::write(&flag, "").unwrap();
    assert!(matches!(fabric.add(&association(1)), Err(FabricError::Transient(_))));
    std::fs::remove_file(&flag).unwrap();
    fabric.remove(&association(1).key).unwrap();
    assert_eq!(traces(&site), before);
    // The device's name taken, by what is no TUN device.
    let link = link_name(&association(2).key);
    site.gateway.sh(&format!("ip link add {link} type veth peer name other"));
    let with_dummy = traces(&site);
    assert!(matches!(fabric.add(&association(2)), Err(FabricError::Transient(_))));
    assert_eq!(traces(&site), with_dummy);
    use_it(&open(&mut fabric, &association(1)), 1);
}

/// Body of the victim: dies inside its last command.
pub fn crash() -> ! {
    let mut fabric = HelperFabric::spawn().unwrap();
    fabric.sweep().unwrap();
    let _queues = fabric.add(&association(1)).unwrap();
    let _more = fabric.add(&association(2));
    panic!("the failpoint did not kill us");
}

fn a_crash_leaves_nothing_after_a_sweep() {
    for (failpoint, leftovers) in [("after:3", true), ("before:3", true), ("before:1", false)] {
        let site = Site::new();
        let before = traces(&site);
        let status = site.gateway.run(move || {
            Command::new("/proc/self/exe")
                .arg(CRASH_ARGUMENT)
                .env(netio::failpoint::VARIABLE, failpoint)
                .status()
                .unwrap()
        });
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{failpoint}: {status}");
        // Waits for the victim's helper to end.
        let mut fabric = site.fabric();
        let left = traces(&site);
        assert_eq!(left.contains("table inet bascule"), leftovers, "{failpoint}: {left}");
        fabric.sweep().unwrap();
        assert_eq!(traces(&site), before, "{failpoint}");
        use_it(&open(&mut fabric, &association(1)), 1);
    }
}

/// What an operator may have that looks like ours.
fn operators_own(site: &Site) {
    site.gateway.sh("nft -f - <<'END'
add table inet filter
add chain inet filter forward { type filter hook forward priority 0; policy accept; }
add set inet filter opened { type ifname; elements = { \"net2\" }; }
add table ip bascule
END
ip rule add fwmark 0x0ba50001 lookup 77 priority 100; ip rule add from 10.1.1.1 lookup 78 priority 2981
ip route add 10.77.0.0/16 via 10.20.1.2 table 77
ip link add bscan0 type veth peer name bsc012345678
echo 1 > /proc/sys/net/ipv4/conf/net2/forwarding");
}

/// With an uplink and an address of its own, in both IP versions.
fn uplinked() -> FabricAssociation {
    let uplink =
        Uplink { next_hop: Some(target(1)), nat_address: Some(gateway(1)), ..crate::uplinks::by("net1") };
    let mut wanted = FabricAssociation { uplink: Some(uplink), ..association(1) };
    wanted.client_cidr.v6 = Some("fd88::/64".parse().unwrap());
    wanted.outlet.toward.push("fd20:0:0:1::/64".parse().unwrap());
    wanted
}

/// Everything an association can meet.
pub fn life() -> ! {
    let mut fabric = HelperFabric::spawn().unwrap();
    fabric.sweep().unwrap();
    fabric.prepare(&[uplinked()]);
    let _queues = fabric.add(&uplinked()).unwrap();
    let _more = fabric.add(&association(2)).unwrap();
    let mut outlet = association(2).outlet;
    outlet.egress.clear();
    fabric.set_outlet(&association(2).key, &outlet).unwrap();
    fabric.remove(&association(2).key).unwrap();
    fabric.remove(&uplinked().key).unwrap();
    std::process::exit(0);
}

/// Helper and main process die at once, after the first change, the second, and so on. Each life begins on what the one
/// before has left; after each one a new one makes the same of it as of a host that never saw one.
fn killed_after_each_change_of_the_kernel() {
    let site = Site::new();
    operators_own(&site);
    let before = traces(&site);
    let settings = || {
        site.gateway.sh("cd /proc/sys/net; grep . ipv4/conf/bsc*/rp_filter ipv4/conf/bsc*/forwarding ipv6/conf/bsc*/disable_ipv6")
    };
    let stand = |fabric: &mut HelperFabric| {
        fabric.sweep().unwrap();
        assert_eq!(traces(&site), before);
        let queues = [uplinked(), association(2)].map(|wanted| open(fabric, &wanted));
        let stands = (traces(&site), settings());
        drop(queues);
        stands
    };
    let wanted = stand(&mut site.fabric());
    let mut killed = 0;
    loop {
        killed += 1;
        let status = site.gateway.run(move || {
            Command::new("/proc/self/exe")
                .arg(LIFE_ARGUMENT)
                .env(netio::failpoint::KERNEL_VARIABLE, killed.to_string())
                .status()
                .unwrap()
        });
        if status.success() {
            break;
        }
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{killed}: {status}");
        let mut fabric = site.fabric();
        assert_eq!(stand(&mut fabric), wanted, "killed after change {killed}");
        assert!(killed < 200, "is that the life's doing?");
    }
    assert!(killed > 40, "{killed}");
    println!("killed after each of {} changes", killed - 1);
    site.fabric().sweep().unwrap();
    assert_eq!(traces(&site), before);
}

fn the_operators_own_stays() {
    let site = Site::new();
    operators_own(&site);
    let before = traces(&site);
    let mut fabric = site.fabric();
    fabric.sweep().unwrap();
    assert_eq!(traces(&site), before);
    open(&mut fabric, &association(1));
    open(&mut fabric, &association(2));
    fabric.remove(&association(1).key).unwrap();
    fabric.sweep().unwrap();
    assert_eq!(traces(&site), before);
}

fn a_flushed_ruleset_comes_back() {
    let site = Site::new();
    let traced = site.gateway.run(|| {
        let mut fabric = KernelFabric::new(false).unwrap();
        let queues = fabric.add(&association(1)).unwrap();
        let list = || {
            String::from_utf8(Command::new("nft").args(["list", "ruleset"]).output().unwrap().stdout).unwrap()
        };
        let before = list();
        Command::new("nft").args(["flush", "ruleset"]).status().unwrap();
        assert_eq!(list(), "");
        fabric.maintain();
        let after = list();
        fabric.remove(&association(1).key).unwrap();
        Command::new("nft").args(["flush", "ruleset"]).status().unwrap();
        fabric.maintain();
        drop(queues);
        [before, after, list()]
    });
    assert!(traced[0].contains("table inet bascule"));
    assert_eq!(traced[0], traced[1]);
    assert_eq!(traced[2], "", "with nothing to guard there is nothing to put back");
}

fn wrong_associations_are_refused() {
    let site = Site::new();
    let before = traces(&site);
    let mut fabric = site.fabric();
    let good = association(1);
    type Spoil = fn(&mut netio::FabricAssociation);
    let wrong: [(&str, Spoil); 9] = [
        ("no key", |a| a.key.clear()),
        ("long key", |a| a.key = "x".repeat(netio::MAX_KEY_BYTES + 1)),
        ("index 0", |a| a.index = 0),
        ("no queue", |a| a.queues = 0),
        ("many queues", |a| a.queues = netio::MAX_QUEUES + 1),
        ("small mtu", |a| a.mtu = netio::MIN_TUN_MTU - 1),
        ("large mtu", |a| a.mtu = netio::MAX_TUN_MTU + 1),
        ("many rules", |a| {
            a.outlet.egress = vec![a.outlet.egress[0].clone(); netio::MAX_EGRESS_RULES + 1];
        }),
        ("many networks", |a| a.outlet.toward = vec![a.outlet.toward[0]; netio::MAX_TOWARD + 1]),
    ];
    for (name, spoil) in wrong {
        let mut association = good.clone();
        spoil(&mut association);
        assert!(matches!(fabric.add(&association), Err(FabricError::Permanent(_))), "{name}");
    }
    assert_eq!(traces(&site), before);
    // The largest that is allowed.
    let mut large = good;
    large.queues = netio::MAX_QUEUES;
    large.mtu = netio::MAX_TUN_MTU;
    large.outlet.egress = vec![large.outlet.egress[0].clone(); netio::MAX_EGRESS_RULES];
    large.outlet.toward = vec![large.outlet.toward[0]; netio::MAX_TOWARD];
    use_it(&open(&mut fabric, &large), 1);
}

fn the_helper_can_do_little_and_ends_with_us() {
    let site = Site::new();
    let fabric = site.fabric();
    // The lock is the helper's alone.
    let second = site.gateway.run(|| HelperFabric::spawn().map(drop));
    assert!(matches!(second, Err(FabricError::Permanent(text)) if text.contains("another bascule")));
    let pid = site.gateway.sh("ss -xpaH src @bascule-fabric");
    let pid = pid
        .split("pid=")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .expect("the lock's holder")
        .to_owned();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        // CAP_NET_BIND_SERVICE is 10, CAP_NET_ADMIN 12.
        assert!(status.contains(&format!("{set}:\t{:016x}", 1 << 10 | 1 << 12)), "{status}");
    }
    for signal in ["INT", "TERM", "HUP"] {
        site.gateway.sh(&format!("kill -{signal} {pid}"));
    }
    let mut fabric = fabric;
    fabric.sweep().unwrap();
    let began = Instant::now();
    drop(fabric);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    assert!(began.elapsed() < Duration::from_secs(5));
}
