"""`dualpool validate`: how near the simulator comes to a vLLM run that was recorded."""

from pathlib import Path
from typing import Annotated

import typer


def validate(  # noqa: PLR0917 - typer passes every option by name
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            show_default=False,
            help="A recorded run: requests.jsonl, meta.json and, if recorded, timeseries.csv and profile_*.csv, as the"
            " bench of casys-kaist/LLMServingSim writes them.",
        ),
    ],
    gpu: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|YAML",
            help="What it ran on; keys in docs/hardware.md. What a file leaves out is taken from the recorded device's"
            " entry. [default: the device that meta.json names]",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|YAML", help="What it served; also a config.json. [default: the model that meta.json names]"
        ),
    ] = None,
    profile: Annotated[  # noqa: FBT002
        bool,
        typer.Option(
            "--profile/--no-profile",
            help="Use the kernel times of the directory, if it has them and no --gpu or --model is of something else.",
        ),
    ] = True,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw running, waiting, KV and TTFT of both to a file (.png, .svg, .pdf); the terminal shows bars.",
        ),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the GPU's entry, refitted to this run by two factors, as YAML for --gpu of any command; --json"
            " and --plot then show the run with it.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on standard output.")] = False,  # noqa: FBT002
) -> None:
    """Replay a recorded vLLM run through the simulated engine, and compare.

    Arrivals, prompt and output lengths, engine arguments and the number of KV blocks are those of the recording; step
    times come from its kernel times or from the data sheet. Nothing is fitted to its latencies, unless you ask for
    that with --calibrate. What was assumed, and what was recorded but is not simulated, is said in the report, with
    --json on standard error.

    Exits with 0, with 2 if a file or a flag cannot be used.

    Example: dualpool validate runs/rtx4090-llama-3.1-8b --plot validation.svg
    """
    used_gpu = gpu
    if plot is not None:
        from extproc.fleet import validateplot

        validateplot.check(plot)
    if calibrate is not None:
        from extproc.fleet.recalibrate import recalibrate

        fitted = recalibrate(directory, calibrate, gpu=gpu, model=model)
        left = ", ".join(f"{name} {100 * error:+.1f} %" for name, error in fitted.errors.items())
        scales = f"decode × {fitted.decode_scale:.3f}, prefill × {fitted.prefill_scale:.3f}"
        typer.echo(f"{calibrate}: {scales}; what is left: {left}", err=as_json)
        if plot is None and not as_json:
            return
        used_gpu, profile = str(calibrate), False
    from extproc.fleet.validate import as_json as written
    from extproc.fleet.validate import validate

    found = validate(directory, gpu=used_gpu, model=model, profile=profile)
    if plot is not None:
        validateplot.plot(found, plot)
    if as_json:
        import json

        for remark in found.setup.remarks:
            typer.echo(f"dualpool: {remark}", err=True)
        typer.echo(json.dumps(written(found.metrics), indent=2))
    elif calibrate is None:
        from extproc.fleet.validatereport import console, show

        show(console(), found)
