"""Two circuits of one model, found by different methods: how faithful, stable, alike and dear."""

from dataclasses import dataclass

import numpy as np

from eap import methods
from eap.circuit import Circuit
from eap.selection import FRACTIONS, prune
from study.faithfulness import numbers as faithfulness
from study.faithfulness.words import by_words
from study.findings import fixed
from study.overlap import chance, jaccard

COMPARED = "compared circuit"  # what its entries are called


@dataclass(frozen=True)
class Compared:
    """The circuit in question and the one that it is compared with, and their names."""

    names: tuple[str, str]
    circuits: tuple[Circuit, Circuit]


def about(compared: Compared) -> dict:
    """What does not depend on a metric: {"circuits": how each was found, "agreement": overlap by
    size}.
    """
    circuits = [
        describe(name, circuit)
        for name, circuit in zip(compared.names, compared.circuits, strict=True)
    ]
    return {"circuits": circuits, "agreement": agreement(*compared.circuits)}


def describe(name: str, circuit: Circuit) -> dict:
    """{"name", "method", "metric", "rank", "examples", "forward", "backward", "noise_floor",
    "stability"} of a circuit.

    `forward` and `backward` are the passes that its method takes for each pair; None where the file
    does not say the method. `stability` is {"sizes", "resamples"} of its metadata, None where it
    has none.
    """
    origin = circuit.about
    forward, backward = methods.passes(
        circuit.graph, origin.method, steps=origin.steps or 1, rule=origin.quadrature or "left"
    )
    stability = None
    if origin.stability is not None:
        stability = {key: origin.stability[key] for key in ("sizes", "resamples")}
    return {
        "name": name,
        "method": origin.method,
        "metric": origin.metric,
        "rank": origin.rank,
        "examples": len(origin.examples) or None,
        "forward": forward,
        "backward": backward,
        "noise_floor": origin.noise_floor,
        "stability": stability,
    }


def agreement(circuit: Circuit, other: Circuit) -> list[dict]:
    """[{"fraction", "jaccard", "chance"}]: overlap of the two circuits, pruned, at the ten standard
    sizes.

    0 where pruning leaves nothing of either: that is no agreement.
    """
    graph, rows = circuit.graph, []
    fractions = [fraction for fraction in FRACTIONS if fraction < 1]
    entries = faithfulness.by_size(circuit, fractions)
    others = faithfulness.by_size(other, fractions)
    for entry, other_entry in zip(entries, others, strict=True):
        kept, other_kept = prune(graph, entry.kept), prune(graph, other_entry.kept)
        row = {
            "fraction": entry.fraction,
            "jaccard": jaccard(kept, other_kept),
            "chance": chance(int(kept.sum()), int(other_kept.sum()), total=graph.n_edges),
        }
        rows.append(row)
    return rows


def by_size(measured: faithfulness.Setting, rows: np.ndarray) -> list[dict]:
    """[{"fraction", "f", "other_f", "difference"}] for each size of the compared circuit, paired
    over examples.
    """
    sizes = {measured.entries[i].fraction for i in measured.rows_of(COMPARED)}
    which = [i for i in measured.rows_of("circuit") if measured.entries[i].fraction in sizes]
    circuit = measured._replace(
        entries=[measured.entries[i] for i in which], values=measured.values[which]
    )
    return faithfulness.differences(
        circuit, "circuit", other=measured, other_kind=COMPARED, rows=rows
    )


def sentences(about: dict, metrics: dict) -> list[str]:
    """What the comparison says, each difference with its interval. `metrics` is {metric: rows of
    `by_size`}.
    """
    first, second = about["circuits"]
    lines = [f"{way(first)} and {way(second)}, two methods for one model:"]
    for metric, rows in metrics.items():
        if rows is None:
            lines.append(f"  {metric}: corruption's effect includes zero, so f means nothing")
        else:
            lines.append(
                f"  {metric}: f of the first is {by_words(rows, 'higher', negative='lower')}"
            )
    for circuit in (first, second):
        floor = circuit["noise_floor"]
        if floor:
            lines.append(
                f"  {circuit['name']}: two resamples of its {circuit['examples']} examples overlap "
                f"by {fixed(floor)}{_cost(circuit)}"
            )
    row = next(row for row in about["agreement"] if row["fraction"] == 0.05)
    lines.append(
        f"  at 5 % of the edges they overlap by {row['jaccard']:.3f} (chance {row['chance']:.3f})"
    )
    return lines


def way(circuit: dict) -> str:
    """`C_after (secant, kl)`."""
    ranked = ", |score per example|" if circuit["rank"] == "example" else ""
    return (
        f"{circuit['name']} ({circuit['method'] or 'method unknown'}, {circuit['metric']}{ranked})"
    )


def _cost(circuit: dict) -> str:
    if circuit["forward"] is None:
        return ""
    return f"; {circuit['forward']} forward and {circuit['backward']} backward passes a pair"
