//! The usual scene with IPv6 beside IPv4.

use anyhow::Result;
use lab::{Scene, SceneOptions};

/// The targets' IPv6 addresses, in subnets fd77:0:0:1::/64 and fd77:0:0:2::/64.
pub const TARGETS: [&str; 2] = ["fd77:0:0:1::10", "fd77:0:0:2::10"];

/// The usual scene with IPv6 beside IPv4 inside, and the targets' way back to clients.
pub fn scene(clients: usize) -> Result<Scene> {
    let scene = Scene::new(SceneOptions { clients, ..SceneOptions::default() })?;
    inside(&scene)?;
    Ok(scene)
}

/// Puts IPv6 beside IPv4 inside.
pub fn inside(scene: &Scene) -> Result<()> {
    for (number, (target, address)) in (1..).zip(scene.targets.iter().zip(TARGETS)) {
        let (near, far) = (format!("fd77:0:0:{number}::1"), format!("{address}/64"));
        let inside = format!("inside{number}");
        // Without duplicate address detection: it would take a second.
        scene.server_net.ip(&["-6", "addr", "add", &format!("{near}/64"), "dev", &inside, "nodad"])?;
        target.net.ip(&["-6", "addr", "add", &far, "dev", "eth0", "nodad"])?;
        target.net.ip(&["-6", "route", "add", "default", "via", &near])?;
    }
    Ok(())
}

/// A VPC with the two subnets in both IP versions.
pub fn subnets(scene: &Scene) -> Result<[String; 2]> {
    let parameters = [("CidrBlock", "10.77.0.0/16"), ("Ipv6CidrBlock", "fd77::/48"), ("Ipv6Pool", "own")];
    let vpc = scene.ec2("CreateVpc", &parameters)?.text("vpc/vpcId")?;
    let subnet = |number: u8, zone: &str| -> Result<String> {
        let (v4, v6) = (format!("10.77.{number}.0/24"), format!("fd77:0:0:{number}::/64"));
        let parameters = [
            ("VpcId", vpc.as_str()),
            ("CidrBlock", v4.as_str()),
            ("Ipv6CidrBlock", v6.as_str()),
            ("AvailabilityZone", zone),
        ];
        scene.ec2("CreateSubnet", &parameters)?.text("subnet/subnetId")
    };
    Ok([subnet(1, "us-east-1a")?, subnet(2, "us-east-1b")?])
}
