//! Tags after creation: set, overwritten, removed, seen by `DescribeTags` and by the resources themselves.

use super::{How, World};

async fn create(world: &World, ids: &[&str], tags: &[(&str, &str)]) -> super::Reply {
    call(world, "CreateTags", ids, tags).await
}

async fn call(world: &World, action: &str, ids: &[&str], tags: &[(&str, &str)]) -> super::Reply {
    let mut pairs = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        pairs.push((format!("ResourceId.{}", n + 1), (*id).to_owned()));
    }
    for (n, (key, value)) in tags.iter().enumerate() {
        pairs.push((format!("Tag.{}.Key", n + 1), (*key).to_owned()));
        if *value != "-" {
            pairs.push((format!("Tag.{}.Value", n + 1), (*value).to_owned()));
        }
    }
    let pairs: Vec<(&str, &str)> =
        pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    world.call(action, &pairs).await
}

async fn shown(world: &World, filter: &str, value: &str) -> Vec<String> {
    let pairs = [("Filter.1.Name", filter), ("Filter.1.Value.1", value)];
    let reply = world.call("DescribeTags", &pairs).await.ok();
    let columns = ["resourceId", "resourceType", "key", "value"].map(|name| reply.all(name));
    (0..columns[0].len())
        .map(|row| columns.iter().map(|column| column[row].as_str()).collect::<Vec<_>>().join(" "))
        .collect()
}

#[tokio::test]
async fn everything_that_has_tags_is_tagged_and_shows_it() {
    let world = World::new();
    let (vpc, subnets) = world.network().await;
    let endpoint = world.endpoint(&[]).await;
    let group = world.call("DescribeSecurityGroups", &[]).await.ok().text("groupId");
    let all = [vpc.as_str(), &subnets[0], &endpoint, &group];
    let reply = create(&world, &all, &[("env", "test"), ("empty", "")]).await.ok();
    assert_eq!(reply.text("return"), "true");
    for (id, kind) in all.iter().zip(["vpc", "subnet", "client-vpn-endpoint", "security-group"]) {
        let expected = [format!("{id} {kind} empty "), format!("{id} {kind} env test")];
        assert_eq!(shown(&world, "resource-id", id).await, expected);
        assert_eq!(shown(&world, "resource-type", kind).await, expected);
    }
    assert_eq!(shown(&world, "tag:env", "te*").await.len(), 4);
    assert_eq!(shown(&world, "value", "nothing").await.len(), 0);
    let filter = [("Filter.1.Name", "tag:env"), ("Filter.1.Value.1", "test")];
    for (action, id) in [
        ("DescribeVpcs", "vpcId"),
        ("DescribeSubnets", "subnetId"),
        ("DescribeClientVpnEndpoints", "dnsName"),
    ] {
        assert_eq!(world.call(action, &filter).await.ok().all(id).len(), 1, "{action}");
    }
    // The same key again: another value. The same call again: the same.
    for _ in 0..2 {
        create(&world, &[&vpc, &vpc], &[("env", "prod")]).await.ok();
        assert_eq!(shown(&world, "resource-id", &vpc).await[1], format!("{vpc} vpc env prod"));
    }
}

#[tokio::test]
async fn deletion_by_key_by_value_and_of_all() {
    let world = World::new();
    let (vpc, _) = world.network().await;
    let rows: [(&[(&str, &str)], &[&str]); 6] = [
        (&[("a", "-")], &["b", "c"]),
        (&[("a", "1"), ("b", "other")], &["b", "c"]),
        (&[("c", "")], &["a", "b"]),
        (&[("a", "")], &["a", "b", "c"]),
        (&[("nothing", "-")], &["a", "b", "c"]),
        (&[], &[]),
    ];
    for (tags, left) in rows {
        create(&world, &[&vpc], &[("a", "1"), ("b", "2"), ("c", "")]).await.ok();
        assert_eq!(call(&world, "DeleteTags", &[&vpc], tags).await.ok().text("return"), "true");
        let reply = world.call("DescribeTags", &[]).await.ok();
        assert_eq!(reply.all("key"), left, "{tags:?}");
    }
}

#[tokio::test]
async fn rules_and_limits() {
    let world = World::new();
    let (vpc, _) = world.network().await;
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
    let most = "k".repeat(128);
    let rows: [(&str, &[(&str, &str)], &str); 10] = [
        ("", &[("a", "1")], "InvalidID"),
        ("eni-0123456789abcdef0", &[("a", "1")], "InvalidID"),
        ("vpc-0123456789abcdef0", &[("a", "1")], "InvalidVpcID.NotFound"),
        ("subnet-0123456789abcdef0", &[("a", "1")], "InvalidSubnetID.NotFound"),
        ("sg-0123456789abcdef0", &[("a", "1")], "InvalidGroup.NotFound"),
        ("cvpn-endpoint-0123456789abcdef0", &[("a", "1")], "InvalidClientVpnEndpointId.NotFound"),
        (&vpc, &[("AWS:x", "1")], "InvalidParameterValue"),
        (&vpc, &[(&long_key, "1")], "InvalidParameterValue"),
        (&vpc, &[("a", &long_value)], "InvalidParameterValue"),
        (&vpc, &[(&most, "1")], ""),
    ];
    for (id, tags, code) in rows {
        assert_eq!(create(&world, &[id], tags).await.code(), code, "{id} {tags:?}");
        let delete = call(&world, "DeleteTags", &[id], &tags[..1]).await.code();
        let expected = if code == "InvalidParameterValue" && tags[0].0 != "AWS:x" { "" } else { code };
        assert_eq!(delete, expected, "delete {id} {tags:?}");
    }
    // All resources or none.
    let reply = create(&world, &[&vpc, "vpc-0123456789abcdef0"], &[("a", "1")]).await;
    assert_eq!(reply.code(), "InvalidVpcID.NotFound");
    assert!(world.call("DescribeTags", &[]).await.ok().all("key").is_empty());
    // Fifty together, whether at once or one after the other.
    let keys: Vec<String> = (0..51).map(|n| format!("k{n:02}")).collect();
    let tags: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    assert_eq!(create(&world, &[&vpc], &tags).await.code(), "TagLimitExceeded");
    create(&world, &[&vpc], &tags[..50]).await.ok();
    create(&world, &[&vpc], &tags[..50]).await.ok();
    assert_eq!(create(&world, &[&vpc], &tags[50..]).await.code(), "TagLimitExceeded");
}

#[tokio::test]
async fn pages_hold_every_tag_once() {
    let world = World::new();
    let (vpc, subnets) = world.network().await;
    for id in [&vpc, &subnets[0], &subnets[1]] {
        create(&world, &[id], &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]).await.ok();
    }
    let mut seen = Vec::new();
    let mut token = String::new();
    loop {
        let mut pairs = vec![("MaxResults", "5")];
        if !token.is_empty() {
            pairs.push(("NextToken", &token));
        }
        let reply = world.call("DescribeTags", &pairs).await.ok();
        assert!(reply.all("key").len() <= 5);
        seen.extend(reply.all("resourceId").into_iter().zip(reply.all("key")));
        match reply.all("nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((all, seen.len()), (12, 12));
}

/// Each resource is asked for by its ARN, with the tags it has and the tags it is given.
#[tokio::test]
async fn permission_follows_resource_and_tags() {
    let world = World::new();
    let (vpc, subnets) = world.network().await;
    create(&world, &[&subnets[0]], &[("team", "a")]).await.ok();
    world.users.policy(
        "TAGGER",
        r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["ec2:CreateTags","ec2:DeleteTags"],"Resource":"arn:aws:ec2:*:*:subnet/*",
             "Condition":{"StringEquals":{"ec2:ResourceTag/team":"a"}}},
            {"Effect":"Deny","Action":"ec2:CreateTags","Resource":"*",
             "Condition":{"StringEquals":{"aws:RequestTag/env":"prod"}}}]}"#,
    );
    let how = How { key: "TAGGER", ..How::default() };
    let rows = [
        (vec![("ResourceId.1", subnets[0].as_str()), ("Tag.1.Key", "env"), ("Tag.1.Value", "test")], ""),
        (
            vec![("ResourceId.1", &subnets[0]), ("Tag.1.Key", "env"), ("Tag.1.Value", "prod")],
            "UnauthorizedOperation",
        ),
        (
            vec![("ResourceId.1", &subnets[1]), ("Tag.1.Key", "env"), ("Tag.1.Value", "test")],
            "UnauthorizedOperation",
        ),
        (
            vec![
                ("ResourceId.1", &subnets[0]),
                ("ResourceId.2", &vpc),
                ("Tag.1.Key", "env"),
                ("Tag.1.Value", "test"),
            ],
            "UnauthorizedOperation",
        ),
    ];
    for (pairs, code) in rows {
        assert_eq!(world.call_as(how, "CreateTags", &pairs).await.code(), code, "{pairs:?}");
    }
}
