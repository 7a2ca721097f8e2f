#!/usr/bin/env python3
"""Records AWS's published signing test suite as data for tests/published.rs.

    python3 tests/record_published.py PATH/tests/aws-signing-test-suite/v4 > tests/vectors/published.json

The suite is that of the public repository awslabs/aws-c-auth (Apache-2.0). Each case gives a request, signed in its
headers and signed in its query string; what is recorded is the two signed requests as they go over the wire.
"""

import datetime
import json
import pathlib
import re
import sys


def request(text):
    """A request as the suite writes it: request line, headers (a value may go on in the next line), body."""
    head, _, body = text.partition("\n\n")
    # A line that begins with a blank continues the one before; receivers put a blank there (RFC 9112 §5.2).
    line, *headers = re.sub(r"\n[ \t]+", " ", head).split("\n")
    method, target = line.removesuffix(" HTTP/1.1").split(" ", 1)
    path, _, query = target.partition("?")
    pairs = [header.split(":", 1) for header in headers if header]
    return {
        "method": method,
        "path": path,
        "query": query,
        "headers": [[name.lower(), value] for name, value in pairs],
        "body": body,
    }


def case(folder):
    context = json.loads((folder / "context.json").read_text())
    keys = context["credentials"]
    moment = datetime.datetime.fromisoformat(context["timestamp"].replace("Z", "+00:00"))
    signed = {how: request((folder / f"{how}-signed-request.txt").read_text()) for how in ("header", "query")}
    return {
        "name": folder.name,
        "normalize": context["normalize"],
        "region": context["region"],
        "service": context["service"],
        "now": int(moment.timestamp()),
        "access_key_id": keys["access_key_id"],
        "secret": keys["secret_access_key"],
        "token": keys.get("token"),
        **signed,
    }


def main():
    folders = sorted(folder for folder in pathlib.Path(sys.argv[1]).iterdir() if folder.is_dir())
    json.dump([case(folder) for folder in folders], sys.stdout, indent=1)
    print()


main()
