"""What the names in a plan mean, for whoever pays and has never run a model. Sentences only; knows no figures."""

from extproc.fleet.answers import Baseline, RouterKind, Verdict
from extproc.routing.values import Pool, Stage

VERDICTS = {
    Verdict.SPLIT: "Split the fleet in two pools",
    Verdict.SPLIT_HARDWARE: "Split the fleet, with other hardware for short requests",
    Verdict.NO_DIFFERENCE: "Keep one pool",
    Verdict.LONG_POOL_EMPTY: "One pool with a shorter context is enough",
    Verdict.INFEASIBLE: "These GPUs cannot serve this",
}
BASELINES = {
    Baseline.B0: (
        "The published assumption. Each request is given the memory of the longest request that is allowed, used or"
        " not. Savings in the literature are measured against such a fleet; hardly anybody runs one, so do not budget"
        " with this figure."
    ),
    Baseline.B1: (
        "vLLM as it comes. One pool with the serving software's default settings: what most fleets run today, and so"
        " the saving that would show on the bill."
    ),
    Baseline.B2: (
        "One pool, well tuned. The same GPUs and no split, with settings searched for this traffic. Tuning needs"
        " no hardware, so only what two pools save beyond this is owed to the split."
    ),
    Baseline.B2_HARDWARE: (
        "One pool, well tuned, on another GPU. What another of the allowed GPUs saves without any split: it must not be"
        " taken for a merit of two pools."
    ),
    Baseline.SPLIT: (
        "Two pools on the same hardware. A router sends requests that are surely short to a pool that is configured"
        " for them, all others to a pool for the full context; each pool is tuned."
    ),
    Baseline.SPLIT_HARDWARE: (
        "Two pools, different hardware. As above, and the short pool may run on fewer or cheaper GPUs for each"
        " instance, because its requests need less memory."
    ),
}
ROUTERS = {
    RouterKind.NONE: "none",
    RouterKind.ORACLE: "oracle",
    RouterKind.ANYTIME: "ours",
    RouterKind.EMA: "published",
    RouterKind.FIXED: "fixed",
}
ROUTER_SENTENCES = {
    RouterKind.ORACLE: "knows every length in advance; cannot be built, shows what a perfect router would reach.",
    RouterKind.ANYTIME: "the estimator of this product, the very code of the service, learning as it goes.",
    RouterKind.EMA: "the published estimator: one running average of bytes per token for each kind of text.",
    RouterKind.FIXED: "no learning: four bytes are taken for one token.",
}
STAGES = {
    Stage.NONE: ("settled without measuring", "the output alone or a missing fact decides"),
    Stage.BOUNDS: ("size bounds", "so short or so long that no tokenizer could change it"),
    Stage.MEMORY: ("memory", "the request continues a conversation whose length is known"),
    Stage.SIZE: ("size", "its bytes, and what such text has cost so far"),
    Stage.SAMPLE: ("sample", "a small sample of the text is looked at"),
    Stage.TEXT: ("whole text", "all of the text is looked at"),
    Stage.EXACT: ("exact count", "a local tokenizer counts it"),
}
LIMITS = {
    "kv": "memory for the requests' context (KV cache)",
    "sequences": "the number of requests at a time (max_num_seqs)",
    "compute": "computing power",
    "tpot": "the promised time for each further token",
    "ttft": "the promised time to the first token",
}
POOLS = {Pool.SHORT: "short pool", Pool.LONG: "long pool"}
WORDS = (
    ("Token", "a piece of a word; models read and write tokens, and time and memory are counted in them."),
    ("Instance", "one vLLM process that serves the model, on one GPU or on several together (TP 4: on four)."),
    ("Pool", "instances that are configured alike. The short pool takes short requests, the long pool all others."),
    ("Threshold", "the largest number of tokens, prompt and answer together, that the short pool takes."),
    ("TTFT", "time to first token: how long a user waits until the answer begins."),
    ("TPOT", "time per output token: how long each further token takes, and so how fast the answer flows."),
    ("P50, P99", "half of the requests, or 99 in 100, are at least as fast as this."),
    ("Objective (SLO)", "what is promised to users; a fleet is as large as it must be to keep it."),
    (
        "Preempted",
        "an instance ran out of memory for context and put a request off; it is redone later, and its user waits.",
    ),
    ("Rejected", "refused with an error: too long for the pool, or its queue was full."),
    ("Truncated", "the answer was cut off because the pool's context ended."),
    ("Under, over", "the router's mistakes: sent short though it does not fit; sent long though it would have fitted."),
    ("KV cache", "GPU memory that holds the context of running requests; when it is full, requests wait."),
    ("Closed form", "a formula for the number of instances: fast, but blind to queues and bursts."),
    ("Simulation", "every request is played through vLLM's scheduling and the router; slower, and what we trust more."),
    ("95 % interval", "written (low to high): where the true mean lies, with 95 % confidence, given chance alone."),
)
