//! The condition keys a call can bring a value for (spec: aws-client-vpn §4.7). A policy variable of any other key is
//! refused when a policy is loaded, since its statement could never hold; a condition on any other key is the absent
//! key's, as at AWS, and the log names it.

/// In lower case, as names of keys are not case-sensitive; one that ends in `/` goes on with the key of a tag.
const KNOWN: &[&str] = &[
    "aws:currenttime",
    "aws:epochtime",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principaltag/",
    "aws:principaltype",
    "aws:requestedregion",
    "aws:requesttag/",
    "aws:resourcetag/",
    "aws:securetransport",
    "aws:sourceip",
    "aws:tagkeys",
    "aws:tokenissuetime",
    "aws:useragent",
    "aws:userid",
    "aws:username",
    "ec2:availabilityzone",
    "ec2:clientrootcertificatechainarn",
    "ec2:cloudwatchloggrouparn",
    "ec2:cloudwatchlogstreamarn",
    "ec2:createaction",
    "ec2:directoryarn",
    "ec2:region",
    "ec2:resourcetag/",
    "ec2:samlproviderarn",
    "ec2:securitygroupid",
    "ec2:servercertificatearn",
    "ec2:subnetid",
    "ec2:vpc",
    "ec2:vpcid",
    "iam:resourcetag/",
    "sts:externalid",
    "sts:rolesessionname",
    "sts:transitivetagkeys",
];

/// Whether a call can bring this key.
pub(crate) fn known(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    KNOWN.iter().any(|known| match known.ends_with('/') {
        true => key.len() > known.len() && key.starts_with(known),
        false => key == *known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_count_in_any_case_and_tags_have_keys() {
        for (key, expected) in [
            ("aws:username", true),
            ("AWS:UserName", true),
            ("aws:PrincipalTag/team", true),
            ("aws:PrincipalTag/", false),
            ("aws:PrincipalTag", false),
            ("aws:usernames", false),
            ("ec2:InstanceType", false),
            ("saml:sub", false),
        ] {
            assert_eq!(known(key), expected, "{key}");
        }
        assert!(KNOWN.is_sorted() && KNOWN.iter().all(|key| *key == key.to_ascii_lowercase()));
    }
}
