"""Which method finds the better circuit, and at what price?

On the embedded demo model before and after fine-tuning, for every method: f on pairs that it did
not see, with the paired difference from EAP-IG (5 Gauss-Legendre points); overlap of circuits
found on other examples, at equal numbers of examples and at equal time; correlation with exact
patching of single edges; completeness; seconds per pair. On planted circuits (tests/planted.py:
small GPT-2s whose true edges are known by construction): AUROC of |score| against the true edges.
EAP, AttnLRP and GIM take nll where kl and js have no gradient. Edges are ranked by |mean score|
and by the mean of |score per example|.

Reads   the embedded demo model and newsroom; --model_path: the demo model fine-tuned already
Writes  methods.json and methods.png in --output_dir; without --model_path the fine-tuned model

    python benchmarks/methods.py
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from runs import console, devices, disk, flags  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
METRIC = "kl"  # by which edges are scored and circuits judged
EXAMPLES = 48  # pairs to find circuits on
JUDGES = 32  # other pairs, to judge them on
OTHERS = 336  # further pairs, for the overlap of circuits of larger samples
MANY = "EAP-IG, Legendre, 5; secant"  # methods that score all of them, on the fine-tuned model
EXACT_EXAMPLES = 6  # pairs on which single edges are patched exactly
EDGES = 60  # the strongest by EAP-IG and by secant, and as many random others
SEEDS = 5  # planted circuits of each size
# --------------------------------------------------------------------------------------------

MODELS = ("base", "fine-tuned")
PLANTED = "planted"
METRICS = ("kl", "nll", "js", "logit_diff")


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, "outputs/benchmarks")
    shown = "(default: %(default)s)"
    parser.add_argument("--model_path", help="the fine-tuned model (default: it is made)")
    parser.add_argument("--metric", default=METRIC, choices=METRICS, help=shown)
    for name, default in (
        ("examples", EXAMPLES),
        ("judges", JUDGES),
        ("others", OTHERS),
        ("exact_examples", EXACT_EXAMPLES),
        ("edges", EDGES),
        ("seeds", SEEDS),
    ):
        parser.add_argument(f"--{name}", type=flags.positive_int, default=default, help=shown)
    parser.add_argument("--methods", help="some of the table's rows, separated by ; (default: all)")
    parser.add_argument("--many", default=MANY, help=shown)
    parser.add_argument(
        "--on",
        nargs="+",
        default=[*MODELS, PLANTED],
        choices=[*MODELS, PLANTED],
        help="where to measure (default: all three)",
    )
    return parser.parse_args(argv)


def named(text: str | None, known) -> list[str]:
    """The `known` names in a list separated by semicolons; all for None.

    Raises InputError for others.
    """
    from eap import InputError

    if text is None:
        return list(known)
    names = [part.strip() for part in text.split(";") if part.strip()]
    if wrong := [name for name in names if name not in known]:
        raise InputError(f"expected methods of {'; '.join(known)}, got {wrong[0]!r}")
    return names


def fine_tuned(args) -> str:
    """The folder of the demo model, fine-tuned as the demo does it; made if it is not there."""
    if args.model_path:
        return args.model_path
    from study.pipeline.presets import PRESETS

    folder = Path(args.output_dir) / "finetuned"
    words = f"--model_path demo --dataset demo {PRESETS['demo'].training}".split()
    script = ROOT / "run_finetuning_with_checkpoints.py"
    command = [sys.executable, str(script), *words, "--output_dir", str(folder)]
    subprocess.run(command, check=True)
    return str(folder)


# ---------------------------------------------------------------- the table

COLUMNS = f"{'method, ranking':<22} {'f at .5':>6}{'1':>6}{'2':>6}{'5':>6}{'10':>6}{'20 %':>6}"
COLUMNS += f"{'halves':>8}{'time':>6}{'A 16':>6}{'A 31':>6}{'r':>6}{'rho':>6}{'gap':>6}{'s':>6}"


def cell(value: float | None, width: int = 6, *, digits: int = 2) -> str:
    """A number with its decimals, or a dash."""
    return f"{'-' if value is None else f'{value:.{digits}f}':>{width}}"


def marked(row: dict) -> str:
    """f, with + or - behind it where its difference from the yardstick is told from zero."""
    from study.faithfulness.numbers import supports_claim

    difference = row["difference"]
    sign = ("+" if difference["mean"] > 0 else "-") if supports_claim(difference) else " "
    return f"{row['f']:.2f}".rjust(5) + sign


def lines(rows: list[dict], planted: list[dict]) -> list[str]:
    """The table: two lines for every method on every model, one for each ranking."""
    from benchmarks.methods_data import RANKS

    areas = {(row["way"], row["subspaces"]): row["mean"] for row in planted}
    text = []
    for model in dict.fromkeys(row["model"] for row in rows):
        text += ["", f"{model} model", COLUMNS]
        for row in (row for row in rows if row["model"] == model):
            for rank in RANKS:
                part = row[rank]
                name = row["way"] if rank == RANKS[0] else "  |score per example|"
                line = f"{name:<22} " + "".join(marked(f) for f in part["f"])
                line += cell(part["halves"][-1], 8) + cell(part["equal_time"][-1])
                if rank == RANKS[0]:
                    line += "".join(cell(areas.get((row["way"], size))) for size in (16, 31))
                    gap = None if row["gap"] is None else 100 * row["gap"]
                    line += cell(row["pearson"]) + cell(row["spearman"])
                    line += cell(gap, digits=0) + cell(row["seconds"])
                text.append(line)
    return [*text, "", *LEGEND]


LEGEND = (
    "f: faithfulness on unseen pairs by share of edges; + or -: its paired difference from EAP-IG",
    "with 5 Gauss-Legendre points, ranked by |mean score|, is above or below zero (95 % by",
    "bootstrap). halves, time: Jaccard index of the 5 % circuits of two disjoint samples, each of",
    "half of the pairs, or of as many as can be scored in the time that EAP-IG takes for a",
    "quarter of them. A: AUROC on planted circuits of 16 and 31 subspaces. r, rho: Pearson",
    "correlation of scores, Spearman of |score|, with exact patching. gap: completeness, %. s:",
    "seconds a pair (of all threads on a CPU).",
)


def stable_lines(rows: list[dict], examples: int) -> list[str]:
    """Overlap over the number of pairs, for methods that were run on more than they need."""
    text = []
    for row in rows:
        curve = row["mean"]["disjoint"]
        if curve and curve[-1]["pairs"] >= examples:
            numbers = "  ".join(
                f"{point['pairs']}: {point['jaccard'][0]:.2f} {point['jaccard'][1]:.2f}"
                for point in curve
            )
            text.append(f"{row['way']}, {row['model']}: {numbers}")
    head = "Overlap of circuits of two disjoint samples, pairs: at 2 % and at 5 % of the edges"
    return ["", head, *text] if text else []


def main(argv=None):
    """Measure, print the table, draw the figure."""
    args = parse(argv)
    from benchmarks import common, methods_figure
    from benchmarks import methods_data as data

    ways = named(args.methods, data.WAYS)
    many = named(args.many, data.WAYS)
    out, rows = Path(args.output_dir), []
    planted = data.on_planted_circuits(args, ways) if PLANTED in args.on else []
    for name in MODELS:
        if name in args.on:
            path = "demo" if name == MODELS[0] else fine_tuned(args)
            tuned = name == MODELS[1]
            some = [way for way in ways if tuned or not data.WAYS[way].slow]
            of_many = many if tuned else []
            rows += data.on_model(args, name, path=path, ways=some, many=of_many)
    about = {"format": 1, "device": common.device_name(devices.Device.of(vars(args)).torch_device)}
    about |= {"metric": args.metric, "examples": args.examples, "judges": args.judges}
    about |= {"overlap_sizes": data.OVERLAPS, "yardstick": data.YARDSTICK}
    disk.write_json(out / "methods.json", {**about, "rows": rows, "planted": planted})
    print("\n".join(lines(rows, planted) + stable_lines(rows, args.examples)))
    if rows:

        def figure():
            return methods_figure.plot(rows, yardstick=data.YARDSTICK, ours=data.OURS)

        disk.save_figure(figure, out / "methods.png")


if __name__ == "__main__":
    console.run_script(main)
