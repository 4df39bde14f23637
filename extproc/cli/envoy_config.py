"""`dualpool envoy-config`: an Envoy configuration for given addresses."""

from pathlib import Path
from typing import Annotated

import typer

from extproc.errors import ConfigurationError


def envoy_config(  # noqa: PLR0917 - typer passes every option by name
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where clients reach Envoy.")] = "127.0.0.1:10000",
    extproc: Annotated[
        str, typer.Option(metavar="HOST:PORT[,...]", help="The service, one address for each of its workers.")
    ] = "127.0.0.1:50051",
    short: Annotated[
        str, typer.Option(metavar="HOST:PORT[,...]", help="The vLLM instances of the short pool.")
    ] = "127.0.0.1:8001",
    long: Annotated[
        str, typer.Option(metavar="HOST:PORT[,...]", help="The vLLM instances of the long pool.")
    ] = "127.0.0.1:8002",
    admin: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Envoy's admin pages: no password, keep them local.")
    ] = "127.0.0.1:9901",
    baseline_listen: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A second listener that does not ask the service, to compare latency."),
    ] = None,
    threshold_tokens: Annotated[
        int, typer.Option(min=1, help="The service's threshold, which says how long a body may be worth asking about.")
    ] = 8192,
    buffer_limit_bytes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How much of one body Envoy holds while it asks; what is cut off goes long."
            " [default: 1 MiB, or the power of two that holds 24 bytes for each token of the threshold]",
        ),
    ] = None,
    message_timeout_s: Annotated[
        float, typer.Option(help="Seconds Envoy waits for one answer of the service before it goes on without it.")
    ] = 1.0,
    no_escalation: Annotated[  # noqa: FBT002 - a flag is off unless named
        bool,
        typer.Option(
            "--no-escalation", help="What the short pool refuses or fails goes to the client, not to the long pool."
        ),
    ] = False,
    hedge_after_s: Annotated[
        float | None,
        typer.Option(
            help="Seconds of silence after which the long pool is asked as well; whichever answers first is taken."
            " Longer than the short pool's longest answer that is not streamed. [default: never]"
        ),
    ] = None,
    orca: Annotated[  # noqa: FBT002 - a flag is off unless named
        bool,
        typer.Option("--orca", help="Ask vLLM to report its load with each answer; it logs a line for each."),
    ] = False,
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Write here instead of printing.")] = None,
) -> None:
    """Print a complete Envoy configuration for two vLLM pools, with a reason beside every timeout, limit and mode.

    A request that the short pool refuses (400, 503) or loses before its answer begins is sent to the long pool, once.

    Hosts may be names, except those Envoy listens on. Check a result with `envoy --mode validate -c FILE`; see
    envoy/README.md for what must agree with what, and for adding the filter to an Envoy you already run.

    Example: dualpool envoy-config --short gpu1:8000,gpu2:8000 --long gpu3:8000 --output envoy.yaml
    """
    from extproc.envoyconfig.bootstrap import bootstrap_yaml
    from extproc.envoyconfig.options import Address, EnvoyOptions, buffer_limit_for
    from extproc.routing.policy import certain_long_bytes

    derived_limit_bytes = buffer_limit_for(threshold_tokens)
    options = EnvoyOptions(
        listen=Address.parse(listen),
        extproc=Address.parse_list(extproc),
        short=Address.parse_list(short),
        long=Address.parse_list(long),
        admin=Address.parse(admin),
        baseline_listen=Address.parse(baseline_listen) if baseline_listen else None,
        buffer_limit_bytes=buffer_limit_bytes or derived_limit_bytes,
        message_timeout_s=message_timeout_s,
        escalate=not no_escalation,
        hedge_after_s=hedge_after_s,
        orca=orca,
    )
    _write(bootstrap_yaml(options), output)
    least_bytes = certain_long_bytes(threshold_tokens)
    if options.buffer_limit_bytes < least_bytes:
        typer.echo(
            f"dualpool: the service could judge bodies that this buffer limit cuts off, and they go long; for a"
            f" threshold of {threshold_tokens} tokens take at least --buffer-limit-bytes {least_bytes}",
            err=True,
        )


def _write(text: str, output: Path | None) -> None:
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--output: {output} cannot be written: {error.strerror}") from error
