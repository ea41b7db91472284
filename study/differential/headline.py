"""differential.json and differential.latents.json in a few lines: layers and attention."""

from dataclasses import replace

import numpy as np

from eap import MIN_EXAMPLES
from eap.resampling import LEVEL
from study.findings import ZERO, Finding, Null, Number, column, direction, number, percent, text
from study.headline import Headline, Table

ROWS = 6  # layers in the table, the most changed ones
MEASURE = "centred_cosine"


def headline(summary: dict) -> Headline:
    """The `Headline` of two models compared, or of a run followed over its checkpoints."""
    if "standing" in summary:
        return run_headline(summary)
    if "parts" in summary:
        return parts_headline(summary)
    return Headline(title_of(summary), table(summary), findings(summary), cautions(summary))


def findings(summary: dict) -> tuple[Finding, ...]:
    """Which layer changed most, and how attention changed; of a run, how far its layers went."""
    if "standing" in summary:
        made = (farthest_finding(summary), half_finding(summary))
    elif "parts" in summary:
        made = parts_findings(summary)
    else:
        made = (layer_finding(summary), *attention_findings(summary))
    return tuple(finding for finding in made if finding is not None)


def title_of(summary: dict) -> str:
    """Which two models were compared, on what."""
    tokens = summary["tokens"] / summary["texts"]
    return (
        f"{summary['base']} and {summary['finetuned']} on {summary['texts']} texts of "
        f"{summary['dataset']}, {tokens:,.0f} tokens on average"
    )


# ---------------------------------------------------------------- two encoder-decoders


def parts_headline(summary: dict) -> Headline:
    """The `Headline` of two encoder-decoders: a row, and what became of entropy, for each part."""
    notes = few_words(summary)
    if summary["dropped"]:
        notes.append(f"{summary['dropped']} texts left out that do not fit")
    notes.append("no layers.differential.json: adapters are placed in decoders alone")
    return Headline(title_of(summary), parts_table(summary), findings(summary), tuple(notes))


def parts_findings(summary: dict) -> list[Finding]:
    """What became of the entropy of each part's attention; the first answers the question."""
    made = []
    for name, part in summary["parts"].items():
        entropy = attention_findings(part)[0]
        question = "" if made else entropy.question
        made.append(replace(entropy, subject=f"{name} {entropy.subject}", question=question))
    return made


def parts_table(summary: dict) -> Table:
    """The layer of each part whose attention changed most, with its similarity and entropy."""
    rows = []
    for name, part in summary["parts"].items():
        layer = part["changes"]["attention_kl"]["order"][0]
        similarity = at(part["hidden"][MEASURE], layer + 1) if "hidden" in part else None
        divergence = at(part["attention"]["layers"]["kl_base_finetuned"], layer)
        entropy = at(part["entropy_change"]["entropy"]["layers"], layer, signed=True)
        rows.append((name, str(layer), similarity, divergence, entropy))
    names, layers, *numbers = zip(*rows, strict=True)
    columns = [names, layers, *[column(cells) for cells in numbers]]
    head = ("attention", "layer", "centred cosine", "attention KL", "entropy change, nats")
    note = "of each the layer whose attention changed most"
    return Table(head, tuple(zip(*columns, strict=True)), note)


# ---------------------------------------------------------------- two models


def table(summary: dict) -> Table:
    """The most changed layers, in their order: similarity, attention, its entropy."""
    n_layers = len(summary["states"]) - 2
    shown = sorted(summary["changes"][MEASURE]["order"][:ROWS])
    hidden, attention = summary["hidden"], summary["attention"]["layers"]
    entropy = summary["entropy_change"]["entropy"]["layers"]
    rows = zip(
        map(str, shown),
        column(at(hidden[MEASURE], layer + 1) for layer in shown),  # after the embeddings
        column(at(attention["kl_base_finetuned"], layer) for layer in shown),
        column(at(entropy, layer, signed=True) for layer in shown),
        strict=True,
    )
    note = f"the {len(shown)} most changed of {n_layers} layers" if n_layers > len(shown) else ""
    head = ("layer", "centred cosine", "attention KL", "entropy change, nats")
    return Table(head, tuple(rows), note)


def at(table: dict[str, list], index: int, *, signed: bool = False) -> Number:
    """One number of {"mean", "low", "high": lists}."""
    return number({key: table[key][index] for key in ("mean", "low", "high")}, signed=signed)


def layer_finding(summary: dict) -> Finding | None:
    """The layer that changed most, and in how many resamples of the texts it does."""
    changes = {
        name: entry for name, entry in summary["changes"].items() if max(entry["scores"]) > 0
    }
    if not changes:
        return None
    name = MEASURE if MEASURE in changes else next(iter(changes))
    layer, share = changes[name]["order"][0], changes[name]["first_share"]
    others = sorted({entry["order"][0] for entry in changes.values()} - {layer})
    n_layers = len(summary["states"]) - 2
    return Finding(
        layer_kind(share),
        f"layer {layer} most changed",
        Number(100 * share, unit="% of resamples"),
        Null("chance", Number(100 / n_layers, unit="%")),
        f"by other measures {', '.join(map(str, others))}" if others else "by every measure",
        n=summary["texts"],
    )


def layer_kind(share: float) -> str:
    """Whether it is settled which layer comes first: in LEVEL of the resamples."""
    return "settled" if share >= LEVEL else "not settled"


def attention_findings(summary: dict) -> list[Finding]:
    """Whether attention became more focused, and whether it left the first token."""
    entropy, first = summary["entropy_change"]["entropy"], summary["first_token_change"]
    overall, texts = number(entropy["overall"], "nats", signed=True), summary["texts"]
    share = text(percent(entropy["share_of_heads_lower"], unit="% of heads"))
    heads = f"{entropy['heads_lower']} fell, {entropy['heads_higher']} rose"
    rate = f"{100 * entropy['false_discovery_rate']:g} %"
    to_first = percent(first["overall"], signed=True, unit="%")
    return [
        Finding(
            direction(overall),
            "attention entropy, mean over heads, fine-tuned minus base",
            overall,
            Null("no change", ZERO),
            f"fell in {share}; {heads} at a false-discovery rate of {rate}",
            n=texts,
            question="Does attention become more focused?",
        ),
        Finding(
            direction(to_first),
            "share of attention to the first token, change",
            to_first,
            Null("no change", ZERO),
            n=texts,
        ),
    ]


def cautions(summary: dict) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    notes = few_words(summary)
    if summary["dropped"]:
        notes.append(f"{summary['dropped']} texts left out whose summary does not fit")
    massive = summary["massive_dimensions"]
    if massive:
        named = ", ".join(str(entry["dimension"]) for entry in massive[:3])
        notes.append(f"{len(massive)} massive dimensions ({named}) weigh most in the raw cosine")
    return tuple(notes)


def few_words(summary: dict) -> list[str]:
    """That too few texts carry no claim (guard 26)."""
    few = summary["texts"] < MIN_EXAMPLES
    return [f"{summary['texts']} texts carry no claim"] if few else []


# ---------------------------------------------------------------- a run


def run_headline(summary: dict) -> Headline:
    """The `Headline` of a run: how far its layers are from the base model at each checkpoint."""
    title = (
        f"{len(summary['steps'])} checkpoints against the first, {summary['texts']} texts, "
        f"{summary['positions']} positions each"
    )
    return Headline(title, run_table(summary), findings(summary), tuple(few_words(summary)))


def run_table(summary: dict) -> Table:
    """Centred cosine to the base at each step: embeddings, and four layers from first to last."""
    similarity = summary["measures"][MEASURE]
    n_layers = len(summary["states"]) - 1
    layers = sorted({round(place) for place in np.linspace(0, n_layers - 1, min(3, n_layers))})
    steps = range(1, len(summary["steps"]))
    columns = [[f"{summary['steps'][t]:,}" for t in steps]]
    for layer in layers:
        cells = [
            number({key: similarity[key][t][layer + 1] for key in ("mean", "low", "high")})
            for t in steps
        ]
        columns.append(column(cells))
    head = ("step", *[f"layer {layer}" for layer in layers])
    return Table(head, tuple(zip(*columns, strict=True)), "centred cosine to the base model")


def farthest_finding(summary: dict) -> Finding | None:
    """The layer that is farthest from the base at the end."""
    standing = summary["standing"].get(MEASURE)
    if not standing:
        return None
    return Finding(
        layer_kind(standing["share"]),
        f"layer {standing['layer']} farthest at the last step",
        Number(100 * standing["share"], unit="% of resamples"),
        Null("chance", Number(100 / (len(summary["states"]) - 1), unit="%")),
        n=summary["texts"],
    )


def half_finding(summary: dict) -> Finding | None:
    """The step at which the layers have gone half of their way."""
    standing = summary["standing"].get(MEASURE)
    if not standing or summary["texts"] < MIN_EXAMPLES:
        return None
    half, last = standing["half"], summary["steps"][-1]
    value = Number(half["last"], half["low"], half["high"])
    subject = "half of the way is gone in every layer by step"
    return Finding("measured", subject, value, Null(f"evenly: step {last // 2}"))
