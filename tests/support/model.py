"""AWS's own service models, as botocore ships them: serializers, parsers, shapes."""

import functools

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize

_loader = botocore.loaders.Loader()


@functools.cache
def service(name):
    """The newest model of a service."""
    return botocore.model.ServiceModel(_loader.load_service_model(name, "service-2"), name)


@functools.cache
def serializer(name):
    """Makes requests as boto3 does, without its checks of values: those are the server's to refuse."""
    return botocore.serialize.create_serializer(service(name).metadata["protocol"], include_validation=False)


@functools.cache
def parser(name):
    """Reads answers as boto3 does."""
    return botocore.parsers.create_parser(service(name).metadata["protocol"])


def wire_name(shape, member_name, protocol="ec2"):
    """How botocore's serializer calls a request member; of a list without the number of its element."""
    member = shape.members[member_name]
    if protocol == "query":
        name = member.serialization.get("name", member_name)
        if member.type_name != "list":
            return name
        element = member.member.serialization.get("name", "member")
        if not member.serialization.get("flattened"):
            return f"{name}.{element}"
        return ".".join([*name.split(".")[:-1], element]) if "name" in member.member.serialization else name
    if "queryName" in member.serialization:
        return member.serialization["queryName"]
    name = member.serialization.get("name", member_name)
    if member.type_name == "list" and member.serialization.get("flattened"):
        name = member.member.serialization.get("name", name)
    return name[0].upper() + name[1:]


def required_wire_names(name, operation):
    """Wire names of the required scalar members of an operation."""
    shape = service(name).operation_model(operation).input_shape
    scalars = [m for m in shape.required_members if shape.members[m].type_name not in ("list", "structure")]
    return [wire_name(shape, member) for member in scalars]
