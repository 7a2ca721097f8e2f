//! The steps of the demonstration.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lab::{Answer, Echo, OpenVpn, Scene, SceneOptions, TARGETS, eventually, transfer, wait_until};

use crate::Story;

/// The TCP transfer's length, bytes each way.
const TRANSFER_BYTES: usize = 4 * 1024 * 1024;
/// The echo service behind the tunnel.
const PORT: u16 = 7;
/// How long a fresh client is given to get in where it must not.
const REFUSED_FOR: Duration = Duration::from_secs(4);
/// The disassociation must have had its effect by then.
const SEED_LIMIT: Duration = Duration::from_secs(1);

pub(crate) fn tell(story: &mut Story) -> Result<()> {
    let options = SceneOptions { clients: 2, ..SceneOptions::default() };
    let mut scene = story.step("namespaces for two clients, the server and its target networks", || {
        let scene = Scene::without_server(options)?;
        let seen = format!("ip_forward is {}", forwarding(&scene)?);
        Ok((scene, seen))
    })?;
    let target = TARGETS[0];
    let target_net = &scene.targets.first().context("the scene has targets")?.net;
    let _echo = Echo::start(target_net, PORT)?;
    story.command("bascule serve");
    story.step("the service is ready", || {
        scene.start_server()?;
        let seen = scene.server().client().url().to_owned();
        Ok(((), seen))
    })?;
    let scene = &scene;
    let built = build(story, scene)?;
    let (endpoint, profile) = (built.endpoint.as_str(), built.profile.as_path());
    let mut client = connect(story, scene, profile, target)?;
    revoke(story, scene, endpoint, target)?;
    disassociate(story, scene, &built, &mut client, target)?;
    return_after_association(story, scene, &built, target)
}

fn forwarding(scene: &Scene) -> Result<String> {
    Ok(scene.server_net.output("cat", &["/proc/sys/net/ipv4/ip_forward"])?.trim().to_owned())
}

struct Built {
    endpoint: String,
    association: String,
    subnet: String,
    profile: std::path::PathBuf,
}

fn build(story: &mut Story, scene: &Scene) -> Result<Built> {
    story.command("aws ec2 create-vpc --cidr-block 10.77.0.0/16; aws ec2 create-subnet …");
    let subnet = story.step("a VPC and its subnets", || {
        let (vpc, [subnet, _]) = scene.make_vpc()?;
        let seen = format!("{vpc}, {subnet}");
        Ok((subnet, seen))
    })?;
    story.command(
        "aws acm import-certificate …; aws ec2 create-client-vpn-endpoint --client-cidr-block 10.88.0.0/22 …",
    );
    let endpoint = story.step("an endpoint that waits for a target network", || {
        let endpoint = scene.make_endpoint(&[])?;
        let status = scene.endpoint_status(&endpoint)?;
        ensure!(status == "pending-associate", "it is {status}");
        let seen = format!("{endpoint} is {status}");
        Ok((endpoint, seen))
    })?;
    story.command(&format!(
        "aws ec2 associate-client-vpn-target-network --client-vpn-endpoint-id {endpoint} --subnet-id {subnet}"
    ));
    let association = story.step("the association opens it", || {
        let association = scene.associate(&endpoint, &subnet)?;
        let status = scene.endpoint_status(&endpoint)?;
        ensure!(status == "available", "it is {status}");
        ensure!(forwarding(scene)? == "0", "the global ip_forward switch was touched");
        let seen = format!("{association} is associated, the endpoint {status}");
        Ok((association, seen))
    })?;
    story.command(&format!("aws ec2 authorize-client-vpn-ingress --client-vpn-endpoint-id {endpoint} --target-network-cidr 10.77.0.0/16 --authorize-all-groups"));
    story.step("a rule lets everyone into the VPC", || {
        scene.authorize(&endpoint, "10.77.0.0/16")?;
        Ok(((), "10.77.0.0/16".to_owned()))
    })?;
    story.command(&format!(
        "bascule profile --endpoint {endpoint} --cert client1.crt --key client1.key > client1.ovpn"
    ));
    let profile = story.step("the client profile", || {
        let profile = scene.profile(&endpoint)?;
        let text = std::fs::read_to_string(&profile)?;
        let remote = text.lines().find(|line| line.starts_with("remote ")).context("it names no remote")?;
        Ok((profile.clone(), remote.to_owned()))
    })?;
    Ok(Built { endpoint, association, subnet, profile })
}

fn connect(story: &mut Story, scene: &Scene, profile: &Path, target: &str) -> Result<OpenVpn> {
    story.command("openvpn --config client1.ovpn");
    let client = story.step("an unmodified openvpn connects", || {
        let mut client = scene.connect(0, profile, "client", &[])?;
        let line = client.wait_for("Control Channel: TLS", 0, Duration::from_secs(1))?;
        let seen = line.split(',').next().unwrap_or_default().to_owned();
        Ok((client, seen))
    })?;
    story.step("a ping reaches the target", || {
        ensure!(
            scene.reaches(0, target),
            "no answer from {target}; the server said:\n{}",
            scene.server().log()
        );
        Ok(((), format!("{target} answers")))
    })?;
    story.step("a TCP transfer there and back", || {
        let host = scene.clients.first().context("the scene has clients")?;
        let rate = host.net.run(|| timed_transfer(target))?;
        Ok(((), rate))
    })?;
    story.command("aws ec2 describe-client-vpn-connections …");
    story.step("the connection is listed with its counters", || {
        let row = eventually("a live row with traffic", Duration::from_secs(3), || {
            let rows = connections(scene, profile).ok()?;
            rows.into_iter().find(|row| row.0 == "active" && row.2 > TRANSFER_BYTES as u64)
        })?;
        Ok(((), format!("{} is {}, {} bytes in", row.1, row.0, row.2)))
    })?;
    Ok(client)
}

/// Status, common name and ingress bytes of each connection of the endpoint a profile is for.
fn connections(scene: &Scene, profile: &Path) -> Result<Vec<(String, String, u64)>> {
    let endpoint = profile.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    let answer = scene.ec2("DescribeClientVpnConnections", &[("ClientVpnEndpointId", endpoint)])?;
    let row = |row: &Answer| -> Result<_> {
        Ok((row.text("status/code")?, row.text("commonName")?, row.text("ingressBytes")?.parse()?))
    };
    answer.rows("connections").into_iter().map(row).collect()
}

fn timed_transfer(target: &str) -> Result<String> {
    let started = Instant::now();
    transfer((target, PORT), TRANSFER_BYTES, Duration::from_secs(20))?;
    let rate = TRANSFER_BYTES as f64 / started.elapsed().as_secs_f64() / (1024.0 * 1024.0);
    Ok(format!("{} MiB each way whole, {rate:.1} MiB/s", TRANSFER_BYTES / (1024 * 1024)))
}

fn revoke(story: &mut Story, scene: &Scene, endpoint: &str, target: &str) -> Result<()> {
    let parameters = [
        ("ClientVpnEndpointId", endpoint),
        ("TargetNetworkCidr", "10.77.0.0/16"),
        ("RevokeAllGroups", "true"),
    ];
    story.command(&format!("aws ec2 revoke-client-vpn-ingress --client-vpn-endpoint-id {endpoint} --target-network-cidr 10.77.0.0/16 --revoke-all-groups"));
    story.step("the rule is revoked, and the same ping fails", || {
        let host = scene.clients.first().context("the scene has clients")?;
        ensure!(host.net.pings(target), "the ping before");
        let status = scene.ec2("RevokeClientVpnIngress", &parameters)?.text("status/code")?;
        ensure!(!host.net.pings(target), "{target} still answers");
        Ok(((), format!("answered {status}; {target} no longer answers")))
    })?;
    story.step("authorized again, it answers again", || {
        scene.authorize(endpoint, "10.77.0.0/16")?;
        ensure!(scene.reaches(0, target), "no answer from {target}");
        Ok(((), "in the same session".to_owned()))
    })
}

fn disassociate(
    story: &mut Story,
    scene: &Scene,
    built: &Built,
    client: &mut OpenVpn,
    target: &str,
) -> Result<()> {
    let Built { endpoint, association, profile, .. } = built;
    let host = &scene.clients.first().context("the scene has clients")?.net;
    ensure!(host.pings(target), "the ping before the disassociation");
    story.command(&format!("aws ec2 disassociate-client-vpn-target-network --client-vpn-endpoint-id {endpoint} --association-id {association}"));
    let said = client.log().len();
    let called = Instant::now();
    story.step("the last target network is disassociated", || {
        let status = scene.disassociate(endpoint, association)?.text("status/code")?;
        ensure!(status == "disassociating", "answered {status}");
        Ok(((), format!("answered {status}")))
    })?;
    story.step("the endpoint is pending-associate", || {
        eventually("pending-associate", SEED_LIMIT, || {
            scene.endpoint_status(endpoint).ok().filter(|status| status == "pending-associate")
        })?;
        ensure!(
            scene.association_status(endpoint, association)?.is_none(),
            "the association is still listed"
        );
        Ok(((), format!("{} ms after the call", called.elapsed().as_millis())))
    })?;
    story.step("nothing passes any more", || {
        ensure!(!host.pings(target), "{target} still answers");
        Ok(((), format!("{target} does not answer")))
    })?;
    story.step("the client was told", || {
        let line =
            client.wait_for("Connection reset command was pushed by server", said, Duration::from_secs(3))?;
        Ok(((), line.trim().to_owned()))
    })?;
    story.step("the automatic route is gone", || {
        let answer = scene.ec2("DescribeClientVpnRoutes", &[("ClientVpnEndpointId", endpoint)])?;
        ensure!(answer.rows("routes").is_empty(), "routes are left");
        Ok(((), "no routes".to_owned()))
    })?;
    story.step("no connection is active", || {
        let rows = connections(scene, profile)?;
        ensure!(rows.iter().all(|row| row.0 == "terminated"), "{rows:?}");
        Ok(((), format!("{} terminated", rows.len())))
    })?;
    story.step("a fresh client does not get in", || {
        let fresh = &scene.clients.get(1).context("the scene has two clients")?.net;
        let refused = OpenVpn::start(fresh, profile, "refused", &[])?;
        ensure!(!wait_until(REFUSED_FOR, || refused.times_up() > 0), "it got in");
        Ok(((), format!("tried for {} s", REFUSED_FOR.as_secs())))
    })
}

fn return_after_association(story: &mut Story, scene: &Scene, built: &Built, target: &str) -> Result<()> {
    story.command(&format!(
        "aws ec2 associate-client-vpn-target-network --client-vpn-endpoint-id {} --subnet-id {}",
        built.endpoint, built.subnet
    ));
    story.step("associated again, the same profile connects", || {
        scene.associate(&built.endpoint, &built.subnet)?;
        let fresh = scene.connect(1, &built.profile, "again", &[])?;
        ensure!(scene.reaches(1, target), "no answer from {target}");
        drop(fresh);
        Ok(((), format!("{target} answers")))
    })
}
