# What the endpoints refer to.

resource "aws_vpc" "main" {
  cidr_block                       = "10.1.0.0/16"
  assign_generated_ipv6_cidr_block = true
}

resource "aws_subnet" "main" {
  vpc_id                          = aws_vpc.main.id
  cidr_block                      = "10.1.1.0/24"
  ipv6_cidr_block                 = cidrsubnet(aws_vpc.main.ipv6_cidr_block, 8, 1)
  assign_ipv6_address_on_creation = true
}

resource "aws_security_group" "own" {
  for_each = toset(["one", "two"])
  name     = each.key
  vpc_id   = aws_vpc.main.id
}

data "aws_security_group" "default" {
  vpc_id = aws_vpc.main.id
  name   = "default"
}

resource "aws_acm_certificate" "server" {
  for_each          = toset(["vpn", "new"])
  certificate_body  = file("${var.pki}/${each.key}.example.com.crt")
  private_key       = file("${var.pki}/${each.key}.example.com.key")
  certificate_chain = file("${var.pki}/ca.crt")
}

resource "aws_iam_saml_provider" "idp" {
  for_each               = toset(["login", "portal"])
  name                   = each.key
  saml_metadata_document = templatefile("${path.module}/idp.xml", { entity = each.key })
}

resource "aws_cloudwatch_log_group" "vpn" {
  name = "/vpn/connections"
}

resource "aws_cloudwatch_log_stream" "vpn" {
  for_each       = toset(["one", "two"])
  name           = each.key
  log_group_name = aws_cloudwatch_log_group.vpn.name
}

resource "aws_ec2_transit_gateway" "main" {
  description                     = ["core", "edge", "edge", "edge"][local.step]
  auto_accept_shared_attachments  = ["disable", "enable", "enable", "enable"][local.step]
  default_route_table_association = ["enable", "enable", "disable", "disable"][local.step]
  dns_support                     = ["enable", "disable", "disable", "enable"][local.step]

  transit_gateway_cidr_blocks = [
    ["10.210.0.0/24"],
    ["10.210.0.0/24", "10.211.0.0/24"],
    ["10.211.0.0/24"],
    ["10.211.0.0/24"],
  ][local.step]

  tags = [{ Name = "core" }, { Name = "core", Stage = "2" }, { Stage = "3" }, {}][local.step]
}
