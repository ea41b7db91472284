"""differential.json and differential.latents.json in a few lines: layers and attention."""

from dataclasses import replace

import numpy as np

from eap import MIN_EXAMPLES
from eap.resampling import LEVEL
from study.findings import ZERO, Finding, Null, Number, column, direction, number, percent, text
from study.headline import Headline, Table

ROWS = 6  # layers in the table, the most changed ones
MEASURE = "centred_cosine"


def headline(content: dict) -> Headline:
    """The `Headline` of two models compared, or of a run followed over its checkpoints."""
    if "standing" in content:
        return run_headline(content)
    if "parts" in content:
        return parts_headline(content)
    return Headline(title_of(content), table(content), findings(content), cautions(content))


def findings(content: dict) -> tuple[Finding, ...]:
    """Which layer changed most, and how attention changed; of a run, how far its layers went."""
    if "standing" in content:
        made = (farthest_finding(content), half_finding(content))
    elif "parts" in content:
        made = parts_findings(content)
    else:
        made = (layer_finding(content), *attention_findings(content))
    return tuple(finding for finding in made if finding is not None)


def title_of(content: dict) -> str:
    """Which two models were compared, on what."""
    tokens = content["tokens"] / content["texts"]
    return (
        f"{content['base']} and {content['finetuned']} on {content['texts']} texts of "
        f"{content['dataset']}, {tokens:,.0f} tokens on average"
    )


# ---------------------------------------------------------------- two encoder-decoders


def parts_headline(content: dict) -> Headline:
    """The `Headline` of two encoder-decoders: a row, and what became of entropy, for each part."""
    notes = few_words(content)
    if content["dropped"]:
        notes.append(f"{content['dropped']} texts left out that do not fit")
    notes.append("no layers.differential.json: adapters are placed in decoders alone")
    return Headline(title_of(content), parts_table(content), findings(content), tuple(notes))


def parts_findings(content: dict) -> list[Finding]:
    """What became of the entropy of each part's attention; the first answers the question."""
    made = []
    for name, part in content["parts"].items():
        entropy = attention_findings(part)[0]
        question = "" if made else entropy.question
        made.append(replace(entropy, subject=f"{name} {entropy.subject}", question=question))
    return made


def parts_table(content: dict) -> Table:
    """The layer of each part whose attention changed most, with its similarity and entropy."""
    rows = []
    for name, part in content["parts"].items():
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


def table(content: dict) -> Table:
    """The most changed layers, in their order: similarity, attention, its entropy."""
    n_layers = len(content["states"]) - 2
    shown = sorted(content["changes"][MEASURE]["order"][:ROWS])
    hidden, attention = content["hidden"], content["attention"]["layers"]
    entropy = content["entropy_change"]["entropy"]["layers"]
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


def layer_finding(content: dict) -> Finding | None:
    """The layer that changed most, and in how many resamples of the texts it does."""
    changes = {
        name: entry for name, entry in content["changes"].items() if max(entry["scores"]) > 0
    }
    if not changes:
        return None
    name = MEASURE if MEASURE in changes else next(iter(changes))
    layer, share = changes[name]["order"][0], changes[name]["first_share"]
    others = sorted({entry["order"][0] for entry in changes.values()} - {layer})
    n_layers = len(content["states"]) - 2
    return Finding(
        layer_kind(share),
        f"layer {layer} most changed",
        Number(100 * share, unit="% of resamples"),
        Null("chance", Number(100 / n_layers, unit="%")),
        f"by other measures {', '.join(map(str, others))}" if others else "by every measure",
        n=content["texts"],
    )


def layer_kind(share: float) -> str:
    """Whether it is settled which layer comes first: in LEVEL of the resamples."""
    return "settled" if share >= LEVEL else "not settled"


def attention_findings(content: dict) -> list[Finding]:
    """Whether attention became more focused, and whether it left the first token."""
    entropy, first = content["entropy_change"]["entropy"], content["first_token_change"]
    overall, texts = number(entropy["overall"], "nats", signed=True), content["texts"]
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


def cautions(content: dict) -> tuple[str, ...]:
    """What a reader of the numbers must know now."""
    said = few_words(content)
    if content["dropped"]:
        said.append(f"{content['dropped']} texts left out whose summary does not fit")
    massive = content["massive_dimensions"]
    if massive:
        named = ", ".join(str(entry["dimension"]) for entry in massive[:3])
        said.append(f"{len(massive)} massive dimensions ({named}) weigh most in the raw cosine")
    return tuple(said)


def few_words(content: dict) -> list[str]:
    """That too few texts carry no claim (guard 26)."""
    few = content["texts"] < MIN_EXAMPLES
    return [f"{content['texts']} texts carry no claim"] if few else []


# ---------------------------------------------------------------- a run


def run_headline(content: dict) -> Headline:
    """The `Headline` of a run: how far its layers are from the base model at each checkpoint."""
    title = (
        f"{len(content['steps'])} checkpoints against the first, {content['texts']} texts, "
        f"{content['positions']} positions each"
    )
    return Headline(title, run_table(content), findings(content), tuple(few_words(content)))


def run_table(content: dict) -> Table:
    """Centred cosine to the base at each step: embeddings, and four layers from first to last."""
    similarity = content["measures"][MEASURE]
    n_layers = len(content["states"]) - 1
    layers = sorted({round(place) for place in np.linspace(0, n_layers - 1, min(3, n_layers))})
    steps = range(1, len(content["steps"]))
    columns = [[f"{content['steps'][t]:,}" for t in steps]]
    for layer in layers:
        cells = [
            number({key: similarity[key][t][layer + 1] for key in ("mean", "low", "high")})
            for t in steps
        ]
        columns.append(column(cells))
    head = ("step", *[f"layer {layer}" for layer in layers])
    return Table(head, tuple(zip(*columns, strict=True)), "centred cosine to the base model")


def farthest_finding(content: dict) -> Finding | None:
    """The layer that is farthest from the base at the end."""
    standing = content["standing"].get(MEASURE)
    if not standing:
        return None
    return Finding(
        layer_kind(standing["share"]),
        f"layer {standing['layer']} farthest at the last step",
        Number(100 * standing["share"], unit="% of resamples"),
        Null("chance", Number(100 / (len(content["states"]) - 1), unit="%")),
        n=content["texts"],
    )


def half_finding(content: dict) -> Finding | None:
    """The step at which the layers have gone half of their way."""
    standing = content["standing"].get(MEASURE)
    if not standing or content["texts"] < MIN_EXAMPLES:
        return None
    half, last = standing["half"], content["steps"][-1]
    value = Number(half["last"], half["low"], half["high"])
    subject = "half of the way is gone in every layer by step"
    return Finding("measured", subject, value, Null(f"evenly: step {last // 2}"))
