//! Authorization rules (spec: aws-client-vpn §2.2.12 to §2.2.14).

use super::World;
use crate::Config;

#[tokio::test]
async fn authorizing() {
    let world = World::new();
    let endpoint = world.endpoint(&[]).await;
    let long = "g".repeat(256);
    let rows: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![("TargetNetworkCidr", "10.0.0.0/16"), ("AuthorizeAllGroups", "true")], ""),
        (
            vec![("TargetNetworkCidr", "10.0.0.0/16"), ("AuthorizeAllGroups", "true")],
            "InvalidClientVpnDuplicateAuthorizationRule",
        ),
        (vec![("TargetNetworkCidr", "10.0.0.0/16"), ("AccessGroupId", "eng"), ("Description", "x")], ""),
        (
            vec![
                ("TargetNetworkCidr", "10.0.0.0/16"),
                ("AccessGroupId", "ENG"),
                ("AuthorizeAllGroups", "false"),
            ],
            "",
        ),
        (
            vec![
                ("TargetNetworkCidr", "10.1.0.0/16"),
                ("AccessGroupId", "eng"),
                ("AuthorizeAllGroups", "true"),
            ],
            "InvalidParameterCombination",
        ),
        (vec![("TargetNetworkCidr", "10.1.0.0/16")], "MissingParameter"),
        (vec![("TargetNetworkCidr", "10.1.0.0/16"), ("AuthorizeAllGroups", "false")], "MissingParameter"),
        (vec![("TargetNetworkCidr", "10.1.0.9/16"), ("AuthorizeAllGroups", "true")], "InvalidParameterValue"),
        (vec![("TargetNetworkCidr", "::/0"), ("AuthorizeAllGroups", "true")], "InvalidParameterValue"),
        (vec![("TargetNetworkCidr", "10.1.0.0/16"), ("AccessGroupId", &long)], "InvalidParameterValue"),
        (vec![("TargetNetworkCidr", "10.1.0.0/16"), ("AccessGroupId", "")], "InvalidParameterValue"),
    ];
    for (mut pairs, code) in rows {
        pairs.push(("ClientVpnEndpointId", &endpoint));
        let reply = world.call("AuthorizeClientVpnIngress", &pairs).await;
        assert_eq!(reply.code(), code, "{pairs:?}");
        if code.is_empty() {
            assert_eq!(reply.text("code"), "authorizing");
        }
    }
    let base = ("ClientVpnEndpointId", endpoint.as_str());
    let all = world.call("DescribeClientVpnAuthorizationRules", &[base]).await.ok();
    assert_eq!(all.all("groupId").len(), 3);
    let filters = [
        base,
        ("Filter.1.Name", "destination-cidr"),
        ("Filter.1.Value.1", "10.0.0.0/16"),
        ("Filter.2.Name", "group-id"),
        ("Filter.2.Value.1", "eng"),
    ];
    let one = world.call("DescribeClientVpnAuthorizationRules", &filters).await.ok();
    assert_eq!((one.all("groupId"), one.text("accessAll")), (vec!["eng".to_owned()], "false".into()));
    let everyone = [base, ("Filter.1.Name", "group-id"), ("Filter.1.Value.1", "")];
    let one = world.call("DescribeClientVpnAuthorizationRules", &everyone).await.ok();
    assert!(one.body.contains("<groupId/><accessAll>true</accessAll>"), "{}", one.body);
}

#[tokio::test]
async fn revoking_everyones_rule_leaves_those_of_groups() {
    let world = World::new();
    let endpoint = world.endpoint(&[]).await;
    let base = [("ClientVpnEndpointId", endpoint.as_str()), ("TargetNetworkCidr", "10.0.0.0/16")];
    let with = |more: &[(&'static str, &'static str)]| {
        base.iter().copied().chain(more.iter().copied()).collect::<Vec<_>>()
    };
    world.call("AuthorizeClientVpnIngress", &with(&[("AuthorizeAllGroups", "true")])).await.ok();
    world.call("AuthorizeClientVpnIngress", &with(&[("AccessGroupId", "eng")])).await.ok();
    world.settle().await;
    let rows: [(&[(&'static str, &'static str)], &str); 6] = [
        (&[], "MissingParameter"),
        (&[("RevokeAllGroups", "true"), ("AccessGroupId", "eng")], "InvalidParameterCombination"),
        (
            &[("RevokeAllGroups", "false"), ("AccessGroupId", "ops")],
            "InvalidClientVpnEndpointAuthorizationRuleNotFound",
        ),
        (&[("RevokeAllGroups", "true")], ""),
        (&[("RevokeAllGroups", "true")], ""),
        (&[("TargetNetworkCidr", "x")], "InvalidQueryParameter"),
    ];
    for (more, code) in rows {
        let reply = world.call("RevokeClientVpnIngress", &with(more)).await;
        assert_eq!(reply.code(), code, "{more:?}");
    }
    world.settle().await;
    let left = world.call("DescribeClientVpnAuthorizationRules", &base[..1]).await.ok();
    assert_eq!(left.all("groupId"), ["eng"]);
    let group = with(&[("RevokeAllGroups", "false"), ("AccessGroupId", "eng")]);
    assert_eq!(world.call("RevokeClientVpnIngress", &group).await.ok().text("code"), "revoking");
}

#[tokio::test]
async fn the_quota() {
    let mut config = Config::default();
    config.quotas.rules_per_endpoint = 2;
    let world = World::with(config);
    let endpoint = world.endpoint(&[]).await;
    for (cidr, code) in
        [("10.0.0.0/16", ""), ("10.1.0.0/16", ""), ("10.2.0.0/16", "ClientVpnAuthorizationRuleLimitExceeded")]
    {
        let pairs = [
            ("ClientVpnEndpointId", endpoint.as_str()),
            ("TargetNetworkCidr", cidr),
            ("AuthorizeAllGroups", "true"),
        ];
        assert_eq!(world.call("AuthorizeClientVpnIngress", &pairs).await.code(), code, "{cidr}");
    }
}
