"""From per-text measures of two models to what is written and said: means, intervals, tests, and the layers that changed most."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from summarization import differential as measures
from summarization.internals import Comparison
from summarization.layers import order
from summarization.statistics import LEVEL, RESAMPLES, interval

MIN_TEXTS = 8  # with fewer texts an interval over texts is too narrow to carry a claim, and none is made


@dataclass(frozen=True)
class Change:
    """A way to score how much each layer changed: `values` gives (texts, layers); a signed one is scored by |mean|."""

    name: str
    label: str
    values: Callable[[Comparison], np.ndarray]
    signed: bool = False


def _blocks(name: str, sign: int = 1, offset: float = 0.0):
    """offset + sign * a state measure after each block: the embeddings and the final norm are not layers."""
    return lambda comparison: offset + sign * comparison.states[name][:, 1:-1]


def _heads(name: str, minus: str | None = None):
    """A head measure, or the difference of two, averaged over the heads of each layer."""
    return lambda comparison: (comparison.heads[name] - (comparison.heads[minus] if minus else 0)).mean(-1)


CHANGES = (  # the first is what a reader of layers.differential.json gets who names no measure
    Change("centred_cosine", "1 - centred cosine", _blocks("centred_cosine", -1, 1.0)),
    Change("cka", "1 - CKA", _blocks("cka", -1, 1.0)),
    Change("rsa", "1 - RSA", _blocks("rsa", -1, 1.0)),
    Change("relative_l2", "relative L2", _blocks("relative_l2")),
    Change("update_relative_l2", "relative L2 of what the block adds", _blocks("update_relative_l2")),
    Change("cosine", "1 - raw cosine", _blocks("cosine", -1, 1.0)),
    Change("attention_kl", "attention KL(base || fine-tuned)", _heads("kl_base_finetuned")),
    Change("attention_kl_reverse", "attention KL(fine-tuned || base)", _heads("kl_finetuned_base")),
    Change("attention_kl_rest", "attention KL without the first token", _heads("kl_base_finetuned_rest")),
    Change("entropy", "|change of attention entropy|", _heads("entropy_finetuned", "entropy_base"), signed=True),
    Change("magnitude", "|log ratio of magnitudes|", _blocks("log_magnitude_ratio"), signed=True),
)
ENTROPIES = ("entropy", "normalised_entropy", "entropy_rest", "normalised_entropy_rest")


def summarise(comparison: Comparison, seed: int) -> dict:
    """Everything that differential.json holds about the measures; every number that is printed or plotted."""
    n_texts = len(comparison.states["cosine"])
    heads = {name: {"mean": values.mean(0).tolist()} for name, values in sorted(comparison.heads.items())}
    layers = {name: measures.over_texts(values.mean(-1), seed) for name, values in sorted(comparison.heads.items())}
    summary = {
        "texts": n_texts, "level": LEVEL, "resamples": RESAMPLES,
        "states": ["embeddings", *map(str, range(comparison.n_layers)), "after final norm"],
        "hidden": {name: measures.over_texts(values, seed) for name, values in comparison.states.items()},
        "attention": {"layers": layers, "heads": heads},
        "entropy_change": {name: entropy_change(comparison, name, seed) for name in ENTROPIES},
        "massive_dimensions": massive(comparison, n_texts),
        **layer_changes(comparison, seed),
    }
    return {**summary, "sentences": _sentences(summary)}


def entropy_change(comparison: Comparison, name: str, seed: int) -> dict:
    """Fine-tuned minus base: per layer and per head with intervals; per head a paired test over texts with false-discovery control."""
    change = comparison.heads[f"{name}_finetuned"] - comparison.heads[f"{name}_base"]
    flat = change.reshape(len(change), -1)
    p = measures.sign_flip_p(flat, seed)
    q = false_discovery_control(p)  # Benjamini and Hochberg (1995)
    found, mean = q <= measures.FALSE_DISCOVERY, flat.mean(0)
    low, high = interval((measures.resampled_means(flat, seed) < 0).mean(1))
    shape = change.shape[1:]
    return {
        "layers": measures.over_texts(change.mean(-1), seed),
        "heads": {**measures.over_texts(change, seed), "p": p.reshape(shape).tolist(), "q": q.reshape(shape).tolist()},
        "share_of_heads_lower": {"mean": float((mean < 0).mean()), "low": low, "high": high},
        "heads_lower": int((found & (mean < 0)).sum()), "heads_higher": int((found & (mean > 0)).sum()), "heads_total": len(mean),
        "false_discovery_rate": measures.FALSE_DISCOVERY,
    }


def massive(comparison: Comparison, n_texts: int) -> list[dict]:
    """The massive dimensions of the residual stream, most massive first: where, how many times the median, their share of |x|^2."""
    absolute, square = comparison.absolute[:, :-1] / n_texts, comparison.square[:, :-1] / n_texts
    times = absolute / np.median(absolute, axis=-1, keepdims=True).clip(measures.TINY)
    share = square / square.sum(-1, keepdims=True).clip(measures.TINY)
    there = measures.massive_dimensions(absolute).any(0)
    found = []
    for dimension in np.flatnonzero(there.any(0)):
        states = np.flatnonzero(there[:, dimension])
        entry = {"dimension": int(dimension), "layers": [int(state) - 1 for state in states if state > 0]}
        for model, name in enumerate(("base", "finetuned")):
            entry[f"times_median_{name}"] = float(times[model, states, dimension].max())
            entry[f"share_of_square_{name}"] = float(share[model, states, dimension].max())
        found.append(entry)
    return sorted(found, key=lambda entry: -max(entry["times_median_base"], entry["times_median_finetuned"]))


def layer_changes(comparison: Comparison, seed: int) -> dict:
    """{"changes": {measure: label, scores, order, share of resamples with the same first layer}, "first_layers", "rank_agreement"}."""
    changes, scores = {}, []
    for change in CHANGES:
        values = change.values(comparison)
        fold = np.abs if change.signed else lambda means: means.clip(min=0)  # 1 - cosine of equal states is -1e-8 by rounding
        score = fold(values.mean(0))
        first = fold(measures.resampled_means(values, seed)).argmax(-1)
        scores.append(score)
        changes[change.name] = {
            "label": change.label, "scores": score.tolist(), "order": order(score),
            "first_share": float((first == order(score)[0]).mean()),
        }
    firsts = {}
    for name, entry in changes.items():
        if max(entry["scores"]) > 0:
            firsts.setdefault(str(entry["order"][0]), []).append(name)
    return {"changes": changes, "first_layers": firsts, "rank_agreement": _rank_agreement(np.array(scores))}


def _rank_agreement(scores: np.ndarray) -> list[list[float]]:
    """Spearman's correlation over layers of every two measures; 0 where a measure is the same for all layers."""
    ranks = scores.argsort(kind="stable").argsort(kind="stable").astype(float)
    ranks[np.ptp(scores, axis=1) == 0] = (scores.shape[1] - 1) / 2
    ranks -= ranks.mean(1, keepdims=True)
    length = np.linalg.norm(ranks, axis=1)
    return ((ranks @ ranks.T) / np.outer(length, length).clip(measures.TINY)).tolist()


# ---------------------------------------------------------------- in words


def split_by_sign(table: dict[str, list]) -> tuple[list[int], list[int], list[int]]:
    """Which entries rose, fell, or did neither: only an interval that excludes zero counts (guard 26)."""
    low, high = np.array(table["low"]), np.array(table["high"])
    return tuple(np.flatnonzero(which).tolist() for which in (low > 0, high < 0, (low <= 0) & (high >= 0)))


def lines(summary: dict) -> list[str]:
    """The tables and sentences that the script prints."""
    return [*_layer_table(summary), "", *_change_table(summary), "", *summary["sentences"]]


def _layer_table(summary: dict) -> list[str]:
    hidden, attention = summary["hidden"], summary["attention"]["layers"]
    columns = ("centred_cosine", "cosine", "cka", "rsa", "relative_l2", "magnitude_base", "magnitude_finetuned")
    titles = ("centred", "cosine", "CKA", "RSA", "rel. L2", "|x| base", "|x| tuned", "KL b||f", "KL f||b", "dH nats")
    rows = [f"{'':>17}" + "".join(f"{title:>11}" for title in titles)]
    for i, state in enumerate(summary["states"]):
        numbers = [hidden[name]["mean"][i] for name in columns]
        if 0 < i <= len(summary["states"]) - 2:
            numbers += [attention[name]["mean"][i - 1] for name in ("kl_base_finetuned", "kl_finetuned_base")]
            numbers += [summary["entropy_change"]["entropy"]["layers"]["mean"][i - 1]]
        label = f"layer {state}" if state.isdigit() else state
        rows.append(f"{label:>17}" + "".join(map(_number, numbers)))
    return rows


def _number(value: float) -> str:
    """Eleven characters: four decimals, or an exponent where these would hide a small or a large value."""
    return f"{value:11.4f}" if value == 0 or 1e-3 <= abs(value) < 1000 else f"{value:11.2e}"


def _change_table(summary: dict) -> list[str]:
    rows = [f"{'most changed layers by':<38}{'first three':>14}{'first is first in':>22}"]
    for entry in summary["changes"].values():
        three = ", ".join(map(str, entry["order"][:3])) if max(entry["scores"]) > 0 else "none changed"
        rows.append(f"{entry['label']:<38}{three:>14}{entry['first_share']:>12.0%} of resamples")
    return rows


def _sentences(summary: dict) -> list[str]:
    firsts = "; ".join(f"layer {layer}: {', '.join(names)}" for layer, names in summary["first_layers"].items())
    agree = {0: "No measure sees a change.", 1: f"All measures put the same layer first ({firsts})."}
    said = [agree.get(len(summary["first_layers"]), f"The measures disagree about the layer that changed most ({firsts}).")]
    if summary["massive_dimensions"]:
        said.append("Massive dimensions of the residual stream (at most, base -> fine-tuned: times the median dimension, share of |x|^2): "
                    + "; ".join(map(_massive_words, summary["massive_dimensions"][:5])) + ". They weigh most in the raw cosine.")
    return [*said, *_entropy_sentences(summary)]


def _massive_words(entry: dict) -> str:
    words = (f"{entry[f'times_median_{model}']:.0f}x, {entry[f'share_of_square_{model}']:.0%}" for model in ("base", "finetuned"))
    return f"dimension {entry['dimension']}: " + " -> ".join(words)


def _entropy_sentences(summary: dict) -> list[str]:
    said = []
    for name, words in (("entropy", "Attention entropy"), ("entropy_rest", "The same without attention to the first token")):
        change = summary["entropy_change"][name]
        share = change["share_of_heads_lower"]
        said.append(f"{words}: lower in {share['mean']:.0%} [{share['low']:.0%}, {share['high']:.0%}] of {change['heads_total']} heads; "
                    f"at a false-discovery rate of {change['false_discovery_rate']:.0%} {change['heads_lower']} heads are lower, "
                    f"{change['heads_higher']} higher.")
        if summary["texts"] < MIN_TEXTS:
            said.append(f"With {summary['texts']} texts (fewer than {MIN_TEXTS}) no claim is made by layer.")
            continue
        rose, fell, neither = (", ".join(map(str, found)) or "none" for found in split_by_sign(change["layers"]))
        said.append(f"By layer (interval excludes zero): rose in {rose}; fell in {fell}; no claim about {neither}.")
    return said
