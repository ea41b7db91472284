"""How faithful are circuits of a real model, and which of its heads copy from the article?

Circuits of every method and ranking are run on pairs that none was found on, beside random ones;
halves of the examples say how much two circuits overlap. Heads are ranked by how much they look,
where a summary repeats a word of the article, at that word, and the strongest are taken out of the
model.

Reads   circuits with their scores per example, their model, pairs that extraction did not see
Writes  runs.jsonl (a line a run: interrupted, or with more pairs or circuits, it goes on with what
        is there), real_model.json and real_model.png in --output_dir

    python benchmarks/real_model.py --circuits C_secant.json C_EAP-IG.json --model_path smollm2
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from eap import InputError  # noqa: E402
from runs import console, devices, disk, flags, opening  # noqa: E402

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
CIRCUITS = ("C_before_summarization.json",)
MODEL_PATH = "smollm2"
PAIRS = "data/pairs_eval.jsonl"
SIZES = ".05,.1,.2,.4,.6"  # of all edges
RANKS = "mean,example"  # |mean score|, mean of |score per example|
RANDOM_SIZES = ".2,.6"
N_RANDOM = 2  # random circuits of each of these sizes
HEADS = 10  # so many heads that copy are taken out, and as many others of the same layers
# --------------------------------------------------------------------------------------------
SPLITS = 20  # random halves of the examples


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, "outputs/benchmarks", constants={"MAX_EXAMPLES": 24})
    add = parser.add_argument
    add("--circuits", nargs="+", default=CIRCUITS, help="(default: %(default)s)")
    add("--model_path", default=MODEL_PATH, help="(default: %(default)s)")
    add("--pairs", default=PAIRS, help="(default: %(default)s)")
    add("--sizes", type=flags.shares, default=SIZES, help="(default: %(default)s)")
    add("--ranks", type=flags.name_list, default=RANKS, help="(default: %(default)s)")
    add("--random_sizes", type=flags.fractions, default=RANDOM_SIZES, help="(default: %(default)s)")
    add("--n_random", type=flags.count, default=N_RANDOM, help="(default: %(default)s)")
    add("--heads", type=flags.count, default=HEADS, help="0: none (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv=None):
    """Run what has not been run, then say what all runs say."""
    args = parse(argv)
    circuits = dict(zip(map(name_of, args.circuits), args.circuits, strict=True))
    by_name = dict(zip(circuits, opening.load_circuits(list(circuits.values())), strict=True))
    device, out = devices.Device.of(vars(args)), console.Console.of(vars(args))
    adapter, tokenizer = opening.open_adapted(device, args.model_path, circuits=by_name)
    pairs = opening.read_pairs(args.pairs, adapter, tokenizer=tokenizer, console=out)
    found_on = [circuit.about.examples for circuit in by_name.values()]
    pairs = opening.unseen_pairs(pairs, args.pairs, found_on=found_on)
    pairs = pairs[: args.max_examples]
    scores = {name: scores_of(path) for name, path in circuits.items()}
    folder = Path(args.output_dir)
    looks = copying(args, adapter, pairs=pairs)
    kept = edge_sets(args, adapter.graph, scores=scores, looks=looks)
    rows = run(args, adapter, pairs=pairs, kept=kept, path=folder / "runs.jsonl")
    results = {
        "format": 1,
        "edges": adapter.graph.n_edges,
        "examples_found_on": {name: len(values) for name, values in scores.items()},
        "f": faithfulness(rows, args.seed),
        "overlap_of_halves": overlaps(args, adapter.graph, scores=scores),
        "copying": copying_heads(args, adapter.graph, scores=scores, looks=looks),
    }
    disk.write_json(folder / "real_model.json", results)
    disk.save_figure(lambda: draw(results), folder / "real_model.png")
    for line in lines(results):
        out.say(line)


def name_of(path: str) -> str:
    """A circuit's name in the results: its file's, without what all have."""
    return Path(path).stem.removeprefix("C_")


def scores_of(path: str):
    """(examples, edges) of a circuit's own file. Raises InputError if there is none."""
    from eap import scores

    beside = scores.examples_beside(path)
    if not beside.is_file():
        raise InputError(f"{path}: expected {beside.name} beside it, found none; extract it again")
    return scores.load_example_scores(beside).double()


# ---------------------------------------------------------------- circuits


def edge_sets(args, graph, *, scores: dict, looks) -> dict:
    """{(what, rank, size): booleans per edge} of everything that is run, the cheapest first."""
    import torch

    from eap import selection

    values = {"mean": lambda rows: rows.mean(0), "example": lambda rows: rows.abs().mean(0)}
    kept = {}
    for name, rows in scores.items():
        for rank in args.ranks:
            ranked = values[rank](rows)
            for size in args.sizes:
                chosen = selection.top_n(graph, ranked, n=round(size * graph.n_edges))
                kept[name, rank, size] = chosen
    generator = torch.Generator().manual_seed(args.seed)
    for draw_number in range(args.n_random):
        order = torch.rand(graph.n_edges, generator=generator, dtype=torch.float64)
        for size in args.random_sizes:
            chosen = selection.top_n(graph, order, n=round(size * graph.n_edges))
            kept[f"random {draw_number}", "random", size] = chosen
    if args.heads:
        copying, others = strongest_and_others(args, graph, looks=looks)
        for name, heads in (("without copying heads", copying), ("without others", others)):
            kept[name, "heads", args.heads] = ~torch.isin(graph.edge_index[0], torch.tensor(heads))
    return kept


def run(args, adapter, *, pairs, kept: dict, path: Path) -> list[dict]:
    """A row {"pair", "what", "rank", "size", "kl"} for each pair and edge set.

    And one for each pair's plain corrupted run. What the file holds is not run again.
    """
    from eap import dataset, evaluate

    rows = disk.read_jsonl(path) if path.is_file() else []
    ids = [pair.id for pair in pairs]
    done = {(row["pair"], row["what"], row["rank"], row["size"]) for row in rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    for pair in console.Console(args.quiet).progress(pairs, "running circuits"):
        left = [key for key in kept if (pair.id, *key) not in done]
        if not left:
            continue
        runner = evaluate.CircuitRunner(adapter, dataset.collate([0], [pair]))
        new = [{"pair": pair.id, "what": "corrupted", "rank": "", "size": 0.0}]
        new[0]["kl"] = runner.plain_metric("corrupted", "kl").item()
        for what, rank, size in left:
            kl = runner.metric("kl", kept[what, rank, size]).item()
            new.append({"pair": pair.id, "what": what, "rank": rank, "size": size, "kl": kl})
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in new)
        rows += new
    asked = {("corrupted", "", 0.0), *kept}
    key = ("what", "rank", "size")
    return [row for row in rows if row["pair"] in ids and tuple(row[part] for part in key) in asked]


def faithfulness(rows: list[dict], seed: int) -> list[dict]:
    """f of every edge set with its interval over pairs, and the difference to the first circuit's.

    f is 1 - mean kl / mean kl of the corrupted run: the whole model has a kl of 0.
    """
    import numpy as np

    from eap.resampling import ends, resample

    table = {}
    for row in rows:
        what = "random" if row["what"].startswith("random") else row["what"]
        place = table.setdefault((what, row["rank"], row["size"]), {})
        place.setdefault(row["pair"], []).append(row["kl"])
    means = {key: {pair: np.mean(kl) for pair, kl in place.items()} for key, place in table.items()}
    empty = means.pop(("corrupted", "", 0.0))
    first, entries = next(iter(means))[0], []
    for (what, rank, size), by_pair in means.items():
        ids = sorted(by_pair)
        kl = np.array([by_pair[pair] for pair in ids])
        base = np.array([empty[pair] for pair in ids])
        drawn = resample(len(ids), seed)
        f, spread = 1 - kl.mean() / base.mean(), 1 - kl[drawn].mean(1) / base[drawn].mean(1)
        low, high = ends(spread)
        entry = {"what": what, "rank": rank, "size": size, "pairs": len(ids)}
        entry |= {"f": float(f), "low": float(low), "high": float(high)}
        other = means.get((first, rank, size))
        if what not in (first, "random") and other and set(other) >= set(ids):
            theirs = np.array([other[pair] for pair in ids])
            low, high = ends(spread - (1 - theirs[drawn].mean(1) / base[drawn].mean(1)))
            value = float(f - (1 - theirs.mean() / base.mean()))
            entry["to_first"] = {"mean": value, "low": float(low), "high": float(high)}
        entries.append(entry)
    return entries


def overlaps(args, graph, *, scores: dict) -> list[dict]:
    """Mean Jaccard index of circuits of two random halves of the examples, beside chance."""
    import torch

    from eap import selection
    from study.overlap import chance, jaccard

    entries, generator = [], torch.Generator().manual_seed(args.seed)
    for name, rows in scores.items():
        for size in sorted({0.01, 0.02, *args.sizes}):
            n, half, indices = round(size * graph.n_edges), len(rows) // 2, []
            for _ in range(SPLITS):
                order = torch.randperm(len(rows), generator=generator)
                first = selection.top_n(graph, rows[order[:half]].mean(0), n=n)
                second = selection.top_n(graph, rows[order[half : 2 * half]].mean(0), n=n)
                indices.append(jaccard(first, second))
            entry = {"what": name, "size": size, "pairs_in_a_half": half}
            mean = sum(indices) / len(indices)
            entries.append(entry | {"jaccard": mean, "chance": chance(n, n, total=graph.n_edges)})
    return entries


# ---------------------------------------------------------------- heads that copy


def copying(args, adapter, *, pairs):
    """(pairs, layers, heads): attention to the words of the article that the next word repeats.

    Less that to the words which the summary's other next words repeat.
    """
    import torch

    from study.differential.two_models import states

    graph, looks = adapter.graph, []
    for pair in console.Console(args.quiet).progress(pairs, "heads that copy"):
        ids = torch.tensor(pair.clean_ids)
        first, last = pair.segments[0][0], pair.segments[-1][1]
        targets = ids[pair.target_start :]
        same = targets[:, None] == ids[None, first:last]
        repeated = same.any(1)
        same, places = same[repeated].float(), torch.arange(len(targets))[repeated]
        places = places + pair.target_start - 1
        other = (same.sum(0) - same) / max(1, len(same) - 1)
        with torch.no_grad():
            read = states(adapter, ids[None].to(adapter.model.device))
            rows = [
                adapter.attention_weights(layer, read[layer])[0].cpu()[:, places, first:last]
                for layer in range(graph.n_layers)
            ]
        weights = torch.stack(rows)
        looks.append(((weights * same).sum(-1) - (weights * other).sum(-1)).mean(-1))
    return torch.stack(looks).double()


def strongest_and_others(args, graph, *, looks) -> tuple[list[int], list[int]]:
    """Sources: the heads that copy most, and as many others drawn from the same layers."""
    import torch

    mean = looks.mean(0)
    top = mean.flatten().topk(args.heads).indices.tolist()
    chosen = [divmod(index, graph.n_heads) for index in top]
    generator, others = torch.Generator().manual_seed(args.seed), []
    for layer, _ in chosen:
        free = [
            head
            for head in range(graph.n_heads)
            if (layer, head) not in chosen and (layer, head) not in others
        ]
        if not free:
            raise InputError(
                f"--heads {args.heads}: expected so few that layer {layer} has as many other heads "
                "as it has that copy; give fewer"
            )
        pick = int(torch.randint(len(free), (), generator=generator))
        others.append((layer, free[pick]))
    return sources_of(graph, chosen), sources_of(graph, others)


def sources_of(graph, heads: list[tuple[int, int]]) -> list[int]:
    """The numbers in `graph.sources` of heads (layer, head)."""
    return [graph.heads(layer).start + head for layer, head in heads]


def copying_heads(args, graph, *, scores: dict, looks) -> dict:
    """The heads that copy most, with intervals, and where each circuit's scores rank them."""
    from scipy.stats import spearmanr

    from eap.resampling import mean_interval

    mean = looks.mean(0).flatten()
    heads = [(layer, head) for layer in range(graph.n_layers) for head in range(graph.n_heads)]
    strength = {name: head_strength(graph, rows.mean(0)) for name, rows in scores.items()}
    order = {name: values.argsort(descending=True).tolist() for name, values in strength.items()}
    top = []
    for index in mean.topk(args.heads or HEADS).indices.tolist():
        layer, head = heads[index]
        look = mean_interval(looks[:, layer, head].numpy(), args.seed)
        ranks = {name: 1 + numbers.index(index) for name, numbers in order.items()}
        top.append({"head": f"a{layer}.h{head}", "look": look, "rank_by_scores": ranks})
    agreement = {
        name: float(spearmanr(mean.numpy(), values.numpy()).statistic)
        for name, values in strength.items()
    }
    return {"heads": top, "of": len(heads), "spearman_with_scores": agreement}


def head_strength(graph, edges):
    """(layers x heads,) sum of |score| over the edges out of each head."""
    import torch

    out = torch.zeros(len(graph.sources), dtype=torch.float64)
    out.index_add_(0, graph.edge_index[0], edges.abs())
    parts = [out[graph.heads(layer)] for layer in range(graph.n_layers)]
    return torch.cat(parts)


# ---------------------------------------------------------------- what is said


def lines(results: dict) -> list[str]:
    """The numbers as tables."""
    text = [f"{'':24}{'rank':9}{'size':>6}  f [95 %]"]
    for row in results["f"]:
        size = f"{100 * row['size']:.0f} %" if row["rank"] != "heads" else f"{row['size']:.0f}"
        numbers = f"{row['f']:.2f} [{row['low']:.2f}, {row['high']:.2f}], {row['pairs']} pairs"
        if change := row.get("to_first"):
            numbers += f"; {change['mean']:+.2f} [{change['low']:.2f}, {change['high']:.2f}]"
        text.append(f"{row['what']:24}{row['rank']:9}{size:>6}  {numbers}")
    for row in results["overlap_of_halves"]:
        text.append(
            f"{row['what']:24}halves of {row['pairs_in_a_half']} pairs, {100 * row['size']:.0f} %: "
            f"Jaccard {row['jaccard']:.2f}, chance {row['chance']:.2f}"
        )
    for entry in results["copying"]["heads"]:
        look = entry["look"]
        ranks = ", ".join(f"{name} {rank}" for name, rank in entry["rank_by_scores"].items())
        text.append(
            f"{entry['head']:10}{look['mean']:.3f} [{look['low']:.3f}, {look['high']:.3f}], by "
            f"scores of {results['copying']['of']} heads: {ranks}"
        )
    return text


def draw(results: dict):
    """A Figure: f over size by method and ranking; overlap of halves over size."""
    from eap.style import COLOURS, subplots

    figure, axes = subplots(1, 2, figsize=(9.2, 3.8))
    names = list(results["examples_found_on"])
    colours = dict(zip(names, (COLOURS["circuit"], COLOURS["base"]), strict=False))
    groups = {}
    for row in results["f"]:
        if row["rank"] != "heads":
            groups.setdefault((row["what"], row["rank"]), []).append(row)
    for (what, rank), rows in groups.items():
        rows = sorted(rows, key=lambda row: row["size"])
        x, y = [100 * row["size"] for row in rows], [row["f"] for row in rows]
        label = what if what == "random" else f"{what}, by {MEANS[rank]}"
        colour = colours.get(what, COLOURS["random"])
        look = {"example": "s--", "random": "x:"}.get(rank, "o-")
        axes[0].plot(x, y, look, color=colour, label=label, markersize=4)
        low, high = [row["low"] for row in rows], [row["high"] for row in rows]
        axes[0].fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
    axes[0].axhline(0, color="black", lw=0.6)
    axes[0].axhline(1, color="black", lw=0.6, ls=":")
    axes[0].set(xlabel="% of the edges", ylabel="f", xscale="log", title="How much does it carry?")
    axes[0].legend(frameon=False, fontsize=8)
    for name in names:
        rows = [row for row in results["overlap_of_halves"] if row["what"] == name]
        x = [100 * row["size"] for row in rows]
        axes[1].plot(x, [row["jaccard"] for row in rows], "o-", color=colours[name], label=name)
        axes[1].plot(x, [row["chance"] for row in rows], ":", color=COLOURS["random"])
    axes[1].set(xlabel="% of the edges", ylabel="Jaccard index", xscale="log", ylim=(0, 1))
    axes[1].set(title="Circuits of two halves of the pairs (dotted: chance)")
    axes[1].legend(frameon=False, fontsize=8)
    for axis in axes:
        axis.set_xticks(TICKS, TICKS)
        axis.minorticks_off()
    return figure


TICKS = [1, 2, 5, 10, 20, 40, 80]  # % of the edges
MEANS = {"mean": "|mean score|", "example": "mean |score|"}


if __name__ == "__main__":
    console.run_script(main)
