"""`dualpool serve`: the ext_proc service."""

from pathlib import Path
from typing import Annotated

import typer


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
    file. SIGTERM drains and exits with 0.

    Example: dualpool serve --listen 0.0.0.0:50051 --threshold-tokens 8192
    """
    import logging

    import uvloop

    from extproc.server.app import serve as run
    from extproc.settings import load_settings

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = load_settings(
        config,
        listen=listen,
        metrics_listen=metrics_listen,
        threshold_tokens=threshold_tokens,
        promise=promise,
        state_file=state_file,
        explain_headers=explain_headers,
    )
    uvloop.run(run(settings))
