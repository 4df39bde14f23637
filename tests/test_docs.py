"""What the documents say is what the product has."""

import re
from pathlib import Path

import pytest

from extproc.routing.values import Reason
from extproc.settings import Settings

ROOT = Path(__file__).parent.parent
OPERATIONS = (ROOT / "docs/operations.md").read_text()
DOCUMENTS = sorted(path for path in ROOT.glob("**/*.md") if not path.relative_to(ROOT).parts[0].startswith("."))


def first_column(heading: str) -> list[str]:
    """The code spans that open the rows of a section's table."""
    return re.findall(r"^\| `([a-z_]+)` \|", _section(heading), flags=re.MULTILINE)


def _section(heading: str) -> str:
    return OPERATIONS.split(f"## {heading}\n")[1].split("\n## ")[0]


def test_every_setting_is_documented_with_its_default() -> None:
    """The table names each setting once, in order, with the default that is in force."""
    defaults = re.findall(r"^\| `([a-z_]+)` \| `([^`]*)` \|", _section("Settings"), flags=re.MULTILINE)
    assert defaults == [(name, _yaml(field.default)) for name, field in Settings.model_fields.items()]


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def test_every_reason_is_documented() -> None:
    """The table of reasons is the enum."""
    assert sorted(first_column("Reasons")) == sorted(Reason)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """Every relative link names a file or folder that exists."""
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text())
    broken = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert broken == []


def test_every_make_target_in_the_readme_exists() -> None:
    """What the README tells people to type is in the Makefile."""
    wanted = set(re.findall(r"^ *make ([a-z-]+)", (ROOT / "README.md").read_text(), flags=re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert wanted
    assert wanted <= targets
