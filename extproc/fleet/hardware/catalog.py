"""Finds a GPU and a model by name, recorded name or file; knows where entries are kept, not what follows from them."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import yaml
from pydantic import ValidationError

from extproc import strictyaml
from extproc.errors import ConfigurationError
from extproc.fleet.hardware.checkpoints import of_base
from extproc.fleet.hardware.datasheets import one_way
from extproc.fleet.hardware.devices import device, plain, relative
from extproc.fleet.hardware.entries import Gpu, Model
from extproc.fleet.hardware.quantization import by_name, without_format
from extproc.fleet.hardware.spelling import gpu_keys, model_keys
from extproc.fleet.hardware.templates import template

_Entry = TypeVar("_Entry", Gpu, Model)
_WRAPPERS = frozenset({"gpu", "gpus", "hardware", "device", "model", "models"})
_SUFFIXES = (
    *("-instruct", "-chat", "-base", "-hf", "-it", "-thinking"),
    *("-v0.1", "-v0.2", "-v0.3", "-0324", "-0528", "-2407", "-2501", "-2503", "-2506"),
)
_BEFORE_A_DATE = re.compile("-(instruct|thinking)(?=-2507$)")
"""Of a release that has a context of its own."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """GPUs and models by name."""

    gpus: Mapping[str, Gpu]
    models: Mapping[str, Model]

    def gpu(self, name: str) -> Gpu:
        """The GPU of this name, of this recorded device name, or described in this YAML file.

        Raises:
            ConfigurationError: there is none, or the file cannot be read as one.
        """
        if is_file(name):
            return _single(read_gpus(Path(name), self), name)
        found = self.find_gpu(name)
        if found is None:
            raise unknown(name, self.gpus, Gpu)
        return found

    def model(self, name: str) -> Model:
        """The model of this name, of this Hugging Face repository, or described in this YAML file or config.json.

        A name that ends in -FP8, -AWQ and so on has its layers' weights in that format.

        Raises:
            ConfigurationError: there is none, or the file cannot be read as one.
        """
        if is_file(name):
            return _single(read_models(Path(name), self), name)
        found = self.find_model(name)
        if found is None:
            raise unknown(name, self.models, Model)
        return found

    def find_gpu(self, name: str) -> Gpu | None:
        """The GPU of this name or recorded device name, or None."""
        return _named(self.gpus, plain(name)) or device(self.gpus.values(), name)

    def find_model(self, name: str) -> Model | None:
        """The model of this name or repository, or None; a repository is what is served.

        A format of the name alone is of no repository that is known.
        """
        wanted = plain(name.rsplit("/", 1)[-1]).removeprefix("meta-")
        shorter = without_format(wanted)
        dated = _BEFORE_A_DATE.sub("", shorter)
        spelt = (wanted, shorter, dated, _without_suffixes(shorter), without_format(_without_suffixes(wanted)))
        found = next((entry for each in spelt if (entry := _named(self.models, each)) is not None), None)
        dtype = by_name(wanted) if shorter != wanted else None
        if found is None or not (dtype or "/" in name):
            return found
        known = found.source if dtype == found.dtype else ""
        return found.model_copy(update={"dtype": dtype or found.dtype, "source": name if "/" in name else known})

    def recorded_model(self, *names: str) -> Model | None:
        """The model that a run's record names: a repository, a folder of a cache, or a file of another machine."""
        parts = (part for name in names for part in reversed(name.replace("--", "/").split("/")))
        plainer = (re.sub(r"\.(json|ya?ml|gguf)$", "", part) for part in parts if part)
        return next((found for part in plainer if (found := self.find_model(part)) is not None), None)

    def extended(self, *, gpus: Path | None = None, models: Path | None = None) -> "Catalog":
        """This catalogue with the entries of files added or put in place of its own.

        Raises:
            ConfigurationError: a file cannot be read.
        """
        both = self
        if gpus is not None:
            both = replace(both, gpus={**both.gpus, **read_gpus(gpus, both)})
        if models is not None:
            both = replace(both, models={**both.models, **read_models(models, both)})
        return both


@cache
def builtin() -> Catalog:
    """What the package brings: `gpus.yaml` and `models.yaml`."""
    return Catalog(
        _entries(_packaged("gpus.yaml"), "gpus.yaml", _Kind(gpu_keys, Gpu, _nothing)),
        _entries(_packaged("models.yaml"), "models.yaml", _Kind(model_keys, Model, _nothing)),
    )


def read_gpus(path: Path, catalog: Catalog) -> dict[str, Gpu]:
    """Entries of a user's file: one GPU, or a mapping of names to GPUs.

    An entry named as one of the catalogue, or with `like: NAME`, keeps that one's figures where it gives none.

    Raises:
        ConfigurationError: it cannot be read, a key is unknown or missing, or a figure impossible.
    """
    return _entries(_read(path), str(path), _Kind(gpu_keys, Gpu, catalog.find_gpu))


def read_models(path: Path, catalog: Catalog) -> dict[str, Model]:
    """Entries of a user's file: one model, a mapping of names to models, or a Hugging Face config.json.

    Raises:
        ConfigurationError: as for `read_gpus`.
    """
    return _entries(_read(path), str(path), _Kind(model_keys, Model, catalog.find_model, of_base))


@dataclass(frozen=True, slots=True)
class _Kind(Generic[_Entry]):
    """What differs between files of GPUs and of models."""

    spell: Callable[[Mapping[str, Any]], dict[str, Any]]
    entry: type[_Entry]
    known: Callable[[str], _Entry | None]
    inherit: Callable[[_Entry, _Entry], _Entry] = lambda entry, _: entry
    """What becomes of an entry that leaves figures to another."""


def _nothing(_: str) -> None:
    return None


def _entries(content: Any, where: str, kind: _Kind[_Entry]) -> dict[str, _Entry]:
    if not isinstance(content, Mapping) or not content:
        raise ConfigurationError(f"{where}: expected an entry, or a mapping of names to entries.")
    if len(content) == 1 and next(iter(content)) in _WRAPPERS and isinstance(next(iter(content.values())), Mapping):
        return _entries(next(iter(content.values())), where, kind)
    several = all(isinstance(value, Mapping) for value in content.values())
    named = content if several else {Path(where).stem: content}
    found = [_entry(where, str(key), written, kind) for key, written in named.items()]
    return {entry.name: entry for entry in found}


def _entry(where: str, key: str, written: Mapping[str, Any], kind: _Kind[_Entry]) -> _Entry:
    try:
        keys = kind.spell(written)
        name = str(keys.pop("name", None) or key)
        where = f"{where}: {name}"
        like = str(keys.pop("like", name))
        base = kind.known(like)
        if "like" in written and base is None:
            return _refuse(f"like: {like} is not in the catalogue.")
        inherited = {key: getattr(base, key) for key in base.model_fields_set} if base else {}
        entry = kind.entry.model_validate({**inherited, **one_way(keys, inherited), "name": plain(name)})
        return kind.inherit(entry, base) if base else entry
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {_said(error, kind.entry)}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{where}: {error}") from error


def _refuse(why: str) -> NoReturn:
    raise ConfigurationError(why)


def _said(error: ValidationError, entry: type[Gpu | Model]) -> str:
    """All that is missing at once, or the first figure that is wrong."""
    found = error.errors(include_url=False)
    missing = [".".join(map(str, each["loc"])) for each in found if each["type"] == "missing"]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        return f"{', '.join(missing)} {are} missing. The least that such a file says:\n{template(entry)}"
    first = found[0]
    key = ".".join(str(part) for part in first["loc"])
    return f"{key}: {first['msg']} (given: {first['input']!r})." if key else f"{first['msg']}."


def _named(entries: Mapping[str, _Entry], name: str) -> _Entry | None:
    """The entry of this name, with or without the hyphens: `rtx4090` is `rtx-4090`."""
    same = (entry for key, entry in entries.items() if key.replace("-", "") == name.replace("-", ""))
    return entries.get(name) or next(same, None)


def _single(entries: Mapping[str, _Entry], path: str) -> _Entry:
    if len(entries) != 1:
        raise ConfigurationError(f"{path} has {len(entries)} entries ({', '.join(entries)}): one was expected.")
    return next(iter(entries.values()))


def unknown(name: str, known: Mapping[str, Gpu] | Mapping[str, Model], entry: type[Gpu | Model]) -> ConfigurationError:
    """The complaint that nothing of that name is known, with the nearest name and what a file would have to say."""
    kind, option = ("GPU", "--gpu") if entry is Gpu else ("model", "--model")
    return ConfigurationError(
        f"No {kind} {name!r} is in the catalogue. {_hint(name, known)} {option} also takes a YAML file,"
        f" such as\n{template(entry)}"
    )


def _hint(name: str, known: Mapping[str, Gpu] | Mapping[str, Model]) -> str:
    kin = relative((entry for entry in known.values() if isinstance(entry, Gpu)), name)
    if kin is not None:
        return f"{kin.name} is, whose memory, bandwidth and links may be others."
    near = get_close_matches(plain(name), list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else f"Known are {', '.join(known)}."


def is_file(name: str) -> bool:
    """Whether a name is that of a file, there or not."""
    return name.endswith((".yaml", ".yml", ".json")) or Path(name).is_file()


def _without_suffixes(name: str) -> str:
    while (suffix := next((end for end in _SUFFIXES if name.endswith(end)), None)) is not None:
        name = name.removesuffix(suffix)
    return name


def _packaged(name: str) -> Any:
    return strictyaml.load(files("extproc.fleet.hardware").joinpath(name).read_text(encoding="utf-8"))


def _read(path: Path) -> Any:
    try:
        return strictyaml.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from error
