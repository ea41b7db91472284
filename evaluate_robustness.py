"""How stable is a circuit? Overlap of circuits with its chance level, and of one circuit with itself on other examples and inputs.

Jaccard stands beside what two random circuits of the same sizes would have, the noise floor (the same extraction on resampled
examples), and the Spearman correlation of all scores, which does not depend on where the circuit is cut. Whether two circuits differ
is answered by a p value from swapping the two models' labels example by example.

Reads   circuits with their per-example scores; with --model_path also the pairs, for the first circuit's extraction from perturbed
        inputs and by other corruptions, metrics and methods
Writes  robustness.json, robustness.png and, with --model_path, robustness.matrix.png in --output_dir

    python evaluate_robustness.py --circuits C_before_summarization.json --model_path demo --pairs data/pairs.jsonl
"""

import argparse
import re
from pathlib import Path

from eap import InputError
from runs import console, devices, disk, flags, hub, opening, records, weights

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
CIRCUITS = ("C_before_summarization.json", "C_after_summarization.json")  # every two are compared
PAIRS = "data/pairs.jsonl"  # with --model_path: the pairs that the first circuit was extracted from
LEVELS = ".1,.2,.3,.4,.5,.6,.7,.8,.9"  # shares of the salient tokens that are corrupted; 1 is the circuit itself
# The first circuit is extracted again for each of these: mask, swap:SEED (other drawings of the corruption), control (other sentences
# corrupted); a metric; a method (EAP with nll where the metric is flat). Each costs an extraction.
VARIANTS = "mask,swap:1,swap:2,control,kl,nll,js,logit_diff,EAP-IG-inputs,clean-corrupted,EAP"
MASK_TEXT = "."  # what mask repeats
RESAMPLES = 1000  # bootstrap resamples of the examples for the intervals
MAX_MEMORY = "auto"  # GB that the plan of batches may use; auto: what is free

# what every script has
MAX_EXAMPLES = "all"  # pairs; all: every one of the file
BATCH_SIZE = "auto"  # examples at a time; auto: planned from the free memory
SEED = 0  # of every random choice
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
OUTPUT_DIR = "outputs/evaluate_robustness"  # robustness.json and plots
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(
        __doc__,
        OUTPUT_DIR,
        max_examples=MAX_EXAMPLES,
        batch_size=BATCH_SIZE,
        seed=SEED,
        device=DEVICE,
        dtype=DTYPE,
    )
    parser.add_argument(
        "--circuits",
        nargs="+",
        type=flags.text,
        default=CIRCUITS,
        help="circuit files (default: %(default)s)",
    )
    parser.add_argument(
        "--model_path", help="extract the first circuit again in this model, its own"
    )
    parser.add_argument(
        "--pairs", type=flags.text, default=PAIRS, help="pairs for that (default: %(default)s)"
    )
    parser.add_argument(
        "--levels",
        type=flags.fractions,
        default=LEVELS,
        help="shares of salient tokens corrupted (default: %(default)s)",
    )
    parser.add_argument(
        "--variants",
        type=variant_names,
        default=VARIANTS,
        help="other ways of extracting, by commas (default: %(default)s)",
    )
    parser.add_argument(
        "--mask_text",
        type=flags.text,
        default=MASK_TEXT,
        help="what the variant mask repeats (default: %(default)r)",
    )
    parser.add_argument(
        "--resamples",
        type=flags.positive_int,
        default=RESAMPLES,
        help="for the intervals (default: %(default)s)",
    )
    parser.add_argument(
        "--max_memory",
        type=flags.gigabytes,
        default=MAX_MEMORY,
        help="GB that the plan may use; auto: what is free (default: %(default)s)",
    )
    return parser.parse_args(argv)


def variant_names(value) -> list[str]:
    """Names of variants separated by commas, each once; argparse turns the error into one line."""
    known = "mask", "control", *flags.METRICS, *flags.METHODS
    names = flags.name_list(value)
    for name in names:
        if name not in known and not re.fullmatch(r"(swap|mask):[0-9]+", name):
            raise argparse.ArgumentTypeError(
                f"expected names of {', '.join(known)} and swap:SEED, separated by commas, "
                f"got {name!r}"
            )
    return names


def main(argv=None):
    """Compare circuits; extract again."""
    args = parse(argv)
    for path in args.circuits:
        if not Path(path).is_file():
            raise InputError(
                f"--circuits {path}: expected a circuit file, found none; make it with extract_summarization_circuit.py, "
                "for instance with --model_path demo"
            )
    inputs = {path: path for path in args.circuits}
    if args.model_path:
        inputs |= {"model": hub.model_source(args.model_path), "pairs": args.pairs}
    out = Path(args.output_dir)
    outputs = [
        out / name
        for name in ("robustness.json", "robustness.png", "robustness.matrix.png")[
            : 3 if args.model_path else 2
        ]
    ]
    run = records.Run(vars(args), records.record_in(out, __file__), outputs, inputs)
    if run.up_to_date:
        return
    from study.robustness import figures as robustness_plots
    from study.robustness import numbers as robustness

    devices.seed_everything(args.seed)
    devices.of(args).say_circuit_dtype(console.Console(args.quiet))
    circuits = load(args)
    result = {
        "format": 1,
        "circuits": [describe(args, *row) for row in circuits],
        "pairs": compare(args, circuits),
    }
    result |= (
        extract_again(args, run, *circuits[0][1:])
        if args.model_path
        else {
            "perturbation": [],
            "agreement": None,
            "left_out": [
                "perturbed inputs, corruptions, metrics and methods, for want of --model_path"
            ],
        }
    )
    result["sentences"] = robustness.lines(result)
    console.say(args, "\n".join(result["sentences"]))
    disk.write_json(out / "robustness.json", result)
    disk.save_figure(lambda: robustness_plots.overlap(result), out / "robustness.png")
    if args.model_path:
        disk.save_figure(
            lambda: robustness_plots.matrix(result["agreement"]), out / "robustness.matrix.png"
        )
    run.finish()


# ---------------------------------------------------------------- circuits there are


def load(args) -> list:
    """[(name, circuit, per-example scores or None)]. Raises InputError for circuits of different graphs or tokenizers."""
    found = opening.load_circuits(args.circuits)
    scores = [
        opening.example_scores(path, circuit)
        for path, circuit in zip(args.circuits, found, strict=True)
    ]
    return list(zip([Path(path).stem for path in args.circuits], found, scores, strict=True))


def describe(args, name, circuit, per_example) -> dict:
    """Size, and what resampling the examples does to the circuit."""
    from study.stability import bootstrap

    about = bootstrap.of_circuit(circuit, per_example, args.seed)
    shown = (
        {key: value for key, value in about.items() if not isinstance(value, list)}
        if about
        else None
    )
    told = (
        {"noise_floor": about["noise_floor"], "stable": about["stable"]}
        if about
        else {"noise_floor": None, "stable": None}
    )
    return {
        "name": name,
        "size": int(circuit.in_graph.sum()),
        "edges": circuit.graph.n_edges,
        **told,
        "bootstrap": shown,
    }


def compare(args, circuits) -> list[dict]:
    """Every pair of circuits; the interval where both were found on the same examples, the test on those that both saw."""
    from itertools import combinations

    from eap import dataset
    from study.robustness import numbers as robustness

    rows = []
    for (name_a, a, scores_a), (name_b, b, scores_b) in combinations(circuits, 2):
        n = dataset.shared_start(a.metadata, b.metadata)
        known = scores_a is not None and scores_b is not None and n > 1
        both = (scores_a[:n], scores_b[:n]) if known else None
        rows.append(
            {
                "a": name_a,
                "b": name_b,
                **robustness.pair(a, b, both, resamples=args.resamples, seed=args.seed),
            }
        )
    return rows


# ---------------------------------------------------------------- extracting again


def extract_again(args, run, circuit, per_example) -> dict:
    """{"perturbation", "agreement", "left_out"}: the circuit from perturbed inputs, and by other corruptions, metrics and methods."""
    from study.robustness import numbers as robustness

    opening.require_own_weights(
        circuit, args.circuits[0], args.model_path, console=console.Console(args.quiet)
    )
    adapter, tokenizer = opening.open_adapted(
        devices.of(args), args.model_path, {args.circuits[0]: circuit}
    )
    there = opening.read_pairs(args.pairs, adapter, tokenizer, console=console.Console(args.quiet))
    pairs = there[: args.max_examples]
    own = options(circuit)
    if own["ablation"] != "patching":
        raise InputError(
            f"{args.circuits[0]}: expected a circuit of patching to extract it again from other inputs, got {own['ablation']} "
            "ablation, which does not look at corrupted inputs; leave out --model_path"
        )
    known = stored(args, run, circuit, per_example, pairs)
    plan, left_out = variants(args, own, pairs, tokenizer)
    jobs = {("level", level): (perturbed(args, pairs, level), own) for level in args.levels}
    jobs |= {("variant", name): job for name, job in plan.items()} | (
        {} if known is not None else {("whole",): (pairs, own)}
    )
    sizes = {key: batch_size(args, adapter, *job) for key, job in jobs.items()}
    ticks = sum(n_ticks(adapter, *job, sizes[key]) for key, job in jobs.items())
    bar = console.progress(None, args, "extracting again", ticks)
    found = {
        key: extract(args, adapter, *job, batch_size=sizes[key], tick=bar.update)
        for key, job in jobs.items()
    }
    bar.close()
    whole = known if known is not None else found["whole",]
    missing = [f"{level:.0%}" for level in flags.fractions(LEVELS) if level not in args.levels]
    left_out += [f"{', '.join(missing)} of salient tokens corrupted"] if missing else []
    if len(pairs) < len(there):
        left_out.append(
            f"{len(there) - len(pairs)} of {len(there)} pairs, by --max_examples {args.max_examples}"
        )
    levels = {level: found["level", level] for level in args.levels}
    named = {f"as extracted: {own['method']}, {own['metric']}": whole} | {
        name: found["variant", name] for name in plan
    }
    return {
        "perturbation": robustness.curve(
            circuit, levels, whole, resamples=args.resamples, seed=args.seed
        ),
        "agreement": robustness.agreement(circuit, named, resamples=args.resamples, seed=args.seed),
        "left_out": left_out,
    }


def options(circuit) -> dict:
    """How the circuit was extracted, as options of `attribute`; our defaults for a file that does not say."""
    about = circuit.metadata
    return {
        "method": about.get("method", "EAP-IG-inputs"),
        "metric": about.get("metric", "kl"),
        "steps": about.get("steps") or 5,
        "rule": about.get("rule") or "gauss-legendre",
        "ablation": about.get("ablation", "patching"),
    }


def stored(args, run, circuit, per_example, pairs):
    """The circuit's own per-example scores of the given pairs, when its file shows that they are of this model and these pairs, or None."""
    from eap import dataset

    about = circuit.metadata
    theirs = (about.get("example_sha256") or {}).get("tokens", [])
    ours = [dataset.tokens_sha256(pair) for pair in pairs]
    same_pairs = about.get("pairs_sha256") == run.identity["inputs"]["pairs"]["sha256"]
    same_model = weights.are(about.get("weights_sha256"), args.model_path)
    same_numbers = about.get("dtype") == args.dtype and theirs[: len(ours)] == ours
    same = same_pairs and same_model and same_numbers
    return per_example[: len(ours)] if same and per_example is not None else None


def perturbed(args, pairs, level: float) -> list:
    """The pairs with only a random share of the salient tokens corrupted."""
    import torch

    from eap import dataset

    generator = torch.Generator().manual_seed(args.seed)
    return [dataset.partly_corrupted(pair, level, generator) for pair in pairs]


def batch_size(args, adapter, pairs, chosen: dict) -> int:
    """Pairs at a time: `--batch_size`, or what the memory allows."""
    from eap import memory

    return args.batch_size or memory.plan_batch_size(
        adapter, pairs, chosen["steps"], devices.of(args).memory_budget
    )


def n_ticks(adapter, pairs, chosen: dict, batch_size: int) -> int:
    """Steps of a progress bar that an extraction takes."""
    from eap import attribute

    each = attribute.ticks_per_batch(
        adapter.graph, chosen["method"], chosen["steps"], chosen["rule"]
    )
    return -(-len(pairs) // batch_size) * each


def extract(args, adapter, pairs, chosen: dict, *, batch_size: int, tick):
    """(examples, edges) scores of the pairs; `tick` is called as often as `n_ticks` says."""
    from eap import attribute

    return attribute.attribute(
        adapter.model,
        pairs,
        batch_size=batch_size,
        autocast=devices.of(args).autocast_dtype,
        tick=tick,
        **chosen,
    ).edges.float()


def variants(args, own: dict, pairs, tokenizer) -> tuple[dict, list[str]]:
    """({name: (pairs, options)}, what is left out, in words): other corruptions, metrics and methods, one change at a time."""
    from eap import attribute, metrics
    from summarization import corruption, prompt

    plan, left_out = {}, []
    mask_ids = prompt.encode(tokenizer, args.mask_text) if tokenizer is not None else None
    for name in args.variants:
        kind, _, seed = name.partition(":")
        if kind in metrics.METRICS:
            if kind != own["metric"]:
                plan[f"metric {kind}"] = pairs, own | {"metric": kind}
        elif kind in attribute.METHODS:
            flat = attribute.METHODS[kind].flat and own["metric"] in ("kl", "js")
            if kind != own["method"]:
                plan[f"method {kind}" + (", nll" if flat else "")] = (
                    pairs,
                    own | {"method": kind} | ({"metric": "nll"} if flat else {}),
                )
        elif kind == "control" and all(
            pair.control_ids not in (None, pair.clean_ids) for pair in pairs
        ):
            plan["other sentences corrupted"] = [pair.control() for pair in pairs], own
        elif kind in corruption.CORRUPTIONS:
            again = corruption.again(pairs, kind, mask_ids, int(seed or 0))
            if again is None:
                left_out.append(
                    f"{name}: needs {args.pairs} with masked and sentences, and a tokenizer for mask"
                )
            elif [pair.corrupted_ids for pair in again] != [pair.corrupted_ids for pair in pairs]:
                plan[f"{kind}, seed {seed}" if seed else kind] = again, own
        else:  # control
            left_out.append(
                f"control: needs control_ids that differ from the clean input in every row of {args.pairs}"
            )
    there = *args.variants, own["method"], own["metric"]
    missing = [name for name in variant_names(VARIANTS) if name not in there]
    return plan, left_out + ([f"variants {', '.join(missing)}"] if missing else [])


if __name__ == "__main__":
    console.run_script(main)
