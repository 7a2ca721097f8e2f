"""Loopback addresses for endpoints that no other server on this machine gives to its own."""

import os
import socket

# The port of the socket that holds a block; nothing speaks there.
HOLDING_PORT = 42424
# The blocks: 127.128.0.0/24 and on.
BLOCKS = [(second, third) for second in range(128, 192) for third in range(256)]


class Block:
    """A block of addresses, held until it is released, and by nobody after this process."""

    def __init__(self):
        # Processes that start at the same time rarely ask for the same.
        start = os.getpid() * 7 % len(BLOCKS)
        for second, third in BLOCKS[start:] + BLOCKS[:start]:
            held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            try:
                held.bind((f"127.{second}.{third}.255", HOLDING_PORT))
            except OSError:
                held.close()
                continue
            self._held, self.cidr = held, f"127.{second}.{third}.0/24"
            return
        raise RuntimeError("no block of loopback addresses is free for the gateway")

    def release(self):
        """Lets others have it."""
        self._held.close()
