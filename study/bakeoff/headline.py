"""bakeoff.json in a few lines: which arms are better or worse than `all` and than random layers."""

from eap import MIN_EXAMPLES
from study.bakeoff.numbers import REFERENCES, SPOKEN
from study.bakeoff.words import below_chance, layer_text, off_budget, one_draw, same_layers
from study.findings import ZERO, Finding, Null, Number, column, named, number, p_words, text
from study.headline import Headline, Table

LABELS = {"rouge1": "ROUGE-1", "nll_nats": "NLL"}
BASELINES = ("Random-3",)
FIRST = ("circuit", "random", "all")  # in the table
QUESTIONED = "nll_nats"  # the measure in which the report asks whether the circuit helps


def headline(result: dict, costs: dict | None = None) -> Headline:
    """The `Headline` of a bake-off; `costs` is what costs.json holds under `costs`."""
    seeds = len(result["seeds"])
    budget = result["budget_parameters"]
    title = (
        f"{len(result['arms'])} arms on {result['model']}, {seeds} seed{'s' * (seeds > 1)}, "
        f"{result['n_texts']} texts of {result['dataset']}"
        + (f", {budget:,} trainable parameters" if budget else "")
    )
    return Headline(title, table(result, costs), findings(result), cautions(result))


def table(result: dict, costs: dict | None) -> Table:
    """A row for each arm and baseline: layers, two measures, what words may be said, seconds."""
    sticks, names = result["yardsticks"], sorted(result["arms"], key=place)
    arms = {name: result["arms"][name] for name in names}
    baselines = {name: sticks[name] for name in BASELINES if name in sticks}
    entries = [*arms.values(), *baselines.values()]
    columns = {
        "arm": [*arms, *baselines],
        "layers": [*[layer_text(arm["layers"]) for arm in arms.values()], *["-"] * len(baselines)],
    }
    for measure, label in LABELS.items():
        numbers = [number(entry[measure]) if measure in entry else None for entry in entries]
        columns[label] = column(numbers)
    for reference in result["differences"]:
        words = [claims(result, name, reference=reference) for name in arms]
        columns[f"to {reference}"] = [*words, *[""] * len(baselines)]
    if costs:
        seconds = [f"{costs[name]['train_seconds']:,.0f} s" for name in arms]
        columns["training"] = [*seconds, *[""] * len(baselines)]
    note = "words: of ROUGE-1 and of NLL; . no clear difference" if result["differences"] else ""
    return Table(tuple(columns), tuple(zip(*columns.values(), strict=True)), note)


def place(name: str) -> int:
    """Where an arm stands in the table: those of the study's question first."""
    return FIRST.index(name) if name in FIRST else len(FIRST)


def claims(result: dict, name: str, *, reference: str) -> str:
    """`better, worse`: of ROUGE-1 and NLL against a reference; a dot where nothing may be said."""
    if name == reference:
        return "-"
    words = []
    for measure in SPOKEN:
        entry = result["differences"][reference][measure].get(name)
        words.append(entry["claim"] if entry and entry["claim"] else ".")
    return " ".join(words)


def findings(result: dict) -> tuple[Finding, ...]:
    """The arm by the circuit against random layers in both measures, where these took part.

    Else the clearest difference to each reference: the smallest corrected p, then the largest gap.
    """
    differences = result["differences"]
    if "circuit" in differences.get("random", {}).get(SPOKEN[0], {}):
        return tuple(
            difference(result, "circuit", reference="random", measure=measure) for measure in SPOKEN
        )
    made = []
    for reference in REFERENCES:
        rows = [
            (entry["p_holm"], -abs(entry["mean"]), name, measure)
            for measure in SPOKEN
            for name, entry in differences.get(reference, {}).get(measure, {}).items()
        ]
        if rows:
            *_, name, measure = min(rows)
            made.append(difference(result, name, reference=reference, measure=measure))
    return tuple(made)


def difference(result: dict, name: str, *, reference: str, measure: str) -> Finding:
    """An arm's difference from a reference in one measure, paired over the texts."""
    entry = result["differences"][reference][measure][name]
    note = f"Holm's {p_words(entry['p_holm'])}"
    if entry["detectable"]:
        note += f"; detectable {text(Number(entry['detectable']))}"
    measured = result["arms"][name]["placement"] == "measured"
    answers = measured and reference == "random" and measure == QUESTIONED
    return Finding(
        entry["claim"] or "no clear difference",
        f"{LABELS[measure]} of {name} minus {reference}",
        number(entry, signed=True),
        Null("no difference", ZERO),
        note,
        n=entry["n"],
        question="Does knowing the circuit help LoRA?" if answers else "",
    )


def cautions(result: dict) -> tuple[str, ...]:
    """What a reader of the numbers must know now, in a few words each."""
    notes, arms = [], result["arms"]
    if result["n_texts"] < MIN_EXAMPLES:
        notes.append(f"{result['n_texts']} texts carry no claim")
    if len(result["seeds"]) == 1:
        drawn = (
            f", random layers {layer_text(arms['random']['layers'])}" if one_draw(result) else ""
        )
        notes.append(f"one seed, so no spread over seeds{drawn}")
    swept = [name for name, arm in arms.items() if arm["sweep"]]
    if not swept:
        notes.append("learning rates not swept")
    edge = [name for name in swept if arms[name]["sweep"]["at_the_edge"]]
    if edge:
        notes.append(f"best rate at the edge of those tried: {named(edge, len(swept))}")
    notes += [line.split(":")[0] for line in same_layers(result)]
    notes += [line.split(":")[0] for line in off_budget(result)]
    if below_chance(result):
        notes.append("every arm is below three random sentences in ROUGE-1")
    notes += [f"{name} left out" for name in result["left_out"]]
    return tuple(notes)
