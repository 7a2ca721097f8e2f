//! The actions of CloudWatch Logs, one file each.

mod create_log_group;
mod create_log_stream;
mod delete_log_group;
mod delete_log_stream;
mod delete_retention_policy;
mod describe_log_groups;
mod describe_log_streams;
mod filter_log_events;
mod get_log_events;
mod list_tags_for_resource;
mod list_tags_log_group;
mod put_log_events;
mod put_retention_policy;
mod tag_log_group;
mod tag_resource;
mod untag_log_group;
mod untag_resource;

use super::action;
use crate::registry::Registered;

/// The registry.
pub(crate) static ACTIONS: &[Registered] = &[
    action::<create_log_group::CreateLogGroup>(),
    action::<create_log_stream::CreateLogStream>(),
    action::<delete_log_group::DeleteLogGroup>(),
    action::<delete_log_stream::DeleteLogStream>(),
    action::<delete_retention_policy::DeleteRetentionPolicy>(),
    action::<describe_log_groups::DescribeLogGroups>(),
    action::<describe_log_streams::DescribeLogStreams>(),
    action::<filter_log_events::FilterLogEvents>(),
    action::<get_log_events::GetLogEvents>(),
    action::<list_tags_for_resource::ListTagsForResource>(),
    action::<list_tags_log_group::ListTagsLogGroup>(),
    action::<put_log_events::PutLogEvents>(),
    action::<put_retention_policy::PutRetentionPolicy>(),
    action::<tag_log_group::TagLogGroup>(),
    action::<tag_resource::TagResource>(),
    action::<untag_log_group::UntagLogGroup>(),
    action::<untag_resource::UntagResource>(),
];
