"""`dualpool plan`: one pool or two, of what size, and what that saves."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from extproc.fleet.answers import Plan
    from extproc.fleet.asked import CatalogFlags
    from extproc.fleet.options import PlanOptions


def plan(  # noqa: PLR0917 - typer passes every option by name
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Traffic that comes along; see --list. [default: azure-2023]"),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Your own requests: Azure CSV, Mooncake JSONL or an access log in JSONL; also .xz."
        ),
    ] = None,
    cdf: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Or how long they are in all: JSON [[tokens, cumulative share], …]."),
    ] = None,
    output_share: Annotated[
        float | None, typer.Option(help="Of the tokens of a --cdf, how many are output. [default: 0.2]")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate", "--request-rate", help="Requests per second. [default: those of --trace; 1000 without one]"
        ),
    ] = None,
    arrivals: Annotated[
        Literal["recorded", "poisson", "bursty"] | None,
        typer.Option(
            help="When they come. [default: bursty with --dispersion, recorded with a --trace that has times, else"
            " poisson]"
        ),
    ] = None,
    dispersion: Annotated[
        float | None,
        typer.Option(help="Of bursty arrivals, from 1 on: variance over mean of counts in 10 s. [default: own]"),
    ] = None,
    max_tokens: Annotated[
        str | None,
        typer.Option(
            metavar="POLICY",
            help="What requests declare: exact, absent, recorded, over:256:.3,512:.7 or mix:256,1024."
            " [default: recorded where the trace says, else exact]",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME|YAML", help="What is served; also a Hugging Face name or config.json.")
    ] = "llama-3-70b",
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|YAML",
            help="What it runs on; give it again for other GPUs that a short pool may have. [default: a100-80gb]",
        ),
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(metavar="GPU=USD", help="Your price of one GPU for one hour; repeatable.")
    ] = None,
    gpus: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML with further GPUs.")] = None,
    models: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML with further models.")] = None,
    max_model_len: Annotated[int | None, typer.Option(help="Longest context to serve. [default: 65536]")] = None,
    tensor_parallel_size: Annotated[
        list[int] | None, typer.Option(help="GPUs of an instance to try; repeatable. [default: 1, 2, 4, 8]")
    ] = None,
    max_num_seqs: Annotated[int | None, typer.Option(help="As for vllm serve. [default: vLLM's own]")] = None,
    quantization: Annotated[
        Literal["fp8"] | None, typer.Option(help="As for vllm serve: weights of layers. [default: the model's own]")
    ] = None,
    kv_cache_dtype: Annotated[
        Literal["auto", "fp8"], typer.Option(help="As for vllm serve; auto keeps the model's own.")
    ] = "auto",
    vllm_version: Annotated[str, typer.Option(help="Whose scheduler and defaults.")] = "0.33",
    goodput: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY:MS", help="The objective as vllm bench serve takes it: ttft:2000, tpot:80."),
    ] = None,
    ttft: Annotated[float | None, typer.Option(metavar="MS", help="Time to first token. [default: 2000]")] = None,
    tpot: Annotated[float | None, typer.Option(metavar="MS", help="Time per further token. [default: 80]")] = None,
    percentile: Annotated[
        float | None, typer.Option(help="Of all requests that must keep both, in percent. [default: 99]")
    ] = None,
    threshold: Annotated[
        list[int] | None, typer.Option(help="Budget of the short pool to try, tokens; repeatable. [default: a row]")
    ] = None,
    utilization_cap: Annotated[
        float, typer.Option(help="Fleets keep the objective at the rate divided by this.")
    ] = 0.85,
    promise: Annotated[
        float, typer.Option(help="Share of requests that the router may send short and do not fit.")
    ] = 0.001,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each simulation; from 2 on there are intervals.")] = 3,
    requests: Annotated[int, typer.Option(min=100, help="Requests in each.")] = 10_000,
    confirm: Annotated[  # noqa: FBT002
        bool, typer.Option("--confirm/--no-confirm", help="Size and confirm fleets by simulation, or calculate only.")
    ] = True,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes. [default: as many as there are processor cores]")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page to hand on: one HTML file with its plots.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON on standard output.")] = False,  # noqa: FBT002
    listed: Annotated[  # noqa: FBT002
        bool, typer.Option("--list", help="Print the traffic, GPUs and models that come along, with sources.")
    ] = False,
) -> None:
    """Say whether two pools serve your traffic with fewer GPUs than one, and by how much.

    Weighs one pool as the published method assumes it (B0), with vLLM's defaults (B1) and tuned (B2), and two pools by
    threshold, on the same hardware and on other. A closed form finds candidates; simulations of the fleet, with this
    product's router in the loop, size and confirm them. All fleets must keep the same objective. The answer may be that
    two pools do not help.

    Exits with 0 whatever the verdict, with 2 if a file or a flag cannot be used, with 130 if it was interrupted.

    Example: dualpool plan --preset azure-2023 --model llama-3-70b --gpu a100-80gb --rate 1000 --report plan.html
    """
    from extproc.fleet.asked import CatalogFlags, PlanFlags, TrafficFlags

    known = CatalogFlags(gpus, models, tuple(price or ()))
    if listed:
        _list(known)
        return
    options = PlanFlags(
        traffic=TrafficFlags(preset, trace, cdf, output_share, rate, arrivals, dispersion, max_tokens),
        known=known,
        model=model,
        gpus=tuple(gpu or ()),
        max_model_len=max_model_len,
        tensor_parallel=tuple(tensor_parallel_size or ()),
        max_num_seqs=max_num_seqs,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        vllm=vllm_version,
        goodput=tuple(goodput or ()),
        ttft_ms=ttft,
        tpot_ms=tpot,
        percentile=percentile,
        thresholds=tuple(threshold or ()),
        utilisation_cap=utilization_cap,
        promise=promise,
        seeds=seeds,
        requests=requests,
        jobs=jobs,
    ).options()
    _plan(options, report, confirm=confirm, as_json=as_json)


def _list(known: "CatalogFlags") -> None:
    from extproc.fleet.report.known import show_known
    from extproc.fleet.terminal import console

    known.chosen(())  # refuses a price of what is not there
    show_known(console(to_stderr=False), known.catalog())


def _plan(options: "PlanOptions", report: Path | None, *, confirm: bool, as_json: bool) -> None:
    from extproc.demo.signals import interruptible
    from extproc.fleet.report import asjson, page
    from extproc.fleet.terminal import check_writable, command_line, console, today

    if report is not None:
        check_writable(report)
    with interruptible():
        found = planned(options, confirm=confirm)
        if report is not None:
            page.write_report(found, report, command=command_line(), made_on=today())
        if as_json:
            typer.echo(asjson.as_json(found))
        else:
            _show(found, console(to_stderr=False), report)


def planned(options: "PlanOptions", *, confirm: bool) -> "Plan":
    """The plan, with a progress bar while it is made."""
    from extproc.fleet.asked import with_context_notes
    from extproc.fleet.jobs import jobs
    from extproc.fleet.planner import Planner
    from extproc.fleet.terminal import console, progress

    with jobs(options.jobs) as at_work, progress(console(to_stderr=True)) as shown:
        planner = Planner(options, at_work, confirm=confirm)
        for step in planner.steps():
            shown(step.what, step.done, step.of)
    assert planner.plan is not None
    return with_context_notes(planner.plan, options)


def _show(found: "Plan", output: "Console", report: Path | None) -> None:
    from extproc.fleet.report import console as tables
    from extproc.fleet.report.details import gaps

    tables.show(found, output, report=report)
    if any(fleet.confirmed is not None for fleet in found.fleets):
        tables.print_table(output, "Closed form and simulation", gaps(found))
