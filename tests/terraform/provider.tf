# What every scenario begins with: the AWS provider as people have it, with its endpoints here.

terraform {
  required_providers {
    aws = {
      source = "hashicorp/aws"
    }
  }
}

variable "url" {
  type = string
}

# The certificates' folder.
variable "pki" {
  type = string
}

# Each stage is one change of the configuration.
variable "stage" {
  type    = number
  default = 1
}

provider "aws" {
  region                      = "us-east-1"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_region_validation      = true
  max_retries                 = 3
  s3_use_path_style           = true

  endpoints {
    acm        = var.url
    cloudwatch = var.url
    ec2        = var.url
    iam        = var.url
    lambda     = var.url
    logs       = var.url
    s3         = var.url
    ssm        = var.url
    sts        = var.url
  }

  default_tags {
    tags = {
      Managed = "terraform"
    }
  }

  ignore_tags {
    keys = ["Ignored"]
  }
}
