"""What comes along, as tables: traffic, GPUs and models, each with its source. Computes nothing."""

from rich.console import Console

from extproc.fleet.hardware.catalog import Catalog
from extproc.fleet.presets import PRESETS, read_preset
from extproc.fleet.report.console import print_table
from extproc.fleet.report.tables import Column, Row, Table, table


def show_known(console: Console, catalog: Catalog) -> None:
    """All three tables."""
    print_table(console, "Traffic (--preset)", presets())
    print_table(console, "GPUs (--gpu); your own: --gpus FILE, prices: --price GPU=USD", gpus(catalog))
    print_table(console, "Models (--model); your own: --models FILE, or a config.json", models(catalog))


def presets() -> Table:
    """With the mean lengths, and what the trace itself had."""
    columns = (
        Column("Name", numeric=False),
        Column("Prompt", "mean tokens"),
        Column("Output", "mean tokens"),
        Column("Rate", "own, per s"),
        Column("Dispersion"),
        Column("Source", numeric=False),
    )
    return table(columns, (Row(_preset_cells(name)) for name in PRESETS))


def _preset_cells(name: str) -> tuple[str, ...]:
    preset = read_preset(name)
    return (
        name,
        f"{preset.rows.prompt_tokens.mean():,.0f}",
        f"{preset.rows.output_tokens.mean():,.0f}",
        "" if preset.rate_per_s is None else f"{preset.rate_per_s:.2f}",
        "" if preset.dispersion is None else f"{preset.dispersion:.1f}",
        preset.source,
    )


def gpus(catalog: Catalog) -> Table:
    """With memory, speed and price."""
    columns = (
        Column("Name", numeric=False),
        Column("Memory", "GiB"),
        Column("Bandwidth", "TB/s"),
        Column("bf16", "TFLOP/s"),
        Column("USD/hour"),
        Column("Source", numeric=False),
        Column("Of the price", numeric=False),
    )
    rows = (
        Row((name, f"{gpu.memory_gib:g}", f"{gpu.bandwidth_tb_s:g}", f"{gpu.bf16_tflops:g}", f"{gpu.usd_per_hour:.2f}",
             gpu.source, gpu.price_source))
        for name, gpu in catalog.gpus.items()
    )  # fmt: skip
    return table(columns, rows)


def models(catalog: Catalog) -> Table:
    """With layers, KV heads and the longest context."""
    columns = (
        Column("Name", numeric=False),
        Column("Layers"),
        Column("Hidden"),
        Column("KV heads"),
        Column("Context", "tokens"),
        Column("Source", numeric=False),
    )
    rows = (
        Row((name, f"{model.layers}", f"{model.hidden:,}", f"{model.kv_heads}", f"{model.max_context:,}", model.source))
        for name, model in catalog.models.items()
    )
    return table(columns, rows)
