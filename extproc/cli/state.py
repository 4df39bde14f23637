"""`dualpool state`: what services have learned, looked at and added up."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from extproc.errors import ConfigurationError

if TYPE_CHECKING:
    from extproc.routing.state import RouterState

state = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help=(
        "Look at what services have learned, or add it up.\n\n"
        "With `state_file` set, `dualpool serve` keeps there what it learned: of each serving model how prompts relate"
        " to tokens and how wrong that was, bytes per token by category, and how long answers get that nobody limits."
        " It holds numbers and models' names, no text.\n\n"
        "Example: dualpool state show /var/lib/dualpool/state"
    ),
)


@state.command(short_help="Show what a state file holds.")
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `state_file` names.")],
    promise: Annotated[
        float, typer.Option(min=1e-6, max=0.5, help="Share of answers that may take more than the outputs shown.")
    ] = 0.001,
    prints_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Show models, ratios and outputs that a service has learned, as its state file has them.

    Samples are answers taken in. Doubt is what is added to every estimate of a model, as a standard deviation of its
    logarithm: 0.3 for a stranger, 0 once it is known, above 0 again after an alarm. Alarms count how often its errors
    left what was stated for them (a new tokenizer, a new template). Output tokens are reserved where a chat names no
    limit. The model `*` stands for those past the bound, the category `*` for all categories.

    Example: dualpool state show /var/lib/dualpool/state --json
    """
    from extproc.server.stateview import as_json, as_text, view

    found = _read(file)
    if prints_json:
        typer.echo(json.dumps(as_json(found, promise=promise), indent=2))
    else:
        typer.echo(as_text(view(found, promise=promise)), nl=False)


@state.command(short_help="Add several state files up.")
def merge(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    files: Annotated[list[Path], typer.Argument(metavar="IN", help="What is added up.")],
    force: Annotated[bool, typer.Option("--force", help="Replace OUT if it exists.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """Add up what several replicas have learned, so that a new one starts with the experience of all.

    Copy the state files of replicas that each saw their own traffic, merge them, and give OUT to the new process as its
    `state_file` before it starts. The same answers must not be merged twice: a state that was merged before stands in
    OUT already, and so does all that a process learned before it last started from such a file.

    Example: dualpool state merge new.state replica-1.state replica-2.state
    """
    from extproc.server.statefile import write_state
    from extproc.server.stateview import merged

    if out.exists() and not force:
        raise ConfigurationError(f"{out} exists: name another file, or replace it with --force")
    states = [_read(file) for file in files]
    _refuse_the_same(files)
    total = merged(states)
    try:
        write_state(out, total)
    except OSError as error:
        raise ConfigurationError(f"state {out} cannot be written: {error.strerror}") from error
    answers = sum(served.samples for served in total.estimator.served)
    typer.echo(f"{out}: {answers} answers, of {len(files)} states")
    typer.echo("Answers that stand in two of them now count twice. Merge each state once.", err=True)


def _read(file: Path) -> "RouterState":
    from extproc.routing.state import StateError
    from extproc.server.statefile import read_state

    try:
        return read_state(file)
    except OSError as error:
        raise ConfigurationError(f"state {file} cannot be read: {error.strerror}") from error
    except StateError as error:
        raise ConfigurationError(f"state {file} cannot be used: {error}") from error


def _refuse_the_same(files: list[Path]) -> None:
    """Two names of one content are a mistake for certain."""
    seen: dict[bytes, Path] = {}
    for file in files:
        first = seen.setdefault(file.read_bytes(), file)
        if first is not file:
            raise ConfigurationError(f"{first} and {file} are the same state: its answers would count twice")
