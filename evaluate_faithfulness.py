"""How much of the model's behaviour does a circuit carry, on examples that it was not found on?

f = (m(circuit) - m(empty)) / (m(full) - m(empty)), a ratio of means over examples, with KL(model || circuit) in nats, over circuit sizes.
1: the circuit does what the model does; 0: no more than the corrupted run. Beside it stand its nulls: random circuits of the same size,
random ones with the same edges per pair of layers, and the complement; the causal control, in which other sentences are corrupted; and
with --other_circuit and --other_model_path cross-faithfulness: each circuit run in the other model.

Reads   a circuit, the model it belongs to, pairs kept from extraction; another circuit, another model
Writes  faithfulness.json and faithfulness.png in --output_dir

    python evaluate_faithfulness.py --circuit C_before_summarization.json --model_path demo
"""

from pathlib import Path

from eap import InputError
from runs import console, devices, disk, flags, hub, opening, records

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
CIRCUIT = "C_before_summarization.json"  # from extract_summarization_circuit.py, or EAP-IG's JSON
MODEL_PATH = "gpt2"  # the model the circuit was found in
PAIRS = "data/pairs_eval.jsonl"  # examples that extraction did not see
FRACTIONS = ".001,.002,.005,.01,.02,.05,.1,.2,.5,1"  # of all edges, by |score|; the areas CPR and CMD integrate over them
RANDOM_FRACTIONS = ".01,.02,.05,.1"  # sizes at which random circuits and complements are run
CROSS_FRACTIONS = ".001,.002,.005,.01,.02,.05,.1,.2,.5,1"  # sizes for the causal control and cross-faithfulness; fewer save time
N_RANDOM = 10  # random circuits per size, and as many matched ones; fewer make their range rougher
METRICS = "kl,nll"  # kl: does the circuit predict what the model predicts; nll: does it fit the summary as well
ABLATION = "patching"  # what edges outside carry: the corrupted run, zero, mean
RESAMPLES = 1000  # bootstrap resamples of the examples for the intervals
MAX_MEMORY = "auto"  # GB that the plan of batches may use; auto: what is free

# what every script has
MAX_EXAMPLES = "all"  # pairs that extraction did not see; all: every one of the file
BATCH_SIZE = "auto"  # examples at a time; auto: planned from the free memory
SEED = 0  # of every random choice
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
OUTPUT_DIR = "outputs/evaluate_faithfulness"  # faithfulness.json, faithfulness.png
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
        "--circuit", type=flags.text, default=CIRCUIT, help="circuit JSON (default: %(default)s)"
    )
    parser.add_argument(
        "--model_path",
        type=flags.text,
        default=MODEL_PATH,
        help="Hub id, folder, adapter, or demo (default: %(default)s)",
    )
    parser.add_argument(
        "--other_circuit",
        help="run this circuit too, beside the first: before or after fine-tuning",
    )
    parser.add_argument(
        "--other_model_path",
        help="run the circuits in this model too: the base or the fine-tuned one",
    )
    parser.add_argument(
        "--pairs",
        type=flags.text,
        default=PAIRS,
        help="pairs that extraction did not see (default: %(default)s)",
    )
    parser.add_argument(
        "--fractions",
        type=flags.shares,
        default=FRACTIONS,
        help="sizes of the curve, of all edges; those of the two flags below are in it too (default: %(default)s)",
    )
    parser.add_argument(
        "--random_fractions",
        type=flags.shares,
        default=RANDOM_FRACTIONS,
        help="of random circuits (default: %(default)s)",
    )
    parser.add_argument(
        "--cross_fractions",
        type=flags.shares,
        default=CROSS_FRACTIONS,
        help="of the causal control and of cross-faithfulness (default: %(default)s)",
    )
    parser.add_argument(
        "--n_random",
        type=flags.count,
        default=N_RANDOM,
        help="random circuits per size and kind; 0: none (default: %(default)s)",
    )
    parser.add_argument(
        "--compare_circuit",
        type=flags.text,
        help="a circuit of the same model found by another method, to stand beside the first",
    )
    parser.add_argument(
        "--metrics",
        type=flags.metric_list,
        default=METRICS,
        help="of kl, nll, js, logit_diff (default: %(default)s)",
    )
    parser.add_argument(
        "--ablation", default=ABLATION, choices=flags.ABLATIONS, help="(default: %(default)s)"
    )
    parser.add_argument(
        "--resamples",
        type=flags.positive_int,
        default=RESAMPLES,
        help="for the intervals (default: %(default)s)",
    )
    parser.add_argument(
        "--allow_same_examples",
        action="store_true",
        help="also evaluate on examples the circuit was found on",
    )
    parser.add_argument(
        "--max_memory",
        type=flags.gigabytes,
        default=MAX_MEMORY,
        help="GB that the plan may use; auto: what is free (default: %(default)s)",
    )
    return parser.parse_args(argv)


def main(argv=None):
    """Evaluate a circuit over sizes."""
    args = parse(argv)
    files = {}
    for name in ("circuit", "pairs", "other_circuit", "compare_circuit"):
        path = getattr(args, name)
        if path is None:
            continue
        if not Path(path).is_file():
            raise InputError(
                f"--{name} {path}: expected a file, found none; extract_summarization_circuit.py and "
                "create_causal_summarization_data.py make them, for instance with --model_path demo"
            )
        files[name] = path
    inputs = {"model": hub.model_source(args.model_path)}  # after what takes no download to see
    if args.other_model_path:
        inputs["other_model"] = hub.model_source(args.other_model_path)
    inputs |= files
    out = Path(args.output_dir)
    outputs = [out / "faithfulness.json", out / "faithfulness.png"]
    if args.compare_circuit:
        outputs.append(out / "faithfulness.methods.png")
    run = records.Run(vars(args), records.record_in(out, __file__), outputs, inputs)
    if run.up_to_date:
        return
    from study.faithfulness import figures as faithfulness_plots
    from study.faithfulness import methods_figure as method_comparison_plots
    from study.faithfulness import words as faithfulness_report

    devices.seed_everything(args.seed)
    devices.of(args).say_circuit_dtype(console.Console(args.quiet))
    result = {"format": 1, **evaluate(args)}
    methods = result["methods"]
    more = methods["sentences"] if methods else []
    result["sentences"] = faithfulness_report.sentences(result) + more
    console.say(args, "\n".join(faithfulness_report.lines(result) + more))
    disk.write_json(out / "faithfulness.json", result)
    disk.save_figure(lambda: faithfulness_plots.figure(result), out / "faithfulness.png")
    if methods:
        disk.save_figure(
            lambda: method_comparison_plots.of_result(result), out / "faithfulness.methods.png"
        )
    run.finish()


# ---------------------------------------------------------------- what is read


def load(args):
    """(adapter, {name: circuit}, pairs that no circuit was found on, how many pairs are not used and why, in words).

    Raises InputError for a circuit of another model or no pairs left.
    """
    from eap import attribute

    for metric in args.metrics:
        attribute.check("exact", metric, "left", args.ablation, 1)
    paths = [Path(path) for path in (args.circuit, args.other_circuit) if path]
    circuits = dict(zip([path.stem for path in paths], opening.load_circuits(paths), strict=True))
    if args.other_circuit and len(circuits) < 2:
        raise InputError(
            f"--other_circuit {args.other_circuit}: expected a file of another name than --circuit, got the same; rename one"
        )
    for name, circuit in circuits.items():
        circuit.require_scores(name)
    require_own_models(args, circuits)
    beside = comparison_circuit(args)
    adapter, tokenizer = opening.open_adapted(devices.of(args), args.model_path, circuits)
    pairs = opening.read_pairs(args.pairs, adapter, tokenizer, console=console.Console(args.quiet))
    seen_by = [*circuits.values(), *([beside.circuits[1]] if beside else [])]
    found_on = [] if args.allow_same_examples else [circuit.metadata for circuit in seen_by]
    unseen = opening.unseen_pairs(pairs, args.pairs, found_on)
    used, unused = unseen[: args.max_examples], []
    console.say(
        args,
        f"{len(used)} of {len(unseen)} examples that extraction did not see; {len(pairs) - len(unseen)} that it saw left out",
    )
    if len(unseen) < len(pairs):
        unused.append(f"{len(pairs) - len(unseen)} of {len(pairs)} pairs, which extraction saw")
    if len(used) < len(unseen):
        unused.append(
            f"{len(unseen) - len(used)} of {len(unseen)} unseen pairs, by --max_examples {args.max_examples}"
        )
    return adapter, circuits, used, unused


def comparison_circuit(args):
    """The `method_comparison.Compared` of --circuit and --compare_circuit; None without the latter.

    Raises InputError unless both were found in the weights of --model_path.
    """
    from study.faithfulness.methods import Compared

    if not args.compare_circuit:
        return None
    paths = (Path(args.circuit), Path(args.compare_circuit))
    circuits = tuple(opening.load_circuits(paths))
    if paths[0].stem == paths[1].stem:
        raise InputError(
            f"--compare_circuit {args.compare_circuit}: expected a file of another name than "
            "--circuit, got the same; rename one"
        )
    circuits[1].require_scores(paths[1])
    opening.require_own_weights(
        circuits[1], paths[1].stem, args.model_path, console=console.Console(args.quiet)
    )
    return Compared(tuple(path.stem for path in paths), circuits)


def require_own_models(args, circuits: dict) -> None:
    """Raise InputError unless each circuit was found in the weights of its model.

    The other circuit is of the other model; without one it may be of any.
    """
    names = (args.model_path, args.other_model_path)
    flag_names = ("--model_path", "--other_model_path")
    for (label, circuit), name, flag in zip(circuits.items(), names, flag_names, strict=False):
        if name:
            opening.require_own_weights(
                circuit, label, name, flag, console=console.Console(args.quiet)
            )


# ---------------------------------------------------------------- what is run


def evaluate(args) -> dict:
    """Every number of faithfulness.json. One model is in memory at a time."""
    from eap import resampling as statistics
    from study.faithfulness import numbers as faithfulness

    circuits, pairs, unused, own = in_own_model(args)
    plan, main, control_pairs, sizes, control = own
    name, circuit = next(iter(circuits.items()))
    there = cross_entries(args, circuits) if args.other_model_path else []
    other = in_other_model(args, circuits, pairs, there) if args.other_model_path else None
    rows, result = statistics.resample(len(pairs), args.seed, args.resamples), {}
    for metric in args.metrics:
        here = faithfulness.setting(main, plan, metric)
        result[metric] = describe(args, here, circuit.graph, rows) | {
            "control": controlled(args, here, control, control_pairs, sizes, metric, circuit.graph),
            "cross": crossed(
                args,
                here,
                other and faithfulness.setting(other, there, metric),
                list(circuits),
                circuit.graph,
                rows,
            ),
        }
    return {
        "circuit": name,
        "model": label(args.model_path),
        "ablation": args.ablation,
        "examples": len(pairs),
        "edges": circuit.graph.n_edges,
        "identities": main.identities,
        "found_on": found_on(circuits),
        "compared": compared(circuits),
        "tokens_changed": tokens_changed(pairs, control_pairs),
        "left_out": unused + left_out(args, pairs, control_pairs),
        "metrics": result,
        "methods": compared_methods(args, plan, main, rows),
    }


def compared_methods(args, plan, main, rows) -> dict | None:
    """What stands beside the circuit of --compare_circuit; None without one."""
    from eap import resampling as statistics
    from study.faithfulness import methods as method_comparison
    from study.faithfulness import numbers as faithfulness
    from study.faithfulness.numbers import excludes_zero

    beside = comparison_circuit(args)
    if beside is None:
        return None
    about, differences = method_comparison.about(beside), {}
    for metric in args.metrics:
        here = faithfulness.setting(main, plan, metric)
        change = statistics.mean_interval(here.empty - here.full, args.seed, args.resamples)
        meaningful = excludes_zero(change)
        differences[metric] = method_comparison.by_size(here, rows) if meaningful else None
    sentences = method_comparison.sentences(about, differences)
    return {**about, "differences": differences, "sentences": sentences}


def in_own_model(args):
    """(circuits, pairs, what is not used, what was measured in the circuit's own model).

    The last is (the entries that were run, their `Measured`, which pairs have a control, the
    control's sizes, its `Measured` or None).
    """
    from study.faithfulness import numbers as faithfulness

    adapter, circuits, pairs, unused = load(args)
    plan = entries(args, circuits)
    sizes = faithfulness.by_size(next(iter(circuits.values())), args.cross_fractions)
    later = len(sizes) + (len(cross_entries(args, circuits)) if args.other_model_path else 0)
    main = run(args, adapter, pairs, plan, "running circuits", n_later=later)
    control_pairs = [
        i for i, pair in enumerate(pairs) if pair.control_ids not in (None, pair.clean_ids)
    ]
    control = None
    if control_pairs:
        chosen = [pairs[i].control() for i in control_pairs]
        control = run(args, adapter, chosen, sizes, "causal control")
    return circuits, pairs, unused, (plan, main, control_pairs, sizes, control)


def in_other_model(args, circuits: dict, pairs, there):
    """The `Measured` of every circuit in the other model."""
    name, flag = args.other_model_path, "--other_model_path"
    adapter, tokenizer = opening.open_adapted(devices.of(args), name, circuits, flag)
    opening.require_pairs_tokenizer(
        pairs, args.pairs, tokenizer, console=console.Console(args.quiet)
    )
    return run(args, adapter, pairs, there, "other model")


def entries(args, circuits: dict) -> list:
    """What is run in the circuit's own model: the file's choice, the sizes, their nulls, the other circuit's sizes."""
    import torch

    from study.faithfulness import methods as method_comparison
    from study.faithfulness.numbers import Entry, by_size, nulls

    circuit, *others = circuits.values()
    selected = circuit.metadata.get("sizes", {}).get("selected") or int(circuit.in_graph.sum())
    chosen = [Entry("file", selected / circuit.graph.n_edges, circuit.in_graph, selected=selected)]
    curve = by_size(
        circuit, sorted({*args.fractions, *args.random_fractions, *args.cross_fractions})
    )
    compared_with = [entry for entry in curve if entry.fraction in args.random_fractions]
    if beside := comparison_circuit(args):
        chosen += by_size(beside.circuits[1], args.fractions, method_comparison.COMPARED)
    chosen += curve + nulls(
        circuit.graph, compared_with, args.n_random, torch.Generator().manual_seed(args.seed)
    )
    return chosen + [
        entry for other in others for entry in by_size(other, args.cross_fractions, "other circuit")
    ]


def cross_entries(args, circuits: dict) -> list:
    """What is run in the other model: every circuit's sizes."""
    from study.faithfulness.numbers import by_size

    kinds = ("circuit", "other circuit")
    return [
        entry
        for kind, each in zip(kinds, circuits.values(), strict=False)
        for entry in by_size(each, args.cross_fractions, kind)
    ]


def run(args, adapter, pairs, chosen, what: str, *, n_later: int = 0):
    """The `Measured` of the chosen circuits; `n_later` more will be run after them."""
    from eap import dataset, memory, passes
    from runs import forecast
    from study.faithfulness import numbers as faithfulness

    batches = dataset.batches(
        pairs,
        args.batch_size
        or memory.plan_batch_size(adapter, pairs, 5, devices.of(args).memory_budget // 2),
    )
    means = (
        passes.mean_activations(adapter, batches, console.warn) if args.ablation == "mean" else None
    )
    ahead = forecast.Ahead(steps=len(batches) * (len(chosen) + n_later))
    bar = console.progress(range(len(batches) * len(chosen)), args, what, ahead=ahead)
    found = faithfulness.measure(
        adapter, batches, chosen, args.metrics, args.ablation, means, bar.update, console.warn
    )
    bar.close()
    return found


# ---------------------------------------------------------------- what is said of it


def describe(args, here, graph, rows) -> dict:
    """One metric of the circuit in its own model."""
    from eap import resampling as statistics
    from study.faithfulness import numbers as faithfulness

    return {
        "full": float(here.full.mean()),
        "empty": float(here.empty.mean()),
        "change": statistics.mean_interval(here.empty - here.full, args.seed, args.resamples),
        "rows": faithfulness.table(here, graph, rows),
        "areas": faithfulness.curve_areas(here, rows),
        "areas_at_cross_sizes": faithfulness.curve_areas(here, rows, sizes=args.cross_fractions),
        "sizes_reaching": faithfulness.sizes_reaching(here, rows),
        "nulls": faithfulness.against_nulls(here, rows),
    }


def controlled(args, here, control, which, sizes, metric, graph) -> dict | None:
    """The causal control: the same circuit on the same pairs with other sentences corrupted, against the salient ones (guard 16)."""
    from eap import resampling as statistics
    from study.faithfulness import numbers as faithfulness

    if control is None:
        return None
    there = faithfulness.setting(control, sizes, metric)
    salient = here._replace(
        values=here.values[:, which], full=here.full[which], empty=here.empty[which]
    )
    rows = statistics.resample(len(which), args.seed, args.resamples)
    change = there.empty - there.full
    return {
        "examples": len(which),
        "change": statistics.mean_interval(change, args.seed, args.resamples),
        "salient_minus_control": statistics.mean_interval(
            salient.empty - salient.full - change, args.seed, args.resamples
        ),
        "rows": faithfulness.table(there, graph, rows),
        "areas": faithfulness.curve_areas(there, rows),
        "differences": faithfulness.differences(there, "circuit", salient, "circuit", rows),
    }


def crossed(args, here, there, names, graph, rows) -> list[dict]:
    """Cross-faithfulness (guard 11): each circuit in the other model, and by how much it falls short of the circuit found there."""
    from eap import resampling as statistics
    from study.faithfulness import numbers as faithfulness

    kinds, found = ("circuit", "other circuit")[: len(names)], []
    for setting, model, native in (
        (here, args.model_path, "circuit"),
        (there, args.other_model_path, "other circuit"),
    ):
        for name, kind in zip(names, kinds, strict=True):
            if setting is None or (setting is here and kind == native):
                continue
            listed, compare = setting.only(kind), kind != native and setting.rows_of(native)
            found.append(
                {
                    "circuit": name,
                    "model": label(model),
                    "found_there": kind == native,
                    "rows": faithfulness.table(listed, graph, rows),
                    "change": statistics.mean_interval(
                        setting.empty - setting.full, args.seed, args.resamples
                    ),
                    "areas": faithfulness.curve_areas(listed, rows, kind),
                    "sizes_reaching": faithfulness.sizes_reaching(listed, rows, kind),
                    "minus_own": faithfulness.differences(setting, kind, setting, native, rows)
                    if compare
                    else None,
                }
            )
    return found


def found_on(circuits: dict) -> dict:
    """{name: {"examples", "noise_floor"}}: of how many examples, and how alike resamples of them choose edges; None: unknown."""
    return {
        name: {
            "examples": len(circuit.metadata.get("example_ids") or ()) or None,
            "noise_floor": (circuit.metadata.get("bootstrap") or {}).get("noise_floor"),
        }
        for name, circuit in circuits.items()
    }


def compared(circuits: dict) -> dict | None:
    """How far two circuits overlap, beside chance and noise floors (guard 11); None for one circuit."""
    from study import overlap

    if len(circuits) < 2:
        return None
    a, b = circuits.values()
    floors = {
        name: (circuit.metadata.get("bootstrap") or {}).get("noise_floor")
        for name, circuit in circuits.items()
    }
    return {
        "circuits": list(circuits),
        "jaccard_edges": overlap.jaccard(a.in_graph, b.in_graph),
        "spearman": overlap.spearman(a.scores.abs(), b.scores.abs()),
        "chance": overlap.chance(int(a.in_graph.sum()), int(b.in_graph.sum()), a.graph.n_edges),
        "noise_floors": floors,
    }


def tokens_changed(pairs, control_pairs) -> dict:
    """How many tokens differ from the clean input, on average: in corrupted pairs, and in their controls (guard 16)."""
    counts = {
        "salient": [pair.corrupted_ids for pair in pairs],
        "control": [pairs[i].control_ids for i in control_pairs],
    }
    clean = {
        "salient": [pair.clean_ids for pair in pairs],
        "control": [pairs[i].clean_ids for i in control_pairs],
    }
    return {
        kind: sum(
            sum(a != b for a, b in zip(*row, strict=True))
            for row in zip(ids, clean[kind], strict=True)
        )
        / max(len(ids), 1)
        for kind, ids in counts.items()
    }


def left_out(args, pairs, control_pairs) -> list[str]:
    """What a full evaluation would add, in words."""
    notes = []
    if args.n_random < N_RANDOM:
        notes.append(f"{args.n_random} instead of {N_RANDOM} random circuits of each kind and size")
    if missing := [
        f"{share:.0%}"
        for share in flags.shares(RANDOM_FRACTIONS)
        if share not in args.random_fractions
    ]:
        notes.append(f"random circuits and complement at {', '.join(missing)} of the edges")
    if args.cross_fractions != flags.shares(FRACTIONS):
        notes.append(
            f"causal control and cross-faithfulness at {len(args.cross_fractions)} sizes only, so without most of their curve"
        )
    if len(control_pairs) < len(pairs):
        notes.append(
            f"the causal control of {len(pairs) - len(control_pairs)} pairs, which have no control that changes a token"
        )
    missing = [
        f"--{flag}" for flag in ("other_circuit", "other_model_path") if not getattr(args, flag)
    ]
    if missing:
        notes.append(f"cross-faithfulness for want of {' and '.join(missing)}")
    return notes


def label(model_path: str) -> str:
    """A model's name without its path."""
    return Path(model_path).name or model_path


if __name__ == "__main__":
    console.run_script(main)
