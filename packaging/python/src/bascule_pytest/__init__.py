"""A Bascule server for tests: AWS Client VPN endpoints that clients really connect to."""

from .server import Account, Bascule, BasculeError, Certificates, Credentials, Pair

__all__ = ["Account", "Bascule", "BasculeError", "Certificates", "Credentials", "Pair"]
