"""Where the demo's text comes from and how a piece of a wanted size is made of it; knows nothing of requests.

Prose in seven languages ships as files beside this module, code is read from the Python standard library that runs the
demo, records are generated. The same generator state makes the same text.
"""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.resources import files
from random import Random
from typing import Any

from extproc.demo import records

_CORPUS = files("extproc.demo") / "corpus"
_CODE_MODULES = (
    "argparse", "ast", "calendar", "configparser", "csv", "dataclasses", "difflib", "enum", "ftplib", "gettext",
    "gzip", "imaplib", "locale", "mailbox", "optparse", "pdb", "pickle", "random", "selectors", "shutil", "socket",
    "statistics", "subprocess", "tempfile", "textwrap", "tokenize", "typing", "uuid",
)  # fmt: skip
_RECORDS_PER_SOURCE = 400
"""Enough for 30 KB without a repeat."""


class Kind(StrEnum):
    """What a request of the demo is made of; the service is not told, it judges for itself."""

    PROSE = "prose"
    CODE = "code"
    CJK = "cjk"
    JSON = "json"
    LOGS = "logs"
    DENSE = "dense"
    CYRILLIC = "cyrillic"
    OTHER_SCRIPT = "other_script"
    TOOLS = "tools"


@dataclass(frozen=True, slots=True)
class Source:
    """One vein of text: passages in any order, and what stands between two of them."""

    name: str
    passages: tuple[str, ...]
    joint: str = "\n\n"


@dataclass(frozen=True, slots=True)
class Corpus:
    """All text of the demo."""

    sources: dict[Kind, tuple[Source, ...]]
    tools: tuple[dict[str, Any], ...]


def load(rng: Random) -> Corpus:
    """Read the files and the standard library, generate the records."""
    prose = _written("english")
    return Corpus(
        sources={
            Kind.PROSE: (prose,),
            Kind.CODE: tuple(_module_source(name) for name in _CODE_MODULES),
            Kind.CJK: (_written("chinese"), _written("japanese"), _written("korean")),
            Kind.JSON: (
                _generated("orders", records.json_line, "\n", rng),
                _generated("indented orders", records.json_block, ",\n", rng),
            ),
            Kind.LOGS: (_generated("logs", records.log_line, "\n", rng),),
            Kind.DENSE: (
                _generated("readings", records.csv_row, "\n", rng),
                _generated("base64", records.base64_line, "\n", rng),
            ),
            Kind.CYRILLIC: (_written("russian"),),
            Kind.OTHER_SCRIPT: (_written("hindi"), _written("arabic")),
            Kind.TOOLS: (prose,),
        },
        tools=tuple(json.loads((_CORPUS / "tools.json").read_text(encoding="utf-8"))),
    )


def compose(source: Source, wanted_bytes: int, rng: Random) -> str:
    """Shuffled passages of `wanted_bytes` UTF-8 bytes together, or the few less that end on a whole character."""
    passages: list[str] = []
    left_bytes = wanted_bytes
    while left_bytes > 0:
        for passage in rng.sample(source.passages, len(source.passages)):
            passages.append(passage)
            left_bytes -= len(passage.encode()) + len(source.joint)
            if left_bytes <= 0:
                break
    return cut(source.joint.join(passages), wanted_bytes)


def cut(text: str, limit_bytes: int) -> str:
    """The longest beginning of `text` within `limit_bytes` UTF-8 bytes."""
    return text.encode()[:limit_bytes].decode(errors="ignore")


def _written(name: str) -> Source:
    return Source(name, _paragraphs((_CORPUS / f"{name}.txt").read_text(encoding="utf-8"), "\n\n"))


def _module_source(name: str) -> Source:
    return Source(name, _paragraphs(inspect.getsource(import_module(name)), "\n\n\n"), joint="\n\n\n")


def _paragraphs(text: str, separator: str) -> tuple[str, ...]:
    return tuple(part for part in (part.strip("\n") for part in text.split(separator)) if part)


def _generated(name: str, record: Callable[[Random], str], joint: str, rng: Random) -> Source:
    return Source(name, tuple(record(rng) for _ in range(_RECORDS_PER_SOURCE)), joint)
