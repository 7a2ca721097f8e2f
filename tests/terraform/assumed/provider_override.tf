# The provider as somebody else: merged into its block.

provider "aws" {
  assume_role {
    role_arn     = "arn:aws:iam::111111111111:role/deploy"
    session_name = "terraform"
    external_id  = "x-1"
    duration     = "15m"
    tags         = { team = "net" }
  }
}
