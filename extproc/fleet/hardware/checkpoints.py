"""Which checkpoint holds the weights that an entry was sized by, as `vllm serve` is given it; knows no shape."""

from extproc.fleet.hardware.entries import Model

YOURS = "YOUR-CHECKPOINT"
"""Stands where no repository is known to hold such weights."""
_NOT_OF_WEIGHTS = frozenset({"name", "source", "remarks", "quantized_at_start", "kv_layers", "kv_dtype", "max_context"})


def checkpoint(model: Model) -> str:
    """A repository or a folder, or `YOURS`."""
    return model.source or YOURS


def unnamed(model: Model) -> str | None:
    """What to put in its place; None where there is none."""
    if model.source:
        return None
    kept = "bf16" if model.quantized_at_start else " and ".join(sorted(model.formats))
    return f"{model.name}: no repository is known to hold its weights in {kept}: name your own in place of {YOURS}."


def of_base(model: Model, base: Model) -> Model:
    """With the base's checkpoint only where it holds the model's weights.

    vLLM makes 8 bits of 16 when it starts; another format or shape is a checkpoint of its own.
    """
    if model.source != base.source:
        return model.model_copy(update={"quantized_at_start": False})
    changed = {key for key in Model.model_fields.keys() - _NOT_OF_WEIGHTS if getattr(model, key) != getattr(base, key)}
    if not changed:
        return model
    made = changed == {"dtype"} and base.formats == {"bf16"} and model.dtype == "fp8"
    return model.model_copy(update={"source": base.source if made else "", "quantized_at_start": made})
