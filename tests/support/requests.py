"""What an action takes, as AWS's model has it: every parameter that can be sent, by its wire name and type."""

from . import model

# How deep structures are followed.
DEPTH = 4


class Leaf:
    """A parameter with a value: wire name (lists with their first element), path of members, and shape."""

    def __init__(self, wire, path, shape):
        self.wire, self.path, self.shape = wire, path, shape

    @property
    def kind(self):
        """`boolean`, `integer`, `enum`, `string`…"""
        return "enum" if getattr(self.shape, "enum", None) else self.shape.type_name


def leaves(service, action):
    """Every parameter of an action."""
    operation = model.service(service).operation_model(action)
    protocol = model.service(service).metadata["protocol"]
    return list(_walk(operation.input_shape, "", f"{action}>", protocol, 0)) if operation.input_shape else []


def _walk(shape, prefix, path, protocol, depth):
    for name, member in shape.members.items():
        wire, below, kind = f"{prefix}{model.wire_name(shape, name, protocol)}", f"{path}.{name}", member
        if kind.type_name == "list":
            wire, below, kind = f"{wire}.1", f"{below}[]", kind.member
        if kind.type_name == "structure" and depth < DEPTH:
            yield from _walk(kind, f"{wire}.", below, protocol, depth + 1)
        elif kind.type_name not in ("structure", "map"):
            yield Leaf(wire, below, kind)


def without(parameters, name):
    """The parameters but for one and everything below it."""
    return {key: value for key, value in parameters.items() if key != name and not key.startswith(f"{name}.")}
