"""rouge.json in a few lines: how good the summaries are, beside baselines and the first model."""

from eap import MIN_EXAMPLES
from study.findings import Finding, Null, Number, column, direction, number
from study.headline import Headline, Table
from summarization import corpus, words

MEASURES = {"rouge1": "ROUGE-1", "rougeLsum": "ROUGE-Lsum", "nll_nats": "NLL", "words": "words"}
COMPARED = ("rouge1", "nll_nats")  # with the first model, a finding each
LOWER_IS_BETTER = ("nll_nats",)
BASELINE = "Lead-3"


def headline(result: dict) -> Headline:
    """The `Headline` of summaries judged on a test set."""
    title = f"{', '.join(models_of(result))} on {result['n']:,} articles of {corpus.title(result)}"
    return Headline(title, table(result), findings(result), cautions(result))


def models_of(result: dict) -> list[str]:
    """The names of the systems that are models, in their order."""
    return [name for name, entry in result["systems"].items() if entry["kind"] == "model"]


def table(result: dict) -> Table:
    """A row for each model and baseline."""
    systems = result["systems"]
    columns = [list(systems)]
    heads = [""]
    for measure, label in MEASURES.items():
        entries = [entry.get(measure) for entry in systems.values()]
        if not any(entries):
            continue
        if measure == "words":
            columns.append([f"{entry['mean']:.0f}" if entry else "-" for entry in entries])
        else:
            columns.append(column(number(entry) if entry else None for entry in entries))
        heads.append(label)
    return Table(
        tuple(heads), tuple(zip(*columns, strict=True)), "ROUGE: F1 in %, NLL: nats per token"
    )


def findings(result: dict) -> tuple[Finding, ...]:
    """The best model beside the first three sentences; every other model beside the first."""
    first, *others = models_of(result)
    made = [baseline_finding(result)]
    for name in others:
        made += [
            difference(result["systems"], name, first=first, measure=measure)
            for measure in COMPARED
        ]
    return tuple(finding for finding in made if finding is not None)


def baseline_finding(result: dict) -> Finding | None:
    """ROUGE-1 of the best model beside Lead-3, which needs no model; None where one has none.

    The first model is compared with it paired over the articles; another one is told from it only
    where their intervals are apart.
    """
    systems, models = result["systems"], models_of(result)
    scored = [name for name in models if systems[name].get("rouge1")]
    lead = systems.get(BASELINE, {})
    if not scored or not lead.get("rouge1"):
        return None
    best = max(scored, key=lambda name: systems[name]["rouge1"]["mean"])
    own, baseline = number(systems[best]["rouge1"]), number(lead["rouge1"])
    side, difference = direction(own, baseline), None
    paired = lead.get("minus_first", {}).get("rouge1") or {}
    if best == models[0] and "mean" in paired:
        difference = Number(-paired["mean"], -paired["high"], -paired["low"], signed=True)
        side = direction(difference)
    return Finding(
        {"higher": "better", "lower": "worse"}.get(side, side),
        f"ROUGE-1 of {best}",
        own,
        Null(BASELINE, baseline),
        difference=difference,
        n=result["n"],
        question="Are the summaries any good?",
    )


def difference(systems: dict, name: str, *, first: str, measure: str) -> Finding | None:
    """A system's paired difference to the first model; None where a measure has none."""
    entry = systems[name].get("minus_first", {}).get(measure)
    if not entry or "mean" not in entry:
        return None
    kind = "no clear difference"
    if entry["claim"]:
        better = (entry["claim"] == "lower") == (measure in LOWER_IS_BETTER)
        kind = "better" if better else "worse"
    return Finding(
        kind,
        f"{MEASURES[measure]} of {name}",
        number(systems[name][measure]),
        Null(first, number(systems[first][measure])),
        difference=number(entry, signed=True),
        n=entry["n"],
    )


def cautions(result: dict) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    notes, models, systems = [], models_of(result), result["systems"]
    if result["n"] < MIN_EXAMPLES:
        notes.append(f"{result['n']} articles carry no claim")
    lead = systems.get(BASELINE)
    if lead:
        below = [name for name in models if systems[name]["rouge1"]["high"] < lead["rouge1"]["low"]]
        if below and result["n"] >= MIN_EXAMPLES:
            notes.append(f"below {BASELINE} in ROUGE-1: {', '.join(below)}")
    cut = [f"{name} {count:,}" for name, count in result["truncated"].items() if count]
    if cut:
        notes.append(f"articles cut to fit: {', '.join(cut)}")
    without = [
        f"{name} {result['n'] - entry['n']}"
        for name in models
        if (entry := systems[name].get("nll_nats")) and entry["n"] < result["n"]
    ]
    first, *others = models
    apart = [
        name
        for name in others
        if systems[name].get("nll_nats") and "nll_nats" not in systems[name].get("minus_first", {})
    ]
    if apart:
        notes.append(f"NLL counts other tokens than {first}'s, not compared: {', '.join(apart)}")
    if without:
        notes.append(f"NLL leaves out highlights that do not fit: {', '.join(without)}")
    return (*notes, *words.sentences(result["rouge_words"]))
