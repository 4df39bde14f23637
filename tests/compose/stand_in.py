"""Makes images that stand in for the base images of Dockerfile and docker-compose.yaml, where no registry is reached.

They are made from this machine: the Python that runs this with the shared libraries it needs, packages for pip to
install from, and the Envoy of the checkout. They keep to names of their own; prints the variables that make Compose use
them, one NAME=VALUE a line. By hand:

    export $(python tests/compose/stand_in.py) && docker-compose up --build
"""

import hashlib
import io
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from extproc.envoyconfig.binary import find_envoy

ROOT = Path(__file__).parents[2]
REPOSITORY = "dualpool-stand-in"
TOOLS = ("bash", "sh", "cat", "id", "ls", "touch")
"""What the Dockerfile, the health checks and the tests call."""
LEFT_OUT = {"test", "idlelib", "tkinter", "turtledemo", "lib2to3", "site-packages", "dist-packages"}
"""Of Python's library: large, and of no use here."""
ACCOUNTS = {
    "etc/passwd": "root:x:0:0::/root:/bin/bash\nenvoy:x:101:101::/nonexistent:/bin/sh\n",
    "etc/group": "root:x:0:\nenvoy:x:101:\n",
}


def main() -> None:
    """Make what is missing, and say how to use it."""
    envoy = find_envoy()
    images = {
        "PYTHON_IMAGE": f"{REPOSITORY}/python:{_tag(ROOT / 'pyproject.toml', ROOT / 'constraints.txt')}",
        "ENVOY_IMAGE": f"{REPOSITORY}/envoy:{_tag(envoy)}",
    }
    if not _exists(images["PYTHON_IMAGE"]):
        _make_python(images["PYTHON_IMAGE"])
    if not _exists(images["ENVOY_IMAGE"]):
        _make_envoy(images["ENVOY_IMAGE"], envoy)
    sys.stdout.writelines(f"{name}={image}\n" for name, image in images.items())


def _make_python(image: str) -> None:
    """Laid out as in the official image, below /usr/local."""
    python = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    name = f"python{sysconfig.get_python_version()}"
    with tempfile.TemporaryDirectory() as folder, _Import(image, PIP_NO_INDEX="1", PIP_FIND_LINKS="/wheels") as root:
        root.add_system([python, *library.glob("lib-dynload/*.so"), *_extensions()])
        root.add_file(python, f"usr/local/bin/{name}")
        for link in ("python", "python3"):
            root.add_link(f"usr/local/bin/{link}", name)
        root.add_tree(library, f"usr/local/lib/{name}", leaving_out=LEFT_OUT)
        root.add_tree(Path(sysconfig.get_path("purelib"), "pip"), f"usr/local/lib/{name}/site-packages/pip")
        root.add_tree(_wheelhouse(Path(folder)), "wheels")


def _make_envoy(image: str, envoy: Path) -> None:
    with _Import(image) as root:
        root.add_system([envoy])
        root.add_file(envoy, "usr/local/bin/envoy")


class _Import:
    """A root file system on its way into `docker import`."""

    def __init__(self, image: str, **environment: str) -> None:
        changes = [f"ENV {name}={value}" for name, value in environment.items()]
        changes.append("ENV PATH=/usr/local/bin:/usr/bin")
        flags = [flag for change in changes for flag in ("--change", change)]
        self._docker = subprocess.Popen(
            ["docker", "import", *flags, "-", image], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        assert self._docker.stdin is not None
        self._tar = tarfile.open(fileobj=self._docker.stdin, mode="w|", dereference=True)
        self._added: set[str] = set()

    def __enter__(self) -> "_Import":
        """Begin with what every root has."""
        for link in ("bin", "sbin", "lib", "lib64"):
            self.add_link(link, f"usr/{link}")
        ...
        return self
