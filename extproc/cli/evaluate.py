"""`dualpool evaluate`: how often estimators misroute requests whose true length is known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from extproc.evaluate.options import EvaluateOptions


def evaluate(  # noqa: PLR0917 - typer passes every option by name
    requests: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Requests with true counts: JSONL, also .xz, one object a line with `body` (the request's JSON, as"
            " text or object), `llama3_tokens`, `qwen3_tokens` (prompt tokens, chat template included) and `category`.",
        ),
    ] = None,
    tokenizer: Annotated[Literal["llama3", "qwen3"], typer.Option(help="Whose counts are the truth.")] = "llama3",
    estimators: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Any of fixed (4 bytes a token), ema (published), anytime (the service's); and, beside them, ema-true"
            " (ema told the file's categories), ema-equal-under and ema-true-equal-under (with the margin at which they"
            " under-route as rarely as anytime).",
        ),
    ] = "fixed,ema,anytime",
    threshold: Annotated[int, typer.Option(min=1, help="Largest budget of the short pool in tokens.")] = 8192,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Draw prompt lengths from this trace, and requests by length: Azure CSV (ContextTokens), Mooncake"
            " JSONL (input_length), or JSON [[tokens, cumulative share], …]; also .xz. [default: every row alike]",
        ),
    ] = None,
    max_tokens_mix: Annotated[
        str | None,
        typer.Option(
            metavar="TOKENS:SHARE,…",
            help="Declare these max_tokens, e.g. 256:.3,512:.2,1024:.5. [default: what the bodies say]",
        ),
    ] = None,
    escaped_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of bodies sent with \\uXXXX escapes, as json.dumps writes them.")
    ] = 0.0,
    promise: Annotated[
        float, typer.Option(help="Acceptable share of requests sent short that do not fit; .5 is no margin.")
    ] = 0.001,
    count: Annotated[int, typer.Option(min=1, help="Requests in each run.")] = 20_000,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each estimator; same seeds, same streams.")] = 5,
    tokenizer_json: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Let anytime count exactly with this tokenizer.json where it is in doubt."),
    ] = None,
    swap_tokenizer_at: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="From this share of the stream on the other tokenizer's counts are the truth."),
    ] = None,
    hold_back: Annotated[
        str | None,
        typer.Option(metavar="CATEGORY", help="Requests of this category come only in the second half of the stream."),
    ] = None,
    hold_out: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of rows whose answers are never read: what is reported of them was not learned from them.",
        ),
    ] = 0.0,
    poison: Annotated[float, typer.Option(min=0, max=1, help="Share of answers that state false prompt tokens.")] = 0.0,
    poison_kind: Annotated[
        Literal["mixed", "random", "hostile"],
        typer.Option(
            help="Random: 1 token to 4 × the truth, log-uniform. Hostile: 0.6 × the truth. Mixed: half of each."
        ),
    ] = "mixed",
    observe_share: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of answers read once learned. [default: the service's; with --sessions every one]"
        ),
    ] = None,
    streams_carry_usage: Annotated[  # noqa: FBT002 - a flag
        bool,
        typer.Option(
            "--streams-carry-usage",
            help="Your servers send usage in every stream (vLLM's --enable-force-include-usage): as the service's"
            " setting streams_carry_usage.",
        ),
    ] = False,
    memory: Annotated[
        bool | None,
        typer.Option(
            "--memory/--no-memory",
            help="Whether anytime remembers conversations. [default: with --sessions, not with --requests, whose rows"
            " repeat]",
        ),
    ] = None,
    ema_margin: Annotated[float, typer.Option(min=0, help="γ, the published estimator's margin in deviations.")] = 2.0,
    ema_decay: Annotated[float, typer.Option(min=0, max=1, help="β, the weight of the past in its ratios.")] = 0.98,
    sessions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Replay this log of agents' calls (Exgentic JSONL, also .xz): sizes and true tokens, no text.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw misroutes, errors and promise: .png, .svg or .pdf.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on standard output.")] = False,  # noqa: FBT002
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes. [default: as many as there are processor cores]")
    ] = None,
) -> None:
    """Judge estimators on requests whose true prompt tokens are known, through the code that routes in the service.

    Requests are drawn from a file, by a trace's lengths if one is given; answers come back 16 requests later, and the
    service's rules say which of them are read. Every decision is judged by the truth, cold start included: under means
    sent short and does not fit, over means sent long and would fit. Not judged are requests that limit no output (give
    --max-tokens-mix) and those whose length cannot be told from their bodies; notes say how many, and how many rows of
    the file were left out.

    Exits with 0, with 2 if a file or a flag cannot be used, with 130 if it was interrupted.

    Example: dualpool evaluate --requests requests.jsonl.xz --trace mooncake.jsonl --max-tokens-mix 256:.5,1024:.5
    """
    from extproc.evaluate.answers import AnswerRules, Poison
    from extproc.evaluate.mix import parse_mix
    from extproc.evaluate.options import EvaluateOptions, parse_contenders
    from extproc.evaluate.rows import Tokenizer
    from extproc.routing.estimators import EmaRules

    options = EvaluateOptions(
        requests=requests,
        sessions=sessions,
        trace=trace,
        tokenizer=Tokenizer(tokenizer),
        estimators=parse_contenders(estimators),
        threshold_tokens=threshold,
        output_mix=None if max_tokens_mix is None else parse_mix(max_tokens_mix),
        escaped_share=escaped_share,
        promise=promise,
        count=count,
        seeds=seeds,
        tokenizer_json=tokenizer_json,
        swap_tokenizer_at=swap_tokenizer_at,
        held_back=hold_back,
        held_out_share=hold_out,
        answers=AnswerRules(poison, Poison(poison_kind)),
        observe_share=observe_share,
        streams_carry_usage=streams_carry_usage,
        memory=memory,
        ema=EmaRules(decay=ema_decay, margin_deviations=ema_margin),
        jobs=jobs,
    )
    _evaluate(options, plot, as_json=as_json)


def _evaluate(options: "EvaluateOptions", plot: Path | None, *, as_json: bool) -> None:
    from extproc.demo.signals import interruptible
    from extproc.evaluate.asjson import as_json as written
    from extproc.evaluate.evaluation import evaluate, runs_expected
    from extproc.evaluate.report import console, show, steps, warn

    with interruptible():
        if plot is not None:
            from extproc.evaluate import plot as picture

            picture.check(plot, options)
        with steps(console(to_stderr=True), runs_expected(options)) as step:
            found = evaluate(options, step)
        if plot is not None:
            picture.plot(found, options, plot)
        if as_json:
            typer.echo(written(found, options))
            warn(console(to_stderr=True), found, options)
        else:
            show(console(to_stderr=False), found, options)
