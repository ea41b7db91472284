"""rouge.json in a few lines: how good the summaries are, beside baselines and the first model."""

from eap import MIN_EXAMPLES
from study.headline import Finding, Headline, Null, Table, column, number
from summarization import corpus, words

MEASURES = {"rouge1": "ROUGE-1", "rougeLsum": "ROUGE-Lsum", "nll_nats": "NLL", "words": "words"}
COMPARED = ("rouge1", "nll_nats")  # with the first model, a finding each
LOWER_IS_BETTER = ("nll_nats",)
BASELINE = "Lead-3"


def headline(content: dict) -> Headline:
    """The `Headline` of summaries judged on a test set."""
    models = [name for name, entry in content["systems"].items() if entry["kind"] == "model"]
    title = f"{', '.join(models)} on {content['n']:,} articles of {corpus.title(content)}"
    return Headline(title, table(content), findings(content, models), cautions(content, models))


def table(content: dict) -> Table:
    """A row for each model and baseline."""
    systems = content["systems"]
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


def findings(content: dict, models: list[str]) -> tuple[Finding, ...]:
    """Each other model against the first, and the first three sentences against it, paired."""
    first, *others = models
    made = [
        finding
        for name in others
        for measure in COMPARED
        if (finding := difference(content["systems"], name, first, measure))
    ]
    if not others and (lead := difference(content["systems"], BASELINE, first, "rouge1")):
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


def cautions(content: dict, models: list[str]) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    said = []
    if content["n"] < MIN_EXAMPLES:
        said.append(f"{content['n']} articles carry no claim")
    lead = content["systems"].get(BASELINE)
    if lead:
        below = [
            name
            for name in models
            if content["systems"][name]["rouge1"]["high"] < lead["rouge1"]["low"]
        ]
        if below and content["n"] >= MIN_EXAMPLES:
            said.append(f"below {BASELINE} in ROUGE-1: {', '.join(below)}")
    cut = [f"{name} {count:,}" for name, count in content["truncated"].items() if count]
    if cut:
        said.append(f"articles cut to fit: {', '.join(cut)}")
    without = [
        f"{name} {content['n'] - entry['n']}"
        for name in models
        if (entry := content["systems"][name].get("nll_nats")) and entry["n"] < content["n"]
    ]
    if without:
        said.append(f"NLL leaves out highlights that do not fit: {', '.join(without)}")
    return (*said, *words.sentences(content["rouge_words"]))
