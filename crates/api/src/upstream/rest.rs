//! Which action a method and a path mean, of REST services that stand beside a Client VPN: Lambda and Route 53. The facts
//! are those of botocore's service models; the names are those of policies.

/// Method, path with `*` for a variable segment, action.
type Row = (&'static str, &'static str, &'static str);

/// The action; `None` where the table has none or the path could be read in more ways than one.
pub(super) fn action(service: &str, method: &str, path: &str, query: &str) -> Option<&'static str> {
    let rows = table(service)?;
    let path = path.strip_suffix('/').unwrap_or(path);
    if !plain(path)
        || query.split('&').any(|pair| CHOOSES.contains(&pair.split('=').next().unwrap_or_default()))
    {
        return None;
    }
    let fits = rows.iter().filter(|(of, template, _)| *of == method && matches(template, path));
    // A word says more than a variable.
    fits.min_by_key(|(_, template, _)| template.matches('*').count()).map(|(_, _, action)| *action)
}

/// Whether the table has the service.
pub(super) fn is_served(service: &str) -> bool {
    table(service).is_some()
}

/// Parameters that make another action of the same path.
const CHOOSES: [&str; 2] = ["List", "find"];

fn table(service: &str) -> Option<&'static [Row]> {
    match service {
        "lambda" => Some(LAMBDA),
        "route53" => Some(ROUTE53),
        _ => None,
    }
}

/// No segment that a server might take for none, for two, or for a step back.
pub(super) fn plain(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    let lower = rest.to_ascii_lowercase();
    !["%2f", "%5c", "%2e", "\\", ";"].iter().any(|odd| lower.contains(odd))
        && rest.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

fn matches(template: &str, path: &str) -> bool {
    let (mut template, mut path) = (template.split('/'), path.split('/'));
    loop {
        match (template.next(), path.next()) {
            (None, None) => return true,
            (Some(wanted), Some(found)) if wanted == "*" || wanted == found => {}
            _ => return false,
        }
    }
}

const LAMBDA: &[Row] = &[
    ("POST", "/2014-11-13/functions/*/invoke-async", "InvokeAsync"),
    ("GET", "/2015-03-31/event-source-mappings", "ListEventSourceMappings"),
    ("POST", "/2015-03-31/event-source-mappings", "CreateEventSourceMapping"),
    ("DELETE", "/2015-03-31/event-source-mappings/*", "DeleteEventSourceMapping"),
    ("GET", "/2015-03-31/event-source-mappings/*", "GetEventSourceMapping"),
    ("PUT", "/2015-03-31/event-source-mappings/*", "UpdateEventSourceMapping"),
    ("GET", "/2015-03-31/functions", "ListFunctions"),
    ("POST", "/2015-03-31/functions", "CreateFunction"),
    ("DELETE", "/2015-03-31/functions/*", "DeleteFunction"),
    ("GET", "/2015-03-31/functions/*", "GetFunction"),
    ("GET", "/2015-03-31/functions/*/aliases", "ListAliases"),
    ("POST", "/2015-03-31/functions/*/aliases", "CreateAlias"),
    ("DELETE", "/2015-03-31/functions/*/aliases/*", "DeleteAlias"),
    ("GET", "/2015-03-31/functions/*/aliases/*", "GetAlias"),
    ("PUT", "/2015-03-31/functions/*/aliases/*", "UpdateAlias"),
    ("PUT", "/2015-03-31/functions/*/code", "UpdateFunctionCode"),
    ("GET", "/2015-03-31/functions/*/configuration", "GetFunctionConfiguration"),
    ("PUT", "/2015-03-31/functions/*/configuration", "UpdateFunctionConfiguration"),
    ("POST", "/2015-03-31/functions/*/invocations", "InvokeFunction"),
    ("GET", "/2015-03-31/functions/*/policy", "GetPolicy"),
    ("POST", "/2015-03-31/functions/*/policy", "AddPermission"),
    ("DELETE", "/2015-03-31/functions/*/policy/*", "RemovePermission"),
    ("GET", "/2015-03-31/functions/*/versions", "ListVersionsByFunction"),
    ("POST", "/2015-03-31/functions/*/versions", "PublishVersion"),
    ("GET", "/2016-08-19/account-settings", "GetAccountSettings"),
    ("DELETE", "/2017-03-31/tags/*", "UntagResource"),
    ("GET", "/2017-03-31/tags/*", "ListTags"),
    ("POST", "/2017-03-31/tags/*", "TagResource"),
    ("DELETE", "/2017-10-31/functions/*/concurrency", "DeleteFunctionConcurrency"),
    ("PUT", "/2017-10-31/functions/*/concurrency", "PutFunctionConcurrency"),
    ("GET", "/2018-10-31/layers", "ListLayers"),
    ("GET", "/2018-10-31/layers/*/versions", "ListLayerVersions"),
    ("POST", "/2018-10-31/layers/*/versions", "PublishLayerVersion"),
    ("DELETE", "/2018-10-31/layers/*/versions/*", "DeleteLayerVersion"),
    ("GET", "/2018-10-31/layers/*/versions/*", "GetLayerVersion"),
    ("GET", "/2018-10-31/layers/*/versions/*/policy", "GetLayerVersionPolicy"),
    ("POST", "/2018-10-31/layers/*/versions/*/policy", "AddLayerVersionPermission"),
    ("DELETE", "/2018-10-31/layers/*/versions/*/policy/*", "RemoveLayerVersionPermission"),
    ("DELETE", "/2019-09-25/functions/*/event-invoke-config", "DeleteFunctionEventInvokeConfig"),
    ("GET", "/2019-09-25/functions/*/event-invoke-config", "GetFunctionEventInvokeConfig"),
    ("POST", "/2019-09-25/functions/*/event-invoke-config", "UpdateFunctionEventInvokeConfig"),
    ("PUT", "/2019-09-25/functions/*/event-invoke-config", "PutFunctionEventInvokeConfig"),
    ("GET", "/2019-09-25/functions/*/event-invoke-config/list", "ListFunctionEventInvokeConfigs"),
    ("GET", "/2019-09-30/functions/*/concurrency", "GetFunctionConcurrency"),
    ("DELETE", "/2019-09-30/functions/*/provisioned-concurrency", "DeleteProvisionedConcurrencyConfig"),
    ("GET", "/2019-09-30/functions/*/provisioned-concurrency", "GetProvisionedConcurrencyConfig"),
    ("PUT", "/2019-09-30/functions/*/provisioned-concurrency", "PutProvisionedConcurrencyConfig"),
    ("GET", "/2020-04-22/code-signing-configs", "ListCodeSigningConfigs"),
    ("POST", "/2020-04-22/code-signing-configs", "CreateCodeSigningConfig"),
    ("DELETE", "/2020-04-22/code-signing-configs/*", "DeleteCodeSigningConfig"),
    ("GET", "/2020-04-22/code-signing-configs/*", "GetCodeSigningConfig"),
    ("PUT", "/2020-04-22/code-signing-configs/*", "UpdateCodeSigningConfig"),
    ("GET", "/2020-04-22/code-signing-configs/*/functions", "ListFunctionsByCodeSigningConfig"),
    ("DELETE", "/2020-06-30/functions/*/code-signing-config", "DeleteFunctionCodeSigningConfig"),
    ("GET", "/2020-06-30/functions/*/code-signing-config", "GetFunctionCodeSigningConfig"),
    ("PUT", "/2020-06-30/functions/*/code-signing-config", "PutFunctionCodeSigningConfig"),
    ("GET", "/2021-07-20/functions/*/runtime-management-config", "GetRuntimeManagementConfig"),
    ("PUT", "/2021-07-20/functions/*/runtime-management-config", "PutRuntimeManagementConfig"),
    ("DELETE", "/2021-10-31/functions/*/url", "DeleteFunctionUrlConfig"),
    ("GET", "/2021-10-31/functions/*/url", "GetFunctionUrlConfig"),
    ("POST", "/2021-10-31/functions/*/url", "CreateFunctionUrlConfig"),
    ("PUT", "/2021-10-31/functions/*/url", "UpdateFunctionUrlConfig"),
    ("GET", "/2021-10-31/functions/*/urls", "ListFunctionUrlConfigs"),
    ("POST", "/2021-11-15/functions/*/response-streaming-invocations", "InvokeFunction"),
    ("GET", "/2024-08-31/functions/*/recursion-config", "GetFunctionRecursionConfig"),
    ("PUT", "/2024-08-31/functions/*/recursion-config", "PutFunctionRecursionConfig"),
];

const ROUTE53: &[Row] = &[
    ("GET", "/2013-04-01/accountlimit/*", "GetAccountLimit"),
    ("GET", "/2013-04-01/change/*", "GetChange"),
    ("GET", "/2013-04-01/checkeripranges", "GetCheckerIpRanges"),
    ("GET", "/2013-04-01/cidrcollection", "ListCidrCollections"),
    ("POST", "/2013-04-01/cidrcollection", "CreateCidrCollection"),
    ("DELETE", "/2013-04-01/cidrcollection/*", "DeleteCidrCollection"),
    ("GET", "/2013-04-01/cidrcollection/*", "ListCidrLocations"),
    ("POST", "/2013-04-01/cidrcollection/*", "ChangeCidrCollection"),
    ("GET", "/2013-04-01/cidrcollection/*/cidrblocks", "ListCidrBlocks"),
    ("GET", "/2013-04-01/delegationset", "ListReusableDelegationSets"),
    ("POST", "/2013-04-01/delegationset", "CreateReusableDelegationSet"),
    ("DELETE", "/2013-04-01/delegationset/*", "DeleteReusableDelegationSet"),
    ("GET", "/2013-04-01/delegationset/*", "GetReusableDelegationSet"),
    ("GET", "/2013-04-01/geolocation", "GetGeoLocation"),
    ("GET", "/2013-04-01/geolocations", "ListGeoLocations"),
    ("GET", "/2013-04-01/healthcheck", "ListHealthChecks"),
    ("POST", "/2013-04-01/healthcheck", "CreateHealthCheck"),
    ("DELETE", "/2013-04-01/healthcheck/*", "DeleteHealthCheck"),
    ("GET", "/2013-04-01/healthcheck/*", "GetHealthCheck"),
    ("POST", "/2013-04-01/healthcheck/*", "UpdateHealthCheck"),
    ("GET", "/2013-04-01/healthcheck/*/lastfailurereason", "GetHealthCheckLastFailureReason"),
    ("GET", "/2013-04-01/healthcheck/*/status", "GetHealthCheckStatus"),
    ("GET", "/2013-04-01/healthcheckcount", "GetHealthCheckCount"),
    ("GET", "/2013-04-01/hostedzone", "ListHostedZones"),
    ("POST", "/2013-04-01/hostedzone", "CreateHostedZone"),
    ("DELETE", "/2013-04-01/hostedzone/*", "DeleteHostedZone"),
    ("GET", "/2013-04-01/hostedzone/*", "GetHostedZone"),
    ("POST", "/2013-04-01/hostedzone/*", "UpdateHostedZoneComment"),
    ("POST", "/2013-04-01/hostedzone/*/associatevpc", "AssociateVPCWithHostedZone"),
    ("GET", "/2013-04-01/hostedzone/*/authorizevpcassociation", "ListVPCAssociationAuthorizations"),
    ("POST", "/2013-04-01/hostedzone/*/authorizevpcassociation", "CreateVPCAssociationAuthorization"),
    ("POST", "/2013-04-01/hostedzone/*/deauthorizevpcassociation", "DeleteVPCAssociationAuthorization"),
    ("POST", "/2013-04-01/hostedzone/*/disable-dnssec", "DisableHostedZoneDNSSEC"),
    ("POST", "/2013-04-01/hostedzone/*/disassociatevpc", "DisassociateVPCFromHostedZone"),
    ("GET", "/2013-04-01/hostedzone/*/dnssec", "GetDNSSEC"),
    ("POST", "/2013-04-01/hostedzone/*/enable-dnssec", "EnableHostedZoneDNSSEC"),
    ("POST", "/2013-04-01/hostedzone/*/features", "UpdateHostedZoneFeatures"),
    ("GET", "/2013-04-01/hostedzone/*/rrset", "ListResourceRecordSets"),
    ("POST", "/2013-04-01/hostedzone/*/rrset", "ChangeResourceRecordSets"),
    ("GET", "/2013-04-01/hostedzonecount", "GetHostedZoneCount"),
    ("GET", "/2013-04-01/hostedzonelimit/*/*", "GetHostedZoneLimit"),
    ("GET", "/2013-04-01/hostedzonesbyname", "ListHostedZonesByName"),
    ("GET", "/2013-04-01/hostedzonesbyvpc", "ListHostedZonesByVPC"),
    ("POST", "/2013-04-01/keysigningkey", "CreateKeySigningKey"),
    ("DELETE", "/2013-04-01/keysigningkey/*/*", "DeleteKeySigningKey"),
    ("POST", "/2013-04-01/keysigningkey/*/*/activate", "ActivateKeySigningKey"),
    ("POST", "/2013-04-01/keysigningkey/*/*/deactivate", "DeactivateKeySigningKey"),
    ("GET", "/2013-04-01/queryloggingconfig", "ListQueryLoggingConfigs"),
    ("POST", "/2013-04-01/queryloggingconfig", "CreateQueryLoggingConfig"),
    ("DELETE", "/2013-04-01/queryloggingconfig/*", "DeleteQueryLoggingConfig"),
    ("GET", "/2013-04-01/queryloggingconfig/*", "GetQueryLoggingConfig"),
    ("GET", "/2013-04-01/reusabledelegationsetlimit/*/*", "GetReusableDelegationSetLimit"),
    ("POST", "/2013-04-01/tags/*", "ListTagsForResources"),
    ("GET", "/2013-04-01/tags/*/*", "ListTagsForResource"),
    ("POST", "/2013-04-01/tags/*/*", "ChangeTagsForResource"),
    ("GET", "/2013-04-01/testdnsanswer", "TestDNSAnswer"),
    ("GET", "/2013-04-01/trafficpolicies", "ListTrafficPolicies"),
    ("GET", "/2013-04-01/trafficpolicies/*/versions", "ListTrafficPolicyVersions"),
    ("POST", "/2013-04-01/trafficpolicy", "CreateTrafficPolicy"),
    ("POST", "/2013-04-01/trafficpolicy/*", "CreateTrafficPolicyVersion"),
    ("DELETE", "/2013-04-01/trafficpolicy/*/*", "DeleteTrafficPolicy"),
    ("GET", "/2013-04-01/trafficpolicy/*/*", "GetTrafficPolicy"),
    ("POST", "/2013-04-01/trafficpolicy/*/*", "UpdateTrafficPolicyComment"),
    ("POST", "/2013-04-01/trafficpolicyinstance", "CreateTrafficPolicyInstance"),
    ("DELETE", "/2013-04-01/trafficpolicyinstance/*", "DeleteTrafficPolicyInstance"),
    ("GET", "/2013-04-01/trafficpolicyinstance/*", "GetTrafficPolicyInstance"),
    ("POST", "/2013-04-01/trafficpolicyinstance/*", "UpdateTrafficPolicyInstance"),
    ("GET", "/2013-04-01/trafficpolicyinstancecount", "GetTrafficPolicyInstanceCount"),
    ("GET", "/2013-04-01/trafficpolicyinstances", "ListTrafficPolicyInstances"),
    ("GET", "/2013-04-01/trafficpolicyinstances/hostedzone", "ListTrafficPolicyInstancesByHostedZone"),
    ("GET", "/2013-04-01/trafficpolicyinstances/trafficpolicy", "ListTrafficPolicyInstancesByPolicy"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_paths_mean_actions() {
        let rows = [
            ("lambda", "POST", "/2015-03-31/functions", "", Some("CreateFunction")),
            ("lambda", "GET", "/2015-03-31/functions/", "Marker=x", Some("ListFunctions")),
            ("lambda", "GET", "/2015-03-31/functions/f", "", Some("GetFunction")),
            ("lambda", "POST", "/2015-03-31/functions/f/invocations", "Qualifier=1", Some("InvokeFunction")),
            ("lambda", "POST", "/2015-03-31/functions/arn%3Aaws%3Al/invocations", "", Some("InvokeFunction")),
            ("lambda", "PATCH", "/2015-03-31/functions/f", "", None),
            ("lambda", "GET", "/2015-03-31/functions/f/unheard-of", "", None),
            ("lambda", "DELETE", "/2015-03-31/functions/f%2Fpolicy%2Fs", "", None),
            ("lambda", "DELETE", "/2015-03-31/functions/f/policy/..", "", None),
            ("lambda", "DELETE", "/2015-03-31//functions/f", "", None),
            ("lambda", "DELETE", "/2015-03-31/functions/%2e%2E", "", None),
            ("lambda", "GET", "/2018-10-31/layers", "", Some("ListLayers")),
            ("lambda", "GET", "/2018-10-31/layers", "find=LayerVersion&Arn=x", None),
            ("route53", "POST", "/2013-04-01/hostedzone/Z1/rrset/", "", Some("ChangeResourceRecordSets")),
            (
                "route53",
                "GET",
                "/2013-04-01/trafficpolicyinstances/hostedzone",
                "",
                Some("ListTrafficPolicyInstancesByHostedZone"),
            ),
            ("route53", "GET", "", "", None),
            ("batch", "POST", "/v1/submitjob", "", None),
        ];
        for (service, method, path, query, expected) in rows {
            assert_eq!(action(service, method, path, query), expected, "{service} {method} {path}?{query}");
        }
        assert!(is_served("lambda") && !is_served("batch"));
    }

    #[test]
    fn no_two_rows_are_one() {
        for rows in [LAMBDA, ROUTE53] {
            for (n, (method, template, _)) in rows.iter().enumerate() {
                assert!(
                    !rows.iter().skip(n + 1).any(|row| (row.0, row.1) == (*method, *template)),
                    "{template}"
                );
            }
        }
    }
}
