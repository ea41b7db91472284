"""What does it cost to run the model as a circuit, in plain forward passes?

Circuits of the ten standard sizes (the strongest edges of the embedded demo model by |score|, .1 to
100 %) run at GPT-2 small's shape, whose graph is the same, with random weights on one pair of
random tokens. The yardstick is the plain forward pass with logits at the target positions only,
timed in turn with the circuits. The clean and corrupted runs are made once for all circuits and
timed apart.

Reads   the embedded demo model and newsroom
Writes  evaluation.json and evaluation.png in --output_dir

    python benchmarks/evaluation.py
"""

import json
import statistics
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common  # noqa: E402
from runs import console, devices, disk, flags  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
TOKENS = "256,512,1024"
REPEATS = 5  # of each measurement; the median is reported
DEMO_EXAMPLES = 8  # pairs on which the demo model's edges are scored
# --------------------------------------------------------------------------------------------

SETUP = "plain runs, once"


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, "outputs/benchmarks")
    parser.add_argument(
        "--tokens", type=flags.int_list, default=TOKENS, help="lengths (default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=flags.positive_int, default=REPEATS, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--demo_examples",
        type=flags.positive_int,
        default=DEMO_EXAMPLES,
        help="(default: %(default)s)",
    )
    return parser.parse_args(argv)


def demo_pairs(n: int, seed: int = 0):
    """n clean/corrupted pairs of the demo newsroom's validation split."""
    from eap.dataset import Pair
    from runs import opening
    from summarization import corruption
    from summarization.newsroom import articles

    tokenizer = opening.load_tokenizer("demo")
    examples, _ = corruption.prepare_all(
        tokenizer, articles("validation", 2 * n, seed=seed), max_length=256
    )
    fill = corruption.swap_filler(examples, [])
    rows = [
        corruption.pair(example, row, fill=fill, seed=seed)
        for row, example in enumerate(examples[:n])
    ]
    return [
        Pair(row["id"], row["clean_ids"], row["corrupted_ids"], row["summary_start"])
        for row in rows
    ]


def demo_scores(args):
    """Mean edge scores of the demo model."""
    import torch

    from eap.attribute import attribute
    from runs import opening

    device = devices.Device.of(vars(args)).torch_device
    model = opening.load_model("demo", torch.float32, device=device)
    scores = attribute(model, demo_pairs(args.demo_examples, args.seed))
    return scores.edges.double().mean(0)


def measure(args, adapter, *, circuits: dict, tokens: int) -> list[dict]:
    """For each circuit: median seconds of a run, and their ratio to the plain forward pass."""
    import torch

    from eap import hooks
    from eap.dataset import collate
    from eap.evaluate import CircuitRunner

    device = devices.Device.of(vars(args)).torch_device
    pairs = common.random_pairs(adapter, tokens, n=1, seed=args.seed)
    batch = collate([0], pairs).to(device)

    def plain():
        with torch.no_grad():
            hidden = adapter.hidden(adapter.embed(batch.clean_ids))
            adapter.unembed(hidden[batch.target_rows, batch.target_positions])

    times = {name: [] for name in ("plain", "setup", *circuits)}
    with hooks.frozen(adapter.model):
        for repeat in range(args.repeats + 1):
            times["setup"].append(common.seconds(lambda: CircuitRunner(adapter, batch), device))
            runner = CircuitRunner(adapter, batch)
            for name, kept in circuits.items():
                run_circuit = partial(runner.logits, kept)
                times[name].append(common.seconds(run_circuit, device))
                times["plain"].append(common.seconds(plain, device))
            if repeat == 0:  # the first round warms up
                times = {name: [] for name in times}
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    names = {fraction: fraction for fraction in circuits} | {SETUP: "setup"}
    return [
        {
            "tokens": tokens,
            "fraction": fraction,
            "seconds": middle[name],
            "plain_seconds": middle["plain"],
            "ratio": middle[name] / middle["plain"],
        }
        for fraction, name in names.items()
    ]


def plot(rows):
    """A Figure: plain forward passes per circuit run, over circuit size."""
    from eap.style import COLOURS, subplots

    figure, axis = subplots(figsize=(6.4, 3.6))
    lengths = list(dict.fromkeys(row["tokens"] for row in rows))
    for tokens, style in zip(lengths, ("-o", "--s", ":^", "-.v"), strict=False):
        chosen = [row for row in rows if row["tokens"] == tokens and row["fraction"] != SETUP]
        x, y = [100 * row["fraction"] for row in chosen], [row["ratio"] for row in chosen]
        axis.plot(x, y, style, color=COLOURS["circuit"], label=f"{tokens} tokens")
    axis.axhline(1, color=COLOURS["chance"], ls=":", lw=0.9, label="plain forward pass")
    axis.set(
        xscale="log",
        xlabel="edges in the circuit (% of 32,491)",
        ylabel="time / plain forward pass",
        ylim=(0, None),
        title="Running the model as a circuit (GPT-2 small's shape)",
    )
    axis.legend()
    return figure


def main(argv=None):
    """Measure every length."""
    args = parse(argv)
    from eap.selection import FRACTIONS, top_n

    adapter, scores = common.random_model(args), demo_scores(args)
    circuits = {
        fraction: top_n(adapter.graph, scores, n=max(1, round(fraction * adapter.graph.n_edges)))
        for fraction in FRACTIONS
    }
    rows, device = [], devices.Device.of(vars(args)).torch_device
    print(common.device_name(device), flush=True)
    for tokens in args.tokens:
        *of_circuits, setup = measure(args, adapter, circuits=circuits, tokens=tokens)
        rows += [*of_circuits, setup]
        ratios = [row["ratio"] for row in of_circuits]
        by_size = [f"{100 * row['fraction']:g}%:{row['ratio']:.2f}" for row in of_circuits]
        print(
            f"{tokens:>5} tokens: mean {statistics.mean(ratios):.2f}, most {max(ratios):.2f} plain "
            f"forwards; {' '.join(by_size)}; the plain runs, once for all circuits: "
            f"{setup['ratio']:.1f}",
            flush=True,
        )
    out = Path(args.output_dir)
    numbers = {"format": 1, "device": common.device_name(device), "rows": rows}
    disk.write_text(out / "evaluation.json", json.dumps(numbers, indent=1) + "\n")
    disk.save_figure(lambda: plot(rows), out / "evaluation.png")


if __name__ == "__main__":
    console.run_script(main)
