//! What an upstream's answers mean: what is there, what is gone for certain, and what nobody knows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use model::{Association, Authentication, Endpoint, SecurityGroupId, Subnet, SubnetId, Vpc, VpcId};

use super::ask::Fault;

/// What endpoints refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub vpcs: BTreeSet<VpcId>,
    pub subnets: BTreeSet<SubnetId>,
    pub groups: BTreeSet<SecurityGroupId>,
    /// By ARN.
    pub certificates: BTreeSet<String>,
    /// Those whose private keys are needed, by ARN.
    pub server_certificates: BTreeSet<String>,
}

impl Wanted {
    /// Of these endpoints and associations, with the VPCs of their subnets and the default groups of those.
    pub(super) fn of<'r>(
        endpoints: impl Iterator<Item = &'r Endpoint>,
        associations: impl Iterator<Item = &'r Association>,
        subnets: &BTreeMap<SubnetId, &Subnet>,
        vpcs: &BTreeMap<VpcId, &Vpc>,
    ) -> Self {
        let mut wanted = Self::default();
        for association in associations {
            wanted.subnets.extend(association.spec.subnet_id().cloned());
            wanted.vpcs.extend(association.spec.vpc_id().cloned());
        }
        for Endpoint { spec, .. } in endpoints {
            wanted.vpcs.extend(spec.vpc_id.clone());
            wanted.groups.extend(spec.security_group_ids.iter().cloned());
            wanted.server_certificates.insert(spec.server_certificate_arn.clone());
            for way in &spec.authentication {
                if let Authentication::Certificate { client_root_arn } = way {
                    wanted.certificates.insert(client_root_arn.clone());
                }
            }
        }
        wanted.include(subnets, vpcs);
        wanted
    }

    /// Adds the VPCs of the wanted subnets and the default groups of the wanted VPCs.
    fn include(&mut self, subnets: &BTreeMap<SubnetId, &Subnet>, vpcs: &BTreeMap<VpcId, &Vpc>) {
        let of_subnets = self.subnets.iter().filter_map(|id| subnets.get(id));
        self.vpcs.extend(of_subnets.map(|subnet| subnet.vpc_id.clone()));
        let of_vpcs = self.vpcs.iter().filter_map(|id| vpcs.get(id));
        self.groups.extend(of_vpcs.map(|vpc| vpc.default_security_group.clone()));
    }

    /// Whether nothing is wanted.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What an upstream's answers say of one id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said<T> {
    /// It is there.
    Is(T),
    /// It is not there, for certain.
    Gone,
    /// Nothing that could be relied on; why.
    Nothing(Fault),
}

/// What the answer to a question about one id alone says: gone is what is named so by the code for it, in a refusal that
/// names this id. An empty list is nothing, and so is any other refusal.
pub(super) fn said<T>(answer: Result<Option<T>, Fault>, gone: &[&str], id: &str) -> Said<T> {
    match answer {
        Ok(Some(found)) => Said::Is(found),
        Ok(None) => Said::Nothing(Fault::Unclear(format!("the upstream server lists nothing for {id}"))),
        Err(Fault::Refused { status: 400..500, code, message })
            if gone.contains(&code.as_str()) && names(&message, id) =>
        {
            Said::Gone
        }
        Err(fault) => Said::Nothing(fault),
    }
}

/// Whether a text has the id as a word.
fn names(text: &str, id: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | ':');
    text.split(|c: char| !part(c)).any(|word| word.trim_end_matches(':') == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_that_names_the_id_is_an_end() {
        const ID: &str = "subnet-0123456789abcdef0";
        const GONE: [&str; 1] = ["InvalidSubnetID.NotFound"];
        let refused = |status, code: &str, message: &str| Fault::Refused {
            status,
            code: code.to_owned(),
            message: message.to_owned(),
        };
        let full = format!("The subnet ID '{ID}' does not exist");
        let rows: [(Result<Option<u8>, Fault>, bool); 9] = [
            (Err(refused(400, "InvalidSubnetID.NotFound", &full)), true),
            (Err(refused(400, "InvalidSubnetID.NotFound", "The subnet ID 'subnet-1' does not exist")), false),
            (Err(refused(400, "InvalidSubnetID.NotFound", &format!("The subnet ID '{ID}0' is odd"))), false),
            (Err(refused(400, "InvalidSubnetID.NotFound", "")), false),
            (Err(refused(503, "InvalidSubnetID.NotFound", &full)), false),
            (Err(refused(400, "InvalidSubnetID.Malformed", &full)), false),
            (Err(refused(403, "UnauthorizedOperation", &full)), false),
            (Err(Fault::Away("slow".into())), false),
            (Ok(None), false),
        ];
        for (answer, gone) in rows {
            let shown = format!("{answer:?}");
            assert_eq!(said(answer, &GONE, ID) == Said::Gone, gone, "{shown}");
        }
        assert_eq!(said(Ok(Some(7)), &GONE, ID), Said::Is(7));
        let arn = "arn:aws:acm:us-east-1:123456789012:certificate/a-b";
        assert!(names(&format!("Could not find certificate {arn}."), arn));
        assert!(names(&format!("Certificate with arn {arn} not found in account 123456789012"), arn));
    }
}
