"""What does attribution cost over the passes it cannot avoid?

GPT-2's shape with random weights, KL on the last eighth of the positions, EAP-IG with Gauss-Legendre points. "bare" is the same forward
and backward passes (frozen parameters, fused attention, logits at target positions only, the same precision) and the two plain runs,
with no attribution at all. Times alternate between the two in one process, medians are taken; every peak of memory is a process of its
own. A second measurement attributes more examples of one length: time should grow with them, memory not.

Reads   nothing
Writes  attribution.json and attribution.png in --output_dir

    python benchmarks/attribution.py
    python benchmarks/attribution.py --device cuda --shape small,xl --dtypes float32,bfloat16 --tokens 1024 --batch_size 4 --examples 128
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common  # noqa: E402
from summarization import flags, runs  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
TOKENS = "256,512,1024"
SHAPE = "small"  # small or xl; several with commas
DTYPES = "float32"  # float32: all of it; bfloat16: matrix products only; both with a comma
REPEATS = 5  # of each measurement; the median is reported
STEPS = 5  # points of EAP-IG
EXAMPLES = "1,2,4,8"  # how many, for the growth with examples, at the smallest length; for one long run on a GPU give one number
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
        help="small, xl (default: %(default)s)",
    )
    parser.add_argument(
        "--dtypes",
        type=several(("float32", "bfloat16")),
        default=DTYPES,
        help="float32, bfloat16 (default: %(default)s)",
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
        choices=["bare", "ours"],
        help="run one of the two and print its peak memory; used by the script itself",
    )
    return parser.parse_args(argv)


def several(known):
    """A type for argparse: some of the `known` names, separated by commas, as a list."""

    def read(text: str) -> list[str]:
        if wrong := [name for name in text.split(",") if name not in known]:
            raise argparse.ArgumentTypeError(
                f"expected some of {', '.join(known)}, got {wrong[0]!r}"
            )
        return text.split(",")

    return read


def bare(adapter, pairs, steps: int, autocast) -> None:
    """The passes alone: two plain runs, and a forward and backward pass per point."""
    import torch

    from eap import hooks, metrics
    from eap.attribute import gauss_legendre
    from eap.dataset import collate

    device = next(adapter.model.parameters()).device
    batch = collate(list(range(len(pairs))), pairs).to(device)

    def logits(embeddings):
        return adapter.unembed(
            adapter.hidden(embeddings)[batch.target_rows, batch.target_positions]
        )

    with hooks.frozen(adapter.model), hooks.autocast(device, autocast):
        clean, corrupted = (
            adapter.embed(ids).detach() for ids in (batch.clean_ids, batch.corrupted_ids)
        )
        with torch.no_grad():
            reference = metrics.reference(logits(clean), logits(corrupted), batch.target_ids)
        for share in gauss_legendre(steps)[0]:
            point = (corrupted + float(share) * (clean - corrupted)).requires_grad_()
            metrics.per_example(
                "kl", logits(point), reference, batch.target_rows, len(pairs)
            ).sum().backward()


def ours(adapter, pairs, steps: int, autocast) -> None:
    """Edge scores of the pairs."""
    from eap.attribute import attribute_batches
    from eap.dataset import collate

    for _ in attribute_batches(
        adapter, [collate(list(range(len(pairs))), pairs)], steps=steps, autocast=autocast
    ):
        pass


WORK = {"bare": bare, "ours": ours}


def autocast_of(dtype: str):
    """What `hooks.autocast` takes for a dtype's name."""
    import torch

    return torch.bfloat16 if dtype == "bfloat16" else None


def cost(args, shape: str, dtype: str, tokens: int) -> dict:
    """Median seconds of both, alternating, and peak memory of each in a process of its own."""
    adapter, device = common.random_gpt2(args, shape), runs.torch_device(args)
    pairs, times = (
        common.random_pairs(adapter, tokens, args.batch_size or 1, args.seed),
        {name: [] for name in WORK},
    )
    for repeat in range(args.repeats + 1):
        for name, work in WORK.items():
            taken = common.seconds(
                lambda work=work: work(adapter, pairs, args.steps, autocast_of(dtype)), device
            )
            if repeat:  # the first round warms up
                times[name].append(taken)
    row = {
        "shape": shape,
        "dtype": dtype,
        "tokens": tokens,
        **{f"{name}_seconds": statistics.median(each) for name, each in times.items()},
    }
    row |= {
        f"{name}_gb": peak(args, name, adapter, shape, dtype, tokens, args.batch_size or 1)
        for name in WORK
    }
    return row | {
        "time_ratio": row["ours_seconds"] / row["bare_seconds"],
        "extra_gb": row["ours_gb"] - row["bare_gb"],
    }


def peak(args, name: str, adapter, shape: str, dtype: str, tokens: int, examples: int) -> float:
    """Peak memory in GB of one of `WORK`: of a GPU's tensors, or of a process of its own."""
    if runs.torch_device(args).type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats()
        repeated(args, name, adapter, tokens, examples, dtype)
        return common.peak_gb(runs.torch_device(args))
    command = [
        sys.executable,
        __file__,
        "--only",
        name,
        "--tokens",
        tokens,
        "--shape",
        shape,
        "--dtypes",
        dtype,
        "--steps",
        args.steps,
        "--examples",
        examples,
        "--seed",
        args.seed,
        "--device",
        args.device,
        "--batch_size",
        args.batch_size or 1,
    ]
    return float(
        subprocess.run(
            [str(word) for word in command], check=True, capture_output=True, text=True
        ).stdout.split()[-1]
    )


def growth(args, shape: str, dtype: str, tokens: int) -> list[dict]:
    """Seconds and peak memory of attributing several examples of one length."""
    adapter, device, rows = common.random_gpt2(args, shape), runs.torch_device(args), []
    attribute(args, adapter, tokens, args.batch_size or 1, dtype)
    for n in args.examples:
        taken = common.seconds(lambda n=n: attribute(args, adapter, tokens, n, dtype), device)
        rows.append(
            {
                "shape": shape,
                "dtype": dtype,
                "tokens": tokens,
                "examples": n,
                "seconds": taken,
                "gb": peak(args, "ours", adapter, shape, dtype, tokens, n),
            }
        )
    return rows


def repeated(args, name: str, adapter, tokens: int, examples: int, dtype: str) -> None:
    """Twice one of `WORK`, as a peak is measured: `bare` on one batch, `ours` on as many examples as are asked for."""
    for _ in range(2):
        if name == "bare":
            bare(
                adapter,
                common.random_pairs(adapter, tokens, args.batch_size or 1, args.seed),
                args.steps,
                autocast_of(dtype),
            )
        else:
            attribute(args, adapter, tokens, examples, dtype)


def savings(rows: list[dict]) -> list[str]:
    """What bfloat16 saves of float32's time and memory, a line for each shape and length measured with both."""
    cells, lines = {(row["shape"], row["tokens"], row["dtype"]): row for row in rows}, []
    for (shape, tokens, dtype), half in cells.items():
        full = cells.get((shape, tokens, "float32"))
        if dtype == "bfloat16" and full:
            time, bare, memory = (
                half[name] / full[name] for name in ("ours_seconds", "bare_seconds", "ours_gb")
            )
            lines.append(
                f"{shape} {tokens:>5} tokens: bfloat16 takes {time:.2f} of float32's time (the bare passes {bare:.2f}) and "
                f"{memory:.2f} of its memory"
            )
    return lines


def attribute(args, adapter, tokens: int, n: int, dtype: str) -> None:
    """Attribute n examples, --batch_size at a time; the scores go nowhere, as the script's go to disk."""
    from eap.attribute import attribute_batches
    from eap.dataset import batches

    pairs = common.random_pairs(adapter, tokens, n, args.seed)
    for _ in attribute_batches(
        adapter, batches(pairs, args.batch_size or 1), steps=args.steps, autocast=autocast_of(dtype)
    ):
        pass


def plot(rows, grown):
    """A Figure: the ratio of times and peak memory over tokens; time and memory over examples."""
    from eap.style import COLOURS, subplots

    figure, (ratio, memory, examples) = subplots(1, 3, figsize=(11.4, 3.3))
    settings = list(dict.fromkeys((row["shape"], row["dtype"]) for row in rows))
    for (shape, dtype), style in zip(settings, ("o-", "s--", "^:", "D-."), strict=False):
        chosen = [row for row in rows if (row["shape"], row["dtype"]) == (shape, dtype)]
        x = [row["tokens"] for row in chosen]
        ratio.plot(
            x,
            [row["time_ratio"] for row in chosen],
            style,
            color=COLOURS["circuit"],
            label=f"{shape}, {dtype}",
        )
        for name, colour in (("bare", COLOURS["chance"]), ("ours", COLOURS["circuit"])):
            label = f"{name}, {shape}, {dtype}" if len(settings) > 1 else name
            memory.plot(x, [row[f"{name}_gb"] for row in chosen], style, color=colour, label=label)
        more = [row for row in grown if (row["shape"], row["dtype"]) == (shape, dtype)]
        if more:
            x, label = (
                [row["examples"] for row in more],
                f"time, {shape}, {dtype}" if len(settings) > 1 else "time",
            )
            examples.plot(
                x,
                [row["seconds"] / more[0]["seconds"] for row in more],
                style,
                color=COLOURS["circuit"],
                label=label,
            )
            label = label.replace("time", "peak memory")
            examples.plot(
                x,
                [row["gb"] / more[0]["gb"] for row in more],
                style,
                color=COLOURS["base"],
                label=label,
            )
    ratio.axhline(1, color=COLOURS["chance"], ls=":", lw=0.9, label="bare passes")
    ratio.set(xlabel="tokens", ylabel="time / bare passes", ylim=(0, None), title="Time")
    memory.set(xlabel="tokens", ylabel="peak memory (GB)", ylim=(0, None), title="Memory")
    title = f"Growth with examples, {grown[0]['tokens']} tokens"
    examples.set(xlabel="examples", ylabel="relative to the fewest", ylim=(0, None), title=title)
    for axis in (ratio, memory, examples):
        axis.legend(fontsize=7)
    return figure


def main(argv=None):
    """Measure every shape, precision and length."""
    args = parse(argv)
    shapes, dtypes, device = args.shape, args.dtypes, runs.torch_device(args)
    if args.only:
        repeated(
            args,
            args.only,
            common.random_gpt2(args, shapes[0]),
            args.tokens[0],
            args.examples[0],
            dtypes[0],
        )
        print(common.peak_gb(device))
        return
    rows, grown = [], []
    print(
        f"{common.device_name(device)}; {args.steps} points, {args.batch_size or 1} at a time",
        flush=True,
    )
    for shape, dtype, tokens in itertools.product(shapes, dtypes, args.tokens):
        rows.append(row := cost(args, shape, dtype, tokens))
        print(
            f"{shape} {dtype} {tokens:>5} tokens: bare {row['bare_seconds']:.3f} s, ours {row['ours_seconds']:.3f} s, ratio "
            f"{row['time_ratio']:.2f}; peak {row['bare_gb']:.2f} and {row['ours_gb']:.2f} GB, {row['extra_gb']:.2f} GB more",
            flush=True,
        )
    for line in savings(rows):
        print(line)
    for shape, dtype in itertools.product(shapes, dtypes):
        grown += growth(args, shape, dtype, min(args.tokens))
    for row in grown:
        print(
            f"{row['shape']} {row['dtype']} {row['tokens']} tokens, {row['examples']:>3} examples: {row['seconds']:.2f} s, "
            f"peak {row['gb']:.2f} GB"
        )
    out = Path(args.output_dir)
    numbers = {
        "format": 1,
        "device": common.device_name(device),
        "steps": args.steps,
        "batch_size": args.batch_size or 1,
        "rows": rows,
        "examples": grown,
    }
    runs.write_text(out / "attribution.json", json.dumps(numbers, indent=1) + "\n")
    runs.save_figure(lambda: plot(rows, grown), out / "attribution.png")


if __name__ == "__main__":
    runs.run_script(main)
