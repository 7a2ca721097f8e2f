"""Answers of EC2 actions compared with AWS's model: names, nesting, order and type of every element, as they came over the
wire (botocore's parser drops what it does not know without a word)."""

import re

# Answers whose order is that of AWS's published sample, which differs from the model's (spec §2.2.6).
SAMPLE_ORDER = {"DisassociateClientVpnTargetNetwork": ["status", "associationId"]}
TEXTS = {"boolean": r"true|false", "integer": r"-?\d+", "long": r"-?\d+", "string": r"(?s).*"}


def paths(shape, path):
    """Every member below a structure, as paths such as `DescribeClientVpnRoutes.Routes[].Status.Code`."""
    for name, member in shape.members.items():
        yield from _paths(member, f"{path}.{name}")


def _paths(shape, path):
    yield path
    if shape.type_name == "list":
        yield from _paths(shape.member, f"{path}[]")
    elif shape.type_name == "structure":
        yield from paths(shape, path)


def _tag(element):
    return element.tag.rsplit("}", 1)[-1]


class Comparison:
    """Faults found and members seen, over many answers."""

    def __init__(self):
        self.faults, self.seen = [], set()

    def answer(self, action, root, shape):
        """The document of one done call; its first element is the request id."""
        if _tag(root) != f"{action}Response" or not len(root) or _tag(root[0]) != "requestId":
            self.faults.append(f"{action}: opens with {_tag(root)}, {[_tag(child) for child in root][:1]}")
        self._structure(list(root)[1:], shape, action, SAMPLE_ORDER.get(action))
        return self

    def _structure(self, elements, shape, path, order=None):
        wire = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        came = [_tag(element) for element in elements]
        for name in sorted({name for name in came if came.count(name) > 1}):
            self.faults.append(f"{path}: {name} comes twice")
        expected = [name for name in order or wire if name in came]
        if [name for name in came if name in wire] != expected:
            self.faults.append(f"{path}: the order is {came}, AWS's is {expected}")
        for element in elements:
            if (name := wire.get(_tag(element))) is None:
                self.faults.append(f"{path}: AWS has no <{_tag(element)}>")
            else:
                self._value(element, shape.members[name], f"{path}.{name}")

    def _value(self, element, shape, path):
        self.seen.add(path)
        text = element.text or ""
        if shape.type_name == "structure":
            self._structure(list(element), shape, path)
        elif shape.type_name == "list":
            for item in element:
                if _tag(item) != shape.member.serialization.get("name", "item"):
                    self.faults.append(f"{path}: an element is called <{_tag(item)}>")
                self._value(item, shape.member, f"{path}[]")
        elif len(element):
            self.faults.append(f"{path}: is a {shape.type_name}, and has elements")
        elif not re.fullmatch(TEXTS[shape.type_name], text):
            self.faults.append(f"{path}: {text!r} is no {shape.type_name}")
        elif getattr(shape, "enum", None) and text not in shape.enum:
            self.faults.append(f"{path}: {text!r} is none of {shape.enum}")
