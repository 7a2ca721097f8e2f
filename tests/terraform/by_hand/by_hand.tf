# An association made by hand and taken in, so that there is no wait for the provider; and a route through it.

variable "association" {
  type = string
}

import {
  to = aws_ec2_client_vpn_network_association.one
  id = "${var.endpoint},${var.association}"
}

resource "aws_ec2_client_vpn_network_association" "one" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.main.id
  subnet_id              = aws_subnet.one.id
}

resource "aws_ec2_client_vpn_route" "far" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.main.id
  destination_cidr_block = "172.16.0.0/12"
  target_vpc_subnet_id   = aws_ec2_client_vpn_network_association.one.subnet_id
  description            = "far away"
}
