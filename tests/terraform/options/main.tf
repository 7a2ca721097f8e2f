# One endpoint for each scenario, all with the same block; what a scenario varies, and how from step to step, is a row here.

locals {
  step   = var.stage - 1
  lambda = "arn:aws:lambda:us-east-1:000000000000:function:AWSClientVPN"
  text   = "Be <kind> & \"careful\""

  certificate = [{
    type                       = "certificate-authentication"
    root_certificate_chain_arn = aws_acm_certificate.server["vpn"].arn
  }]
  directory = [{
    type                = "directory-service-authentication"
    active_directory_id = "d-1234567890"
  }]
  federated = [{
    type              = "federated-authentication"
    saml_provider_arn = aws_iam_saml_provider.idp["login"].arn
  }]
  with_portal = [{
    type                           = "federated-authentication"
    saml_provider_arn              = aws_iam_saml_provider.idp["login"].arn
    self_service_saml_provider_arn = aws_iam_saml_provider.idp["portal"].arn
  }]

  cases = {
    basic                        = {}
    disappears                   = {}
    msADAuth                     = { authentication = local.directory }
    msADAuthAndMutualAuth        = { authentication = concat(local.directory, local.certificate) }
    federatedAuth                = { authentication = local.federated }
    federatedAuthWithSelfService = { authentication = local.with_portal }
    withClientConnect            = { connect = ["${local.lambda}-one", "${local.lambda}-two", "", ""][local.step] }
    withClientLoginBanner        = { banner = ["${local.text}, once", "${local.text}, twice", "", ""][local.step] }
    withClientRouteEnforcement   = { enforced = [true, false, true, true][local.step] }
    withDNSServers               = { dns = [["10.1.0.2", "1.1.1.1"], ["1.1.1.1"], null, null][local.step] }
    selfServicePortal            = { authentication = local.with_portal, portal = ["enabled", "disabled", "enabled", "disabled"][local.step] }
    vpcNoSecurityGroups          = { vpc = aws_vpc.main.id }
    basicDataSource              = { tags = { Name = "found" } }
    rules                        = {}
    rulesDisappearsEndpoint      = {}

    withLogGroup = {
      logs   = ["/vpn/connections", "/vpn/connections", "/vpn/connections", ""][local.step]
      stream = [null, "one", "two", null][local.step]
    }

    tags = {
      tags = [{ one = "1" }, { one = "uno", two = "2" }, { two = "2" }, {}][local.step]
    }

    simpleAttributesUpdate = {
      description = ["before", "after", "after", ""][local.step]
      certificate = local.step > 0 ? "new" : "vpn"
      hours       = [12, 8, 8, 24][local.step]
      split       = [true, false, false, true][local.step]
      port        = [1194, 443, 443, 1194][local.step]
      disconnect  = [true, false, false, true][local.step]
    }

    vpcSecurityGroups = {
      vpc    = aws_vpc.main.id
      groups = [for name in [["one", "two"], ["one"], ["two"], ["two"]][local.step] : aws_security_group.own[name].id]
    }

    # What cannot be changed in place, one after the other.
    replaced = {
      cidr           = ["10.100.0.0/16", "10.101.0.0/16", "10.101.0.0/16", "10.101.0.0/16"][local.step]
      transport      = ["udp", "udp", "tcp", "tcp"][local.step]
      authentication = local.step > 2 ? local.directory : local.certificate
    }
  }
}

resource "aws_ec2_client_vpn_endpoint" "case" {
  for_each                      = local.cases
  description                   = try(each.value.description, "for ${each.key}")
  client_cidr_block             = try(each.value.cidr, "10.100.0.0/16")
  server_certificate_arn        = aws_acm_certificate.server[try(each.value.certificate, "vpn")].arn
  vpc_id                        = try(each.value.vpc, null)
  security_group_ids            = try(each.value.groups, null)
  split_tunnel                  = try(each.value.split, null)
  transport_protocol            = try(each.value.transport, null)
  vpn_port                      = try(each.value.port, null)
  session_timeout_hours         = try(each.value.hours, null)
  disconnect_on_session_timeout = try(each.value.disconnect, null)
  dns_servers                   = try(each.value.dns, null)
  self_service_portal           = try(each.value.portal, null)
  tags                          = try(each.value.tags, null)

  dynamic "authentication_options" {
    for_each = try(each.value.authentication, local.certificate)
    iterator = way
    content {
      type                           = way.value.type
      active_directory_id            = try(way.value.active_directory_id, null)
      root_certificate_chain_arn     = try(way.value.root_certificate_chain_arn, null)
      saml_provider_arn              = try(way.value.saml_provider_arn, null)
      self_service_saml_provider_arn = try(way.value.self_service_saml_provider_arn, null)
    }
  }

  connection_log_options {
    enabled               = try(each.value.logs, "") != ""
    cloudwatch_log_group  = try(each.value.logs, "") != "" ? each.value.logs : null
    cloudwatch_log_stream = try(each.value.stream, null)
  }

  dynamic "client_connect_options" {
    for_each = try([each.value.connect], [])
    content {
      enabled             = client_connect_options.value != ""
      lambda_function_arn = client_connect_options.value != "" ? client_connect_options.value : null
    }
  }

  dynamic "client_login_banner_options" {
    for_each = try([each.value.banner], [])
    content {
      enabled     = client_login_banner_options.value != ""
      banner_text = client_login_banner_options.value != "" ? client_login_banner_options.value : null
    }
  }

  dynamic "client_route_enforcement_options" {
    for_each = try([each.value.enforced], [])
    content {
      enforced = client_route_enforcement_options.value
    }
  }

  depends_on = [aws_cloudwatch_log_stream.vpn]
}

# --- Authorization rules ----------------------------------------------------------------------------------------------

resource "aws_ec2_client_vpn_authorization_rule" "basic" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case["rules"].id
  target_network_cidr    = aws_subnet.main.cidr_block
  authorize_all_groups   = true
}

resource "aws_ec2_client_vpn_authorization_rule" "groups" {
  for_each               = toset([["one"], ["one", "two"], ["three"], ["three"]][local.step])
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case["rules"].id
  target_network_cidr    = "10.2.0.0/24"
  access_group_id        = each.key
  description            = "for ${each.key}"
}

resource "aws_ec2_client_vpn_authorization_rule" "subnets" {
  for_each               = toset([["10.3.1.0/24", "10.3.2.0/24"], ["10.3.2.0/24"], ["10.3.2.0/24"], ["10.3.2.0/24"]][local.step])
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case["rules"].id
  target_network_cidr    = each.key
  authorize_all_groups   = true
}

resource "aws_ec2_client_vpn_authorization_rule" "disappears" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case["rules"].id
  target_network_cidr    = "10.4.0.0/24"
  authorize_all_groups   = true
}

resource "aws_ec2_client_vpn_authorization_rule" "disappearsEndpoint" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case["rulesDisappearsEndpoint"].id
  target_network_cidr    = "10.5.0.0/24"
  authorize_all_groups   = true
}

# --- What others find -------------------------------------------------------------------------------------------------

data "aws_ec2_client_vpn_endpoint" "by_id" {
  client_vpn_endpoint_id = aws_ec2_client_vpn_endpoint.case["basicDataSource"].id
}

data "aws_ec2_client_vpn_endpoint" "by_tag" {
  tags       = { Name = "found" }
  depends_on = [aws_ec2_client_vpn_endpoint.case]
}

data "aws_ec2_client_vpn_endpoint" "by_filter" {
  filter {
    name   = "endpoint-id"
    values = [aws_ec2_client_vpn_endpoint.case["basicDataSource"].id]
  }
}
