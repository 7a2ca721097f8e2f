# Associations made and ended by the provider itself, which waits four minutes around each: all of them side by side.

locals {
  cases = {
    basic      = ["a"]
    several    = ["a", "b"]
    disappears = ["a"]
    routes     = ["a", "b"]
  }
  pairs = merge([for name, zones in local.cases : { for zone in zones : "${name}-${zone}" => { case = name, zone = zone } }]...)
}

resource "aws_vpc" "main" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "zone" {
  for_each          = toset(["a", "b"])
  vpc_id            = aws_vpc.main.id
  cidr_block        = each.key == "a" ? "10.0.1.0/24" : "10.0.2.0/24"
  availability_zone = "us-east-1${each.key}"
}

data "aws_security_group" "default" {
  vpc_id = aws_vpc.main.id
  name   = "default"
}

resource "aws_acm_certificate" "server" {
  certificate_body  = file("${var.pki}/vpn.example.com.crt")
  private_key       = file("${var.pki}/vpn.example.com.key")
  certificate_chain = file("${var.pki}/ca.crt")
}

# They learn their VPC from the first association.
resource "aws_ec2_client_vpn_endpoint" "case" {
  for_each               = local.cases
  description            = "for ${each.key}"
  client_cidr_block      = "10.100.0.0/16"
  server_certificate_arn = aws_acm_certificate.server.arn

  authentication_options {
    type                       = "certificate-authentication"
    root_certificate_chain_arn = aws_acm_certificate.server.arn
  }

  connection_log_options {
    enabled = false
  }
}

resource "aws_ec2_client_vpn_network_association" "case" {
  for_each               = local.pairs
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case[each.value.case].id
  subnet_id              = aws_subnet.zone[each.value.zone].id
}

# --- Routes -----------------------------------------------------------------------------------------------------------

resource "aws_ec2_client_vpn_route" "basic" {
  for_each               = toset(["a", "b"])
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case["routes"].id
  destination_cidr_block = "0.0.0.0/0"
  target_vpc_subnet_id   = aws_ec2_client_vpn_network_association.case["routes-${each.key}"].subnet_id
}

resource "aws_ec2_client_vpn_route" "description" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case["routes"].id
  destination_cidr_block = "172.16.0.0/12"
  target_vpc_subnet_id   = aws_ec2_client_vpn_network_association.case["routes-a"].subnet_id
  description            = var.stage >= 2 ? "farther away" : "far away"
}

resource "aws_ec2_client_vpn_route" "disappears" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case["routes"].id
  destination_cidr_block = "192.168.0.0/16"
  target_vpc_subnet_id   = aws_ec2_client_vpn_network_association.case["routes-a"].subnet_id
}
