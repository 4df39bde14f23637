from pathlib import Path

import yaml

from extproc.fleet.hardware.catalog import builtin
from extproc.fleet.hardware.entries import Gpu, Model
from extproc.fleet.hardware.templates import template


def test_a_template_is_a_file_that_works(tmp_path: Path) -> None:
    """Copied as it stands, each is read without a complaint, and says nothing that is not read."""
    for kind, read in ((Gpu, builtin().gpu), (Model, builtin().model)):
        lines = [line.removeprefix("  ") for line in template(kind).splitlines() if line.startswith("  ")]
        path = tmp_path / f"{kind.__name__}.yaml"
        path.write_text("\n".join(lines))
        assert yaml.safe_load(path.read_text())["name"] == read(str(path)).name
        assert read(str(path)).remarks == ()
