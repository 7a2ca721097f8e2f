# A stack as popular modules make it: an endpoint with its connect handler, and what stands beside it in other services,
# which come from the upstream.

# The connect handler's code, made by the test.
variable "package" {
  type = string
}

resource "aws_acm_certificate" "server" {
  certificate_body  = file("${var.pki}/vpn.example.com.crt")
  private_key       = file("${var.pki}/vpn.example.com.key")
  certificate_chain = file("${var.pki}/ca.crt")
}

resource "aws_vpc" "main" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_cloudwatch_log_group" "vpn" {
  name = "/vpn/connections"
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "connect" {
  name               = "vpn-connect"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "connect" {
  name = "logs"
  role = aws_iam_role.connect.id

  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["logs:PutLogEvents"], Resource = "*" }]
  })
}

resource "aws_lambda_function" "connect" {
  function_name    = "AWSClientVPN-connect"
  role             = aws_iam_role.connect.arn
  runtime          = "python3.12"
  handler          = "handler.handler"
  filename         = var.package
  source_code_hash = filebase64sha256(var.package)
  timeout          = var.stage >= 2 ? 20 : 10
}

resource "aws_ec2_client_vpn_endpoint" "main" {
  description            = "with a connect handler"
  client_cidr_block      = "10.100.0.0/16"
  server_certificate_arn = aws_acm_certificate.server.arn
  vpc_id                 = aws_vpc.main.id

  authentication_options {
    type                       = "certificate-authentication"
    root_certificate_chain_arn = aws_acm_certificate.server.arn
  }

  client_connect_options {
    enabled             = true
    lambda_function_arn = aws_lambda_function.connect.arn
  }

  connection_log_options {
    enabled              = true
    cloudwatch_log_group = aws_cloudwatch_log_group.vpn.name
  }
}

resource "aws_ssm_parameter" "endpoint" {
  name  = "/vpn/endpoint"
  type  = "String"
  value = aws_ec2_client_vpn_endpoint.main.id
}

resource "aws_cloudwatch_metric_alarm" "failures" {
  alarm_name          = "vpn-failures"
  comparison_operator = "GreaterThanThreshold"
  evaluation_periods  = 1
  metric_name         = "AuthenticationFailures"
  namespace           = "AWS/ClientVPN"
  period              = 300
  statistic           = "Sum"
  threshold           = var.stage >= 2 ? 20 : 10
  dimensions          = { Endpoint = aws_ec2_client_vpn_endpoint.main.id }
}

resource "aws_s3_bucket" "profiles" {
  bucket = "vpn-profiles"
}

resource "aws_s3_bucket_versioning" "profiles" {
  bucket = aws_s3_bucket.profiles.id

  versioning_configuration {
    status = "Enabled"
  }
}

data "aws_regions" "all" {}

output "endpoint" {
  value = aws_ec2_client_vpn_endpoint.main.id
}

output "function" {
  value = aws_lambda_function.connect.arn
}

output "regions" {
  value = length(data.aws_regions.all.names)
}
