"""`dualpool simulate`: a fleet given by flags, and what its users get."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from extproc.fleet.report.runs import Run
    from extproc.fleet.simulated import SimulateFlags


def simulate(  # noqa: PLR0917 - typer passes every option by name
    instances: Annotated[int | None, typer.Option(min=1, help="Of one pool; or give --short and --long.")] = None,
    short: Annotated[int | None, typer.Option(min=1, help="Instances of the short pool.")] = None,
    long: Annotated[int | None, typer.Option(min=1, help="Instances of the long pool.")] = None,
    threshold: Annotated[
        int, typer.Option(min=1, help="Largest budget of the short pool in tokens, and its --max-model-len.")
    ] = 8192,
    short_max_model_len: Annotated[
        int | None,
        typer.Option(
            min=1, help="Context of the short pool, where it holds more than the threshold. [default: --threshold]"
        ),
    ] = None,
    spillover: Annotated[  # noqa: FBT002
        bool, typer.Option("--spillover", help="While one pool is under pressure, send the other what it can hold.")
    ] = False,
    adaptive_threshold: Annotated[  # noqa: FBT002
        bool, typer.Option("--adaptive-threshold", help="Move the threshold to balance the pressure of both pools.")
    ] = False,
    router: Annotated[
        Literal["anytime", "ema", "fixed", "oracle", "random", "single"] | None,
        typer.Option(
            help="Who parts requests: the service's router, the published one, four bytes a token, the truth, chance."
            " [default: anytime; single for one pool]"
        ),
    ] = None,
    promise: Annotated[
        float, typer.Option(help="Share of requests that the router may send short and do not fit.")
    ] = 0.001,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Traffic that comes along. [default: azure-2023]")
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
    gpu: Annotated[str, typer.Option(metavar="NAME|YAML", help="What it runs on.")] = "a100-80gb",
    short_gpu: Annotated[
        str | None, typer.Option(metavar="NAME|YAML", help="What the short pool runs on. [default: --gpu]")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(metavar="GPU=USD", help="Your price of one GPU for one hour; repeatable.")
    ] = None,
    gpus: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML with further GPUs.")] = None,
    models: Annotated[Path | None, typer.Option(metavar="FILE", help="YAML with further models.")] = None,
    tensor_parallel_size: Annotated[int, typer.Option(min=1, help="GPUs of an instance.")] = 8,
    short_tensor_parallel_size: Annotated[
        int | None, typer.Option("--short-tensor-parallel-size", "--short-tp", help="Likewise in the short pool.")
    ] = None,
    max_model_len: Annotated[
        int | None,
        typer.Option(help="Context of the long or only pool. [default: 65536]"),
    ] = None,
    max_num_seqs: Annotated[int | None, typer.Option(help="As for vllm serve. [default: vLLM's own]")] = None,
    short_max_num_seqs: Annotated[int | None, typer.Option(help="Likewise in the short pool.")] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(help="As for vllm serve. [default: vLLM's own]")] = None,
    short_max_num_batched_tokens: Annotated[int | None, typer.Option(help="Likewise in the short pool.")] = None,
    long_prefill_token_threshold: Annotated[
        int, typer.Option(help="As for vllm serve, in both pools; 0 for none.")
    ] = 0,
    gpu_memory_utilization: Annotated[
        float | None, typer.Option(help="As for vllm serve. [default: vLLM's own]")
    ] = None,
    quantization: Annotated[
        Literal["fp8"] | None, typer.Option(help="As for vllm serve: weights of layers. [default: the model's own]")
    ] = None,
    kv_cache_dtype: Annotated[
        Literal["auto", "fp8"], typer.Option(help="As for vllm serve; auto keeps the model's own.")
    ] = "auto",
    watermark: Annotated[float, typer.Option(help="As for vllm serve: share of KV kept free at admission.")] = 0.0,
    enable_prefix_caching: Annotated[  # noqa: FBT002
        bool, typer.Option("--enable-prefix-caching", help="As for vllm serve; for a --trace that names prefixes.")
    ] = False,
    max_num_queued_reqs: Annotated[
        int | None, typer.Option(help="As for vllm serve: more requests than this at an instance get 503.")
    ] = None,
    overflow: Annotated[
        Literal["clamp", "reject"] | None,
        typer.Option(help="What vLLM does with a request that exceeds its context. [default: by --vllm-version]"),
    ] = None,
    vllm_version: Annotated[str, typer.Option(help="Whose scheduler and defaults.")] = "0.33",
    balancing: Annotated[
        Literal["round_robin", "least_request", "random"], typer.Option(help="How Envoy chooses an instance.")
    ] = "least_request",
    deaths_per_hour: Annotated[
        float, typer.Option(min=0, help="Of each engine: its requests fail, and it is gone for five minutes.")
    ] = 0.0,
    goodput: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY:MS", help="The objective as vllm bench serve takes it: ttft:2000, tpot:80."),
    ] = None,
    ttft: Annotated[float | None, typer.Option(metavar="MS", help="Time to first token. [default: 2000]")] = None,
    ttft_per_token: Annotated[
        float,
        typer.Option(
            metavar="MS", help="Long prompts may take so much for each of their tokens, as in a plan's notes."
        ),
    ] = 0.0,
    tpot: Annotated[float | None, typer.Option(metavar="MS", help="Time per further token. [default: 80]")] = None,
    requests: Annotated[int | None, typer.Option(min=10, help="In each run. [default: 50000]")] = None,
    duration: Annotated[
        float | None, typer.Option(metavar="S", help="Or simulated seconds in which they come.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs; intervals are over them.")] = 4,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes. [default: as many as there are processor cores]")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page to hand on: one HTML file with its plots.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on standard output.")] = False,  # noqa: FBT002
) -> None:
    """Run traffic through a fleet of simulated vLLM instances, with this product's router in front of two pools.

    The router sees what it sees in the service and learns from the simulated answers, from nothing on; the first fifth
    of each run is not counted. Every request ends in one outcome. All prompts are held to one time to the first token;
    `dualpool plan` allows long ones more, and its notes name the --ttft-per-token that judges likewise here.

    Exits with 0, with 2 if a file or a flag cannot be used, with 130 if it was interrupted.

    Example: dualpool simulate --short 215 --long 50 --threshold 6144 --rate 1000
    """
    from extproc.fleet.asked import CatalogFlags, TrafficFlags
    from extproc.fleet.described import FleetFlags
    from extproc.fleet.simulated import SimulateFlags

    fleet = FleetFlags(
        known=CatalogFlags(gpus, models, tuple(price or ())),
        instances=instances,
        short=short,
        long=long,
        threshold_tokens=threshold,
        short_max_model_len=short_max_model_len,
        model=model,
        gpu=gpu,
        short_gpu=short_gpu,
        tensor_parallel=tensor_parallel_size,
        short_tensor_parallel=short_tensor_parallel_size,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        short_max_num_seqs=short_max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        short_max_num_batched_tokens=short_max_num_batched_tokens,
        long_prefill_token_threshold=long_prefill_token_threshold,
        gpu_memory_utilization=gpu_memory_utilization,
        quantization=quantization,
        kv_cache_dtype=kv_cache_dtype,
        watermark=watermark,
        prefix_caching=enable_prefix_caching,
        max_queued_requests=max_num_queued_reqs,
        overflow=overflow,
        vllm=vllm_version,
        balancing=balancing,
        deaths_per_hour=deaths_per_hour,
    )
    flags = SimulateFlags(
        fleet=fleet,
        traffic=TrafficFlags(preset, trace, cdf, output_share, rate, arrivals, dispersion, max_tokens),
        router=router,
        spillover=spillover,
        adaptive_threshold=adaptive_threshold,
        promise=promise,
        goodput=tuple(goodput or ()),
        ttft_ms=ttft,
        tpot_ms=tpot,
        ttft_ms_per_token=ttft_per_token,
        requests=requests,
        duration_s=duration,
        seeds=seeds,
    )
    _simulate(flags, report, jobs=jobs, as_json=as_json)


def _simulate(flags: "SimulateFlags", report: Path | None, *, jobs: int | None, as_json: bool) -> None:
    from extproc.demo.signals import interruptible
    from extproc.fleet.report import runs
    from extproc.fleet.terminal import check_writable, command_line, console, today

    if report is not None:
        check_writable(report)
    with interruptible():
        found = _run(flags, jobs)
        if report is not None:
            runs.write_run_report(found, report, command=command_line(), made_on=today())
        if as_json:
            typer.echo(runs.run_as_json(found))
        else:
            runs.show_run(found, console(to_stderr=False), report=report)


def _run(flags: "SimulateFlags", count: int | None) -> "Run":
    from extproc.fleet.confirm import Replication
    from extproc.fleet.jobs import Done, jobs
    from extproc.fleet.simulated import conclude
    from extproc.fleet.terminal import console, progress

    asked = flags.asked()
    with jobs(count) as at_work, progress(console(to_stderr=True)) as shown:
        done: Done[Replication] = Done(len(asked.tasks))
        shown("simulating", 0, len(asked.tasks))
        for number, _ in enumerate(at_work.perform(asked.tasks, done), 1):
            shown("simulating", number, len(asked.tasks))
    return conclude(asked, done.all)
