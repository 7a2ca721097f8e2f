# A small thing, made by an assumed role.

data "aws_caller_identity" "me" {}

resource "aws_vpc" "main" {
  cidr_block = "10.0.0.0/16"
}

resource "aws_subnet" "one" {
  vpc_id     = aws_vpc.main.id
  cidr_block = "10.0.1.0/24"
}

output "arn" {
  value = data.aws_caller_identity.me.arn
}

output "owner" {
  value = aws_vpc.main.owner_id
}
