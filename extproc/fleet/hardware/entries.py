"""What a GPU and a model are to the planner; knows how entries are spelt, not where they are kept.

Quantities are those of data sheets and of a model's config.json; nothing here is a guess about speed, except the
corrections that a user measured.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Dtype = Literal["bf16", "fp8", "int4", "mxfp4"]
BYTES = {"bf16": 2.0, "fp8": 1.0, "int4": 0.5 + 0.03125, "mxfp4": 0.5 + 0.03125}
"""Of one number; 4-bit formats carry scales: one byte for 32 values in MXFP4 (OCP Microscaling 1.0), alike in AWQ."""


_HBM_TB_S = 1.9


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    name: str = ""
    source: str = ""
    """Where the figures are from."""


class Corrections(BaseModel):
    """How a measured GPU differs from the general model; 1 and 0 change nothing. `dualpool` calibration writes them."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    decode_scale: PositiveFloat = 1.0
    """Measured over modelled time of a step that decodes only."""
    prefill_scale: PositiveFloat = 1.0
    """Measured over modelled time of what prefill adds to a step."""


class Gpu(_Entry):
    """One GPU."""

    devices: tuple[str, ...] = ()
    """What a driver calls it, as lower-case words joined by `-`; found anywhere in a recorded device name."""
    memory_gib: PositiveFloat
    """As the driver reports it, GiB."""
    bandwidth_tb_s: PositiveFloat
    """Of its memory, data sheet, 1e12 bytes a second."""
    bf16_tflops: PositiveFloat
    """Dense tensor rate with 32-bit accumulation, data sheet."""
    fp8_tflops: PositiveFloat | None = None
    """None where the GPU computes no fp8: weights are then widened to bf16."""
    interconnect: Literal["nvlink", "pcie", "host"] = "pcie"
    """How the GPUs of an instance reach each other; other switched fabrics count as nvlink. `host` is PCIe without
    access to each other's memory, as with GeForce cards."""
    interconnect_gb_s: PositiveFloat | None = None
    """What one GPU can send in one direction, 1e9 bytes a second; None takes 300 (A100) or PCIe 4's 32 by its kind."""
    usd_per_hour: Annotated[float, Field(ge=0.0)] = 0.0
    price_source: str = ""
    memory: Literal["hbm", "gddr"] | None = None
    """Kind of its memory; None takes hbm from 1.9 TB/s on, which no GDDR card reaches yet."""
    measured_tflops: PositiveFloat | None = None
    """Best dense bf16 product that public benchmarks measured; None takes a share of the data sheet's rate."""
    bandwidth_efficiency: Annotated[float, Field(gt=0.0, le=1.1)] | None = None
    """Share of the data sheet's bandwidth that weights are read at; None takes the figure of its kind of memory."""
    corrections: Corrections = Corrections()

    @property
    def has_hbm(self) -> bool:
        """Whether its memory is HBM, which is read at a smaller share of its data sheet's bandwidth."""
        return self.memory == "hbm" or (self.memory is None and self.bandwidth_tb_s >= _HBM_TB_S)

    @property
    def link_gb_s(self) -> float:
        """What one GPU can send, 1e9 bytes a second."""
        return self.interconnect_gb_s or (300.0 if self.interconnect == "nvlink" else 32.0)

    @property
    def packs_heads(self) -> bool:
        """Whether attention packs the heads that share KV beside prefill: from FlashAttention 3 on, so from Hopper."""
        return self.has_hbm and self.fp8_tflops is not None


class Experts(BaseModel):
    """The mixture of experts in each layer."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    count: PositiveInt
    active: PositiveInt
    """Experts that each token goes through."""
    intermediate: PositiveInt
    """Width of one expert."""
    shared: Annotated[int, Field(ge=0)] = 0
    """Width of what every token goes through beside its experts; 0 for none."""
    dtype: Dtype | None = None
    """Of the experts' weights where it differs from the model's."""

    @model_validator(mode="after")
    def _active_of_count(self) -> "Experts":
        if self.active > self.count:
            raise ValueError(f"active ({self.active}) is more than count ({self.count})")
        return self


class Model(_Entry):
    """One decoder-only transformer with grouped-query attention and gated MLPs."""

    layers: PositiveInt
    kv_layers: PositiveInt | None = None
    """Layers whose KV grows with the sequence; None for all."""
    hidden: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    head_dim: PositiveInt
    intermediate: Annotated[int, Field(ge=0)] = 0
    """Width of the MLP; not needed where every layer has experts."""
    vocab: PositiveInt
    tie_embeddings: bool = False
    experts: Experts | None = None
    dense_layers: Annotated[int, Field(ge=0)] = 0
    """Layers with an MLP of `intermediate` in place of experts."""
    dtype: Dtype = "bf16"
    """Of the weights of layers; embeddings and the language head stay bf16."""
    kv_dtype: Dtype = "bf16"
    max_context: PositiveInt = 131_072

    @model_validator(mode="after")
    def _consistent(self) -> "Model":
        if self.experts is None and not self.intermediate:
            raise ValueError("intermediate (the width of the MLP) is missing, and there are no experts")
        if self.dense_layers and not self.intermediate:
            raise ValueError("dense_layers need intermediate, the width of their MLP")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) is not a multiple of kv_heads ({self.kv_heads})")
        return self

    @property
    def growing_layers(self) -> int:
        """Layers whose KV grows with the sequence."""
        return self.kv_layers or self.layers

    @property
    def expert_layers(self) -> int:
        """Layers with experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def attention_parameters(self) -> int:
        """Of one layer: query, key, value and output projections; norms and biases are left out, below 0.1 %."""
        return self.hidden * self.head_dim * 2 * (self.heads + self.kv_heads)

    @property
    def mlp_parameters(self) -> int:
        """Of one layer without experts: gate, up and down."""
        return 3 * self.hidden * self.intermediate

    @property
    def embedding_parameters(self) -> int:
        """Of the embedding, and as many again of a language head of its own."""
        return self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return self._sum_of_layers(self.experts.count if self.experts else 0)

    @property
    def active_parameters(self) -> int:
        """That one token is multiplied with, embeddings counted as the publishers do."""
        return self._sum_of_layers(self.experts.active if self.experts else 0)

    def _sum_of_layers(self, experts_counted: int) -> int:
        total = self.embedding_parameters * (1 if self.tie_embeddings else 2) + self.layers * self.attention_parameters
        total += (self.layers - self.expert_layers) * self.mlp_parameters
        if self.experts:
            of_layer = self.hidden * (
                3 * self.experts.intermediate * experts_counted + 3 * self.experts.shared + self.experts.count
            )
            total += self.expert_layers * of_layer
        return total
