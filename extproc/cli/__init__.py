"""The `dualpool` command: registers the commands and turns mendable errors into one line; decides nothing."""

import errno
import os
import sys
from importlib import metadata
from typing import Annotated

import typer

from extproc.cli.bench import bench
from extproc.cli.benchsim import bench_sim
from extproc.cli.demo import demo
from extproc.cli.envoy_config import envoy_config
from extproc.cli.evaluate import evaluate
from extproc.cli.mock_vllm import mock_vllm
from extproc.cli.plan import plan
from extproc.cli.report import report
from extproc.cli.serve import serve
from extproc.cli.simulate import simulate
from extproc.cli.state import state
from extproc.cli.status import status
from extproc.cli.validate import validate
from extproc.errors import DualpoolError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Dual-pool token-budget routing for vLLM behind Envoy.\n\n"
        "Sends each LLM request to the short or the long pool of vLLM instances, whichever its token budget"
        " (prompt + output) fits, without running a tokenizer. Start with `dualpool demo`."
    ),
)
app.command(short_help="Run the service that Envoy asks about each request.")(serve)
app.command(short_help="Show how running services stand.")(status)
app.command(short_help="Print an Envoy configuration for two vLLM pools.")(envoy_config)
app.command(short_help="Serve a stand-in for vLLM that needs no GPU.")(mock_vllm)
app.command(short_help="See it all at work on loopback, with traffic.")(demo)
app.command(short_help="Measure what the service costs on this machine.")(bench)
app.command(short_help="Judge estimators on requests whose true length is known.")(evaluate)
app.command(short_help="Say whether two pools would save GPUs, and how many.")(plan)
app.command(short_help="Say what routing did, or would have done, from its access log.")(report)
app.command(short_help="Simulate a fleet that you describe.")(simulate)
app.command(short_help="Hold the simulator against a recorded vLLM run.")(validate)
app.command(short_help="Measure how fast the simulator is.")(bench_sim)
app.add_typer(state, name="state", short_help="Look at what services have learned, or add it up.")


_EXTRAS = {"evaluate": "evaluate"} | dict.fromkeys(("plan", "report", "simulate", "validate", "bench-sim"), "plan")
"""Of the package, that commands need; the others need `demo`."""


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What writing fails with; such an error names no file."""


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer's callback shape
    if wanted:
        typer.echo(f"dualpool {metadata.version('dualpool')}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,  # noqa: FBT002
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line; a mendable error prints one line and exits with 2, as does what the system refuses."""
    try:
        app()
    except DualpoolError as error:
        sys.exit(_complain(str(error)))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "extproc":
            raise
        extra = _EXTRAS.get(next(iter(sys.argv[1:]), ""), "demo")
        sys.exit(_complain(f"this command needs the Python package {error.name}: pip install 'dualpool[{extra}]'"))
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        reason = error.strerror or str(error)
        where = error.filename or ("the output cannot be written" if error.errno in _FULL else None)
        sys.exit(_complain(f"{where}: {reason}" if where else reason))


def _drop_output() -> None:
    """Throw away what standard output does not take, or the interpreter would complain of it once more at its end."""
    try:
        if sys.stdout:  # none where it was closed
            sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _complain(message: str) -> int:
    print(f"dualpool: {message}", file=sys.stderr)  # noqa: T201 - the command line speaks
    return 2
