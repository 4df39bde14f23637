"""`dualpool bench`: what the router costs on this machine."""

from pathlib import Path
from typing import Annotated

import typer


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer requests: sooner done, rougher figures.")] = False,  # noqa: FBT002
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on standard output.")] = False,  # noqa: FBT002
    envoy: Annotated[Path | None, typer.Option(help="Envoy binary; found by itself otherwise.", metavar="PATH")] = None,
    stages: Annotated[bool, typer.Option("--stages", help="Only each stage's cost, in-process.")] = False,  # noqa: FBT002
    telemetry: Annotated[  # noqa: FBT002
        bool, typer.Option("--telemetry", help="Only what telemetry costs: the service with all of it, and with none.")
    ] = False,
) -> None:
    """Measure Envoy alone, Envoy with the cheapest Python processor, and Envoy with dualpool, side by side.

    Bodies of 1 KiB to 1 MiB in turns over loopback; medians of several rounds. Prints requests/s, latency, and
    processor time per request of Envoy and of the processor as a Markdown table. The ratios compare better between
    machines than the figures do.

    --telemetry compares the service with all of its telemetry (metrics for Prometheus and a collector, an access log, a
    span for one exchange in a hundred) with the same that tells nobody anything: processor time that is added to a
    request, and the interval that holds it in 19 of 20 cases. What the hot path alone takes is in --stages.

    Exits with 0 if no request failed, with 1 if one did, with 2 if a part did, with 130 if it was interrupted.

    Example: dualpool bench --quick
    """
    from extproc.demo.signals import interruptible

    if stages:
        raise typer.Exit(_stages(as_json=as_json))
    with interruptible():
        if telemetry:
            raise typer.Exit(_telemetry(quick=quick, as_json=as_json, envoy=envoy))
        raise typer.Exit(_bench(quick=quick, as_json=as_json, envoy=envoy))


def _stages(*, as_json: bool) -> int:
    import json
    import time

    from extproc.bench.effort import efforts_us, table

    found = efforts_us(time.perf_counter_ns)
    typer.echo(json.dumps(found) if as_json else table(found))
    return 0


def _telemetry(*, quick: bool, as_json: bool, envoy: Path | None) -> int:
    import json
    from dataclasses import asdict

    from extproc.demo.signals import signals_held

    with signals_held():
        from rich.console import Console
        from rich.progress import track

        from extproc.bench.measure import QUICK, WATCHED, WATCHED_SIZES, measure, medians
        from extproc.bench.report import table, telemetry_us
        from extproc.bench.stage import watched_sides
        from extproc.envoyconfig.binary import find_envoy

    plan = QUICK if quick else WATCHED
    console = Console(stderr=True)
    with watched_sides(find_envoy(str(envoy) if envoy else None), WATCHED_SIZES) as doors:
        total = plan.rounds * len(WATCHED_SIZES) * len(doors)
        runs = list(track(measure(doors, plan, WATCHED_SIZES), "measuring", total=total, console=console))
    found, added, failed = medians(runs), telemetry_us(runs), sum(run.failed for run in runs)
    if as_json:
        typer.echo(json.dumps({"runs": [asdict(run) for run in found], "added": added, "failed": failed}))
    else:
        lines = [f"{name}: {median:.0f} ({low:.0f} to {high:.0f})" for name, (median, low, high) in added.items()]
        typer.echo("\n".join([table(found), "", *lines]))
    return int(failed > 0)


def _bench(*, quick: bool, as_json: bool, envoy: Path | None) -> int:
    import json
    from dataclasses import asdict

    from extproc.demo.signals import signals_held

    with signals_held():
        from rich.console import Console
        from rich.progress import track

        from extproc.bench.measure import BODY_SIZES, FULL, QUICK, measure, medians
        from extproc.bench.report import ratios, table
        from extproc.bench.stage import sides
        from extproc.envoyconfig.binary import find_envoy

    plan = QUICK if quick else FULL
    console = Console(stderr=True)
    with sides(find_envoy(str(envoy) if envoy else None), BODY_SIZES) as doors:
        total = plan.rounds * len(BODY_SIZES) * len(doors)
        found = medians(track(measure(doors, plan), "measuring", total=total, console=console))
    failed = sum(run.failed for run in found)
    if as_json:
        typer.echo(json.dumps({"runs": [asdict(run) for run in found], "ratios": ratios(found), "failed": failed}))
    else:
        lines = [f"{name}: {value:.2f}" for name, value in ratios(found).items()]
        typer.echo("\n".join([table(found), "", *lines]))
    return int(failed > 0)
