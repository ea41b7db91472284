"""How long a study will take on this machine: a few timed steps, times those that stages need."""

import time
from typing import TYPE_CHECKING, NamedTuple

from runs import forecast

if TYPE_CHECKING:  # a library that takes long to import
    from transformers import PretrainedConfig

# Tokens of an article with its summary; most are shorter, so the estimate is rather too high.
CONTEXT = 1024
BATCH = 8  # articles to a step of the optimizer
TIMED_STEPS = 3
TIMED_TOKENS = 9  # new tokens in the timing of a summary
LONG_FOR_A_PROCESSOR = 86_400  # seconds of work, from which on the demo is pointed to
PART_ON_A_PROCESSOR = 4  # there a quarter of an article is timed, and counted four times
LONG_STEP_SECONDS = 5  # a step that takes so long is timed once
# An assumption, used where there is no GPU: what a step sustains on a data-centre GPU in float32
# with TF32, which training turns on.
TFLOPS_OF_A_GPU = 20.0
# Another one, of a summary: a decoding step of 10 ms, mostly launching kernels, for 16 articles.
GPU_SECONDS_PER_TOKEN = 0.01 / 16


class Work(NamedTuple):
    """Articles that a stage trains on (forward, backward, optimizer), reads (forward only), and
    summarizes.
    """

    train: float = 0
    read: float = 0
    write: float = 0

    def times(self, share: float) -> "Work":
        """So much of it."""
        return Work(*(share * amount for amount in self))

    def seconds(self, unit: "Work") -> float:
        """Seconds, given those of one article of each kind."""
        return self.train * unit.train + self.read * unit.read + self.write * unit.write


class Shape(NamedTuple):
    """What the estimate needs of a model: its configuration and its sizes."""

    config: "PretrainedConfig"
    weights: int
    layers: int
    width: int
    edges: int

    @property
    def weights_bytes(self) -> int:
        """Of the weights in float32."""
        return 4 * self.weights

    @property
    def scores_bytes(self) -> int:
        """Of an example's edge scores."""
        return 4 * self.edges


def shape_of(config) -> Shape:
    """The shape of the model that a configuration describes, of which no weight is made."""
    import torch
    from transformers import AutoModelForCausalLM

    from eap.models import adapt

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    graph = adapt(model, check=False).graph
    if graph.d_model is None:
        raise ValueError("expected the graph of a model, which has a width")
    return Shape(config, model.num_parameters(), graph.n_layers, graph.d_model, graph.n_edges)


def measure(precision, max_new_tokens: int, *, config, context: int = CONTEXT) -> Work:
    """Seconds of training on, reading and summarizing one article, timed with random weights.

    `precision` is the training.Precision, with the device, of a script that trains.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from runs import opening
    from summarization import training

    opening.silence_transformers()
    device = precision.device.torch_device
    model = AutoModelForCausalLM.from_config(config).to(device, precision.device.torch_dtype)
    on_gpu = device.type == "cuda"
    rows, part = (BATCH, 1) if on_gpu else (1, PART_ON_A_PROCESSOR)
    context //= part
    ids = torch.randint(config.vocab_size, (rows, context), device=device)
    optimizer = torch.optim.AdamW(model.parameters())
    tf32 = precision.uses_tf32

    def differentiate():
        with training.tf32_products(tf32):
            model(ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()

    @torch.no_grad()
    def read():
        model(ids, attention_mask=torch.ones_like(ids), logits_to_keep=max_new_tokens)

    def write(n_tokens):
        prompt = ids[:, : context - max_new_tokens]
        with torch.no_grad():
            model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                min_new_tokens=n_tokens,
                max_new_tokens=n_tokens,
                do_sample=False,
                pad_token_id=0,
            )

    first = _seconds(lambda: write(1), device)
    token = max(0.0, _seconds(lambda: write(1 + TIMED_TOKENS), device) - first) / TIMED_TOKENS
    return Work(
        part * _seconds(differentiate, device) / rows + _seconds(optimizer.step, device) / BATCH,
        part * _seconds(read, device) / rows,
        (part * first + max_new_tokens * token) / rows,
    )


def _seconds(work, device) -> float:
    """The shortest of TIMED_STEPS runs of `work` after one that warms up; a long one runs once."""
    import torch

    taken = []
    for _ in range(TIMED_STEPS + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
        if taken[0] > LONG_STEP_SECONDS:
            return taken[0]
    return min(taken[1:])


def training_flop(shape: Shape, context: int = CONTEXT) -> float:
    """Floating-point operations of training on one article: 6 per weight and token (Kaplan et al.,
    arXiv 2001.08361, 2.1), and 12 x layers x width x context per token for the attention scores.
    """
    return context * (6 * shape.weights + 12 * shape.layers * shape.width * context)


def on_a_gpu(shape: Shape, new_tokens: int) -> Work:
    """Seconds of an article on a GPU by the two assumptions above: reading takes a third of
    training's operations (Kaplan et al.).
    """
    train = training_flop(shape) / (TFLOPS_OF_A_GPU * 1e12)
    return Work(train, train / 3, train / 3 + new_tokens * GPU_SECONDS_PER_TOKEN)


def in_hours(work: dict[str, Work], unit: Work) -> str:
    """`about 3.0 hours: stage 2.0, stage 1.0`; in days too, or in minutes, where it is these."""
    seconds = {stage: amount.seconds(unit) for stage, amount in work.items()}
    total = sum(seconds.values())
    name, size = ("hours", 3600) if total >= 5400 else ("minutes", 60)
    days = f" ({total / 86400:.0f} days)" if total > 48 * 3600 else ""
    return f"about {total / size:.1f} {name}{days}: " + ", ".join(
        f"{stage} {value / size:.1f}" for stage, value in seconds.items()
    )


def lines(
    work: dict[str, Work], unit: Work, *, precision, shape: Shape, new_tokens: int
) -> list[str]:
    """The estimate in words: hours of the whole and of each stage, whence, and how uncertain.

    `precision` is the training.Precision of a script that trains.
    """
    device = precision.device.torch_device
    sentences = [
        f"Estimate for this machine ({device}): {in_hours(work, unit)}",
        f"Scaled from steps timed just now, of a {shape.config.model_type} of the study's shape "
        f"({shape.weights / 1e6:.0f} million weights, random ones), for "
        f"{CONTEXT:,} tokens: an article takes {unit.train:.3g} s to train on (matrix products in "
        f"{precision.products}), {unit.read:.3g} to read and {unit.write:.3g} to "
        f"summarize (in {precision.device.dtype}). Shorter articles make it less; "
        "tokenising, ROUGE, drawings and saving are left out: good to a factor of two at best.",
    ]
    if device.type != "cuda":
        seconds = sum(amount.seconds(unit) for amount in work.values())
        sentences.append(
            "There is no GPU here to time: on this processor it is "
            f"{forecast.in_words(seconds)} of work. Estimate for one GPU that sustains "
            f"{TFLOPS_OF_A_GPU:.0f} TFLOP/s in float32 with TF32 and writes "
            f"{1 / GPU_SECONDS_PER_TOKEN:,.0f} tokens a second, both assumptions: "
            f"{in_hours(work, on_a_gpu(shape, new_tokens))}"
        )
        if seconds > LONG_FOR_A_PROCESSOR:
            sentences.append(
                "The same study of the demo's small model takes 13 minutes (--preset demo) or 44 "
                "(--preset demo-full) on two cores; --max_examples and --to make this one smaller. "
                "Interrupted, the same command goes on where it stopped."
            )
    return sentences
