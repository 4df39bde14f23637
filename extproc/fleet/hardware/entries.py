"""What a GPU and a model are to the planner; knows how entries are spelt, not where they are kept.

Quantities are those of data sheets and of a model's config.json; nothing here is a guess about speed, except the
corrections that a user measured.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]
Dtype = Literal["bf16", "fp8", "w8a16", "int4", "mxfp4", "nvfp4"]
BYTES = {
    "bf16": 2.0,
    "fp8": 1.0,
    "w8a16": 1 + 2 / 128,
    "int4": 0.5 + 1 / 32,
    "mxfp4": 0.5 + 1 / 32,
    "nvfp4": 0.5 + 1 / 16,
}
"""Of one number with its share of the scales: a byte for 32 values in MXFP4 (OCP Microscaling 1.0), alike in AWQ; a
byte for 16 in NVFP4 (NVIDIA, Introducing NVFP4); two for 128 in GPTQ. w8a16 is multiplied in 16 bits, fp8 in 8."""


_HBM_TB_S = 1.9
_PCIE_4_GB_S = 32.0
_NVLINK_GB_S = {"ampere": 300.0, "hopper": 450.0, "blackwell": 900.0}
"""In one direction; by generation of a card that is told by its rates alone."""
_BLACKWELL_TFLOPS = 1500.0
_HOPPER, _CONSUMER_BLACKWELL = 9.0, 12.0
"""CUDA compute capabilities: kernels of FlashAttention 3 or newer serve from the first on, and not from the second."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    name: str = ""
    source: str = ""
    """Where the figures are from."""
    remarks: tuple[str, ...] = Field(default=(), exclude=True)
    """What whoever reads results should know of how the file was read."""


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
    interconnect: Literal["nvlink", "pcie", "host"] | None = None
    """How the GPUs of an instance reach each other; other switched fabrics count as nvlink. `host` is PCIe without
    access to each other's memory, as with GeForce cards. None takes nvlink with HBM, else pcie."""
    interconnect_gb_s: PositiveFloat | None = None
    """What one GPU can send in one direction, 1e9 bytes a second; None takes NVLink's of its generation or PCIe 4's."""
    capability: PositiveFloat | None = None
    """CUDA compute capability, which says what attention kernels serve; None tells it by HBM and fp8."""
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
    def link(self) -> Literal["nvlink", "pcie", "host"]:
        """How its like reach each other."""
        return self.interconnect or ("nvlink" if self.has_hbm else "pcie")

    @property
    def link_gb_s(self) -> float:
        """What one GPU can send, 1e9 bytes a second."""
        generation = "blackwell" if self.bf16_tflops > _BLACKWELL_TFLOPS else "hopper" if self.fp8_tflops else "ampere"
        return self.interconnect_gb_s or (_NVLINK_GB_S[generation] if self.link == "nvlink" else _PCIE_4_GB_S)

    @property
    def packs_heads(self) -> bool:
        """Whether attention packs the heads that share KV beside prefill: from FlashAttention 3 on, so from Hopper.

        GeForce and workstation cards of Blackwell (12.0) are served by FlashAttention 2.
        """
        if self.capability is not None:
            return _HOPPER <= self.capability < _CONSUMER_BLACKWELL
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


class Latent(BaseModel):
    """Attention with one latent vector for all heads in place of KV (DeepSeek's); every GPU keeps the whole of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    rank: PositiveInt
    """Width of the latent vector."""
    rope: PositiveInt
    """Width of the rotated key beside it, shared by all heads."""
    nope: PositiveInt
    """Width of each head's key without rotation."""
    value: PositiveInt
    """Width of each head's value."""
    query_rank: PositiveInt | None = None
    """Width of the queries' own latent vector; None where queries are projected at once."""


class Model(_Entry):
    """One decoder-only transformer with gated MLPs, and grouped-query or latent attention."""

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
    latent: Latent | None = None
    """For latent attention, which needs no kv_heads and head_dim; those given are not used."""
    dense_layers: Annotated[int, Field(ge=0)] = 0
    """Layers with an MLP of `intermediate` in place of experts."""
    dtype: Dtype = "bf16"
    """Of the weights of layers; embeddings and the language head stay bf16."""
    quantized_at_start: bool = Field(default=False, exclude=True)
    """Whether vLLM makes them of a 16-bit checkpoint when it starts, which a flag asks for."""
    kv_dtype: Dtype = "bf16"
    max_context: PositiveInt = 131_072

    @model_validator(mode="after")
    def _consistent(self) -> "Model":
        if self.experts is None and not self.intermediate:
            raise ValueError("intermediate (the width of the MLP) is missing, and there are no experts")
        if self.dense_layers and not self.intermediate:
            raise ValueError("dense_layers need intermediate, the width of their MLP")
        if self.latent is None and self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) is not a multiple of kv_heads ({self.kv_heads})")
        return self

    @property
    def formats(self) -> set[str]:
        """Of weights of layers."""
        return {self.dtype, (self.experts and self.experts.dtype) or self.dtype}

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
        products = latent_products(self, 1) if self.latent else None
        if products is not None:
            return int(sum(rows * columns for rows, columns in products))
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


def latent_products(model: Model, tp: int) -> list[tuple[float, float]]:
    """Rows and columns of the products of one layer's latent attention on each GPU.

    What leads into latent vectors is kept whole on every GPU; what leads out of them is cut by heads.
    """
    latent = model.latent
    assert latent is not None
    heads = model.heads / tp
    queries = heads * (latent.nope + latent.rope)
    into_queries = (
        [(model.hidden, latent.query_rank), (latent.query_rank, queries)]
        if latent.query_rank
        else [(model.hidden, queries)]
    )
    return [
        *into_queries,
        (model.hidden, latent.rank + latent.rope),
        (latent.rank, heads * (latent.nope + latent.value)),
        (heads * latent.value, model.hidden),
    ]
