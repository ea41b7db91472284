"""What does attribution cost over the passes it cannot avoid?

Random weights, KL on the last eighth of the positions, a column per method. `--family` takes other
families than GPT-2; `--shape smollm2 --family all` is each of them at SmolLM2's size (30 layers,
576 wide, 9 heads, 3 of keys and values where a family's heads share them, MLPs of 1,536).
"bare" is EAP-IG's forward and backward passes with Gauss-Legendre points (frozen parameters,
fused attention, logits at target positions only, the same precision) and its two plain runs, with
no attribution at all; "own bare" the same of the method's own passes: secant's two forward and
one backward. Times alternate in one process, medians are taken; every peak of memory is a process
of its own. A second measurement attributes more examples of one length: time should grow with
them, memory not.

Reads   nothing
Writes  attribution.json and attribution.png in --output_dir

    python benchmarks/attribution.py
    python benchmarks/attribution.py --shape smollm2 --family all --tokens 256 --examples 1
    python benchmarks/attribution.py --device cuda --shape small,xl --dtypes float32,bfloat16 \
        --tokens 1024 --batch_size 4 --examples 128
"""

import argparse
import itertools
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common  # noqa: E402
from runs import console, devices, disk, flags  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
TOKENS = "256,512,1024"
SHAPE = "small"  # small, xl or smollm2; several with commas
FAMILY = "gpt2"  # of the model; several with commas, or all
LAYERS = 0  # of the model; 0: the shape's
DTYPES = "float32"  # float32: all of it; bfloat16: matrix products only; both with a comma
REPEATS = 5  # of each measurement; the median is reported
METHODS = "EAP-IG-inputs,secant"  # a column each; "bare" is the passes of EAP-IG-inputs
STEPS = 5  # points of EAP-IG, segments of secant-segments
CLOCK = "wall"  # cpu: seconds of this process's threads, for a machine that others use as well
# How many, for the growth with examples, at the smallest length; for one long run on a GPU give one
# number.
EXAMPLES = "1,2,4,8"
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, "outputs/benchmarks")
    parser.add_argument(
        "--tokens", type=flags.int_list, default=TOKENS, help="lengths (default: %(default)s)"
    )
    parser.add_argument(
        "--shape",
        type=several(common.SHAPES),
        default=SHAPE,
        help="small, xl, smollm2 (default: %(default)s)",
    )
    parser.add_argument(
        "--family",
        type=several(common.FAMILIES),
        default=FAMILY,
        help=f"{', '.join(common.FAMILIES)}, or all (default: %(default)s)",
    )
    parser.add_argument(
        "--layers", type=flags.count, default=LAYERS, help="0: the shape's (default: %(default)s)"
    )
    parser.add_argument(
        "--dtypes",
        type=several(("float32", "bfloat16")),
        default=DTYPES,
        help="float32, bfloat16 (default: %(default)s)",
    )
    parser.add_argument("--methods", default=METHODS, help="(default: %(default)s)")
    parser.add_argument(
        "--clock", choices=common.CLOCKS, default=CLOCK, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--repeats", type=flags.positive_int, default=REPEATS, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--steps", type=flags.positive_int, default=STEPS, help="points (default: %(default)s)"
    )
    parser.add_argument(
        "--examples",
        type=flags.int_list,
        default=EXAMPLES,
        help="for the growth with examples (default: %(default)s)",
    )
    parser.add_argument(
        "--only",
        metavar="METHOD",
        help="run one method, or bare, and print its peak memory; used by the script itself",
    )
    return parser.parse_args(argv)


def methods_of(args) -> list[str]:
    """The methods asked for. Raises InputError for one that is unknown or has no passes."""
    from eap import InputError
    from eap.methods import METHODS as KNOWN

    known = [name for name, method in KNOWN.items() if method.points is not None]
    names = args.methods.split(",")
    if wrong := [name for name in names if name not in known]:
        raise InputError(f"--methods: expected some of {','.join(known)}, got {wrong[0]!r}")
    return names


def several(known):
    """A type for argparse: some of the `known` names, separated by commas, or all, as a list."""

    def read(text: str) -> list[str]:
        if text == "all":
            return list(known)
        if wrong := [name for name in text.split(",") if name not in known]:
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(known)}, got {wrong[0]!r}"
            )
        return text.split(",")

    return read


STYLES = ("o-", "s--", "^:", "D-.", "v-", "P--")  # of lines, a setting each
BARE = "bare"
YARDSTICK = "EAP-IG-inputs"  # whose passes `BARE` are


class Case(NamedTuple):
    """What is measured: a model of a family and a shape, in a precision, on texts of a length."""

    family: str
    shape: str
    dtype: str  # float32 or bfloat16
    tokens: int

    def model(self, args):
        """The adapter of the model."""
        return common.random_model(args, self.shape, self.family)

    @property
    def autocast(self):
        """What `hooks.autocast` takes."""
        import torch

        return torch.bfloat16 if self.dtype == "bfloat16" else None


def bare(adapter, pairs, *, method: str, steps: int, autocast) -> None:
    """The method's passes alone: plain runs, and a forward and backward pass per point."""
    import torch

    from eap import hooks, metrics
    from eap.dataset import collate
    from eap.methods import METHODS as KNOWN

    device = next(adapter.model.parameters()).device
    batch = collate(list(range(len(pairs))), pairs).to(device)
    points = KNOWN[method].points(adapter.graph, steps, "gauss-legendre")
    clean_run = KNOWN[method].rules is None or len(points) > 1

    def logits(embeddings):
        hidden = adapter.hidden(embeddings)
        return adapter.unembed(hidden[batch.target_rows, batch.target_positions])

    with hooks.frozen(adapter.model), hooks.autocast(device, autocast):
        clean = adapter.embed(batch.clean_ids).detach()
        corrupted = adapter.embed(batch.corrupted_ids).detach()
        with torch.no_grad():
            other = logits(corrupted)
            plain = logits(clean) if clean_run else None
        for point in points:
            value = logits(torch.lerp(corrupted, clean, point.share).requires_grad_())
            plain = value.detach() if plain is None else plain
            reference = metrics.reference(plain, other, target_ids=batch.target_ids)
            metric = metrics.per_example(
                "kl",
                value,
                reference=reference,
                target_rows=batch.target_rows,
                n_examples=len(pairs),
            )
            metric.sum().backward()


def ours(adapter, pairs, *, method: str, steps: int, autocast, size: int | None = None) -> None:
    """Edge scores of the pairs, `size` at a time; they go nowhere, as the script's go to disk."""
    from eap.attribute import attribute_batches
    from eap.dataset import batches
    from eap.methods import Settings

    parts = batches(pairs, size or len(pairs))
    settings = Settings(method, steps=steps, autocast=autocast)
    for _ in attribute_batches(adapter, parts, settings=settings):
        pass


def cost(args, case: Case) -> dict:
    """Median seconds of the methods and of their passes, alternating; peak memory of each.

    Peaks are of a process for each.
    """
    adapter, methods = case.model(args), methods_of(args)
    pairs = common.random_pairs(adapter, case.tokens, n=args.batch_size or 1, seed=args.seed)
    work = [(kind, name) for name in methods for kind in (bare, ours)]
    if YARDSTICK not in methods:
        work.append((bare, YARDSTICK))
    times = measured(args, work, adapter=adapter, pairs=pairs, autocast=case.autocast)
    bare_seconds = times[bare, YARDSTICK]
    bare_gb = peak(args, BARE, case=case, adapter=adapter, examples=len(pairs))
    row = {**case._asdict(), "clock": args.clock}
    row |= {"bare_seconds": bare_seconds, "bare_gb": bare_gb, "methods": {}}
    for name in methods:
        seconds, own = times[ours, name], times[bare, name]
        gb = peak(args, name, case=case, adapter=adapter, examples=len(pairs))
        row["methods"][name] = {
            "seconds": seconds,
            "own_bare_seconds": own,
            "ratio": seconds / bare_seconds,
            "own_ratio": seconds / own,
            "gb": gb,
            "extra_gb": gb - bare_gb,
        }
    return row


def measured(args, work: list[tuple[Callable, str]], *, adapter, pairs, autocast) -> dict:
    """{(kind, method): median seconds}, in turn; the first round warms up."""
    device, times = devices.Device.of(vars(args)).torch_device, {key: [] for key in work}
    for repeat in range(args.repeats + 1):
        for kind, name in work:

            def once(kind=kind, name=name):
                kind(adapter, pairs, method=name, steps=args.steps, autocast=autocast)

            taken = common.seconds(once, device, clock=args.clock)
            if repeat:
                times[kind, name].append(taken)
    return {key: statistics.median(seconds) for key, seconds in times.items()}


def peak(args, name: str, *, case: Case, adapter, examples: int) -> float:
    """Peak memory in GB of a method, or of the bare passes.

    Of a GPU's tensors, or of a process of its own.
    """
    device = devices.Device.of(vars(args)).torch_device
    if device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        repeated(args, name, case=case, adapter=adapter, examples=examples)
        return common.peak_gb(device)
    values = {
        "--only": name,
        "--tokens": case.tokens,
        "--shape": case.shape,
        "--family": case.family,
        "--layers": args.layers,
        "--dtypes": case.dtype,
        "--steps": args.steps,
        "--examples": examples,
        "--seed": args.seed,
        "--device": args.device,
        "--batch_size": args.batch_size or 1,
    }
    words = [str(word) for flag_and_value in values.items() for word in flag_and_value]
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def growth(args, case: Case, *, name: str) -> list[dict]:
    """Seconds and peak memory of attributing several examples of one length by a method."""
    adapter, rows = case.model(args), []
    device = devices.Device.of(vars(args)).torch_device
    size, most = args.batch_size or 1, max(args.examples)
    pairs = common.random_pairs(adapter, case.tokens, n=most, seed=args.seed)

    def once(n: int) -> None:
        how = {"method": name, "steps": args.steps, "autocast": case.autocast}
        ours(adapter, pairs[:n], size=size, **how)

    once(size)
    for n in args.examples:
        taken = common.seconds(lambda n=n: once(n), device, clock=args.clock)
        gb = peak(args, name, case=case, adapter=adapter, examples=n)
        row = {**case._asdict(), "method": name, "examples": n, "seconds": taken, "gb": gb}
        rows.append(row)
    return rows


def repeated(args, name: str, *, case: Case, adapter, examples: int) -> None:
    """Twice the bare passes on one batch, or a method on as many examples as are asked for."""
    size = args.batch_size or 1
    n = size if name == BARE else examples
    pairs = common.random_pairs(adapter, case.tokens, n=n, seed=args.seed)
    how = {"steps": args.steps, "autocast": case.autocast}
    for _ in range(2):
        if name == BARE:
            bare(adapter, pairs, method=YARDSTICK, **how)
        else:
            ours(adapter, pairs, method=name, size=size, **how)


def savings(rows: list[dict]) -> list[str]:
    """What bfloat16 takes of float32's time and memory: a line for each method, shape and length.

    Only for those that were measured with both.
    """
    cells = {tuple(row[what] for what in Case._fields): row for row in rows}
    lines = []
    for (family, shape, dtype, tokens), half in cells.items():
        full = cells.get((family, shape, "float32", tokens))
        if dtype != "bfloat16" or not full:
            continue
        passes = half["bare_seconds"] / full["bare_seconds"]
        for name, mine in half["methods"].items():
            whole = full["methods"][name]
            time, memory = mine["seconds"] / whole["seconds"], mine["gb"] / whole["gb"]
            lines.append(
                f"{family} {shape} {tokens:>5} tokens, {name}: bfloat16 takes {time:.2f} of "
                f"float32's time (the bare passes {passes:.2f}) and {memory:.2f} of its memory"
            )
    return lines


def plot(rows, grown):
    """A Figure: time in bare passes and memory over them, by method; both over examples."""
    from eap.style import COLOURS, subplots

    figure, axes = subplots(1, 3, figsize=(11.4, 3.3))
    ratio, memory, examples = axes
    settings = list(dict.fromkeys(_setting(row) for row in rows))
    palette = [COLOURS[name] for name in ("base", "circuit", "finetuned", "noise", "highlight")]
    for setting, style in zip(settings, itertools.cycle(STYLES), strict=False):
        chosen = [row for row in rows if _setting(row) == setting]
        more = [row for row in grown if _setting(row) == setting]
        suffix = f", {', '.join(setting)}" if len(settings) > 1 else ""
        x = [row["tokens"] for row in chosen]
        for number, name in enumerate(rows[0]["methods"]):
            look = {"color": palette[number % len(palette)]}
            cells = [row["methods"][name] for row in chosen]
            ratio.plot(x, [cell["ratio"] for cell in cells], style, label=name + suffix, **look)
            memory.plot(x, [cell["extra_gb"] for cell in cells], style, label=name + suffix, **look)
            of_method = [row for row in more if row["method"] == name]
            _plot_growth(examples, of_method, style=style, name=name + suffix, **look)
    ratio.axhline(1, color=COLOURS["chance"], ls=":", lw=0.9, label="bare passes of EAP-IG")
    ratio.set(xlabel="tokens", ylabel="time / bare passes", ylim=(0, None), title="Time")
    memory.set(xlabel="tokens", ylabel="GB over bare passes", ylim=(0, None), title="Peak memory")
    title = f"Growth with examples, {grown[0]['tokens']} tokens"
    examples.set(xlabel="examples", ylabel="relative to the fewest", ylim=(0, None), title=title)
    for axis in axes:
        axis.legend(fontsize=7)
    return figure


def _setting(row: dict) -> tuple[str, str, str]:
    """What a line of the figure is of, besides its method."""
    return row["family"], row["shape"], row["dtype"]


def _plot_growth(axis, rows: list[dict], *, style: str, name: str, color: str) -> None:
    """Time and memory of one method in one setting over the number of examples."""
    if not rows:
        return
    few, n = rows[0], [row["examples"] for row in rows]
    time = [row["seconds"] / few["seconds"] for row in rows]
    memory = [row["gb"] / few["gb"] for row in rows]
    axis.plot(n, time, style, color=color, label=f"time, {name}")
    axis.plot(n, memory, ":", color=color, label=f"peak memory, {name}")


def say_costs(row: dict) -> None:
    """Print a line for every method of a row of `cost`."""
    head = f"{row['family']} {row['shape']} {row['dtype']} {row['tokens']:>5} tokens"
    print(f"{head}: bare passes {row['bare_seconds']:.2f} s, peak {row['bare_gb']:.2f} GB")
    for name, cells in row["methods"].items():
        print(
            f"  {name:<18} {cells['seconds']:.2f} s: {cells['ratio']:.2f} of these passes, "
            f"{cells['own_ratio']:.2f} of its own; {cells['extra_gb']:.2f} GB more",
            flush=True,
        )


def main(argv=None):
    """Measure every shape, precision and length."""
    args = parse(argv)
    methods, device = methods_of(args), devices.Device.of(vars(args)).torch_device
    if args.only:
        case = Case(args.family[0], args.shape[0], args.dtypes[0], args.tokens[0])
        model, n = case.model(args), args.examples[0]
        repeated(args, args.only, case=case, adapter=model, examples=n)
        print(common.peak_gb(device))
        return
    rows, grown, size = [], [], args.batch_size or 1
    print(f"{common.device_name(device)}; {args.steps} points, {size} at a time", flush=True)
    for case in itertools.product(args.family, args.shape, args.dtypes, args.tokens):
        rows.append(cost(args, Case(*case)))
        say_costs(rows[-1])
    for line in savings(rows):
        print(line)
    for *case, name in itertools.product(args.family, args.shape, args.dtypes, methods):
        grown += growth(args, Case(*case, min(args.tokens)), name=name)
    for row in grown:
        print(
            f"{row['family']} {row['shape']} {row['dtype']} {row['tokens']} tokens, "
            f"{row['method']}, "
            f"{row['examples']:>3} examples: {row['seconds']:.2f} s, peak {row['gb']:.2f} GB"
        )
    numbers = {"format": 1, "device": common.device_name(device), "steps": args.steps}
    numbers |= {"batch_size": size, "rows": rows, "examples": grown}
    out = Path(args.output_dir)
    disk.write_json(out / "attribution.json", numbers)
    disk.save_figure(lambda: plot(rows, grown), out / "attribution.png")


if __name__ == "__main__":
    console.run_script(main)
