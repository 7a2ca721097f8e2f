//! Rules of security groups.

use anyhow::Result;
use lab::Scene;

/// A permission: protocol, first and last port (or ICMP type and code), block.
pub type Rule = (&'static str, i32, i32, &'static str);

/// Calls an action about these rules of a group.
pub fn change(scene: &Scene, group: &str, action: &str, rules: &[Rule]) -> Result<()> {
    let mut parameters = vec![("GroupId".to_owned(), group.to_owned())];
    for (number, (protocol, from, to, block)) in (1..).zip(rules) {
        let name = |member: &str| format!("IpPermissions.{number}.{member}");
        parameters.push((name("IpProtocol"), (*protocol).to_owned()));
        parameters.push((name("IpRanges.1.CidrIp"), (*block).to_owned()));
        if *protocol != "-1" {
            parameters.push((name("FromPort"), from.to_string()));
            parameters.push((name("ToPort"), to.to_string()));
        }
    }
    let parameters: Vec<(&str, &str)> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    scene.ec2(action, &parameters).map(drop)
}
