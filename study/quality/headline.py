"""rouge.json in a few lines: how good the summaries are, beside baselines and the first model."""

from eap import MIN_EXAMPLES
from study.headline import Finding, Headline, Null, Table, column, number
from summarization import corpus, words

MEASURES = {"rouge1": "ROUGE-1", "rougeLsum": "ROUGE-Lsum", "nll_nats": "NLL", "words": "words"}
COMPARED = ("rouge1", "nll_nats")  # with the first model, a finding each
LOWER_IS_BETTER = ("nll_nats",)
BASELINE = "Lead-3"


def headline(result: dict) -> Headline:
    """The `Headline` of summaries judged on a test set."""
    models = [name for name, entry in result["systems"].items() if entry["kind"] == "model"]
    title = f"{', '.join(models)} on {result['n']:,} articles of {corpus.title(result)}"
    return Headline(title, table(result), findings(result, models), cautions(result, models))


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


def findings(result: dict, models: list[str]) -> tuple[Finding, ...]:
    """Each other model against the first, and the first three sentences against it, paired."""
    first, *others = models
    made = [
        finding
        for name in others
        for measure in COMPARED
        if (finding := difference(result["systems"], name, first, measure))
    ]
    if not others and (lead := difference(result["systems"], BASELINE, first, "rouge1")):
        made.append(lead)
    return tuple(made)


def difference(systems: dict, name: str, first: str, measure: str) -> Finding | None:
    """A system's paired difference to the first model; None where a measure has none."""
    entry = systems.get(name, {}).get("minus_first", {}).get(measure)
    if not entry or "mean" not in entry:
        return None
    kind = "no clear difference"
    if entry["n"] < MIN_EXAMPLES:
        kind = "no claim"
    elif entry["claim"]:
        better = (entry["claim"] == "lower") == (measure in LOWER_IS_BETTER)
        kind = "better" if better else "worse"
    null = Null(f"{first}", number(systems[first][measure]))
    subject = f"{MEASURES[measure]} of {name} minus {first}, paired"
    return Finding(kind, subject, number(entry, signed=True), null)


def cautions(result: dict, models: list[str]) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    said = []
    if result["n"] < MIN_EXAMPLES:
        said.append(f"{result['n']} articles carry no claim")
    lead = result["systems"].get(BASELINE)
    if lead:
        below = [
            name
            for name in models
            if result["systems"][name]["rouge1"]["high"] < lead["rouge1"]["low"]
        ]
        if below and result["n"] >= MIN_EXAMPLES:
            said.append(f"below {BASELINE} in ROUGE-1: {', '.join(below)}")
    cut = [f"{name} {count:,}" for name, count in result["truncated"].items() if count]
    if cut:
        said.append(f"articles cut to fit: {', '.join(cut)}")
    without = [
        f"{name} {result['n'] - entry['n']}"
        for name in models
        if (entry := result["systems"][name].get("nll_nats")) and entry["n"] < result["n"]
    ]
    if without:
        said.append(f"NLL leaves out highlights that do not fit: {', '.join(without)}")
    return (*said, *words.sentences(result["rouge_words"]))
