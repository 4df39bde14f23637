"""Makes images that stand in for the base images of Dockerfile and docker-compose.yaml, where no registry is reached.

They are made from this machine: the Python that runs this and the shared libraries it needs, packages for pip to
install from, and the checkout's Envoy. They have names of their own, so that they are taken for nothing else. Prints
the variables that make Compose use them, one NAME=VALUE a line; by hand, in the root of the checkout:

    export $(.venv/bin/python tests/compose/stand_in.py) && docker-compose up --build

All of them, and what was built on them, goes with `docker image prune --all --filter label=dualpool-stand-in`.
"""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from extproc.envoyconfig.binary import find_envoy

ROOT = Path(__file__).parents[2]
NAME = "dualpool-stand-in"
PROMETHEUS = ROOT / ".prometheus/usr/bin/prometheus"
"""What `make prometheus` fetches; without it there is no such image."""
TOOLS = ("bash", "sh", "cat", "id", "touch")
"""What the Dockerfile, the health checks and the tests call."""
LEFT_OUT = ("test", "idlelib", "lib2to3", "site-packages", "dist-packages", "config-*", "_tkinter*")
"""Of Python's library: large, and of no use here."""


def main() -> None:
    """Make what is missing, and say how to use it."""
    envoy, python = find_envoy(), Path(sys.executable).resolve()
    images = {
        "PYTHON_IMAGE": f"{NAME}/python:{_tag(python, ROOT / 'pyproject.toml', ROOT / 'constraints.txt')}",
        "ENVOY_IMAGE": f"{NAME}/envoy:{_tag(envoy)}",
    }
    if PROMETHEUS.exists():
        images["PROMETHEUS_IMAGE"] = f"{NAME}/prometheus:{_tag(PROMETHEUS)}"
        if not _exists(images["PROMETHEUS_IMAGE"]):
            _make_prometheus(images["PROMETHEUS_IMAGE"])
    if not _exists(images["PYTHON_IMAGE"]):
        _make_python(images["PYTHON_IMAGE"], python)
    if not _exists(images["ENVOY_IMAGE"]):
        _make_envoy(images["ENVOY_IMAGE"], envoy)
    sys.stdout.writelines(f"{name}={image}\n" for name, image in images.items())


def _make_python(image: str, python: Path) -> None:
    """Laid out below /usr/local as in the official image; pip finds its packages in the image alone."""
    name = f"python{sysconfig.get_python_version()}"
    with _root(image, "ENV PIP_NO_INDEX=1", "ENV PIP_FIND_LINKS=/wheels") as root:
        _copy(python, root / "usr/local/bin" / name)
        for link in ("python", "python3"):
            (root / "usr/local/bin" / link).symlink_to(name)
        library = root / "usr/local/lib" / name
        shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns(*LEFT_OUT))
        shutil.copytree(Path(sysconfig.get_path("purelib"), "pip"), library / "site-packages/pip")
        _copy_libraries([python, *library.glob("lib-dynload/*.so"), *_installed_extensions()], root)
        _download_packages(root / "wheels")


def _make_envoy(image: str, envoy: Path) -> None:
    with _root(image) as root:
        _copy(envoy, root / "usr/local/bin/envoy")
        _copy_libraries([envoy], root)


def _make_prometheus(image: str) -> None:
    """With its entry point, the wget of the health check, and a folder for data, as in the official image."""
    with _root(image, 'ENTRYPOINT ["/usr/bin/prometheus"]') as root:
        _copy(PROMETHEUS, root / "usr/bin/prometheus")
        wget = Path(shutil.which("wget") or "wget")
        _copy(wget, root / "usr/bin/wget")
        _copy_libraries([PROMETHEUS, wget], root)
        (root / "prometheus").mkdir()
        (root / "prometheus").chmod(0o1777)


@contextmanager
def _root(image: str, *changes: str) -> Iterator[Path]:
    """A folder that becomes the image's root file system; it begins with a shell and a few tools."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        root.chmod(0o755)
        for link in ("bin", "lib", "lib64"):
            (root / "usr" / link).mkdir(parents=True)
            (root / link).symlink_to(f"usr/{link}")
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)
        tools = [Path(shutil.which(tool) or tool) for tool in TOOLS]
        for tool in tools:
            _copy(tool, root / "usr/bin" / tool.name)
        _copy_libraries(tools, root)
        yield root
        _import(root, image, changes)


def _import(root: Path, image: str, changes: Iterable[str]) -> None:
    """In place of older ones. What is built on it inherits the label, so that all of it can be found and removed."""
    repository = image.partition(":")[0]
    _remove(repository)
    described = [f"LABEL {NAME}={repository}", "ENV PATH=/usr/local/bin:/usr/bin", *changes]
    flags = [flag for change in described for flag in ("--change", change)]
    pack = ["tar", "--create", "--owner=0", "--group=0", "--numeric-owner", "--directory", str(root), "."]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        subprocess.run(
            ["docker", "import", *flags, "-", image], stdin=packing.stdout, stdout=subprocess.DEVNULL, check=True
        )


def _copy_libraries(programs: Iterable[Path], root: Path) -> None:
    """The shared libraries that these load, where the dynamic linker looks for them."""
    listed = subprocess.run(
        ["ldd", *programs], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False
    )
    words = {word for line in listed.stdout.splitlines() for word in line.split() if word.startswith("/")}
    libraries = {Path(word) for word in words if ".so" in word and not word.endswith(":")}
    libc = next(path for path in libraries if path.name.startswith("libc.so"))
    for library in libraries:
        if not library.is_relative_to(sys.prefix):
            is_system = library.is_relative_to("/lib") or library.is_relative_to("/usr/lib")
            at = library if is_system or library.is_relative_to("/lib64") else libc.with_name(library.name)
            _copy(library, root / at.relative_to("/"))


def _installed_extensions() -> Iterator[Path]:
    """Compiled modules of installed packages: those pip will install in the image need the same libraries."""
    return Path(sysconfig.get_path("platlib")).rglob("*.so")


def _download_packages(folder: Path) -> None:
    """What the images install, and what builds our own package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    wanted += [one for name in extras if name != "dev" for one in extras[name] if not one.startswith("dualpool")]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
    subprocess.run([*command, "--constraint", str(ROOT / "constraints.txt"), *wanted], check=True)


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, to)


def _tag(*made_of: Path) -> str:
    """The same for the same content, so that an image is made once."""
    digest = hashlib.sha256()
    for path in (Path(__file__), *made_of):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _remove(repository: str) -> None:
    """An image in use stays."""
    listed = subprocess.run(["docker", "images", "--quiet", repository], stdout=subprocess.PIPE, text=True, check=True)
    for image in listed.stdout.split():
        subprocess.run(["docker", "image", "rm", image], capture_output=True, check=False)


def _exists(image: str) -> bool:
    return subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    main()
