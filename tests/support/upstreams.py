"""What `--upstream` points to: moto's server as a process of its own, and servers that fail."""

import contextlib
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time

from .servers import environment

MOTO = pathlib.Path(sys.executable).with_name("moto_server")
START_SECONDS = 60


class Moto:
    """moto's server on a random port; ended by its own process."""

    def __init__(self, folder, **variables):
        self.log = folder / "moto.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [MOTO, "-H", "127.0.0.1", "-p", "0"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(PYTHONUNBUFFERED="1", **variables),
                cwd=folder,
            )
        deadline = time.monotonic() + START_SECONDS
        while not (found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", self.log.read_text(errors="replace"))):
            assert self.process.poll() is None, self.log.read_text(errors="replace")
            assert time.monotonic() < deadline, "moto did not start in time"
            time.sleep(0.05)
        self.url = found[1]

    def close(self):
        """Ends it."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


class Broken:
    """Accepts connections, reads something, answers these bytes; None: nothing, for as long as it lives."""

    def __init__(self, answer):
        self.answer, self.held = answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self.listener.accept()
                if self.answer is None:
                    self.held.append(stream)
                    continue
                with stream, contextlib.suppress(OSError):
                    stream.recv(65536)
                    stream.sendall(self.answer)

    def close(self):
        """Ends it."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for stream in self.held:
            stream.close()
        self.thread.join(10)


def settings(url, allow=(), more=""):
    """The configuration of an upstream."""
    names = ", ".join(f'"{name}"' for name in allow)
    return f'[upstream]\nurl = "{url}"\nallow = [{names}]\n{more}\n'


def variables(key="AKIAUPSTREAM00000000", secret="upstream-canary-upstream-canary-upstream"):
    """The environment that holds an upstream's credentials."""
    return {"BASCULE_UPSTREAM_ACCESS_KEY_ID": key, "BASCULE_UPSTREAM_SECRET_ACCESS_KEY": secret}
