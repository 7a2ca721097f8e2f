//! `CreateSecurityGroup`: with the rule that lets everything out, as the service makes it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::{Scope, SecurityGroup, SecurityGroupId};

use crate::action::{Action, Decision};
use crate::arn;
use crate::cx::Cx;
use crate::draft::Draft;
use crate::ec2::security::{self, GROUP};
use crate::ec2::shapes::{TagAnswer, TagSpecification, tag_set};
use crate::error::ApiError;
use crate::tags;
use crate::touch::{Resource, Touch};

/// Most characters of name and description.
const MAX_CHARS: usize = 255;
/// What both may have beside letters and digits.
const MARKS: &str = " ._-:/()#,@[]+=&;{}!$*";

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct CreateSecurityGroup {
    #[query(name = "GroupDescription", model = "Description")]
    description: String,
    group_name: String,
    vpc_id: Option<String>,
    #[query(name = "TagSpecification", max = 50)]
    tag_specifications: Vec<TagSpecification>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    group_id: String,
    #[xml(name = "tagSet")]
    tags: Vec<TagAnswer>,
    security_group_arn: String,
}

#[async_trait]
impl Action for CreateSecurityGroup {
    const NAME: &'static str = "CreateSecurityGroup";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        let plain = |text: &str| {
            (1..=MAX_CHARS).contains(&text.chars().count())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || MARKS.contains(c))
        };
        if !plain(&self.description) {
            let expected = format!("Expecting 1 to {MAX_CHARS} characters from a-zA-Z0-9 and {MARKS}");
            faults.push(ApiError::value("GroupDescription", &self.description, &expected));
        }
        if !plain(&self.group_name) || self.group_name.starts_with("sg-") {
            let expected = format!(
                "Expecting 1 to {MAX_CHARS} characters from a-zA-Z0-9 and {MARKS}, not starting with sg-"
            );
            faults.push(ApiError::value("groupName", &self.group_name, &expected));
        } else if self.group_name == "default" {
            let message = "Cannot use reserved security group name: default";
            faults.push(ApiError::new("InvalidGroup.Reserved", message));
        }
        tags::read(&self.tag_specifications, GROUP, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        let tags = tags::valid(&self.tag_specifications, GROUP);
        let mut touches = Touch::of(Resource::New(GROUP)).created(Self::NAME, &tags);
        touches.extend(self.vpc_id.iter().map(|id| Touch::of(Resource::Vpc(Some(id.clone())))));
        touches
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        let vpc = self.vpc_id.as_deref().ok_or_else(|| {
            ApiError::new("VPCIdNotSpecified", "No default VPC for this user. Specify VpcId.")
        })?;
        let vpc = cx.vpc(vpc).await?;
        let others = cx.security_groups().await?;
        let twin = |other: &SecurityGroup| other.vpc_id == vpc.value.id && other.name == self.group_name;
        if others.iter().any(|other| twin(&other.value)) {
            let message =
                format!("The security group '{}' already exists for VPC '{}'", self.group_name, vpc.value.id);
            return Err(ApiError::new("InvalidGroup.Duplicate", message));
        }
        if others.len() >= cx.config.quotas.security_groups_per_region {
            let message = "The maximum number of security groups has been reached.";
            return Err(ApiError::new("SecurityGroupLimitExceeded", message));
        }
        let group = SecurityGroup {
            id: SecurityGroupId::from_entropy(cx.entropy()),
            scope: cx.scope.clone(),
            vpc_id: vpc.value.id.clone(),
            name: self.group_name.clone(),
            description: self.description.clone(),
            ingress: Vec::new(),
            egress: security::everything_out(cx, &vpc.value),
            tags: tags::valid(&self.tag_specifications, GROUP),
            prefix_lists: BTreeMap::new(),
            mirrored: false,
        };
        let mut draft = Draft::default();
        // So that two groups of one name, and the end of the VPC, meet a conflict.
        draft.touch(&vpc);
        security::create(&mut draft, &group);
        Ok(Decision::write(answer(&group.tags, &group), draft))
    }
}

fn answer(tags: &BTreeMap<String, String>, group: &SecurityGroup) -> Answer {
    Answer {
        group_id: group.id.to_string(),
        tags: tag_set(tags),
        security_group_arn: arn::ec2(&group.scope, GROUP, group.id.as_str()),
    }
}
