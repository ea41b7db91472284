"""How well do examples foretell the overlap of circuits that more of them would give?

From a circuit extracted from many pairs, random samples of --examples are taken. Each foretells by
`study.stability.curves` the overlap of circuits from more examples; beside it stands the overlap
that circuits from so many examples have, drawn from all pairs.

Reads   a circuit with its scores per example; at least eight times --examples of them
Writes  stability.json in --output_dir, and prints it as a table

    python benchmarks/stability.py --circuit C_before_summarization.json --examples 96
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eap import InputError  # noqa: E402
from runs import console, disk, flags  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
CIRCUIT = "C_before_summarization.json"
EXAMPLES = 96  # in each sample that foretells
SAMPLES = 6
# --------------------------------------------------------------------------------------------
GOAL = 0.8


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, "outputs/benchmarks")
    add = parser.add_argument
    add("--circuit", default=CIRCUIT, help="(default: %(default)s)")
    add("--examples", type=flags.positive_int, default=EXAMPLES, help="(default: %(default)s)")
    add("--samples", type=flags.positive_int, default=SAMPLES, help="(default: %(default)s)")
    return parser.parse_args(argv)


def main(argv=None):
    """Foretell, look, write."""
    import torch

    from eap import circuit, scores

    args = parse(argv)
    chosen = circuit.load_circuit(args.circuit)
    per_example = scores.load_example_scores(scores.examples_beside(args.circuit))
    if len(per_example) < 8 * args.examples:
        raise InputError(
            f"{args.circuit}: expected scores of at least {8 * args.examples} examples, got "
            f"{len(per_example)}; extract from more pairs or give a smaller --examples"
        )
    values, choose = chosen.rule.values(per_example), chosen.rule.taking(chosen.graph)
    generator = torch.Generator().manual_seed(args.seed)
    orders = [torch.randperm(len(values), generator=generator) for _ in range(args.samples)]
    drawn = [values[order[: args.examples]] for order in orders]
    rows = []
    for kind, most in (("resamples", args.examples), ("disjoint", args.examples // 2)):
        rows += compare(args, kind, values=values, drawn=drawn, choose=choose, most=most)
    for row in rows:
        console.Console.of(vars(args)).say(sentence(row))
    path = Path(args.output_dir) / "stability.json"
    disk.write_json(path, {"format": 1, "examples": args.examples, "rows": rows})


def compare(args, kind: str, *, values, drawn: list, choose, most: int) -> list[dict]:
    """A row for twice and for four times the largest number of examples in the samples' curves."""
    import torch

    from study.stability import curves as stability

    overlaps, _ = stability.KINDS[kind]
    curves = [
        stability.curve(kind, sample, choose=choose, goal=GOAL, seed=args.seed)
        for sample in console.Console.of(vars(args)).progress(drawn, f"foretelling, {kind}")
    ]
    rows = []
    for times in (2, 4):
        generator = torch.Generator().manual_seed(args.seed)
        n = times * most
        true = overlaps(values, n, draws=stability.DRAWS, generator=generator, choose=choose)
        ahead = [row for curve in curves for row in curve["ahead"] if row["examples"] == n]
        rows.append(
            {
                "kind": kind,
                "examples": n,
                "true": float(true.mean()),
                "foretold": [row["mean"] for row in ahead],
                "low": [row["low"] for row in ahead],
                "high": [row["high"] for row in ahead],
                "without_number": len(curves) - len(ahead),
            }
        )
    return rows


def sentence(row: dict) -> str:
    """What a row says."""
    means = row["foretold"]
    text = f"{row['kind']}, {row['examples']} examples: overlap {row['true']:.3f}"
    if means:
        intervals = list(zip(row["low"], row["high"], strict=True))
        covered = sum(low <= row["true"] <= high for low, high in intervals)
        width = sum(high - low for low, high in intervals) / len(intervals)
        text += (
            f"; foretold {sum(means) / len(means):.3f} ({min(means):.3f} to {max(means):.3f}), in "
            f"the interval of {covered} of {len(means)}, which is {width:.2f} wide"
        )
    return f"{text}; nothing foretold by {row['without_number']}"


if __name__ == "__main__":
    console.run_script(main)
