# What the team ships: an endpoint, its certificate, its network and its rules. Nothing in it knows of Bascule: the provider
# finds the endpoint URL and the key in the environment (AWS_ENDPOINT_URL and the rest).

terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
}

variable "server" {
  type = object({ certificate = string, key = string, authority = string })
}

# The network behind the tunnel that clients may reach.
variable "office" {
  type = string
}

variable "office_port" {
  type = number
}

resource "aws_acm_certificate" "server" {
  certificate_body  = file(var.server.certificate)
  private_key       = file(var.server.key)
  certificate_chain = file(var.server.authority)
}

resource "aws_vpc" "main" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "main" {
  vpc_id     = aws_vpc.main.id
  cidr_block = "10.0.1.0/24"
}

# The one thing in the office that they may use.
resource "aws_security_group" "clients" {
  name   = "vpn-clients"
  vpc_id = aws_vpc.main.id

  egress {
    protocol    = "tcp"
    from_port   = var.office_port
    to_port     = var.office_port
    cidr_blocks = [var.office]
  }
}

resource "aws_ec2_client_vpn_endpoint" "main" {
  client_cidr_block      = "10.8.0.0/22"
  server_certificate_arn = aws_acm_certificate.server.arn
  split_tunnel           = true
  vpc_id                 = aws_vpc.main.id
  security_group_ids     = [aws_security_group.clients.id]

  authentication_options {
    type                       = "certificate-authentication"
    root_certificate_chain_arn = aws_acm_certificate.server.arn
  }

  connection_log_options {
    enabled = false
  }
}

resource "aws_ec2_client_vpn_authorization_rule" "office" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.main.id
  target_network_cidr    = var.office
  authorize_all_groups   = true
}

output "endpoint" {
  value = aws_ec2_client_vpn_endpoint.main.id
}

output "group" {
  value = aws_security_group.clients.id
}

output "subnet" {
  value = aws_subnet.main.id
}
