# Associations made and ended by the provider itself, which waits four minutes around each: in two zones, side by side.

resource "aws_vpc" "main" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "zone" {
  for_each          = toset(["a", "b"])
  vpc_id            = aws_vpc.main.id
  cidr_block        = each.key == "a" ? "10.0.1.0/24" : "10.0.2.0/24"
  availability_zone = "us-east-1${each.key}"
}

resource "aws_acm_certificate" "server" {
  certificate_body  = file("${var.pki}/vpn.example.com.crt")
  private_key       = file("${var.pki}/vpn.example.com.key")
  certificate_chain = file("${var.pki}/ca.crt")
}

# It learns its VPC from the first association.
resource "aws_ec2_client_vpn_endpoint" "main" {
  client_cidr_block      = "10.100.0.0/16"
  server_certificate_arn = aws_acm_certificate.server.arn

  authentication_options {
    type                       = "certificate-authentication"
    root_certificate_chain_arn = aws_acm_certificate.server.arn
  }

  connection_log_options {
    enabled = false
  }

  lifecycle {
    ignore_changes = [vpc_id, security_group_ids]
  }
}

resource "aws_ec2_client_vpn_network_association" "zone" {
  for_each               = aws_subnet.zone
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.main.id
  subnet_id              = each.value.id
}

resource "aws_ec2_client_vpn_route" "internet" {
  for_each               = aws_ec2_client_vpn_network_association.zone
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.main.id
  destination_cidr_block = "0.0.0.0/0"
  target_vpc_subnet_id   = each.value.subnet_id
  description            = var.stage >= 2 ? "out" : "to the internet"
}

resource "aws_ec2_client_vpn_authorization_rule" "all" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.main.id
  target_network_cidr    = "0.0.0.0/0"
  authorize_all_groups   = true
}

output "endpoint" {
  value = aws_ec2_client_vpn_endpoint.main.id
}
