"""`dualpool mock-vllm`: one vLLM stand-in, its options spelt as vLLM spells them."""

from typing import Annotated, Literal

import typer

from extproc.mockvllm.faults import FAULT_HELP


def mock_vllm(  # noqa: PLR0917 - typer passes every option by name
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one, which the ready line names.")
    ] = 8000,
    name: Annotated[str, typer.Option(help="Mock: sent with every response as x-mock-instance.")] = "mock",
    vllm_version: Annotated[
        str,
        typer.Option(
            help="Mock: whose behaviour to show. Up to 0.31 too long requests get 400; later, shorter output."
        ),
    ] = "0.33.0",
    served_model_name: Annotated[
        str | None, typer.Option(help="The one model served; others get 404. [default: every name is served]")
    ] = None,
    api_key: Annotated[str | None, typer.Option(help="Bearer key that /v1 demands. [default: none]")] = None,
    max_model_len: Annotated[int, typer.Option(help="Context length in tokens: prompt and output.")] = 131_072,
    max_num_seqs: Annotated[int, typer.Option(help="Sequences running at a time.")] = 1024,
    max_num_batched_tokens: Annotated[int, typer.Option(help="Tokens computed in one step.")] = 8192,
    num_gpu_blocks_override: Annotated[
        int | None,
        typer.Option(help="KV blocks of 16 tokens. [default: 28000, as an 8B model on one 80 GB GPU, or what fits]"),
    ] = None,
    max_num_queued_reqs: Annotated[
        int | None, typer.Option(help="Sequences waiting and running beyond which 503. [default: unlimited]")
    ] = None,
    max_num_queued_tokens: Annotated[
        int | None, typer.Option(help="Prompt tokens waiting for prefill from which 503. [default: unlimited]")
    ] = None,
    enable_force_include_usage: Annotated[  # noqa: FBT002 - a flag is off unless named
        bool, typer.Option("--enable-force-include-usage", help="Usage in every stream, asked for or not.")
    ] = False,
    enable_request_id_headers: Annotated[  # noqa: FBT002 - a flag is off unless named
        bool, typer.Option("--enable-request-id-headers", help="Echo X-Request-Id.")
    ] = False,
    enable_server_load_tracking: Annotated[  # noqa: FBT002 - a flag is off unless named
        bool, typer.Option("--enable-server-load-tracking", help="Let /load count requests.")
    ] = False,
    sse_keep_alive_interval: Annotated[
        float | None, typer.Option(help="Seconds of silence before a comment line in a stream. [default: never]")
    ] = None,
    stream_interval: Annotated[int, typer.Option(help="Tokens in one streamed chunk.")] = 1,
    tokenizer: Annotated[
        Literal["llama3", "qwen3"], typer.Option(help="Mock: vocabulary and chat template to count with.")
    ] = "llama3",
    speed: Annotated[
        str, typer.Option(help="Mock: model seconds in one real second; 'instant' or 0 sleeps not at all.")
    ] = "1",
    mean_output_tokens: Annotated[int, typer.Option(help="Mock: mean length of an answer nothing cuts short.")] = 128,
    seed: Annotated[int, typer.Option(help="Mock: decides lengths and texts; same seed, same answers.")] = 0,
    fault: Annotated[
        str, typer.Option(help=f"Mock: fault of every request under /v1; x-mock-fault sets one. {FAULT_HELP}")
    ] = "",
) -> None:
    """Serve a stand-in for vLLM: its routes, errors, metrics and streams, real token counts, no GPU and no model.

    Routes: /v1/chat/completions, /v1/completions, /v1/responses, /v1/messages, /v1/embeddings, /v1/models, /tokenize,
    /health, /version, /load, /metrics. Options are vLLM's own unless their help begins with Mock. An answer is filler
    text; its length is drawn from seed and prompt. Timing is that of an 8B model on one modern GPU. Times in /metrics
    are model seconds.

    Request headers: x-mock-fault asks for a fault (see --fault). x-mock-echo: 1 makes the response say what arrived, in
    x-mock-received (the x-dualpool-* headers as JSON), x-mock-body-sha256 and x-mock-body-bytes.

    Prints one line when ready. SIGTERM and Ctrl-C end it with 0.

    Example: dualpool mock-vllm --port 8001 --max-model-len 8192 --name short-1 --speed 10
    """
    from extproc.mockvllm.app import serve
    from extproc.mockvllm.faults import parse_faults
    from extproc.mockvllm.settings import MockSettings, TokenizerName

    settings = MockSettings(
        name=name,
        vllm_version=vllm_version,
        served_model_name=served_model_name,
        api_key=api_key,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        num_gpu_blocks_override=num_gpu_blocks_override,
        max_num_queued_reqs=max_num_queued_reqs,
        max_num_queued_tokens=max_num_queued_tokens,
        enable_force_include_usage=enable_force_include_usage,
        enable_request_id_headers=enable_request_id_headers,
        enable_server_load_tracking=enable_server_load_tracking,
        sse_keep_alive_interval_s=sse_keep_alive_interval,
        stream_interval=stream_interval,
        tokenizer=TokenizerName(tokenizer),
        speed=_factor(speed),
        mean_output_tokens=mean_output_tokens,
        seed=seed,
        faults=parse_faults(fault),
    )
    serve(settings, host, port)


def _factor(speed: str) -> float:
    try:
        return 0.0 if speed == "instant" else float(speed)
    except ValueError:
        raise typer.BadParameter("a number or 'instant'", param_hint="--speed") from None
