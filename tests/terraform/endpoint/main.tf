# Endpoints with every option, and everything they refer to.

data "aws_caller_identity" "me" {}

data "aws_availability_zones" "all" {
  state = "available"
}

# --- Networks -------------------------------------------------------------------------------------------------------

resource "aws_vpc" "main" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = var.stage >= 2
  tags                 = { Name = "main", Stage = tostring(var.stage) }
}

resource "aws_vpc_ipv4_cidr_block_association" "more" {
  vpc_id     = aws_vpc.main.id
  cidr_block = "10.1.0.0/16"
}

resource "aws_subnet" "one" {
  vpc_id                  = aws_vpc.main.id
  cidr_block              = "10.0.1.0/24"
  availability_zone       = data.aws_availability_zones.all.names[0]
  map_public_ip_on_launch = var.stage >= 2
  tags                    = { Name = "one" }
}

resource "aws_subnet" "two" {
  vpc_id            = aws_vpc_ipv4_cidr_block_association.more.vpc_id
  cidr_block        = "10.1.2.0/24"
  availability_zone = data.aws_availability_zones.all.names[1]
}

resource "aws_default_security_group" "closed" {
  vpc_id = aws_vpc.main.id
}

# Rules in the group.
resource "aws_security_group" "inline" {
  name        = "inline"
  description = "rules in the group"
  vpc_id      = aws_vpc.main.id

  ingress {
    description = var.stage >= 2 ? "other words" : "web"
    protocol    = "tcp"
    from_port   = 443
    to_port     = 443
    cidr_blocks = ["10.0.0.0/8", "192.168.0.0/16"]
  }

  ingress {
    protocol         = "icmp"
    from_port        = 8
    to_port          = -1
    cidr_blocks      = ["0.0.0.0/0"]
    ipv6_cidr_blocks = ["::/0"]
  }

  ingress {
    protocol  = "-1"
    from_port = 0
    to_port   = 0
    self      = true
  }

  dynamic "egress" {
    for_each = var.stage >= 2 ? ["10.0.0.0/16", "10.1.0.0/16"] : ["0.0.0.0/0"]
    content {
      protocol    = "-1"
      from_port   = 0
      to_port     = 0
      cidr_blocks = [egress.value]
    }
  }
}

# One resource a rule, the newer kind.
resource "aws_security_group" "single" {
  name_prefix = "single-"
  description = "one resource a rule"
  vpc_id      = aws_vpc.main.id
}

resource "aws_vpc_security_group_ingress_rule" "from_inline" {
  security_group_id            = aws_security_group.single.id
  referenced_security_group_id = aws_security_group.inline.id
  ip_protocol                  = "-1"
  description                  = "from the other group"
  tags                         = { Name = "from inline" }
}

resource "aws_vpc_security_group_egress_rule" "names" {
  security_group_id = aws_security_group.single.id
  cidr_ipv4         = var.stage >= 2 ? "10.0.0.3/32" : "10.0.0.2/32"
  ip_protocol       = "udp"
  from_port         = 53
  to_port           = 53
}

# One resource a rule, the older kind.
resource "aws_security_group" "older" {
  name   = "older"
  vpc_id = aws_vpc.main.id
}

resource "aws_security_group_rule" "older" {
  security_group_id = aws_security_group.older.id
  type              = "ingress"
  protocol          = "tcp"
  from_port         = 22
  to_port           = 22
  cidr_blocks       = ["10.0.0.0/8"]
  description       = var.stage >= 2 ? "shells" : "shell"
}

# --- Certificates, providers, logs ----------------------------------------------------------------------------------

resource "aws_acm_certificate" "server" {
  certificate_body  = file("${var.pki}/${var.stage >= 2 ? "new.example.com" : "vpn.example.com"}.crt")
  private_key       = file("${var.pki}/${var.stage >= 2 ? "new.example.com" : "vpn.example.com"}.key")
  certificate_chain = file("${var.pki}/ca.crt")
  tags              = { Name = "server", Stage = tostring(var.stage) }
}

resource "aws_iam_saml_provider" "idp" {
  name                   = "idp"
  saml_metadata_document = templatefile("${path.module}/idp.xml", { entity = "stage-${var.stage}" })
  tags                   = { Name = "idp" }
}

resource "aws_cloudwatch_log_group" "vpn" {
  name              = "/vpn/connections"
  retention_in_days = var.stage >= 2 ? 30 : 7
  tags              = { Name = "vpn", Stage = tostring(var.stage) }
}

resource "aws_cloudwatch_log_stream" "vpn" {
  name           = "connections"
  log_group_name = aws_cloudwatch_log_group.vpn.name
}

# --- Endpoints ------------------------------------------------------------------------------------------------------

resource "aws_ec2_client_vpn_endpoint" "main" {
  description                   = var.stage >= 2 ? "changed" : "everything"
  client_cidr_block             = "10.100.0.0/16"
  server_certificate_arn        = aws_acm_certificate.server.arn
  vpc_id                        = aws_vpc.main.id
  security_group_ids            = var.stage >= 2 ? [aws_security_group.single.id] : [aws_security_group.inline.id, aws_security_group.single.id]
  split_tunnel                  = var.stage >= 2
  transport_protocol            = "udp"
  vpn_port                      = var.stage >= 2 ? 1194 : 443
  session_timeout_hours         = var.stage >= 2 ? 8 : 24
  disconnect_on_session_timeout = var.stage < 2
  dns_servers                   = var.stage >= 3 ? null : var.stage >= 2 ? ["10.0.0.3"] : ["10.0.0.2", "10.1.0.2"]

  authentication_options {
    type                       = "certificate-authentication"
    root_certificate_chain_arn = aws_acm_certificate.server.arn
  }

  connection_log_options {
    enabled               = var.stage < 3
    cloudwatch_log_group  = var.stage >= 3 ? null : aws_cloudwatch_log_group.vpn.name
    cloudwatch_log_stream = var.stage >= 3 ? null : aws_cloudwatch_log_stream.vpn.name
  }

  client_connect_options {
    enabled             = var.stage < 3
    lambda_function_arn = var.stage >= 3 ? null : "arn:aws:lambda:us-east-1:${data.aws_caller_identity.me.account_id}:function:AWSClientVPN-${var.stage}"
  }

  client_login_banner_options {
    enabled     = var.stage < 3
    banner_text = var.stage >= 3 ? null : "Stage ${var.stage}: be <kind> & \"careful\""
  }

  client_route_enforcement_options {
    enforced = var.stage < 2
  }

  tags = { Name = "main", Stage = tostring(var.stage) }
}

# As little as there can be, by SAML.
resource "aws_ec2_client_vpn_endpoint" "least" {
  client_cidr_block      = "10.200.0.0/22"
  server_certificate_arn = aws_acm_certificate.server.arn
  self_service_portal    = var.stage >= 2 ? "disabled" : "enabled"

  authentication_options {
    type                           = "federated-authentication"
    saml_provider_arn              = aws_iam_saml_provider.idp.arn
    self_service_saml_provider_arn = aws_iam_saml_provider.idp.arn
  }

  connection_log_options {
    enabled = false
  }
}

resource "aws_ec2_client_vpn_authorization_rule" "all" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.main.id
  target_network_cidr    = aws_vpc.main.cidr_block
  authorize_all_groups   = true
  description            = "everybody"
}

resource "aws_ec2_client_vpn_authorization_rule" "group" {
  for_each               = toset(var.stage >= 2 ? ["admins"] : ["admins", "guests"])
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.least.id
  target_network_cidr    = "10.9.0.0/16"
  access_group_id        = each.key
}

# --- What others read -----------------------------------------------------------------------------------------------

data "aws_ec2_client_vpn_endpoint" "by_id" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.main.id
}

data "aws_ec2_client_vpn_endpoint" "by_tag" {
  tags       = { Name = "main" }
  depends_on = [aws_ec2_client_vpn_endpoint.main]
}

data "aws_ec2_client_vpn_endpoint" "by_filter" {
  filter {
    name   = "endpoint-id"
    values = [aws_ec2_client_vpn_endpoint.least.id]
  }
}

data "aws_vpc" "main" {
  id = aws_vpc.main.id
}

data "aws_subnets" "all" {
  filter {
    name   = "vpc-id"
    values = [aws_vpc.main.id]
  }
  depends_on = [aws_subnet.one, aws_subnet.two]
}

data "aws_security_group" "default" {
  vpc_id = aws_vpc.main.id
  name   = "default"
}

output "endpoint" {
  value = aws_ec2_client_vpn_endpoint.main.id
}

output "found" {
  value = [
    data.aws_ec2_client_vpn_endpoint.by_id.id,
    data.aws_ec2_client_vpn_endpoint.by_tag.id,
    data.aws_ec2_client_vpn_endpoint.by_filter.id,
  ]
}

output "account" {
  value = data.aws_caller_identity.me.account_id
}

output "subnets" {
  value = length(data.aws_subnets.all.ids)
}
