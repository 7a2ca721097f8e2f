//! Import and export of client certificate revocation lists; transit gateway attachments that do not exist.

use model::Kind;
use pki::issue::{self, Issued};

use super::{How, NOW, ROOT, Reply, World, allow};
use crate::{Addresses, Config};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// An endpoint whose clients are issued by a known authority.
async fn endpoint(world: &World) -> (String, Issued) {
    let ca = issue::ca("Clients", NOW - 1_000, NOW + 1_000_000).unwrap();
    let body = serde_json::json!({
        "Certificate": STANDARD.encode(&ca.certificate_pem),
        "PrivateKey": STANDARD.encode(ca.key_pem.as_bytes()),
    });
    let (_, answer) = world.acm(ROOT, "ImportCertificate", &body).await;
    let arn = answer["CertificateArn"].as_str().unwrap().to_owned();
    let server = world.certificate("server.example.com").await;
    let pairs = [
        ("ClientCidrBlock", "10.100.0.0/16"),
        ("ServerCertificateArn", server.as_str()),
        ("Authentication.1.Type", "certificate-authentication"),
        ("Authentication.1.MutualAuthentication.ClientRootCertificateChainArn", &arn),
        ("ConnectionLogOptions.Enabled", "false"),
    ];
    (world.call("CreateClientVpnEndpoint", &pairs).await.ok().text("clientVpnEndpointId"), ca)
}

fn list(ca: &Issued, entries: u32, from: i64, until: i64) -> String {
    let serials: Vec<Vec<u8>> = (1..=entries).map(|n| n.to_be_bytes().to_vec()).collect();
    issue::crl(&ca.certificate_pem, &ca.key_pem, &serials, from, until, 1).unwrap()
}

async fn import(world: &World, endpoint: &str, pem: &str) -> Reply {
    let pairs = [("ClientVpnEndpointId", endpoint), ("CertificateRevocationList", pem)];
    world.call("ImportClientVpnClientCertificateRevocationList", &pairs).await
}

async fn export(world: &World, endpoint: &str) -> Reply {
    let pairs = [("ClientVpnEndpointId", endpoint)];
    world.call("ExportClientVpnClientCertificateRevocationList", &pairs).await
}

#[tokio::test]
async fn a_list_is_pending_then_active_and_comes_back_as_it_was() {
    let world = World::new();
    let (id, ca) = endpoint(&world).await;
    let none = export(&world, &id).await.ok();
    assert!(
        none.all("status").is_empty() && none.all("certificateRevocationList").is_empty(),
        "{}",
        none.body
    );
    let first = list(&ca, 3, NOW - 10, NOW + 1_000);
    assert_eq!(import(&world, &id, &first).await.ok().text("return"), "true");
    let shown = export(&world, &id).await.ok();
    assert_eq!((shown.text("code"), shown.text("certificateRevocationList")), ("pending".to_owned(), first));
    world.settle().await;
    assert_eq!(export(&world, &id).await.ok().text("code"), "active");
    // Another one takes its place, an expired one too, and is on its way anew.
    let second = format!("Some words before.\n{}", list(&ca, 0, NOW - 10, NOW - 5));
    import(&world, &id, &second).await.ok();
    let shown = export(&world, &id).await.ok();
    assert_eq!((shown.text("code"), shown.text("certificateRevocationList")), ("pending".to_owned(), second));
    assert_eq!(world.records::<model::RevocationList>(Kind::RevocationList).await.len(), 1);
}

#[tokio::test]
async fn what_is_no_list_of_the_endpoints_authority_is_refused() {
    let mut config = Config { addresses: Addresses::parse(["192.0.2.0/24"]).unwrap(), ..Config::default() };
    config.quotas.revocation_list_entries = 3;
    let world = World::with(config);
    let (id, ca) = endpoint(&world).await;
    let stranger = issue::ca("Clients", NOW - 1_000, NOW + 1_000_000).unwrap();
    let good = list(&ca, 3, NOW - 10, NOW + 1_000);
    let mut bent = good.clone().into_bytes();
    let middle = bent.len() / 2;
    bent[middle] = if bent[middle] == b'A' { b'B' } else { b'A' };
    let rows: Vec<(String, &str)> = vec![
        (String::from_utf8(bent).unwrap(), "InvalidParameterValue"),
        (list(&stranger, 1, NOW - 10, NOW + 1_000), "InvalidParameterValue"),
        (ca.certificate_pem.clone(), "InvalidParameterValue"),
        (format!("{good}{good}"), "InvalidParameterValue"),
        ("nothing".to_owned(), "InvalidParameterValue"),
        (format!("{}{good}", "#".repeat(4_000_000)), "RequestEntityTooLarge"),
        (list(&ca, 4, NOW - 10, NOW + 1_000), "ClientVpnCertificateRevocationListLimitExceeded"),
        (good, ""),
    ];
    for (pem, code) in rows {
        let reply = import(&world, &id, &pem).await;
        assert_eq!(reply.code(), code, "{}: {}", &pem[..pem.len().min(60)], reply.body);
    }
}

#[tokio::test]
async fn an_endpoint_nobody_shows_certificates_to_takes_no_list() {
    let world = World::new();
    let (_, ca) = endpoint(&world).await;
    let server = world.certificate("server.example.com").await;
    let pairs = [
        ("ClientCidrBlock", "10.100.0.0/16"),
        ("ServerCertificateArn", server.as_str()),
        ("Authentication.1.Type", "directory-service-authentication"),
        ("Authentication.1.ActiveDirectory.DirectoryId", "d-1234567890"),
        ("ConnectionLogOptions.Enabled", "false"),
    ];
    let id = world.call("CreateClientVpnEndpoint", &pairs).await.ok().text("clientVpnEndpointId");
    let reply = import(&world, &id, &list(&ca, 1, NOW - 10, NOW + 1_000)).await;
    assert_eq!(reply.code(), "InvalidParameterValue");
}

#[tokio::test]
async fn twenty_thousand_entries_fit() {
    let world = World::new();
    let (id, ca) = endpoint(&world).await;
    import(&world, &id, &list(&ca, 20_000, NOW - 10, NOW + 1_000)).await.ok();
    let over = import(&world, &id, &list(&ca, 20_001, NOW - 10, NOW + 1_000)).await;
    assert_eq!(over.code(), "ClientVpnCertificateRevocationListLimitExceeded");
}

#[tokio::test]
async fn an_attachment_that_does_not_exist() {
    let world = World::new();
    for action in
        ["Accept", "Reject", "Delete"].map(|verb| format!("{verb}TransitGatewayClientVpnAttachment"))
    {
        for id in ["tgw-attach-0123456789abcdef0", "x", ""] {
            let reply = world.call(&action, &[("TransitGatewayAttachmentId", id)]).await;
            assert_eq!(reply.code(), "InvalidTransitGatewayAttachmentID.NotFound", "{action} {id}");
        }
        world
            .users
            .policy("NARROW", &allow(&format!("ec2:{action}")).replace("\"*\"", "\"arn:aws:ec2:*:*:vpc/*\""));
        let how = How { key: "NARROW", ..How::default() };
        let reply =
            world.call_as(how, &action, &[("TransitGatewayAttachmentId", "tgw-attach-01234567")]).await;
        assert_eq!(reply.code(), "UnauthorizedOperation");
    }
}
