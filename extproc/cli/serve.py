"""`dualpool serve`: the ext_proc service."""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from extproc.server.reload import Source
    from extproc.settings import Settings


def _print_settings(wanted: bool) -> None:  # noqa: FBT001 - typer's callback shape
    if wanted:
        from extproc.settings import defaults_yaml

        typer.echo(defaults_yaml(), nl=False)
        raise typer.Exit


def serve(  # noqa: PLR0917 - typer passes every option by name
    config: Annotated[
        Path | None, typer.Option(help="YAML file of settings; --print-settings prints one.", metavar="FILE")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(help="gRPC address for Envoy. [default: 127.0.0.1:50051]", metavar="HOST:PORT")
    ] = None,
    metrics_listen: Annotated[
        str | None,
        typer.Option(
            help="Address of Prometheus's /metrics; empty turns it off. [default: 127.0.0.1:9464]", metavar="HOST:PORT"
        ),
    ] = None,
    threshold_tokens: Annotated[
        int | None, typer.Option(help="Largest budget (prompt + output tokens) the short pool takes. [default: 8192]")
    ] = None,
    promise: Annotated[
        float | None,
        typer.Option(help="Acceptable share of requests sent short that do not fit. [default: 0.001]", metavar="SHARE"),
    ] = None,
    state_file: Annotated[
        str | None,
        typer.Option(help="Where to keep what is learned over restarts. [default: nowhere]", metavar="FILE"),
    ] = None,
    explain_headers: Annotated[
        bool | None,
        typer.Option(
            "--explain-headers/--no-explain-headers", help="Also set budget, reason … headers. [default: false]"
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            help="Processes that serve, each on ports of its own: the next ones after those above.",
        ),
    ] = 1,
    worker: Annotated[int | None, typer.Option(hidden=True)] = None,
    _: Annotated[  # noqa: FBT002 - a flag is off unless named
        bool,
        typer.Option(
            "--print-settings",
            callback=_print_settings,
            is_eager=True,
            help="Print every setting with its meaning and default, as a YAML file, and exit.",
        ),
    ] = False,
) -> None:
    """Run the external processor that Envoy asks where each request goes.

    The options below are a few of the settings: --print-settings prints them all. Every one can stand in the YAML file
    or in the environment (DUALPOOL_THRESHOLD_TOKENS=16384); a flag wins over the environment, the environment over the
    file. The file is read anew when it changes, and on SIGHUP. SIGTERM drains and exits with 0.

    With --workers 4 and the defaults, Envoy is given 127.0.0.1:50051 to 50054 (dualpool envoy-config --extproc, with
    commas between them), Prometheus 127.0.0.1:9464 to 9467. Workers learn from each other's answers, and one that
    dies is started again.

    Example: dualpool serve --listen 0.0.0.0:50051 --threshold-tokens 8192
    """
    from extproc.server.reload import Source
    from extproc.telemetry.logs import configure_logging

    given = {
        "threshold_tokens": threshold_tokens,
        "promise": promise,
        "state_file": state_file,
        "explain_headers": explain_headers,
    }
    _keep_standard_streams()
    source = Source(config, {"listen": listen, "metrics_listen": metrics_listen, **given})
    settings = source.load()
    configure_logging(settings.log_format, settings.log_level)
    if workers == 1:
        _serve(source, settings, worker)
    else:
        _supervise(settings, _flags(config=config, **given), workers)


def _serve(source: "Source", settings: "Settings", worker: int | None) -> None:
    """One process; a worker of several ends with the one that started it."""
    import uvloop

    from extproc.server.polling import poll_without_event_engine

    poll_without_event_engine()
    from extproc.server.app import serve as run
    from extproc.server.supervisor import end_with_parent

    if worker is not None:
        end_with_parent()
    uvloop.run(run(settings, source, worker=worker or 0))


def _keep_standard_streams() -> None:
    """Put /dev/null where one is closed: a socket in its place would be written to, and libuv aborts on closing it."""
    for descriptor in range(3):
        with suppress(OSError):
            os.fstat(descriptor)
            continue
        os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def _supervise(settings: "Settings", flags: list[str], count: int) -> None:
    """Several processes, and one that keeps them running. Not on uvloop, which starts them with no signal held back."""
    import asyncio

    from extproc.server.supervisor import Supervisor, meeting_place, supervise, workers_of

    with meeting_place(settings) as folder:
        supervisor = Supervisor(workers_of(settings, flags, count, folder), drain_s=settings.drain_s)
        status = asyncio.run(supervise(supervisor))
    if status:
        raise typer.Exit(status)


def _flags(**given: object) -> list[str]:
    """Options as they are written on a command line; those that were not given are left out."""
    found = []
    for name, value in given.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            found += [f"--{option}", str(value)]
    return found
