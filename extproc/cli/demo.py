"""`dualpool demo`: the whole product on loopback, with traffic."""

from pathlib import Path
from typing import Annotated

import typer


def demo(  # noqa: PLR0917 - typer passes every option by name
    requests: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many requests to send. [default: enough to learn every category, or all of --bodies]"
        ),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight at a time.")] = 16,
    threshold: Annotated[
        int, typer.Option(min=1024, help="Largest budget of the short pool in tokens; also its max_model_len.")
    ] = 8192,
    seed: Annotated[int, typer.Option(help="Same seed, same requests.")] = 1,
    bodies: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Send these instead: JSONL, one OpenAI body a line or an object with it under `body`.",
        ),
    ] = None,
    envoy: Annotated[
        str | None, typer.Option(metavar="PATH", help="The Envoy program. [default: the one `make setup` fetched]")
    ] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Envoy's port. [default: a free one]")] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Start nothing: send to this Envoy, whose pools are mocks named short and long, as in"
            " docker-compose.yaml. Added latency is left out.",
        ),
    ] = None,
    metrics_url: Annotated[
        str, typer.Option(metavar="URL", help="With --url: where its service shows what it learned.")
    ] = "http://127.0.0.1:9464/metrics",
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running after the summary, until Ctrl-C.")] = False,  # noqa: FBT002
    json: Annotated[bool, typer.Option("--json", help="Print only the summary, as JSON.")] = False,  # noqa: FBT002
) -> None:
    """Start Envoy, the service and two mock vLLM pools on loopback, and send a mix of requests through them.

    Real prose and code, generated records; chats and completions, streamed and not.

    Shows where requests went and why, the bytes per token learned for each category beside the truth, misroutes both
    ways, and the latency the service adds.

    A request is misrouted if its true prompt tokens and the output it reserves fit the threshold and it went long
    (over), or do not fit and it went short (under). The true bytes per token of a category are the mean, over the
    requests the service may learn from, of the prompt's bytes by the prompt tokens of the answer's usage. Added latency
    is the difference of percentiles between the same JSON requests sent in turn, one at a time, through Envoy with and
    without the service, from sending to the last byte.

    Exits with 0 if no request failed, with 1 if one did, with 2 if a part did, with 130 if it was interrupted.

    Example: dualpool demo --keep
    """
    from extproc.demo.signals import interruptible, signals_held

    if url and (envoy or port or keep):
        raise typer.BadParameter("starts nothing, so it takes no --envoy, --port or --keep", param_hint="--url")
    with interruptible():
        with signals_held():
            from extproc.demo.fleet import fleet_at
            from extproc.demo.run import DemoOptions, run_demo
            from extproc.envoyconfig.binary import find_envoy

        options = DemoOptions(
            envoy_binary=None if url else find_envoy(envoy),
            existing=fleet_at(url.rstrip("/"), metrics_url) if url else None,
            requests=requests,
            concurrency=concurrency,
            threshold_tokens=threshold,
            seed=seed,
            listen_port=port,
            bodies=bodies,
            keeps_running=keep,
            prints_json=json,
        )
        raise typer.Exit(run_demo(options))
