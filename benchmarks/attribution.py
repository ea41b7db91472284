"""What does attribution cost over the passes it cannot avoid?

GPT-2 small's shape with random weights, float32, one example, KL on the last eighth of the positions. "bare" is the same forward and
backward passes (frozen parameters, fused attention, logits at target positions only) and the two plain runs, with no attribution at
all. Every measurement of peak memory is a process of its own; times alternate between the two in one process, medians are taken.

Reads   nothing
Writes  attribution.json and attribution.png in --output_dir

    python benchmarks/attribution.py --tokens 256,512,1024
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from summarization import runs  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
TOKENS = "256,512,1024"
REPEATS = 5  # of each measurement; the median is reported
STEPS = 5  # points of EAP-IG
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = runs.parser(__doc__, "outputs/benchmarks")
    parser.add_argument("--tokens", type=runs.int_list, default=TOKENS, help="lengths (default: %(default)s)")
    parser.add_argument("--repeats", type=runs.positive_int, default=REPEATS, help="(default: %(default)s)")
    parser.add_argument("--steps", type=runs.positive_int, default=STEPS, help="points (default: %(default)s)")
    parser.add_argument("--only", choices=["bare", "ours"], help="run one of the two and print its peak memory; used by the script itself")
    return parser.parse_args(argv)


def setting(args, tokens: int):
    """(adapter, pair): GPT-2 small's shape and a pair that differs in a quarter of its positions."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from eap.dataset import Pair
    from eap.models import adapt

    torch.manual_seed(args.seed)
    adapter = adapt(GPT2LMHeadModel(GPT2Config()).to(runs.torch_device(args)).eval())
    clean, other = torch.randint(adapter.vocabulary_size, (2, tokens)).tolist()
    corrupted = clean[: tokens // 4] + other[tokens // 4 : tokens // 2] + clean[tokens // 2 :]
    return adapter, Pair("0", clean, corrupted, tokens - tokens // 8)


def bare(adapter, pair, steps: int) -> None:
    """The passes alone: two plain runs, and a forward and backward pass per point."""
    import torch

    from eap import hooks, metrics
    from eap.attribute import gauss_legendre
    from eap.dataset import collate

    batch = collate([0], [pair]).to(next(adapter.model.parameters()).device)

    def logits(embeddings):
        return adapter.unembed(adapter.hidden(embeddings)[batch.target_rows, batch.target_positions])

    with hooks.frozen(adapter.model):
        clean, corrupted = (adapter.embed(ids).detach() for ids in (batch.clean_ids, batch.corrupted_ids))
        with torch.no_grad():
            reference = metrics.reference(logits(clean), logits(corrupted), batch.target_ids)
        for share in gauss_legendre(steps)[0]:
            point = (corrupted + float(share) * (clean - corrupted)).requires_grad_()
            metrics.per_example("kl", logits(point), reference, batch.target_rows, 1).sum().backward()


def ours(adapter, pair, steps: int) -> None:
    """Edge scores of the pair."""
    from eap.attribute import attribute

    attribute(adapter.model, [pair], steps=steps)


WORK = {"bare": bare, "ours": ours}


def peak_gb() -> float:
    """Peak resident memory of this process in GB. Not getrusage's: on Linux that keeps the parent's peak over fork and exec."""
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024 / 1e9


def measure(args, tokens: int) -> dict:
    """Median seconds of both, alternating, and peak memory of each in a process of its own."""
    adapter, pair = setting(args, tokens)
    seconds = {name: [] for name in WORK}
    for repeat in range(args.repeats + 1):
        for name, work in WORK.items():
            started = time.perf_counter()
            work(adapter, pair, args.steps)
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - started)
    row = {"tokens": tokens, **{f"{name}_seconds": statistics.median(values) for name, values in seconds.items()}}
    for name in WORK:
        command = [sys.executable, __file__, "--only", name, "--tokens", str(tokens), "--steps", str(args.steps), "--seed", str(args.seed)]
        row[f"{name}_gb"] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    return row | {"time_ratio": row["ours_seconds"] / row["bare_seconds"], "extra_gb": row["ours_gb"] - row["bare_gb"]}


def plot(rows):
    """A Figure: the ratio of times, and peak memory, over tokens."""
    from eap.style import COLOURS, subplots

    figure, (left, right) = subplots(1, 2, figsize=(8.4, 3.4))
    x = [row["tokens"] for row in rows]
    left.plot(x, [row["time_ratio"] for row in rows], "o-", color=COLOURS["circuit"])
    left.axhline(1, color=COLOURS["chance"], ls="--", lw=0.9)
    left.set(xlabel="tokens", ylabel="time / bare passes", ylim=(0, None), title="Time")
    for name, colour in (("bare", COLOURS["chance"]), ("ours", COLOURS["circuit"])):
        right.plot(x, [row[f"{name}_gb"] for row in rows], "o-", color=colour, label=name)
    right.set(xlabel="tokens", ylabel="peak memory (GB)", ylim=(0, None), title="Memory")
    right.legend()
    return figure


def main(argv=None):
    """Measure every length."""
    args = parse(argv)
    if args.only:
        adapter, pair = setting(args, args.tokens[0])
        for _ in range(2):
            WORK[args.only](adapter, pair, args.steps)
        print(peak_gb())
        return
    rows = [measure(args, tokens) for tokens in args.tokens]
    for row in rows:
        print(f"{row['tokens']:>5} tokens: bare {row['bare_seconds']:.2f} s, ours {row['ours_seconds']:.2f} s, "
              f"ratio {row['time_ratio']:.2f}; peak {row['bare_gb']:.2f} and {row['ours_gb']:.2f} GB, {row['extra_gb']:.2f} GB more")
    out = Path(args.output_dir)
    runs.write_text(out / "attribution.json", json.dumps({"format": 1, "steps": args.steps, "rows": rows}, indent=1) + "\n")
    runs.save_figure(plot(rows), out / "attribution.png")


if __name__ == "__main__":
    runs.run_script(main)
