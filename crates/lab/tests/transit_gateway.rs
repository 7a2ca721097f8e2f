//! An endpoint attached to a transit gateway: clients go out with their own addresses, and the gateway's owner can take
//! them off (spec: aws-client-vpn §2.2.20, §3.4).

use std::time::{Duration, Instant};

use anyhow::Result;
use lab::{Scene, SceneOptions, TARGETS, wait_until};

const LIMIT: Duration = Duration::from_secs(5);

#[test]
fn clients_keep_their_addresses_until_the_attachment_is_deleted() -> Result<()> {
    lab::or_skip(|| {
        let scene = Scene::new(SceneOptions { clients: 2, ..SceneOptions::default() })?;
        let block = ("Options.TransitGatewayCidrBlocks.1", "10.200.0.0/24");
        let gateway = scene.ec2("CreateTransitGateway", &[block])?.text("transitGateway/transitGatewayId")?;
        let endpoint = scene.make_endpoint(&[("TransitGatewayConfiguration.TransitGatewayId", &gateway)])?;
        let available = || scene.endpoint_status(&endpoint).is_ok_and(|status| status == "available");
        assert!(wait_until(LIMIT, available), "{}", scene.server_log());
        scene.authorize(&endpoint, "10.77.1.0/24")?;
        let profile = scene.profile(&endpoint)?;
        let mut client = scene.connect(0, &profile, "client", &[])?;
        // No route has been made: there is none by itself.
        assert!(!scene.clients[0].net.pings(TARGETS[0]));
        let route = [("ClientVpnEndpointId", endpoint.as_str()), ("DestinationCidrBlock", "10.77.0.0/16")];
        scene.ec2("CreateClientVpnRoute", &route)?;
        // Without source NAT the far side needs a way back.
        assert!(!wait_until(Duration::from_secs(1), || scene.clients[0].net.pings(TARGETS[0])));
        scene.targets[0].net.ip(&["route", "add", "10.88.0.0/22", "via", "10.77.1.1"])?;
        assert!(scene.reaches(0, TARGETS[0]), "{}", scene.server_log());
        scene.targets[1].net.ip(&["route", "add", "10.88.0.0/22", "via", "10.77.2.1"])?;
        assert!(!scene.clients[0].net.pings(TARGETS[1]), "no rule allows it");
        scene.authorize(&endpoint, "10.77.2.0/24")?;
        assert!(scene.reaches(0, TARGETS[1]), "no security group is asked");

        let described = scene.ec2("DescribeTransitGatewayAttachments", &[])?;
        let attachment = described.text("transitGatewayAttachments/item/transitGatewayAttachmentId")?;
        let since = Instant::now();
        scene
            .ec2("DeleteTransitGatewayClientVpnAttachment", &[("TransitGatewayAttachmentId", &attachment)])?;
        let pending = || scene.endpoint_status(&endpoint).is_ok_and(|status| status == "pending");
        assert!(wait_until(LIMIT, pending), "{}", scene.server_log());
        assert!(since.elapsed() < Duration::from_secs(1), "{:?}", since.elapsed());
        assert!(!scene.clients[0].net.pings(TARGETS[0]), "nothing passes after the final status");
        client.wait_for("server-pushed-connection-reset", 0, LIMIT)?;
        let refused = lab::OpenVpn::start(&scene.clients[1].net, &profile, "late", &[])?
            .wait_up(1, Duration::from_secs(2));
        assert!(refused.is_err(), "nobody is admitted");
        scene.ec2("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &endpoint)])?;
        let gone = || scene.try_ec2("DeleteTransitGateway", &[("TransitGatewayId", &gateway)]).is_ok();
        assert!(wait_until(LIMIT, gone), "the gateway is free again");
        drop(client);
        scene.nothing_left()
    })
}
