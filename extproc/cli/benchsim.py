"""`dualpool bench-sim`: how fast the simulator is on this machine."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from extproc.fleet.speed import Effort, Long, Speed


def bench_sim(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer requests: sooner done, rougher figures.")] = False,  # noqa: FBT002
    long: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--long", help="Also ten simulated minutes at 10,000 requests/s, with and without the router."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on standard output.")] = False,  # noqa: FBT002
) -> None:
    """Measure requests per second of processor time on one core, with the service's router in the loop and without.

    1,000 requests/s of azure-2023 through 358 instances of llama-3-70b on 8 × A100, a short pool of 8,192 tokens and a
    long one of 65,536; the same rate for each instance through 10 and 3,000 of them. Everything is compiled and the
    fleet filled before the clock starts. Medians of several rounds.

    Exits with 0 whatever the figures, with 130 if it was interrupted.

    Example: dualpool bench-sim --quick
    """
    from extproc.demo.signals import interruptible
    from extproc.fleet.speed import FULL, QUICK
    from extproc.fleet.speedreport import as_json as written
    from extproc.fleet.speedreport import show
    from extproc.fleet.terminal import console

    with interruptible():
        found = _speeds(QUICK if quick else FULL)
        runs = [_long(router) for router in ("oracle", "anytime")] if long else []
    if as_json:
        typer.echo(written(found, runs))
    else:
        show(console(to_stderr=False), found, runs)


def _speeds(effort: "Effort") -> "list[Speed]":
    from extproc.fleet import speed
    from extproc.fleet.terminal import console, progress

    tried = speed.cases(effort)
    rounds: list[list[speed.Timed]] = []
    with progress(console(to_stderr=True)) as shown:
        shown("compiling", 0, effort.runs * len(tried))
        speed.compile_all()
        for number in range(effort.runs):
            rounds.append([])
            for case in tried:
                rounds[-1].append(speed.measure(case, seed=number))
                shown("measuring", number * len(tried) + len(rounds[-1]), effort.runs * len(tried))
    return speed.speeds(rounds, tried)


def _long(router: str) -> "Long":
    from extproc.fleet.speed import long_run
    from extproc.fleet.terminal import console, progress

    with progress(console(to_stderr=True)) as shown:
        for state in long_run(router):
            shown(f"long run, {router}", state.requests, 6_000_000)
    return state
