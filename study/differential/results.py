"""From per-text measures of two models to what is written and said of them.

Means, intervals, tests, and the layers that changed most.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from eap import MIN_EXAMPLES
from eap.resampling import FALSE_DISCOVERY, LEVEL, RESAMPLES, ends, sign_flip
from study.differential import measures
from study.differential.two_models import Measures
from study.layers import order

DECIMALS = 4  # of a change that is put into words: what rounds to nothing is no change


@dataclass(frozen=True)
class Change:
    """A way to score how much each layer changed: `values` gives (texts, layers); a signed one is
    scored by |mean|.
    """

    name: str
    label: str
    values: Callable[[Measures], np.ndarray]
    signed: bool = False
    of_attention: bool = False  # not of states


def _blocks(name: str, sign: int = 1, *, offset: float = 0.0):
    """offset + sign * a state measure after each block: the embeddings and the final norm are not
    layers.
    """
    return lambda comparison: offset + sign * comparison.states[name][:, 1:-1]


def _heads(name: str, minus: str | None = None):
    """A head measure, or the difference of two, averaged over the heads of each layer."""
    return lambda comparison: (
        comparison.heads[name] - (comparison.heads[minus] if minus else 0)
    ).mean(-1)


CHANGES = (  # the first is what a reader of layers.differential.json gets who names no measure
    Change("centred_cosine", "1 - centred cosine", _blocks("centred_cosine", -1, offset=1.0)),
    Change("cka", "1 - CKA", _blocks("cka", -1, offset=1.0)),
    Change("rsa", "1 - RSA", _blocks("rsa", -1, offset=1.0)),
    Change("relative_l2", "relative L2", _blocks("relative_l2")),
    Change(
        "update_relative_l2", "relative L2 of what the block adds", _blocks("update_relative_l2")
    ),
    Change("cosine", "1 - raw cosine", _blocks("cosine", -1, offset=1.0)),
    Change(
        "attention_kl",
        "attention KL(base || fine-tuned)",
        _heads("kl_base_finetuned"),
        of_attention=True,
    ),
    Change(
        "attention_kl_reverse",
        "attention KL(fine-tuned || base)",
        _heads("kl_finetuned_base"),
        of_attention=True,
    ),
    Change(
        "attention_kl_rest",
        "attention KL without the first token",
        _heads("kl_base_finetuned_rest"),
        of_attention=True,
    ),
    Change(
        "entropy",
        "|change of attention entropy|",
        _heads("entropy_finetuned", "entropy_base"),
        signed=True,
        of_attention=True,
    ),
    Change("magnitude", "|log ratio of magnitudes|", _blocks("log_magnitude_ratio"), signed=True),
)
SIMILARITIES = {
    "centred_cosine": "centred cosine",
    "cosine": "raw cosine",
    "cka": "CKA",
    "rsa": "RSA",
    "relative_l2": "relative L2",
}
TOP = 3  # layers that are compared between measures
ENTROPIES = ("entropy", "normalised_entropy", "entropy_rest", "normalised_entropy_rest")


def summarise(comparison: Measures, seed: int) -> dict:
    """Everything that differential.json holds about the measures; every number that is printed or
    plotted. Of a stack without states, what is about its attention.
    """
    heads = {
        name: {"mean": values.mean(0).tolist()} for name, values in sorted(comparison.heads.items())
    }
    layers = {
        name: measures.over_texts(values.mean(-1), seed)
        for name, values in sorted(comparison.heads.items())
    }
    summary: dict = {"texts": comparison.n_texts, "level": LEVEL, "resamples": RESAMPLES}
    if comparison.states:
        between = map(str, range(comparison.n_layers))
        summary["states"] = ["embeddings", *between, "after final norm"]
        summary["hidden"] = {
            name: measures.over_texts(values, seed) for name, values in comparison.states.items()
        }
    summary |= {
        "attention": {"layers": layers, "heads": heads},
        "entropy_change": {name: head_change(comparison, name, seed=seed) for name in ENTROPIES},
        "first_token_change": head_change(comparison, "first_token", seed=seed),
    }
    if comparison.states:
        summary["massive_dimensions"] = massive(comparison)
    summary |= layer_changes(comparison, seed)
    return {**summary, "sentences": _sentences(summary)}


def head_change(comparison: Measures, name: str, *, seed: int) -> dict:
    """An attention measure, fine-tuned minus base: overall, per layer and per head with intervals
    over texts.

    Per head a paired test over texts with false-discovery control.
    """
    change = comparison.heads[f"{name}_finetuned"] - comparison.heads[f"{name}_base"]
    flat = change.reshape(len(change), -1)
    p = sign_flip(flat, seed)
    q = false_discovery_control(p)  # Benjamini and Hochberg (1995)
    changed, mean = q <= FALSE_DISCOVERY, flat.mean(0)
    low, high = ends((measures.resampled_means(flat, seed) < 0).mean(1), n=len(flat))
    shape = change.shape[1:]
    overall = {
        key: value[0]
        for key, value in measures.over_texts(flat.mean(1, keepdims=True), seed).items()
    }
    return {
        "overall": overall,
        "layers": measures.over_texts(change.mean(-1), seed),
        "heads": {
            **measures.over_texts(change, seed),
            "p": p.reshape(shape).tolist(),
            "q": q.reshape(shape).tolist(),
        },
        "share_of_heads_lower": {"mean": float((mean < 0).mean()), "low": low, "high": high},
        "heads_lower": int((changed & (mean < 0)).sum()),
        "heads_higher": int((changed & (mean > 0)).sum()),
        "heads_total": len(mean),
        "false_discovery_rate": FALSE_DISCOVERY,
    }


def massive(comparison: Measures) -> list[dict]:
    """The massive dimensions of the residual stream, most massive first: where, how many times the
    median, their share of |x|^2.
    """
    n_texts = comparison.n_texts
    absolute, square = comparison.absolute[:, :-1] / n_texts, comparison.square[:, :-1] / n_texts
    times = absolute / np.median(absolute, axis=-1, keepdims=True).clip(measures.TINY)
    share = square / square.sum(-1, keepdims=True).clip(measures.TINY)
    is_massive = np.any(measures.massive_dimensions(absolute), axis=0)  # (states, d_model)
    entries = []
    for dimension in np.flatnonzero(is_massive.any(0)):
        states = np.flatnonzero(is_massive[:, dimension])
        entry = {
            "dimension": int(dimension),
            "layers": [int(state) - 1 for state in states if state > 0],
        }
        for model, name in enumerate(("base", "finetuned")):
            entry[f"times_median_{name}"] = float(times[model, states, dimension].max())
            entry[f"share_of_square_{name}"] = float(share[model, states, dimension].max())
        entries.append(entry)
    return sorted(
        entries, key=lambda entry: -max(entry["times_median_base"], entry["times_median_finetuned"])
    )


def layer_changes(comparison: Measures, seed: int) -> dict:
    """{"changes": {measure: label, scores, order, share of resamples with the same first layer},
    "first_layers", "rank_agreement"}.
    """
    changes, scores = {}, []
    for change in CHANGES if comparison.states else filter(_is_of_attention, CHANGES):
        values = change.values(comparison)
        score = _size(values.mean(0), change.signed)
        first = _size(measures.resampled_means(values, seed), change.signed).argmax(-1)
        scores.append(score)
        changes[change.name] = {
            "label": change.label,
            "scores": score.tolist(),
            "order": order(score),
            "first_share": float((first == order(score)[0]).mean()),
        }
    firsts = {}
    for name, entry in changes.items():
        if max(entry["scores"]) > 0:
            firsts.setdefault(str(entry["order"][0]), []).append(name)
    return {
        "changes": changes,
        "first_layers": firsts,
        "top_shared": _top_shared(changes, comparison.n_layers),
        "rank_agreement": _rank_agreement(np.array(scores)),
    }


def _is_of_attention(change: Change) -> bool:
    return change.of_attention


def _size(means: np.ndarray, signed: bool) -> np.ndarray:
    """How large a change is: never negative, and 0 where rounding alone makes as much (1 - cosine
    of equal states is about 1e-7).
    """
    sizes = np.abs(means) if signed else means.clip(min=0)
    return np.where(sizes < measures.ROUNDING, 0.0, sizes)


def _top_shared(changes: dict, n_layers: int) -> dict | None:
    """How many of their first TOP layers two measures share: mean, least, and what random layers
    would share; None if none changed.
    """
    tops = [set(entry["order"][:TOP]) for entry in changes.values() if max(entry["scores"]) > 0]
    shared = [len(a & b) for a, b in itertools.combinations(tops, 2)]
    k = min(TOP, n_layers)
    return (
        {"of": k, "mean": float(np.mean(shared)), "least": min(shared), "chance": k * k / n_layers}
        if shared
        else None
    )


def _rank_agreement(scores: np.ndarray) -> list[list[float]]:
    """Spearman's correlation over layers of every two measures; 0 where a measure is the same for
    all layers.
    """
    ranks = scores.argsort(kind="stable").argsort(kind="stable").astype(float)
    ranks[np.ptp(scores, axis=1) == 0] = (scores.shape[1] - 1) / 2
    ranks -= ranks.mean(1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1)
    return ((ranks @ ranks.T) / np.outer(length, length).clip(measures.TINY)).tolist()


# ---------------------------------------------------------------- in words


def split_by_sign(table: dict[str, list]) -> tuple[list[int], list[int], list[int]]:
    """Which entries rose, fell, or did neither.

    Only an interval that excludes zero counts, also when it is rounded (guard 26).
    """
    low, high = np.round(table["low"], DECIMALS), np.round(table["high"], DECIMALS)
    rose, fell, neither = low > 0, high < 0, (low <= 0) & (high >= 0)
    return (
        np.flatnonzero(rose).tolist(),
        np.flatnonzero(fell).tolist(),
        np.flatnonzero(neither).tolist(),
    )


def first_layer_sentence(firsts: dict[str, tuple[int, float]], texts: int, *, what: str) -> str:
    """Whether measures agree about the layer that is `what`, from {measure: (its first layer, the
    share of resamples that agree)}.

    That they agree or disagree is said only of layers that come first in LEVEL of the resamples,
    and of MIN_EXAMPLES texts (guard 26).
    """
    if not firsts:
        return "No measure sees a change."
    if texts < MIN_EXAMPLES:
        few = f"With {texts} texts (fewer than {MIN_EXAMPLES})"
        return f"{few} no claim is made about which layer is {what}."
    sure = {layer for layer, share in firsts.values() if share >= LEVEL}
    named: dict[int, list[str]] = {}
    if len(sure) > 1:
        verdict = f"The measures disagree about the layer that is {what}"
    elif sure and all(share >= LEVEL for _, share in firsts.values()):
        verdict = f"All measures agree which layer is {what}"
    else:
        unsettled = f"not all measures have the same in {LEVEL:.0%} of resamples"
        verdict = f"Which layer is {what} is not settled: {unsettled}"
    for name, (layer, share) in firsts.items():
        named.setdefault(layer, []).append(f"{name} in {share:.0%}")
    words = "; ".join(
        f"layer {layer} by {', '.join(names)}" for layer, names in sorted(named.items())
    )
    return f"{verdict} ({words} of resamples)."


def lines(summary: dict) -> list[str]:
    """The tables and sentences that the script prints."""
    similarity = [*_similarity_table(summary), ""] if "hidden" in summary else []
    return [
        *similarity,
        *_attention_table(summary),
        "",
        *_change_table(summary),
        "",
        *summary["sentences"],
    ]


def _similarity_table(summary: dict) -> list[str]:
    """All similarity measures side by side with their intervals, state by state."""
    rows = [f"{'':<17}" + "".join(f"{title:>25}" for title in SIMILARITIES.values())]
    for i, state in enumerate(summary["states"]):
        tables = [summary["hidden"][name] for name in SIMILARITIES]
        cells = [
            f"{table['mean'][i]:.4f} [{table['low'][i]:.4f}, {table['high'][i]:.4f}]"
            for table in tables
        ]
        rows.append(
            f"{f'layer {state}' if state.isdigit() else state:<17}"
            + "".join(f"{cell:>25}" for cell in cells)
        )
    return rows


def _attention_table(summary: dict) -> list[str]:
    """Attention by layer: dH is the change of the entropy, `rest` without the first token;
    intervals stand in the JSON and the plots.
    """
    layers, changes = summary["attention"]["layers"], summary["entropy_change"]
    columns = {
        "KL b||f": layers["kl_base_finetuned"],
        "KL f||b": layers["kl_finetuned_base"],
        "KL rest": layers["kl_base_finetuned_rest"],
        "dH nats": changes["entropy"]["layers"],
        "dH rest": changes["entropy_rest"]["layers"],
        "dH/log n": changes["normalised_entropy"]["layers"],
        "1st base": layers["first_token_base"],
        "1st tuned": layers["first_token_finetuned"],
    }
    if hidden := summary.get("hidden"):
        columns["|x| base"] = {"mean": hidden["magnitude_base"]["mean"][1:]}
        columns["|x| tuned"] = {"mean": hidden["magnitude_finetuned"]["mean"][1:]}
    rows = [f"{'':<17}" + "".join(f"{title:>11}" for title in columns)]
    for layer in range(len(layers["kl_base_finetuned"]["mean"])):
        rows.append(
            f"{f'layer {layer}':<17}"
            + "".join(_number(table["mean"][layer]) for table in columns.values())
        )
    return rows


def _number(value: float) -> str:
    """Eleven characters: four decimals, or an exponent where these would hide a small or a large
    value.
    """
    return f"{value:11.4f}" if value == 0 or 1e-3 <= abs(value) < 1000 else f"{value:11.2e}"


def _change_table(summary: dict) -> list[str]:
    rows = [f"{'most changed layers by':<38}{'first three':>14}{'the same first in':>22}"]
    for entry in summary["changes"].values():
        three = (
            ", ".join(map(str, entry["order"][:3])) if max(entry["scores"]) > 0 else "none changed"
        )
        rows.append(f"{entry['label']:<38}{three:>14}{entry['first_share']:>12.0%} of resamples")
    return rows


def _sentences(summary: dict) -> list[str]:
    changes = {
        name: (entry["order"][0], entry["first_share"])
        for name, entry in summary["changes"].items()
        if max(entry["scores"]) > 0
    }
    sentences = [first_layer_sentence(changes, summary["texts"], what="most changed")]
    if shared := summary["top_shared"]:
        verdict = ": all agree" if shared["least"] == shared["of"] else ""
        sentences.append(
            f"Of their first {shared['of']} layers two measures share {shared['mean']:.1f} on "
            f"average, at least {shared['least']} (random layers: {shared['chance']:.2f}){verdict}."
        )
    if summary.get("massive_dimensions"):
        sentences.append(
            "Massive dimensions of the residual stream (at most, base -> fine-tuned: times the "
            "median dimension, share of |x|^2): "
            + "; ".join(map(_massive_words, summary["massive_dimensions"][:5]))
            + ". They weigh most in the raw cosine."
        )
    if "hidden" in summary:
        sentences.append(_first_state_sentence(summary["hidden"]))
    return [*sentences, _first_token_sentence(summary), *_entropy_sentences(summary)]


def _first_state_sentence(hidden: dict) -> str:
    """How unlike the others the first token's state is, which is why it is left out."""
    times = [
        np.max(
            np.array(hidden[f"first_{name}"]["mean"][:-1])
            / np.array(hidden[f"magnitude_{name}"]["mean"][:-1]).clip(measures.TINY)
        )
        for name in ("base", "finetuned")
    ]
    return (
        f"The first token's |x| is at most {times[0]:.1f} (base) and {times[1]:.1f} (fine-tuned) "
        "times the others': it is left out."
    )


def _first_token_sentence(summary: dict) -> str:
    """Whether attention to the first token changed."""
    layers = summary["attention"]["layers"]
    weight = [np.mean(layers[f"first_token_{name}"]["mean"]) for name in ("base", "finetuned")]
    change = summary["first_token_change"]
    overall = {key: round(value, DECIMALS) + 0.0 for key, value in change["overall"].items()}
    mean, low, high = overall["mean"], overall["low"], overall["high"]
    few = summary["texts"] < MIN_EXAMPLES
    verdict = "no claim" if few or low <= 0 <= high else "it fell" if high < 0 else "it rose"
    return (
        f"Attention to the first token, mean over heads: {weight[0]:.3f} -> {weight[1]:.3f}, "
        f"change {mean:+.{DECIMALS}f} [{low:+.{DECIMALS}f}, {high:+.{DECIMALS}f}]: {verdict}; "
        f"{change['heads_lower']} heads lower, {change['heads_higher']} higher at a "
        f"false-discovery rate of {change['false_discovery_rate']:.0%}."
    )


def _massive_words(entry: dict) -> str:
    words = [
        f"{entry[f'times_median_{model}']:.0f}x, {entry[f'share_of_square_{model}']:.0%}"
        for model in ("base", "finetuned")
    ]
    return f"dimension {entry['dimension']}: " + " -> ".join(words)


def _entropy_sentences(summary: dict) -> list[str]:
    sentences = []
    for name, words in (
        ("entropy", "Attention entropy"),
        ("entropy_rest", "The same without attention to the first token"),
    ):
        change = summary["entropy_change"][name]
        share = change["share_of_heads_lower"]
        sentences.append(
            f"{words}: lower in {share['mean']:.0%} [{share['low']:.0%}, {share['high']:.0%}] of "
            f"{change['heads_total']} heads; at a false-discovery rate of "
            f"{change['false_discovery_rate']:.0%} {change['heads_lower']} heads are lower, "
            f"{change['heads_higher']} higher."
        )
        if summary["texts"] < MIN_EXAMPLES:
            sentences.append(
                f"With {summary['texts']} texts (fewer than {MIN_EXAMPLES}) no claim is made by "
                "layer."
            )
            continue
        rose, fell, neither = split_by_sign(change["layers"])
        sentences.append(
            f"By layer (interval excludes zero): rose in {_listed(rose)}; fell in "
            f"{_listed(fell)}; no claim about {_listed(neither)}."
        )
    return sentences


def _listed(layers: list[int]) -> str:
    """`0, 3, 4`, or `none`."""
    return ", ".join(map(str, layers)) or "none"
