"""Every Query action's members, as the product declares them, against AWS's own service model."""

import functools

from support import model

# Requests and answers whose order is that of AWS's published samples, which differs from the model's.
SAMPLE_ORDER = {"DisassociateClientVpnTargetNetwork<", "GetCallerIdentity<"}

# Of Client VPN's own actions all members are offered. Of the networks beside it, some may lack anywhere.
# CreateVpc's documentation refuses the third value of the model.
ENUMS = {"CreateVpc>.InstanceTenancy": ["default", "dedicated"]}

# Those that must be there; there may be more.
EXPECTED_ACTIONS = {
    "ec2": {
        "AcceptTransitGatewayClientVpnAttachment",
        "ApplySecurityGroupsToClientVpnTargetNetwork",
        "AssociateClientVpnTargetNetwork",
        "AuthorizeClientVpnIngress",
        "CreateClientVpnEndpoint",
        "CreateClientVpnRoute",
        "DeleteClientVpnEndpoint",
        "DeleteClientVpnEndpointAuthorizationPolicy",
        "DeleteClientVpnRoute",
        "DeleteTransitGatewayClientVpnAttachment",
        "DescribeClientVpnAuthorizationRules",
        "DescribeClientVpnConnections",
        "DescribeClientVpnEndpoints",
        "DescribeClientVpnRoutes",
        "DescribeClientVpnTargetNetworks",
        "DisassociateClientVpnTargetNetwork",
        "ExportClientVpnClientCertificateRevocationList",
        "ExportClientVpnClientConfiguration",
        "GetClientVpnEndpointAuthorizationPolicy",
        "ModifyClientVpnEndpointAuthorizationPolicy",
        "ImportClientVpnClientCertificateRevocationList",
        "ModifyClientVpnEndpoint",
        "RejectTransitGatewayClientVpnAttachment",
        "RevokeClientVpnIngress",
        "TerminateClientVpnConnections",
        "CreateSubnet",
        "CreateTransitGateway",
        "DeleteTransitGateway",
        "DescribeTransitGatewayAttachments",
        "DescribeTransitGateways",
        "CreateVpc",
        "DescribeAvailabilityZones",
        "DescribeSecurityGroups",
        "DescribeSubnets",
        "DescribeVpcs",
    },
    "sts": {"AssumeRole", "GetCallerIdentity", "GetSessionToken"},
}


def compare_names(ours, theirs, path, faults):
    action = path.split(">")[0].split("<")[0]
    names = [member["name"] for member in ours]
    extra, lacking = set(names) - set(theirs), set(theirs) - set(names)
    if extra:
        faults.append(f"{path}: AWS has no {sorted(extra)}")
    if "ClientVpn" in action and lacking:
        faults.append(f"{path}: lacks {sorted(lacking)}")
    if path not in SAMPLE_ORDER and names != [name for name in theirs if name in names]:
        faults.append(f"{path}: the order is {names}, AWS's is {theirs}")


def compare_type(kind, shape, path, faults, structure):
    if isinstance(kind, str):
        # A time is a text in XML.
        if kind != {"timestamp": "string"}.get(shape.type_name, shape.type_name):
            faults.append(f"{path}: is {kind}, AWS's is {shape.type_name}")
    elif "enum" in kind:
        if kind["enum"] != ENUMS.get(path, list(shape.enum)):
            faults.append(f"{path}: takes {kind['enum']}, AWS {shape.enum}")
    elif "list" in kind and shape.type_name == "list":
        compare_type(kind["list"], shape.member, f"{path}[]", faults, structure)
    elif "structure" in kind and shape.type_name == "structure":
        structure(kind["structure"], shape, path, faults)
    else:
        faults.append(f"{path}: is {kind}, AWS's is {shape.type_name}")


def documented_bounds(shape):
    """Bounds that only the documentation of a member has."""
    return [5, 1000] if "between 5 and 1000" in shape.documentation else None


def compare_request(ours, shape, path, faults, protocol="ec2"):
    # DryRun is read by the frame, for every action.
    compare_names(ours, [name for name in shape.members if name != "DryRun"], path, faults)
    for member in ours:
        if (name := member["name"]) not in shape.members:
            continue
        theirs = shape.members[name]
        bounds = [theirs.metadata.get("min"), theirs.metadata.get("max")] if theirs.type_name == "integer" else None
        said = {
            "wire": model.wire_name(shape, name, protocol),
            "required": name in shape.required_members,
            "token": bool(theirs.metadata.get("idempotencyToken")),
            "range": bounds if bounds and None not in bounds else documented_bounds(theirs),
        }
        for key, value in said.items():
            if member[key] != value:
                faults.append(f"{path}.{name}: {key} is {member[key]}, AWS's is {value}")
        nested = functools.partial(compare_request, protocol=protocol)
        compare_type(member["type"], theirs, f"{path}.{name}", faults, nested)


def compare_answer(ours, shape, path, faults):
    if shape is None:
        if ours:
            faults.append(f"{path}: AWS answers nothing")
        return
    compare_names(ours, list(shape.members), path, faults)
    for member in ours:
        if (name := member["name"]) not in shape.members:
            continue
        theirs = shape.members[name]
        wire = theirs.serialization.get("name", name)
        if member["wire"] != wire:
            faults.append(f"{path}.{name}: wire name is {member['wire']}, AWS's is {wire}")
        compare_type(member["type"], theirs, f"{path}.{name}", faults, compare_answer)


def test_the_actions_of_a_client_vpn_are_there(declared):
    for service, actions in EXPECTED_ACTIONS.items():
        assert actions <= set(declared[service])


def test_members_are_awss(declared):
    faults = []
    for service, actions in declared.items():
        for action, row in actions.items():
            operation = model.service(service).operation_model(action)
            protocol = model.service(service).metadata["protocol"]
            compare_request(row["request"], operation.input_shape, f"{action}>", faults, protocol)
            compare_answer(row["response"], operation.output_shape, f"{action}<", faults)
    assert not faults, "\n".join(faults)


def test_the_comparison_finds_what_differs(declared):
    operation = model.service("ec2").operation_model("CreateClientVpnRoute")
    good = declared["ec2"]["CreateClientVpnRoute"]["request"]
    wrong = {
        "another name": [{**good[0], "name": "EndpointId"}, *good[1:]],
        "another order": [good[1], good[0], *good[2:]],
        "not required": [{**good[0], "required": False}, *good[1:]],
        "another wire name": [{**good[0], "wire": "EndpointId"}, *good[1:]],
        "another type": [{**good[0], "type": "integer"}, *good[1:]],
        "one less": good[1:],
    }
    for what, members in wrong.items():
        faults = []
        compare_request(members, operation.input_shape, "CreateClientVpnRoute>", faults)
        assert faults, what
