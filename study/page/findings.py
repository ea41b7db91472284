"""The study in a few sentences, each with its number, interval and null, from the stages' JSON alone.

A word such as "above" or "fell" stands only where an interval excludes the null, over enough
examples (guard 26); elsewhere the sentence says that no difference can be told.
"""

from dataclasses import dataclass

from eap import MIN_EXAMPLES
from study.headline import p_words
from study.page import rounding

RANDOM_LAYERS = "random"  # the bake-off's arm in layers drawn by chance


@dataclass(frozen=True)
class Finding:
    """A question, the sentence that answers it, and the number behind it.

    `number` is {"mean", "low", "high"} on an axis that also has `null`, what stands for nothing
    ({"mean", "low", "high"}, of equal ends if it has no interval), under the name `null_name`.
    """

    stage: str
    question: str
    sentence: str
    number: dict
    null: dict
    null_name: str


def findings(contents: dict[str, dict]) -> list[Finding]:
    """What the stages found, from {file name: its content}; a stage that is not there has none."""
    made = [
        (make, contents[name])
        for name, makers in MAKERS.items()
        if name in contents
        for make in makers
    ]
    found = [_or_none(make, content) for make, content in made]
    return [finding for finding in found if finding is not None]


def _or_none(make, content: dict) -> Finding | None:
    """The finding; None for a file of an earlier version, which has other keys."""
    try:
        return make(content)
    except (KeyError, TypeError, IndexError, AttributeError):
        return None


def point(value: float) -> dict:
    """A null without an interval."""
    return {"mean": value, "low": value, "high": value}


def learned(training: dict) -> Finding | None:
    """How far fine-tuning took the validation NLL; the null is the model before it."""
    rows = training.get("validation") or []
    if len(rows) < 2:
        return None
    first, last = (
        {"mean": row["nll_nats_per_token"], "low": row["low"], "high": row["high"]}
        for row in (rows[0], rows[-1])
    )
    enough = training["examples"]["validation"]["kept"] >= MIN_EXAMPLES
    apart = enough and (last["high"] < first["low"] or last["low"] > first["high"])
    verb = ("fell" if last["mean"] < first["mean"] else "rose") if apart else "went"
    return Finding(
        "training",
        "Does the model learn to summarize?",
        f"Validation NLL {verb} from {rounding.with_interval(first)} to "
        f"{rounding.with_interval(last)} nats per summary token in {rows[-1]['step']} steps.",
        last,
        first,
        "before",
    )


def carried(faithfulness: dict) -> Finding | None:
    """How much of the model the circuit carries; the null is random circuits of its layers."""
    metric = _first_metric(faithfulness)
    if metric is None:
        return None
    name, content = metric
    matched = [row for row in content["nulls"] if row["null"] == "matched"]
    if not matched:
        return None
    null = _at_size_of_file(matched, content["rows"])
    own = next(
        row
        for row in content["rows"]
        if row["kind"] == "circuit" and row["fraction"] == null["fraction"]
    )
    f = {"mean": own["f"], "low": own["low"], "high": own["high"]}
    clear = _claims(null["difference"]) and own["f"] > null["null_highest"]
    beside = "above every one of" if clear else "not told apart from"
    return Finding(
        "faithfulness",
        "How much of the model does the circuit carry?",
        f"{rounding.percent(null['fraction'])} of the edges carry f = "
        f"{rounding.with_interval(f)} of what corruption changes ({name}, "
        f"{faithfulness['examples']} unseen pairs), {beside} {_counted(null['draws'], 'random circuit')} "
        f"of the same layers (highest {rounding.fixed(null['null_highest'], 2)}).",
        f,
        {"mean": null["null_f"], "low": null["null_lowest"], "high": null["null_highest"]},
        "random circuits",
    )


def salient(faithfulness: dict) -> Finding | None:
    """What corrupting salient sentences changes; the null is other sentences (guard 16)."""
    metric = _first_metric(faithfulness)
    if metric is None or metric[1].get("control") is None:
        return None
    name, content = metric
    control = content["control"]
    difference = control["salient_minus_control"]
    side = "more than" if difference["mean"] > 0 else "less than"
    word = side if _claims(difference) else "not told apart from"
    return Finding(
        "faithfulness",
        "Is it the salient sentences that count?",
        f"Corrupting them changes {name} by {rounding.with_interval(content['change'])} nats per "
        f"token, {word} as many tokens of other sentences, "
        f"{rounding.with_interval(control['change'])} (difference "
        f"{rounding.with_interval(difference)}).",
        content["change"],
        control["change"],
        "other sentences",
    )


def moved(evolution: dict) -> Finding | None:
    """How much the circuit changes a step; the null is what resampling the examples changes."""
    rates = (evolution.get("rates") or {}).get("edges_equal_size") or evolution["rates"]["edges"]
    floor = rates.get("dS_floor")
    if floor is None:
        return None
    enough = (evolution.get("examples") or 0) >= MIN_EXAMPLES
    beyond = rates["beyond_noise"]
    above = enough and rates["dS"] > floor["high"]
    word = "more than noise" if above else "within noise"
    return Finding(
        "evolution",
        "Does the circuit move, beyond noise?",
        f"{rounding.percent(rates['dS'])} of its edges change a step; resampling the examples "
        f"alone gives {_percents(floor)}: {word}. {sum(beyond)} of {len(beyond)} single steps "
        "are beyond it.",
        point(rates["dS"]),
        floor,
        "resampling",
    )


def differ(robustness: dict) -> Finding | None:
    """Whether the first two circuits are one; the null is the overlap of one with itself."""
    circuits = {row["name"]: row for row in robustness.get("circuits") or []}
    pair = next((row for row in robustness.get("pairs") or [] if row.get("p") is not None), None)
    if pair is None:
        return None
    floors = [circuits[pair[end]].get("noise_floor") for end in ("a", "b")]
    if None in floors:
        return None
    floor = min(floors, key=lambda row: row["mean"])
    different = pair["different"]
    enough = different["examples"] >= MIN_EXAMPLES
    word = "differ" if enough and pair["p"] < 0.05 else "are not told apart"
    return Finding(
        "robustness",
        "Is it another circuit?",
        f"{pair['a']} and {pair['b']} {word} ({p_words(pair['p'])}): they share "
        f"{rounding.fixed(pair['jaccard_edges'], 2)} of their edges (Jaccard; chance "
        f"{rounding.fixed(pair['chance']['mean'], 3)}), two resamples of one "
        f"{rounding.with_interval(floor)}.",
        point(pair["jaccard_edges"]),
        floor,
        "with itself",
    )


def focused(differential: dict) -> Finding | None:
    """Whether attention became more focused; the null is no change."""
    change = (differential.get("entropy_change") or {}).get("entropy")
    if not change or "overall" not in change:
        return None
    overall = change["overall"]
    clear = differential["texts"] >= MIN_EXAMPLES and not overall["low"] <= 0 <= overall["high"]
    moved_to = "rose" if overall["mean"] > 0 else "fell"
    word = moved_to if clear else "cannot be said to change"
    return Finding(
        "differential",
        "Does attention become more focused?",
        f"Its entropy, mean over heads, {word}: {rounding.with_interval(overall)} nats over "
        f"{differential['texts']} texts, fine-tuned minus base.",
        overall,
        point(0.0),
        "no change",
    )


def better(rouge: dict) -> Finding | None:
    """ROUGE-1 of the best model beside Lead-3, which needs no model."""
    systems = rouge.get("systems") or {}
    models = {name: row for name, row in systems.items() if row.get("kind") == "model"}
    scored = {name: row["rouge1"] for name, row in models.items() if _is_number(row.get("rouge1"))}
    lead = (systems.get("Lead-3") or {}).get("rouge1")
    if not scored or not lead:
        return None
    best = max(scored, key=lambda name: scored[name]["mean"])
    own = scored[best]
    if (
        rouge.get("n", 0) < MIN_EXAMPLES
        or own["low"] <= lead["high"]
        and own["high"] >= lead["low"]
    ):
        word = "not told apart from"
    else:
        word = "above" if own["mean"] > lead["mean"] else "below"
    return Finding(
        "quality",
        "Are the summaries any good?",
        f"{best} reaches ROUGE-1 {rounding.with_interval(own)} on {rouge['n']} articles, {word} "
        f"Lead-3, {rounding.with_interval(lead)}, which takes the first three sentences.",
        own,
        lead,
        "Lead-3",
    )


def chosen_layers(bakeoff: dict) -> Finding | None:
    """The arm furthest from layers drawn by chance; the null is no difference from these."""
    rows = (bakeoff.get("differences") or {}).get(RANDOM_LAYERS, {}).get("nll_nats") or {}
    rows = {
        arm: row
        for arm, row in rows.items()
        if bakeoff["arms"].get(arm, {}).get("placement") not in (None, "all", "none")
    } or rows
    if not rows:
        return None
    arm = min(rows, key=lambda name: rows[name]["mean"])
    row = rows[arm]
    word = f"is {row['claim']} than" if row.get("claim") else "is not told apart from"
    return Finding(
        "bakeoff",
        "Does knowing the circuit help LoRA?",
        f"The arm with the lowest NLL of those that choose layers, {arm}, {word} random layers: "
        f"{rounding.with_interval(row)} nats per token, Holm's "
        f"{p_words(row['p_holm'])} ({row['n']} texts, "
        f"{_counted(len(bakeoff['seeds']), 'seed')}).",
        row,
        point(0.0),
        "random layers",
    )


MAKERS = {
    "training.json": (learned,),
    "faithfulness.json": (carried, salient),
    "evolution.json": (moved,),
    "robustness.json": (differ,),
    "differential.json": (focused,),
    "rouge.json": (better,),
    "bakeoff.json": (chosen_layers,),
}


def _first_metric(faithfulness: dict):
    """(name, content) of the first metric that corruption changes; None if it changes none."""
    for name, content in (faithfulness.get("metrics") or {}).items():
        change = content["change"]
        if not change["low"] <= 0 <= change["high"]:
            return name, content
    return None


def _at_size_of_file(nulls: list[dict], rows: list[dict]) -> dict:
    """The null at the smallest size that has one and is no smaller than the file's circuit."""
    file = next((row["fraction"] for row in rows if row["kind"] == "file"), 0.0)
    larger = [row for row in nulls if row["fraction"] >= 0.99 * file]
    return min(larger or nulls[-1:], key=lambda row: row["fraction"])


def _claims(difference: dict) -> bool:
    enough = difference["n"] >= MIN_EXAMPLES
    return enough and not difference["low"] <= 0 <= difference["high"]


def _is_number(value) -> bool:
    return isinstance(value, dict) and "mean" in value


def _counted(count: int, what: str) -> str:
    """`1 seed`, `3 seeds`."""
    return f"{count} {what}{'s' * (count != 1)}"


def _percents(found: dict) -> str:
    ends = {name: 100.0 * found[name] for name in ("mean", "low", "high")}
    return rounding.with_interval(ends).replace(" [", " % [")
