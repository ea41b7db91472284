"""How long a study will take on this machine: a few timed steps of GPT-2 small's shape, multiplied by how many the stages need."""

import time
from typing import NamedTuple

CONTEXT = 1024  # tokens of an article with its summary; most are shorter, so the estimate is rather too high
TIMED_STEPS = 3
TIMED_TOKENS = 9  # new tokens in the timing of a summary
TFLOPS_OF_A_GPU = 20.0  # float32 with TF32 that a training step sustains on a data-centre GPU; an assumption, used where there is no GPU
GPU_SECONDS_PER_TOKEN = (
    0.01 / 16
)  # of a summary: a decoding step of 10 ms, most of it launching kernels, for 16 articles; another one


class Work(NamedTuple):
    """Articles that a stage trains on (forward, backward, optimizer), reads (forward only), and summarizes."""

    train: float = 0
    read: float = 0
    write: float = 0

    def seconds(self, unit: "Work") -> float:
        """Seconds, given those of one article of each kind."""
        return self.train * unit.train + self.read * unit.read + self.write * unit.write


def measure(args, max_new_tokens: int, config=None, context: int = CONTEXT) -> Work:
    """Seconds of training on, reading and summarizing one article, timed on the device of `args` with random weights."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from summarization import opening, runs

    opening.silence_transformers()
    device = runs.torch_device(args)
    config = config or GPT2Config()
    model = GPT2LMHeadModel(config).to(device, runs.torch_dtype(args))
    rows = 8 if device.type == "cuda" else 1
    ids = torch.randint(config.vocab_size, (rows, context), device=device)
    optimizer = torch.optim.AdamW(model.parameters())

    def train():
        model(ids, attention_mask=torch.ones_like(ids), labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

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
        _seconds(train, device) / rows,
        _seconds(read, device) / rows,
        (first + max_new_tokens * token) / rows,
    )


def _seconds(work, device) -> float:
    """The shortest of TIMED_STEPS runs of `work` after one that warms up."""
    import torch

    taken = []
    for _ in range(TIMED_STEPS + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return min(taken[1:])


def training_flop(context: int = CONTEXT) -> float:
    """Floating-point operations of training GPT-2 small on one article: 6 per weight and token (Kaplan et al., arXiv 2001.08361, 2.1),
    and 12 x layers x width x context per token for the attention scores."""
    weights, layers, width = 124e6, 12, 768
    return context * (6 * weights + 12 * layers * width * context)


def on_a_gpu(new_tokens: int) -> Work:
    """Seconds of an article on a GPU by the two assumptions above: reading takes a third of training's operations (Kaplan et al.)."""
    train = training_flop() / (TFLOPS_OF_A_GPU * 1e12)
    return Work(train, train / 3, train / 3 + new_tokens * GPU_SECONDS_PER_TOKEN)


def in_hours(work: dict[str, Work], unit: Work) -> str:
    """`about 3.0 hours: stage 2.0, stage 1.0`."""
    hours = {stage: amount.seconds(unit) / 3600 for stage, amount in work.items()}
    return f"about {sum(hours.values()):.1f} hours: " + ", ".join(
        f"{stage} {value:.1f}" for stage, value in hours.items()
    )


def lines(work: dict[str, Work], unit: Work, device, new_tokens: int) -> list[str]:
    """The estimate in words: hours of the whole and of each stage, where the numbers come from, and how uncertain they are."""
    said = [
        f"Estimate for this machine ({device}): {in_hours(work, unit)}",
        f"Scaled from {TIMED_STEPS} steps timed just now, of GPT-2 small's shape with random weights at {CONTEXT:,} tokens: an article "
        f"takes {unit.train:.3g} s to train on, {unit.read:.3g} to read, {unit.write:.3g} to summarize. Shorter articles make it less; "
        "tokenising, ROUGE, drawings and saving are left out: good to a factor of two at best.",
    ]
    if device.type != "cuda":
        said.append(
            f"There is no GPU here to time. Estimate for one GPU that sustains {TFLOPS_OF_A_GPU:.0f} TFLOP/s and writes "
            f"{1 / GPU_SECONDS_PER_TOKEN:,.0f} tokens a second, both assumptions: {in_hours(work, on_a_gpu(new_tokens))}"
        )
    return said
