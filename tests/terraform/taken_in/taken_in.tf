# Taken in: what was forgotten.

variable "rule" {
  type = string
}

import {
  to = aws_ec2_client_vpn_endpoint.main
  id = var.endpoint
}

import {
  to = aws_ec2_client_vpn_authorization_rule.all
  id = "${var.endpoint},10.0.0.0/16"
}

import {
  to = aws_vpc.main
  id = var.vpc
}

import {
  to = aws_security_group.inline
  id = var.group
}

import {
  to = aws_vpc_security_group_ingress_rule.from_inline
  id = var.rule
}

import {
  to = aws_cloudwatch_log_group.vpn
  id = "/vpn/connections"
}

import {
  to = aws_iam_saml_provider.idp
  id = "arn:aws:iam::000000000000:saml-provider/idp"
}


variable "endpoint" {
  type = string
}

variable "vpc" {
  type = string
}

variable "group" {
  type = string
}
