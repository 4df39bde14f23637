"""Compares what is generated in this tree with what generating it afresh gives; or writes it.

python tools/drift.py                      fail if a generated file differs
python tools/drift.py --write proto        protos/ → extproc/_proto
python tools/drift.py --write envoy        extproc/envoyconfig → envoy/*.yaml
python tools/drift.py --write dashboard    tools/dashboard.yaml → deploy/grafana/*.json
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Kind:
    """One family of generated files."""

    folder: Path
    patterns: tuple[str, ...]
    """Every file in the folder with such a name is generated: one that is no longer made is drift too."""
    command: str


KINDS = {
    "proto": Kind(Path("extproc/_proto"), ("*_pb2.py", "*_pb2.pyi"), "make proto"),
    "envoy": Kind(Path("envoy"), ("*.yaml",), "make envoy-yaml"),
    "dashboard": Kind(Path("deploy/grafana"), ("*.json",), "make dashboard"),
}


def main() -> int:
    """Check every kind, or write one; the exit status."""
    parser = argparse.ArgumentParser(description="Check or write generated files.")
    parser.add_argument("--write", choices=list(KINDS))
    name = parser.parse_args().write
    if name:
        write(KINDS[name], fresh(name))
        return 0
    complaints = [complaint for name, kind in KINDS.items() for complaint in differences(kind, fresh(name))]
    sys.stderr.writelines(f"{complaint}\n" for complaint in complaints)
    return 1 if complaints else 0


def fresh(name: str) -> dict[str, str]:
    """File name → content as generated now."""
    makers = {"proto": fresh_proto, "envoy": fresh_envoy, "dashboard": fresh_dashboard}
    return makers[name]()


def fresh_proto() -> dict[str, str]:
    """The Python modules and type stubs of protos/, compiled in a temporary folder."""
    sources = [str(path) for path in sorted((ROOT / "protos").rglob("*.proto"))]
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "protos"), f"--python_out={out}"]
        stubs = [f"--plugin=protoc-gen-mypy={plugin}", f"--mypy_out=quiet:{out}"]
        subprocess.run([*command, *stubs, *sources], check=True)
        return {path.name: path.read_text() for path in Path(out).rglob("*_pb2.py*")}


def fresh_envoy() -> dict[str, str]:
    """The example configurations."""
    sys.path.insert(0, str(ROOT))
    from extproc.envoyconfig.bootstrap import bootstrap_yaml  # noqa: PLC0415 - protos compile without this package
    from extproc.envoyconfig.examples import EXAMPLES  # noqa: PLC0415

    return {name: bootstrap_yaml(options) for name, options in EXAMPLES.items()}


def fresh_dashboard() -> dict[str, str]:
    """The Grafana dashboard."""
    made = subprocess.run([sys.executable, ROOT / "tools/dashboard.py"], stdout=subprocess.PIPE, check=True)
    return {"dualpool.json": made.stdout.decode()}


def differences(kind: Kind, made: dict[str, str]) -> Iterator[str]:
    """A sentence for each file that is not what generating gives."""
    committed = {path.name: path.read_text() for path in generated(kind)}
    for name in sorted(made.keys() | committed.keys()):
        if made.get(name) != committed.get(name):
            what = "is missing" if name not in committed else "is stale" if name in made else "is no longer generated"
            yield f"{kind.folder / name} {what}: run `{kind.command}`"


def write(kind: Kind, made: dict[str, str]) -> None:
    """Replace the family by what was made."""
    for path in generated(kind):
        path.unlink()
    for name, content in made.items():
        (ROOT / kind.folder / name).write_text(content)


def generated(kind: Kind) -> Iterator[Path]:
    """The family's files as they stand."""
    for pattern in kind.patterns:
        yield from (ROOT / kind.folder).glob(pattern)


if __name__ == "__main__":
    sys.exit(main())
