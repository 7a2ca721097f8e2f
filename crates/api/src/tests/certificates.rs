//! Certificates: import, describe, list.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{Certificate, Kind};
use serde_json::json;
use store::MasterKey;

use super::{NOW, ROOT, World, allow, import};

#[tokio::test]
async fn an_import_is_sealed_and_described() {
    let world = World::new();
    let mut body = import("server.example.com");
    body["Tags"] = json!([{"Key": "env", "Value": "test"}]);
    let (status, answer) = world.acm(ROOT, "ImportCertificate", &body).await;
    assert_eq!(status, 200, "{answer}");
    let arn = answer["CertificateArn"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:acm:us-east-1:000000000000:certificate/"), "{arn}");
    let stored = &world.records::<Certificate>(Kind::Certificate).await[0].value;
    let key = String::from_utf8(STANDARD.decode(body["PrivateKey"].as_str().unwrap()).unwrap()).unwrap();
    let opened = MasterKey::from_bytes(&[7; 32]).unwrap().open(arn, &stored.private_key.0).unwrap();
    assert_eq!(opened.as_slice(), key.as_bytes());
    assert!(!serde_json::to_string(stored).unwrap().contains("PRIVATE"));
    let (_, shown) = world.acm(ROOT, "DescribeCertificate", &json!({ "CertificateArn": arn })).await;
    let detail = &shown["Certificate"];
    for (name, value) in [
        ("Status", json!("ISSUED")),
        ("Type", json!("IMPORTED")),
        ("DomainName", json!("server.example.com")),
        ("KeyAlgorithm", json!("EC_prime256v1")),
        ("ImportedAt", json!(NOW)),
        ("NotBefore", json!(NOW - 1_000)),
        ("InUseBy", json!([])),
    ] {
        assert_eq!(detail[name], value, "{name}");
    }
    let (_, list) = world.acm(ROOT, "ListCertificates", &json!({})).await;
    assert_eq!(list["CertificateSummaryList"][0]["CertificateArn"], arn);
    let (_, list) =
        world.acm(ROOT, "ListCertificates", &json!({"Includes": {"keyTypes": ["RSA_2048"]}})).await;
    assert_eq!(list["CertificateSummaryList"], json!([]));
    let endpoint = world.endpoint(&[]).await;
    let used = world.stored(&endpoint).await.spec.server_certificate_arn;
    let (_, shown) = world.acm(ROOT, "DescribeCertificate", &json!({ "CertificateArn": used })).await;
    let expected = format!("arn:aws:ec2:us-east-1:000000000000:client-vpn-endpoint/{endpoint}");
    assert_eq!(shown["Certificate"]["InUseBy"], json!([expected]));
}

#[tokio::test]
async fn a_second_import_keeps_the_arn() {
    let world = World::new();
    let arn = world.certificate("one.example.com").await;
    let mut body = import("two.example.com");
    body["CertificateArn"] = json!(arn);
    let (status, answer) = world.acm(ROOT, "ImportCertificate", &body).await;
    assert_eq!((status, &answer["CertificateArn"]), (200, &json!(arn)));
    let (_, shown) = world.acm(ROOT, "DescribeCertificate", &json!({ "CertificateArn": arn })).await;
    assert_eq!(shown["Certificate"]["DomainName"], "two.example.com");
    body["Tags"] = json!([{"Key": "a"}]);
    assert_eq!(world.acm(ROOT, "ImportCertificate", &body).await.1["__type"], "ValidationException");
    let unknown = "arn:aws:acm:us-east-1:000000000000:certificate/none";
    body = import("two.example.com");
    body["CertificateArn"] = json!(unknown);
    assert_eq!(world.acm(ROOT, "ImportCertificate", &body).await.1["__type"], "ResourceNotFoundException");
    for (arn, code) in [(unknown, "ResourceNotFoundException"), ("x", "InvalidArnException")] {
        let (status, body) = world.acm(ROOT, "DescribeCertificate", &json!({ "CertificateArn": arn })).await;
        assert_eq!((status, &body["__type"]), (400, &json!(code)));
    }
}

#[tokio::test]
async fn what_is_not_imported() {
    let world = World::new();
    let other_key = import("other.example.com")["PrivateKey"].clone();
    let expired = {
        let ca = pki::issue::ca("ca", 0, 10).unwrap();
        let leaf =
            pki::issue::server(&ca.certificate_pem, &ca.key_pem, "a.b", 0, 10, pki::issue::KeyKind::P256)
                .unwrap();
        (STANDARD.encode(&leaf.certificate_pem), STANDARD.encode(leaf.key_pem.as_bytes()))
    };
    type Spoil<'s> = Box<dyn Fn(&mut serde_json::Value) + 's>;
    let rows: Vec<(&str, Spoil<'_>, &str)> = vec![
        ("another key", Box::new(|body| body["PrivateKey"] = other_key.clone()), "does not match"),
        (
            "no key",
            Box::new(|body| body["PrivateKey"] = json!(STANDARD.encode("hello"))),
            "private key is not valid",
        ),
        ("no base64", Box::new(|body| body["Certificate"] = json!("!!")), "not PEM"),
        (
            "no PEM",
            Box::new(|body| body["Certificate"] = json!(STANDARD.encode("x"))),
            "certificate field is not valid",
        ),
        (
            "bad chain",
            Box::new(|body| body["CertificateChain"] = json!(STANDARD.encode("x"))),
            "chain is not valid",
        ),
        (
            "two certificates",
            Box::new(|body| {
                let decode = |name: &str| STANDARD.decode(body[name].as_str().unwrap()).unwrap();
                body["Certificate"] =
                    json!(STANDARD.encode([decode("Certificate"), decode("CertificateChain")].concat()));
            }),
            "more than one certificate",
        ),
        (
            "expired",
            Box::new(|body| (body["Certificate"], body["PrivateKey"]) = (json!(expired.0), json!(expired.1))),
            "validity period",
        ),
        ("unknown member", Box::new(|body| body["Colour"] = json!("red")), "invalid"),
        ("wrong type", Box::new(|body| body["Certificate"] = json!(1)), "invalid"),
    ];
    for (what, spoil, text) in rows {
        let mut body = import("server.example.com");
        spoil(&mut body);
        let (status, answer) = world.acm(ROOT, "ImportCertificate", &body).await;
        assert_eq!((status, &answer["__type"]), (400, &json!("ValidationException")), "{what}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(text), "{what}: {answer}");
    }
    assert!(world.records::<Certificate>(Kind::Certificate).await.is_empty());
}

#[tokio::test]
async fn permission() {
    let world = World::new();
    world.users.policy("READER", &allow("acm:ListCertificates"));
    assert_eq!(world.acm("READER", "ListCertificates", &json!({})).await.0, 200);
    let (status, answer) = world.acm("READER", "ImportCertificate", &import("a.example.com")).await;
    assert_eq!((status, &answer["__type"]), (400, &json!("AccessDeniedException")));
}

#[tokio::test]
async fn a_certificate_lives() {
    let world = World::new();
    let body = import("server.example.com");
    let (_, answer) = world.acm(ROOT, "ImportCertificate", &body).await;
    let arn = json!({"CertificateArn": answer["CertificateArn"]});
    let (status, got) = world.acm(ROOT, "GetCertificate", &arn).await;
    assert_eq!(status, 200);
    for (name, given) in [("Certificate", "Certificate"), ("CertificateChain", "CertificateChain")] {
        let text = String::from_utf8(STANDARD.decode(body[given].as_str().unwrap()).unwrap()).unwrap();
        assert_eq!(got[name], text);
    }
    assert!(!got.to_string().contains("PRIVATE"));
    let with = |tags: serde_json::Value| json!({"CertificateArn": arn["CertificateArn"], "Tags": tags});
    let tags = json!([{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}, {"Key": "c"}]);
    assert_eq!(world.acm(ROOT, "AddTagsToCertificate", &with(tags)).await, (200, json!({})));
    let gone = json!([{"Key": "a"}, {"Key": "b", "Value": "other"}, {"Key": "none"}]);
    assert_eq!(world.acm(ROOT, "RemoveTagsFromCertificate", &with(gone)).await.0, 200);
    let (_, listed) = world.acm(ROOT, "ListTagsForCertificate", &arn).await;
    assert_eq!(listed["Tags"], json!([{"Key": "b", "Value": "2"}, {"Key": "c", "Value": ""}]));
    let many: Vec<_> = (0..50).map(|n| json!({"Key": format!("k{n}")})).collect();
    let (_, refused) = world.acm(ROOT, "AddTagsToCertificate", &with(json!(many))).await;
    assert_eq!(refused["__type"], "TooManyTagsException");
    assert_eq!(world.acm(ROOT, "DeleteCertificate", &arn).await, (200, json!({})));
    for action in ["GetCertificate", "DeleteCertificate", "ListTagsForCertificate", "DescribeCertificate"] {
        assert_eq!(world.acm(ROOT, action, &arn).await.1["__type"], "ResourceNotFoundException", "{action}");
    }
}

#[tokio::test]
async fn a_certificate_in_use_stays() {
    let world = World::new();
    let endpoint = world.endpoint(&[]).await;
    let arn = json!({"CertificateArn": world.stored(&endpoint).await.spec.server_certificate_arn});
    let (status, refused) = world.acm(ROOT, "DeleteCertificate", &arn).await;
    assert_eq!((status, &refused["__type"]), (400, &json!("ResourceInUseException")));
    let (_, list) = world.acm(ROOT, "ListCertificates", &json!({})).await;
    assert_eq!(list["CertificateSummaryList"][0]["InUse"], true);
    world.call("DeleteClientVpnEndpoint", &[("ClientVpnEndpointId", &endpoint)]).await.ok();
    world.settle().await;
    assert_eq!(world.acm(ROOT, "DeleteCertificate", &arn).await.0, 200);
}
