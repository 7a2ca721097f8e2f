"""A team's tests of the VPN it ships: clients that connect, and what they reach."""

import pytest


def test_the_office_is_reached_and_nothing_else(bascule, alice, office):
    address, port = office
    bascule.expect(alice, f"reach {address}:{port} http", "deny 192.0.2.0/24 at 192.0.2.9 within 500ms")


def test_without_the_rule_nobody_reaches_it(bascule, vpn, alice, office):
    address, port = office
    bascule.client("ec2").revoke_client_vpn_ingress(
        ClientVpnEndpointId=vpn, TargetNetworkCidr=f"{address}/32", RevokeAllGroups=True
    )
    bascule.expect(alice, f"deny {address}:{port} within 500ms")
    with pytest.raises(AssertionError, match="NOT HELD"):
        bascule.expect(alice, f"reach {address}:{port} within 500ms")


def test_the_expectations_of_a_file(bascule, alice, office, tmp_path):
    address, port = office
    expectations = tmp_path / "expect.toml"
    expectations.write_text(
        f"""
profile = "{alice}"

[[expectation]]
name = "the office's web server answers"
expect = "reach {address}:{port} http"

[[expectation]]
name = "the lab is none of their business"
expect = "deny 192.0.2.9:80 within 500ms"
"""
    )
    report = bascule.expect_file(expectations, junit="vpn.junit.xml")
    assert [case["held"] for case in report["expectations"]] == [True, True]


def test_a_client_is_sent_away_with_the_last_target_network(bascule, vpn, alice):
    ec2 = bascule.client("ec2")
    (network,) = ec2.describe_client_vpn_target_networks(ClientVpnEndpointId=vpn)["ClientVpnTargetNetworks"]
    ec2.disassociate_client_vpn_target_network(ClientVpnEndpointId=vpn, AssociationId=network["AssociationId"])
    done = bascule.run("client", alice, "--expect", "ping 192.0.2.9", "--connect-within", "2", check=False)
    assert done.returncode == 1 and b"no tunnel" in done.stdout + done.stderr
