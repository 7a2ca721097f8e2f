"""What an answer should look like: plain values, and a few shapes for what cannot be known beforehand."""

import re

# While a change takes effect, what may be seen in place of the final status.
UNDERWAY = {
    "associated": {"associating"},
    "association-failed": {"associating"},
    "active": {"creating", "authorizing", "pending"},
    "failed": {"creating"},
    "applied": {"applying"},
    "available": {"pending-associate"},
    "pending-associate": {"available"},
}
# What is on its way out may still be listed with one of these.
LEAVING = {"deleting", "deleted", "revoking", "disassociating", "disassociated"}


class Fresh:
    """A new id of a kind: never seen before."""

    def __init__(self, prefix):
        self.prefix = prefix

    def __repr__(self):
        return f"<new {self.prefix}>"


class Text:
    """A text of a form."""

    def __init__(self, pattern):
        self.pattern = pattern

    def __repr__(self):
        return f"<text like {self.pattern}>"


class Status:
    """A status by its code; `said` if a message must say more."""

    def __init__(self, code, said=False):
        self.code, self.said = code, said

    def __repr__(self):
        return f"<status {self.code}>"


class Rows:
    """Rows in any order."""

    def __init__(self, rows):
        self.rows = rows

    def __repr__(self):
        return f"<rows {self.rows}>"


class Between:
    """Rows of which these must be there, and any of those may."""

    def __init__(self, least, most):
        self.least, self.most = least, most

    def __repr__(self):
        return f"<between {self.least} and {self.most}>"


class Some:
    """Members among others."""

    def __init__(self, members):
        self.members = members

    def __repr__(self):
        return f"<with {self.members}>"


def leaves(row):
    """Whether a row says of itself that it is on its way out."""
    return isinstance(row, dict) and isinstance(row.get("status"), dict) and row["status"].get("code") in LEAVING


def differ(expected, actual, seen=frozenset(), underway=False, path=""):
    """The first difference as a text, or None. With `underway` a change may not be in full effect yet."""
    match expected:
        case str():
            return None if actual == expected else f"{path}: {actual!r} instead of {expected!r}"
        case dict() | Some():
            members = expected if isinstance(expected, dict) else expected.members
            # An element without content is the same as one without members.
            actual = {} if actual == "" else actual
            if not isinstance(actual, dict):
                return f"{path}: {actual!r} instead of members {sorted(members)}"
            if isinstance(expected, dict) and actual.keys() != members.keys():
                extra, lacking = sorted(actual.keys() - members.keys()), sorted(members.keys() - actual.keys())
                return f"{path}: unexpected {extra}, lacking {lacking}"
            for name, value in members.items():
                if name not in actual:
                    return f"{path}: lacks {name}"
                if found := differ(value, actual[name], seen, underway, f"{path}.{name}"):
                    return found
            return None
        case list():
            actual = [] if actual == "" else actual
            if not isinstance(actual, list) or len(actual) != len(expected):
                return f"{path}: {actual!r} instead of {expected!r}"
            for number, (wanted, value) in enumerate(zip(expected, actual)):
                if found := differ(wanted, value, seen, underway, f"{path}[{number}]"):
                    return found
            return None
        case Rows():
            return differ_rows(expected.rows, actual, seen, underway, path)
        case Between():
            actual = actual or []
            if underway or all(row in expected.most for row in actual) and all(row in actual for row in expected.least):
                return None
            return f"{path}: {actual!r} is not {expected!r}"
        case Status():
            return differ_status(expected, actual, underway, path)
        case Text():
            fits = isinstance(actual, str) and re.fullmatch(expected.pattern, actual)
            return None if fits else f"{path}: {actual!r} is no {expected!r}"
        case Fresh():
            fits = isinstance(actual, str) and re.fullmatch(f"{expected.prefix}[0-9a-f]{{17}}", actual)
            if not fits:
                return f"{path}: {actual!r} is no {expected!r}"
            return f"{path}: {actual} was given before" if actual in seen else None
    raise AssertionError(f"{expected!r}")


def differ_rows(rows, actual, seen, underway, path):
    """Rows in any order; `differ` otherwise."""
    actual = [] if actual == "" else actual
    if not isinstance(actual, list):
        return f"{path}: {actual!r} is no list"
    if underway:
        actual = [row for row in actual if not leaves(row)]
    left = list(actual)
    for row in rows:
        faults = []
        for number, found in enumerate(left):
            fault = differ(row, found, seen, underway, f"{path}[]")
            if fault is None:
                del left[number]
                break
            faults.append(fault)
        else:
            return f"{path}: no row is {row!r}; {faults}"
    return f"{path}: unexpected rows {left!r}" if left else None


def differ_status(expected, actual, underway, path):
    """A status; `differ` otherwise."""
    if not isinstance(actual, dict) or "code" not in actual:
        return f"{path}: {actual!r} is no status"
    code = actual["code"]
    if underway and code in UNDERWAY.get(expected.code, ()):
        return None
    if code != expected.code:
        return f"{path}: {code} instead of {expected.code}"
    members = {"code", "message"} if expected.said else {"code"}
    if actual.keys() != members or (expected.said and not actual["message"]):
        return f"{path}: {actual!r}, of {sorted(members)}"
    return None
