# An endpoint here on networks that are the upstream's: all of EC2 that is no Client VPN lands there.

# Known once it is made, for `by_hand`.
variable "endpoint" {
  type    = string
  default = ""
}

data "aws_availability_zones" "all" {
  state = "available"
}

resource "aws_vpc" "main" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = var.stage >= 2
  tags                 = { Name = "main", Stage = tostring(var.stage) }
}

resource "aws_subnet" "one" {
  vpc_id                  = aws_vpc.main.id
  cidr_block              = "10.0.1.0/24"
  availability_zone       = data.aws_availability_zones.all.names[0]
  map_public_ip_on_launch = var.stage >= 2
  tags                    = { Name = "one" }
}

# What only the upstream has.
resource "aws_internet_gateway" "main" {
  vpc_id = aws_vpc.main.id
}

resource "aws_ec2_managed_prefix_list" "services" {
  name           = "services"
  address_family = "IPv4"
  max_entries    = 3

  entry {
    cidr = "10.0.7.0/24"
  }
}

# One resource a rule, and rules in the group.
resource "aws_security_group" "single" {
  name        = "single"
  description = "one resource a rule"
  vpc_id      = aws_vpc.main.id
  tags        = { Name = "single" }
}

resource "aws_vpc_security_group_egress_rule" "web" {
  security_group_id = aws_security_group.single.id
  cidr_ipv4         = "10.0.0.0/16"
  ip_protocol       = "tcp"
  from_port         = var.stage >= 2 ? 7002 : 7001
  to_port           = var.stage >= 2 ? 7002 : 7001
}

resource "aws_vpc_security_group_egress_rule" "services" {
  security_group_id = aws_security_group.single.id
  prefix_list_id    = aws_ec2_managed_prefix_list.services.id
  ip_protocol       = "tcp"
  from_port         = 7003
  to_port           = 7003
}

resource "aws_security_group" "inline" {
  name        = "inline"
  description = "rules in the group"
  vpc_id      = aws_vpc.main.id

  egress {
    protocol    = "udp"
    from_port   = 53
    to_port     = 53
    cidr_blocks = ["10.0.0.2/32"]
  }
}

resource "aws_acm_certificate" "server" {
  certificate_body  = file("${var.pki}/vpn.example.com.crt")
  private_key       = file("${var.pki}/vpn.example.com.key")
  certificate_chain = file("${var.pki}/ca.crt")
}

resource "aws_ec2_client_vpn_endpoint" "main" {
  description            = "stage ${var.stage}"
  client_cidr_block      = "10.100.0.0/16"
  server_certificate_arn = aws_acm_certificate.server.arn
  vpc_id                 = aws_vpc.main.id
  security_group_ids     = var.stage >= 2 ? [aws_security_group.single.id] : [aws_security_group.single.id, aws_security_group.inline.id]

  authentication_options {
    type                       = "certificate-authentication"
    root_certificate_chain_arn = aws_acm_certificate.server.arn
  }

  connection_log_options {
    enabled = false
  }

  tags = { Name = "main", Stage = tostring(var.stage) }
}

resource "aws_ec2_client_vpn_authorization_rule" "all" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.main.id
  target_network_cidr    = aws_vpc.main.cidr_block
  authorize_all_groups   = true
}

output "endpoint" {
  value = aws_ec2_client_vpn_endpoint.main.id
}

output "vpc" {
  value = aws_vpc.main.id
}

output "subnet" {
  value = aws_subnet.one.id
}

output "group" {
  value = aws_security_group.single.id
}
