"""This machine as a throwaway: a mount namespace in which everything that is written to its files goes to a memory disk, so
that a package can be installed and removed for good, and what came of it be listed."""

import os
import pathlib
import shutil
import stat
import subprocess

# What programs get there.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}

# Makes the disk and the root on it, says so, and holds both until its input closes.
HOLD = """set -e
mount -t tmpfs none "$1"
mkdir "$1/written" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/written,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc"
# As on a machine that no systemd runs on; and nothing of what others do there meanwhile.
for place in run tmp; do mount -t tmpfs none "$1/root/$place"; done
echo held
read end || true
"""


def why_not():
    """Why there can be none here; None if there can."""
    if os.geteuid() != 0:
        return "not root: no package can be installed"
    for program in ("dpkg", "unshare", "nsenter", "deb-systemd-helper", "adduser"):
        if shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin") is None:
            return f"no program {program}: no Debian package can be installed"
    if "overlay" not in pathlib.Path("/proc/filesystems").read_text():
        return "this kernel has no overlay file system"
    return None


class Machine:
    """The throwaway. Its root is this machine's, as it is."""

    def __init__(self, folder):
        self._folder = folder
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", HOLD, "sh", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._holder.stdout.readline() != "held\n":
            raise RuntimeError(self._holder.communicate()[1])

    def command(self, *words, user=None):
        """The words of a command that runs there."""
        inside = ["nsenter", "--mount", "--target", str(self._holder.pid), "chroot"]
        inside += [f"--userspec={user}:{user}"] if user else []
        return [*inside, f"{self._folder}/root", *map(str, words)]

    def run(self, *words, user=None, check=True):
        """Runs a command there to its end; what it said."""
        command = self.command(*words, user=user)
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    @property
    def _written(self):
        return pathlib.Path(f"/proc/{self._holder.pid}/root{self._folder}/written")

    def path(self, path):
        """Where a path of it can be read from here."""
        return pathlib.Path(f"/proc/{self._holder.pid}/root{self._folder}/root{path}")

    def added(self):
        """Every file, link and folder that was not there before."""
        return {path for path, kind in self._changed() if not stat.S_ISCHR(kind) and not os.path.lexists(path)}

    def gone(self):
        """Every one that was."""
        return {path for path, kind in self._changed() if stat.S_ISCHR(kind) and os.path.lexists(path)}

    def _changed(self):
        # A file that was there and is not is a device of the number 0 here.
        for folder, folders, files in os.walk(self._written):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                yield "/" + os.path.relpath(path, self._written), os.lstat(path).st_mode

    def close(self):
        """Forgets everything that was written."""
        self._holder.communicate("end\n", timeout=30)
