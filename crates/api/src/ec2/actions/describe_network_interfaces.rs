//! `DescribeNetworkInterfaces`: one for each target network association, in use as long as the association is.

use async_trait::async_trait;
use aws_query::{FromQuery, ToXml};
use model::Scope;

use crate::action::{Action, Decision};
use crate::cx::Cx;
use crate::ec2::interfaces::{self, Interface};
use crate::ec2::network_shapes::{Nothing, zone_id};
use crate::ec2::shapes::TagAnswer;
use crate::error::{ApiError, short};
use crate::filter::{self, Filter, Filters};
use crate::page::page;
use crate::touch::Touch;

const FILTERS: &[&str] = &[
    "addresses.primary",
    "addresses.private-ip-address",
    "attachment.attachment-id",
    "attachment.instance-id",
    "attachment.instance-owner-id",
    "attachment.status",
    "availability-zone",
    "availability-zone-id",
    "description",
    "group-id",
    "group-name",
    "interface-type",
    "mac-address",
    "network-interface-id",
    "owner-id",
    "private-ip-address",
    "requester-id",
    "requester-managed",
    "source-dest-check",
    "status",
    "subnet-id",
    "vpc-id",
];

#[derive(Clone, Debug, FromQuery)]
pub(crate) struct DescribeNetworkInterfaces {
    next_token: Option<String>,
    #[query(range = "5..=1000")]
    max_results: Option<i32>,
    include_managed_resources: Option<bool>,
    #[query(name = "NetworkInterfaceId")]
    network_interface_ids: Vec<String>,
    #[query(name = "Filter", max = 50)]
    filters: Vec<Filter>,
}

#[derive(ToXml)]
pub(crate) struct Answer {
    #[xml(name = "networkInterfaceSet")]
    network_interfaces: Vec<NetworkInterface>,
    next_token: Option<String>,
}

#[derive(ToXml)]
struct NetworkInterface {
    attachment: Attachment,
    availability_zone: String,
    description: &'static str,
    #[xml(name = "groupSet")]
    groups: Vec<Group>,
    interface_type: &'static str,
    #[xml(name = "ipv6AddressesSet")]
    ipv6_addresses: Vec<Nothing>,
    mac_address: String,
    network_interface_id: String,
    owner_id: String,
    private_ip_address: String,
    #[xml(name = "privateIpAddressesSet")]
    private_ip_addresses: Vec<Address>,
    requester_id: &'static str,
    requester_managed: bool,
    source_dest_check: bool,
    status: &'static str,
    subnet_id: String,
    tag_set: Vec<TagAnswer>,
    vpc_id: String,
    availability_zone_id: String,
}

#[derive(ToXml)]
struct Attachment {
    attachment_id: String,
    delete_on_termination: bool,
    device_index: i32,
    instance_owner_id: &'static str,
    status: &'static str,
}

#[derive(ToXml)]
struct Group {
    group_id: String,
    group_name: String,
}

#[derive(ToXml)]
struct Address {
    primary: bool,
    private_ip_address: String,
}

#[async_trait]
impl Action for DescribeNetworkInterfaces {
    const NAME: &'static str = "DescribeNetworkInterfaces";
    type Answer = Answer;

    fn check(&self, _scope: &Scope, faults: &mut Vec<ApiError>) {
        filter::check(&self.filters, FILTERS, true, faults);
    }

    fn touches(&self) -> Vec<Touch> {
        Touch::any()
    }

    async fn run(&self, cx: &Cx<'_>) -> Result<Decision<Answer>, ApiError> {
        // Those of associations are shown either way, as the service does.
        let _ = self.include_managed_resources;
        let filters = Filters::new(&self.filters, FILTERS, true)?;
        let mut rows: Vec<NetworkInterface> = interfaces::all(cx).await?.iter().map(interface).collect();
        if let Some(unknown) = self
            .network_interface_ids
            .iter()
            .find(|id| !rows.iter().any(|row| row.network_interface_id == **id))
        {
            let message = format!("The networkInterface ID '{}' does not exist", short(unknown));
            return Err(ApiError::new("InvalidNetworkInterfaceID.NotFound", message));
        }
        rows.retain(|row| {
            let ids = &self.network_interface_ids;
            (ids.is_empty() || ids.contains(&row.network_interface_id)) && passes(row, &filters)
        });
        rows.sort_by(|a, b| a.network_interface_id.cmp(&b.network_interface_id));
        let (rows, next_token) =
            page(rows, |row| &row.network_interface_id, self.next_token.as_deref(), self.max_results)?;
        Ok(Decision::read(Answer { network_interfaces: rows, next_token }))
    }
}

fn interface(of: &Interface) -> NetworkInterface {
    let (scope, spec) = (&of.association.scope, &of.association.spec);
    NetworkInterface {
        attachment: Attachment {
            attachment_id: format!("ela-attach-{}", of.association.id.digits()),
            delete_on_termination: false,
            device_index: 1,
            instance_owner_id: "amazon-aws",
            status: "attached",
        },
        availability_zone: spec.zone.to_string(),
        // UNVERIFIED: the service's words, and who it says requested it.
        description: "ClientVPN Endpoint resource",
        groups: of
            .groups
            .iter()
            .map(|(id, name)| Group { group_id: id.to_string(), group_name: name.clone() })
            .collect(),
        interface_type: "interface",
        ipv6_addresses: Vec::new(),
        mac_address: of.mac_address(),
        network_interface_id: of.id(),
        owner_id: scope.account.to_string(),
        private_ip_address: of.address.to_string(),
        private_ip_addresses: vec![Address { primary: true, private_ip_address: of.address.to_string() }],
        requester_id: "amazon-aws",
        requester_managed: true,
        source_dest_check: false,
        status: "in-use",
        subnet_id: of.subnet.id.to_string(),
        tag_set: Vec::new(),
        vpc_id: of.subnet.vpc_id.to_string(),
        availability_zone_id: zone_id(&scope.region, spec.zone.as_str()),
    }
}

fn passes(row: &NetworkInterface, filters: &Filters<'_>) -> bool {
    let facets = vec![
        ("addresses.primary", vec!["true"]),
        ("addresses.private-ip-address", vec![row.private_ip_address.as_str()]),
        ("attachment.attachment-id", vec![row.attachment.attachment_id.as_str()]),
        ("attachment.instance-owner-id", vec![row.attachment.instance_owner_id]),
        ("attachment.status", vec![row.attachment.status]),
        ("availability-zone", vec![row.availability_zone.as_str()]),
        ("availability-zone-id", vec![row.availability_zone_id.as_str()]),
        ("description", vec![row.description]),
        ("group-id", row.groups.iter().map(|group| group.group_id.as_str()).collect()),
        ("group-name", row.groups.iter().map(|group| group.group_name.as_str()).collect()),
        ("interface-type", vec![row.interface_type]),
        ("mac-address", vec![row.mac_address.as_str()]),
        ("network-interface-id", vec![row.network_interface_id.as_str()]),
        ("owner-id", vec![row.owner_id.as_str()]),
        ("private-ip-address", vec![row.private_ip_address.as_str()]),
        ("requester-id", vec![row.requester_id]),
        ("requester-managed", vec!["true"]),
        ("source-dest-check", vec!["false"]),
        ("status", vec![row.status]),
        ("subnet-id", vec![row.subnet_id.as_str()]),
        ("vpc-id", vec![row.vpc_id.as_str()]),
    ];
    filters.pass(&facets, &Default::default())
}
