//! A landscape as Terraform's AWS provider would own it.

use std::collections::BTreeMap;

use super::hcl::{Block, list, quoted};
use super::landscape::{
    Association, Endpoint, Group, GroupRule, Ipv6Block, Landscape, Options, Peer, Subnet, Tags, Vpc, Way,
};
use super::names::Names;

/// The way through the provider's block of this server.
pub(super) struct ProviderBlock<'a> {
    pub url: &'a str,
    pub region: &'a str,
}

/// The file being written.
struct Writer<'l> {
    landscape: &'l Landscape,
    names: Names,
    /// What stands for an id or ARN elsewhere in the file.
    references: BTreeMap<String, String>,
    blocks: Vec<Block>,
    imports: Vec<(String, String)>,
}

/// The whole text. `domains`: what certificates are for, by ARN. `with_imports`: each resource with what it is imported by.
pub(super) fn text(
    landscape: &Landscape,
    domains: &BTreeMap<String, String>,
    provider: Option<&ProviderBlock<'_>>,
    with_imports: bool,
) -> String {
    let mut writer = Writer {
        landscape,
        names: Names::default(),
        references: BTreeMap::new(),
        blocks: Vec::new(),
        imports: Vec::new(),
    };
    writer.provider(provider);
    writer.certificates(domains);
    writer.networks();
    writer.groups();
    writer.logs();
    writer.providers();
    for (id, endpoint) in &landscape.endpoints {
        writer.endpoint(id, endpoint);
    }
    let mut blocks = writer.blocks;
    if with_imports {
        let import = |(to, id): (String, String)| Block::new("import").set("to", to).text("id", &id);
        blocks.extend(writer.imports.into_iter().map(import));
    }
    let texts: Vec<String> = blocks.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

impl Writer<'_> {
    fn provider(&mut self, provider: Option<&ProviderBlock<'_>>) {
        let Some(ProviderBlock { url, region }) = provider else { return };
        let aws = Block::new("aws =").text("source", "hashicorp/aws");
        let required = Block::new("required_providers").block(aws);
        self.blocks.push(Block::new("terraform").block(required));
        let services = ["acm", "ec2", "iam", "lambda", "logs", "sts"];
        let endpoints =
            services.into_iter().fold(Block::new("endpoints"), |block, service| block.text(service, url));
        let block = Block::new("provider \"aws\"")
            .text("region", region)
            .set("skip_credentials_validation", "true")
            .set("skip_metadata_api_check", "true")
            .set("skip_region_validation", "true")
            .block(endpoints);
        self.blocks.push(block);
    }

    /// What refers to this: a reference where the file has it, else the id itself.
    fn reference(&self, id: &str) -> String {
        self.references.get(id).cloned().unwrap_or_else(|| quoted(id))
    }

    /// Puts a resource into the file; its address.
    fn push(&mut self, kind: &str, name: &str, block: Block, import: impl Into<String>) -> String {
        let address = format!("{kind}.{name}");
        self.blocks.push(block);
        self.imports.push((address.clone(), import.into()));
        address
    }

    /// Private keys are nobody's to read: a certificate is a variable.
    fn certificates(&mut self, domains: &BTreeMap<String, String>) {
        for (arn, domain) in domains {
            let name = self.names.take("variable", &format!("certificate {domain}"));
            let block = Block::new(format!("variable {}", quoted(&name)))
                .text(
                    "description",
                    &format!("ARN of the certificate for {domain}; its private key is not exported"),
                )
                .set("type", "string")
                .text("default", arn);
            self.blocks.push(block);
            self.references.insert(arn.clone(), format!("var.{name}"));
        }
    }

    fn networks(&mut self) {
        let landscape = self.landscape;
        for (id, vpc) in &landscape.vpcs {
            let name = self.names.take("aws_vpc", named(&vpc.tags, id));
            let mut block = Block::resource("aws_vpc", &name).text("cidr_block", &vpc.cidr);
            if vpc.tenancy != "default" {
                block = block.text("instance_tenancy", &vpc.tenancy);
            }
            let block = block
                .set("enable_dns_support", vpc.dns_support.to_string())
                .set("enable_dns_hostnames", vpc.dns_hostnames.to_string());
            let mut block = match vpc.own_ipv6_block() {
                Some(Ipv6Block { cidr, pool: Some(pool), .. }) => {
                    block.text("ipv6_ipam_pool_id", pool).text("ipv6_cidr_block", cidr)
                }
                Some(Ipv6Block { pool: None, .. }) => block.set("assign_generated_ipv6_cidr_block", "true"),
                None => block,
            };
            block = block.tags(&vpc.tags);
            if vpc.own_ipv6_block().is_some_and(|own| own.pool.is_some()) {
                // The provider reads a length beside a block that it was given whole, and would take it away for ever.
                block = block.block(
                    Block::new("lifecycle").set("ignore_changes", list(["ipv6_netmask_length".to_owned()])),
                );
            }
            let address = self.push("aws_vpc", &name, block, id);
            self.references.insert(id.clone(), format!("{address}.id"));
            self.ipv6_blocks(id, &name, vpc, address);
            for (association, cidr) in &vpc.more_cidrs {
                let kind = "aws_vpc_ipv4_cidr_block_association";
                let name = self.names.take(kind, &format!("{name} {cidr}"));
                let block =
                    Block::resource(kind, &name).set("vpc_id", self.reference(id)).text("cidr_block", cidr);
                let address = self.push(kind, &name, block, association);
                // A subnet of it waits for it.
                self.references.insert(format!("{id} {cidr}"), address);
            }
        }
        for (id, subnet) in &landscape.subnets {
            let name = self.names.take("aws_subnet", named(&subnet.tags, id));
            let mut block = Block::resource("aws_subnet", &name)
                .set("vpc_id", self.reference(&subnet.vpc))
                .text("cidr_block", &subnet.cidr)
                .text("availability_zone", &subnet.zone)
                .set("map_public_ip_on_launch", subnet.public_addresses.to_string());
            if let Some(cidr) = &subnet.ipv6_cidr {
                block = block
                    .set("ipv6_cidr_block", self.ipv6_part(&subnet.vpc, cidr))
                    .set("assign_ipv6_address_on_creation", subnet.ipv6_addresses.to_string());
            }
            block = block.tags(&subnet.tags);
            let waits_for = self.waits_for(subnet);
            if !waits_for.is_empty() {
                block = block.set("depends_on", list(waits_for));
            }
            let address = self.push("aws_subnet", &name, block, id);
            self.references.insert(id.clone(), format!("{address}.id"));
        }
    }

    /// A VPC's IPv6 blocks beside the one that stands in its own resource.
    fn ipv6_blocks(&mut self, id: &str, name: &str, vpc: &Vpc, address: String) {
        let own = vpc.own_ipv6_block().map(|block| (format!("{id} {}", block.cidr), address));
        self.references.extend(own);
        for block in vpc.further_ipv6_blocks() {
            let kind = "aws_vpc_ipv6_cidr_block_association";
            let name = self.names.take(kind, &format!("{name} {}", block.cidr));
            let resource = Block::resource(kind, &name).set("vpc_id", self.reference(id));
            let resource = match &block.pool {
                Some(pool) => resource.text("ipv6_pool", pool).text("ipv6_cidr_block", &block.cidr),
                None => resource.set("assign_generated_ipv6_cidr_block", "true"),
            };
            let address = self.push(kind, &name, resource, &block.association);
            self.references.insert(format!("{id} {}", block.cidr), address);
        }
    }

    /// A subnet's IPv6 block. What the service chooses is another one each time, so there it is a part of what it chooses.
    fn ipv6_part(&self, vpc: &str, cidr: &str) -> String {
        let blocks = self.landscape.vpcs.get(vpc).map(|vpc| vpc.ipv6_blocks.as_slice()).unwrap_or_default();
        let part = blocks.iter().filter(|block| block.pool.is_none()).find_map(|block| {
            let address = self.references.get(&format!("{vpc} {}", block.cidr))?;
            let (whole, part): (ipnet::Ipv6Net, ipnet::Ipv6Net) =
                (block.cidr.parse().ok()?, cidr.parse().ok()?);
            let bits = part.prefix_len().checked_sub(whole.prefix_len()).filter(|_| whole.contains(&part))?;
            let inside = u128::from(part.network()) - u128::from(whole.network());
            let number = inside.checked_shr(u32::from(128 - part.prefix_len())).unwrap_or_default();
            Some(format!("cidrsubnet({address}.ipv6_cidr_block, {bits}, {number})"))
        });
        part.unwrap_or_else(|| quoted(cidr))
    }

    /// The further blocks of its VPC that a subnet is of.
    fn waits_for(&self, subnet: &Subnet) -> Vec<String> {
        let Some(vpc) = self.landscape.vpcs.get(&subnet.vpc) else { return Vec::new() };
        let v4 = vpc.more_cidrs.iter().map(|(_, cidr)| cidr).filter(|cidr| covers(cidr, &subnet.cidr));
        let v6 = vpc.further_ipv6_blocks().map(|block| &block.cidr);
        let v6 = v6.filter(|cidr| subnet.ipv6_cidr.as_ref().is_some_and(|own| covers(cidr, own)));
        let further = v4.chain(v6).filter_map(|cidr| self.references.get(&format!("{} {cidr}", subnet.vpc)));
        further.cloned().collect()
    }

    fn groups(&mut self) {
        let landscape = self.landscape;
        let ours = |group: &Group| landscape.vpcs.contains_key(&group.vpc);
        for (id, group) in landscape.groups.iter().filter(|(_, group)| ours(group)) {
            if group.is_default() {
                self.default_group(id, group);
                continue;
            }
            let name = self.names.take("aws_security_group", &group.name);
            let block = Block::resource("aws_security_group", &name)
                .text("name", &group.name)
                .text("description", &group.description)
                .set("vpc_id", self.reference(&group.vpc))
                .tags(&group.tags);
            let address = self.push("aws_security_group", &name, block, id);
            self.references.insert(id.clone(), format!("{address}.id"));
        }
        // Once every group has its name: rules speak of others.
        for (id, group) in landscape.groups.iter().filter(|(_, group)| ours(group) && !group.is_default()) {
            for rule in &group.rules {
                self.group_rule(id, group, rule);
            }
        }
    }

    /// It comes with its VPC: as born it is only referred to.
    fn default_group(&mut self, id: &str, group: &Group) {
        let vpc = self.reference(&group.vpc);
        let of_vpc = vpc.strip_suffix(".id").map(|vpc| format!("{vpc}.default_security_group_id"));
        if self.landscape.is_as_born(id, group) {
            self.references.insert(id.to_owned(), of_vpc.unwrap_or_else(|| quoted(id)));
            return;
        }
        let kind = "aws_default_security_group";
        let name = self.names.take(kind, vpc.trim_start_matches("aws_vpc.").trim_end_matches(".id"));
        let mut block = Block::resource(kind, &name).set("vpc_id", vpc).tags(&group.tags);
        for rule in &group.rules {
            let says = &rule.says;
            let port = |port: &str| if says.protocol == "-1" { "0".to_owned() } else { port.to_owned() };
            let mut inner = Block::new(if says.egress { "egress" } else { "ingress" })
                .maybe("description", says.description.as_ref())
                .text("protocol", &says.protocol)
                .set("from_port", port(&says.from))
                .set("to_port", port(&says.to));
            inner = match &says.peer {
                Peer::V4(cidr) => inner.set("cidr_blocks", list([quoted(cidr)])),
                Peer::V6(cidr) => inner.set("ipv6_cidr_blocks", list([quoted(cidr)])),
                Peer::Group(peer) if peer == id => inner.set("self", "true"),
                Peer::Group(peer) => inner.set("security_groups", list([self.reference(peer)])),
                Peer::PrefixList(peer) => inner.set("prefix_list_ids", list([quoted(peer)])),
            };
            block = block.block(inner);
        }
        let address = self.push(kind, &name, block, id);
        self.references.insert(id.to_owned(), format!("{address}.id"));
    }

    fn group_rule(&mut self, id: &str, group: &Group, rule: &GroupRule) {
        let says = &rule.says;
        let kind = match says.egress {
            true => "aws_vpc_security_group_egress_rule",
            false => "aws_vpc_security_group_ingress_rule",
        };
        let peer = match &says.peer {
            Peer::V4(cidr) | Peer::V6(cidr) => cidr.as_str(),
            Peer::Group(id) | Peer::PrefixList(id) => id.as_str(),
        };
        let ports =
            if says.protocol == "-1" { "all".to_owned() } else { format!("{} {}", says.protocol, says.from) };
        let name = self.names.take(kind, &format!("{} {ports} {peer}", group.name));
        let mut block = Block::resource(kind, &name)
            .set("security_group_id", self.reference(id))
            .maybe("description", says.description.as_ref())
            .text("ip_protocol", &says.protocol);
        if says.protocol != "-1" {
            block = block.set("from_port", says.from.clone()).set("to_port", says.to.clone());
        }
        block = match &says.peer {
            Peer::V4(cidr) => block.text("cidr_ipv4", cidr),
            Peer::V6(cidr) => block.text("cidr_ipv6", cidr),
            Peer::Group(peer) => block.set("referenced_security_group_id", self.reference(peer)),
            Peer::PrefixList(peer) => block.text("prefix_list_id", peer),
        };
        self.push(kind, &name, block.tags(&rule.tags), &rule.id);
    }

    fn logs(&mut self) {
        let landscape = self.landscape;
        for (group_name, group) in &landscape.log_groups {
            let kind = "aws_cloudwatch_log_group";
            let name = self.names.take(kind, group_name);
            let mut block = Block::resource(kind, &name).text("name", group_name);
            if let Some(days) = group.retention_days {
                block = block.set("retention_in_days", days.to_string());
            }
            let address = self.push(kind, &name, block.tags(&group.tags), group_name);
            self.references.insert(format!("log {group_name}"), format!("{address}.name"));
            for stream in &group.streams {
                let kind = "aws_cloudwatch_log_stream";
                let name = self.names.take(kind, &format!("{group_name} {stream}"));
                let block = Block::resource(kind, &name)
                    .text("name", stream)
                    .set("log_group_name", format!("{address}.name"));
                let address = self.push(kind, &name, block, format!("{group_name}:{stream}"));
                self.references.insert(format!("log {group_name} {stream}"), format!("{address}.name"));
            }
        }
    }

    fn providers(&mut self) {
        let landscape = self.landscape;
        for (arn, provider) in &landscape.providers {
            let kind = "aws_iam_saml_provider";
            let name = self.names.take(kind, &provider.name);
            let block = Block::resource(kind, &name)
                .text("name", &provider.name)
                .text("saml_metadata_document", &provider.metadata)
                .tags(&provider.tags);
            let address = self.push(kind, &name, block, arn);
            self.references.insert(arn.clone(), format!("{address}.arn"));
        }
    }

    fn endpoint(&mut self, id: &str, endpoint: &Endpoint) {
        let kind = "aws_ec2_client_vpn_endpoint";
        let wish = match &endpoint.options.description {
            Some(description) if !endpoint.tags.contains_key("Name") => description.as_str(),
            _ => named(&endpoint.tags, id),
        };
        let name = self.names.take(kind, wish);
        let block = self.endpoint_block(kind, &name, endpoint);
        let address = self.push(kind, &name, block, id);
        let endpoint_id = format!("{address}.id");
        let mut targets = BTreeMap::new();
        for (association, Association { subnet, .. }) in &endpoint.associations {
            let kind = "aws_ec2_client_vpn_network_association";
            let reference = self.reference(subnet);
            let short = reference.trim_start_matches("aws_subnet.").trim_end_matches(".id");
            let name = self.names.take(kind, &format!("{name} {short}"));
            let block = Block::resource(kind, &name)
                .set("client_vpn_endpoint_id", endpoint_id.clone())
                .set("subnet_id", reference);
            let address = self.push(kind, &name, block, format!("{id},{association}"));
            targets.insert(subnet.clone(), address);
        }
        for rule in &endpoint.rules {
            let kind = "aws_ec2_client_vpn_authorization_rule";
            let group = rule.group.as_deref();
            let name =
                self.names.take(kind, &format!("{name} {} {}", rule.destination, group.unwrap_or("all")));
            let mut block = Block::resource(kind, &name);
            let others = endpoint.rules.iter().any(|other| {
                other.destination == rule.destination && other.group.is_some() != rule.group.is_some()
            });
            if others && rule.group.is_none() {
                block = block.comment(
                    "The provider cannot manage a rule for everybody beside one for a group on the same network.",
                );
            }
            block = block
                .set("client_vpn_endpoint_id", endpoint_id.clone())
                .text("target_network_cidr", &rule.destination);
            block = match group {
                Some(group) => block.text("access_group_id", group),
                None => block.set("authorize_all_groups", "true"),
            };
            let import = [Some(id), Some(rule.destination.as_str()), group];
            let import: Vec<&str> = import.into_iter().flatten().collect();
            self.push(kind, &name, block.maybe("description", rule.description.as_ref()), import.join(","));
        }
        for route in &endpoint.routes {
            let kind = "aws_ec2_client_vpn_route";
            let name = self.names.take(kind, &format!("{name} {}", route.destination));
            let mut block = Block::resource(kind, &name);
            if route.destination.contains(':') {
                block = block.comment("Provider 5.100.0 takes no IPv6 destinations.");
            }
            if route.is_of_own_ipv6_block() {
                block = block.comment(
                    "The destination is this endpoint's own IPv6 block; another endpoint has another.",
                );
            }
            block = block
                .set("client_vpn_endpoint_id", endpoint_id.clone())
                .text("destination_cidr_block", &route.destination);
            // No route before the association it leads to.
            block = match targets.get(&route.target) {
                Some(address) => block.set("target_vpc_subnet_id", format!("{address}.subnet_id")),
                None => block
                    .set("target_vpc_subnet_id", self.reference(&route.target))
                    .set("depends_on", list(targets.values().cloned())),
            };
            let import = format!("{id},{},{}", route.target, route.destination);
            self.push(kind, &name, block.maybe("description", route.description.as_ref()), import);
        }
    }

    fn endpoint_block(&self, kind: &str, name: &str, endpoint: &Endpoint) -> Block {
        let options = &endpoint.options;
        let mut block = Block::resource(kind, name);
        for beyond in &endpoint.beyond {
            block = block.comment(format!("Not exported: {beyond}."));
        }
        for (what, is_there) in [
            ("its certificate revocation list", endpoint.revocation_list.is_some()),
            ("its authorization policy", endpoint.policy.is_some()),
        ] {
            if is_there {
                block = block.comment(format!("The provider knows no resource for {what}."));
            }
        }
        block = ip_versions(block, options)
            .maybe("description", options.description.as_ref())
            .maybe("client_cidr_block", options.client_cidr.as_ref())
            .set("server_certificate_arn", self.reference(&options.server_certificate))
            .text("transport_protocol", &options.transport)
            .set("vpn_port", options.port.clone())
            .set("split_tunnel", options.split_tunnel.to_string())
            .set("session_timeout_hours", options.session_hours.clone())
            .set("disconnect_on_session_timeout", options.disconnect.to_string())
            .text("self_service_portal", if options.portal { "enabled" } else { "disabled" });
        if !options.dns_servers.is_empty() {
            block = block.set("dns_servers", list(options.dns_servers.iter().map(|server| quoted(server))));
        }
        if let Some(vpc) = &options.vpc {
            block = block.set("vpc_id", self.reference(vpc));
        }
        if !options.groups.is_empty() {
            let groups = options.groups.iter().map(|group| self.reference(group));
            block = block.set("security_group_ids", list(groups));
        }
        block = block.tags(&endpoint.tags);
        for way in &options.ways {
            let inner = Block::new("authentication_options");
            block = block.block(match way {
                Way::Certificate { root } => inner
                    .text("type", "certificate-authentication")
                    .set("root_certificate_chain_arn", self.reference(root)),
                Way::Directory { id } => {
                    inner.text("type", "directory-service-authentication").text("active_directory_id", id)
                }
                Way::Federated { provider, portal_provider } => {
                    let inner = inner
                        .text("type", "federated-authentication")
                        .set("saml_provider_arn", self.reference(provider));
                    match portal_provider {
                        Some(arn) => inner.set("self_service_saml_provider_arn", self.reference(arn)),
                        None => inner,
                    }
                }
            });
        }
        let mut log = Block::new("connection_log_options").set("enabled", options.log.is_some().to_string());
        if let Some((group, stream)) = &options.log {
            let name =
                |key: String, text: &str| self.references.get(&key).cloned().unwrap_or_else(|| quoted(text));
            log = log.set("cloudwatch_log_group", name(format!("log {group}"), group));
            if let Some(stream) = stream {
                log = log.set("cloudwatch_log_stream", name(format!("log {group} {stream}"), stream));
            }
        }
        block = block.block(log);
        let switched = |head: &str, name: &str, text: &Option<String>| {
            let inner = Block::new(head).set("enabled", text.is_some().to_string());
            inner.maybe(name, text.as_ref())
        };
        block
            .block(switched("client_connect_options", "lambda_function_arn", &options.connect_handler))
            .block(switched("client_login_banner_options", "banner_text", &options.banner))
            .block(
                Block::new("client_route_enforcement_options")
                    .set("enforced", options.enforce_routes.to_string()),
            )
    }
}

/// Which IP versions an endpoint has to do with, where it is not IPv4 alone.
fn ip_versions(mut block: Block, options: &Options) -> Block {
    let versions =
        [("traffic_ip_address_type", &options.traffic), ("endpoint_ip_address_type", &options.addresses)];
    for (name, version) in versions.into_iter().filter(|(_, version)| *version != "ipv4") {
        block = block.comment("The provider knows this from version 6 on.").text(name, version);
    }
    block
}

/// What people call it, else its id.
fn named<'t>(tags: &'t Tags, id: &'t str) -> &'t str {
    tags.get("Name").map_or(id, String::as_str)
}

/// Whether a block lies in another.
fn covers(outer: &str, inner: &str) -> bool {
    match (outer.parse::<ipnet::IpNet>(), inner.parse::<ipnet::IpNet>()) {
        (Ok(outer), Ok(inner)) => outer.contains(&inner),
        _ => false,
    }
}
