"""What the tests stand on: network namespaces, servers, signed requests."""
