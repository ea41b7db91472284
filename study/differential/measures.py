"""How far apart two models' insides are on the same tokens: functions on tensors, tests over texts.

States are (..., positions, d_model), attention weights (..., heads, queries, keys). Callers leave
out padding and the first token's state: GPT-2 parks a huge, constant state there, which would
dominate every mean (guard 4).
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata

from eap.resampling import ends, resample

# About the smallest normal float32: a weight below it counts as this: no logarithm is infinite.
TINY = 1.2e-38
ROUNDING = 1e-6  # what float32 makes of no change, in 1 - cosine and in relative L2
# A dimension is massive when its mean |activation| is so many times its layer's median dimension.
MASSIVE = 10.0

# ------------------------------ states: (..., positions, d_model) twice -> (...)


def cosine(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over positions of the cosine between the two models' states. Mostly shows a few massive
    dimensions; see `centred_cosine`.
    """
    return torch.nn.functional.cosine_similarity(x, y, dim=-1).mean(-1)


def centred(x: torch.Tensor) -> torch.Tensor:
    """States without their mean over the text's positions, dimension by dimension."""
    return x - x.mean(-2, keepdim=True)


def centred_cosine(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The cosine after each model's own mean state over the text's positions has been taken out."""
    return cosine(centred(x), centred(y))


def relative_l2(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over positions of |y - x| / |x|: x is the base model."""
    return ((y - x).norm(dim=-1) / x.norm(dim=-1).clamp_min(TINY)).mean(-1)


def cka(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Debiased linear CKA of the positions: 1 for equal geometry, 0 in expectation for independent
    states. Needs 4 positions.

    With A, B the U-centred Gram matrices (zero diagonal): <A, B> / sqrt(<A, A> <B, B>). The plain
    CKA of n independent states in d >> n dimensions is near 1 and says nothing. Source: Song et al.
    (2012), HSIC_1; Nguyen et al., arXiv 2010.15327.
    """
    a, b = _u_centred(x), _u_centred(y)
    product = (a * b).sum((-2, -1))
    return product / ((a * a).sum((-2, -1)) * (b * b).sum((-2, -1))).sqrt().clamp_min(TINY)


def _u_centred(x: torch.Tensor) -> torch.Tensor:
    """The Gram matrix of `x`, with a zero diagonal, its off-diagonal row and column effects taken
    out (Szekely and Rizzo, 2014).
    """
    x, n = (
        centred(x),
        x.shape[-2],
    )  # centring changes nothing but the rounding: row effects go out below
    gram = x @ x.mT
    eye = torch.eye(n, dtype=torch.bool, device=x.device)
    gram = gram.masked_fill(eye, 0.0)
    rows = gram.sum(-1, keepdim=True)
    total = rows.sum(-2, keepdim=True)
    return (gram - (rows + rows.mT) / (n - 2) + total / ((n - 1) * (n - 2))).masked_fill(eye, 0.0)


def rsa(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Spearman's correlation of the two models' dissimilarities between positions: 1 - cosine of
    centred states.

    Source: Kriegeskorte et al. (2008). 0 when one model holds all positions equally far apart.
    """
    i, j = torch.triu_indices(x.shape[-2], x.shape[-2], 1, device=x.device)
    a, b = _similarities(x)[..., i, j], _similarities(y)[..., i, j]
    ranks = [_ranks(values).reshape(-1, len(i)) for values in (a, b)]
    return torch.stack([_pearson(p, q) for p, q in zip(*ranks, strict=True)]).reshape(a.shape[:-1])


def _similarities(x: torch.Tensor) -> torch.Tensor:
    unit = torch.nn.functional.normalize(centred(x), dim=-1)
    return unit @ unit.mT


def _ranks(values: torch.Tensor) -> torch.Tensor:
    """Ranks along the last axis, ties at their mean rank."""
    return torch.as_tensor(rankdata(values.cpu(), axis=-1)).to(values)


def _pearson(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    a, b = a - a.mean(), b - b.mean()
    return (a @ b) / (a.norm() * b.norm()).clamp_min(TINY)


# name -> function of the states of some positions in two models: compares every two positions
GEOMETRY = {"cka": cka, "rsa": rsa}


def magnitude(x: torch.Tensor) -> torch.Tensor:
    """Mean over positions of |x|, the Euclidean length of the state."""
    return x.norm(dim=-1).mean(-1)


# ------------------------------ attention: (..., heads, queries, keys) twice -> (..., heads)


class Keys(NamedTuple):
    """How many keys each query sees, and how many besides the first one, as float (queries,)."""

    every: torch.Tensor
    others: torch.Tensor  # of the queries that see two others or more


def attention_measures(
    base: torch.Tensor, finetuned: torch.Tensor, *, window: int | None = None
) -> dict[str, torch.Tensor]:
    """`measures_of_weights` of causal attention without padding: queries start at the second token.

    What leaves out the first key starts at the third, since with one key left there is nothing to
    distribute. With a `window` a query sees so many keys.
    """
    # the query at position i sees i + 1 keys, i besides the first one, or as many as the window
    n, device = base.shape[-1], base.device
    most = window or n
    every = torch.arange(2, n + 1, device=device).clamp_max(most).float()
    others = torch.arange(2, n, device=device).clamp_max(most).float()
    return measures_of_weights(base[..., 1:, :], finetuned[..., 1:, :], keys=Keys(every, others))


def full_attention_measures(base: torch.Tensor, finetuned: torch.Tensor) -> dict[str, torch.Tensor]:
    """`measures_of_weights` of attention in which every query sees every key, without padding."""
    n_queries, n_keys = base.shape[-2:]
    every = torch.full((n_queries,), float(n_keys), device=base.device)
    return measures_of_weights(base, finetuned, keys=Keys(every, every - 1))


def measures_of_weights(
    base: torch.Tensor, finetuned: torch.Tensor, *, keys: Keys
) -> dict[str, torch.Tensor]:
    """Means over queries of entropy (nats; and over the log of the number of keys), KL both ways
    and attention to the first token.

    Measures ending in `_rest` leave out the first token as a key: with S the weight on the others,
    H' = H_rest / S + log S and KL' = KL_rest / S_p - log S_p + log S_q. They are means over the
    last queries, as many as `keys.others` has. KL is summed over keys, in nats.
    """
    p, q = base.float(), finetuned.float()
    log_p, log_q = p.clamp_min(TINY).log(), q.clamp_min(TINY).log()
    distance = log_p - log_q
    log_keys = Keys(keys.every.log(), keys.others.log())
    means = _entropies("base", p, log_p=log_p, log_keys=log_keys)
    means |= _entropies("finetuned", q, log_p=log_q, log_keys=log_keys)
    skipped = len(keys.every) - len(keys.others)
    means |= _divergences("kl_base_finetuned", p, q=q, distance=distance, skipped=skipped)
    return means | _divergences("kl_finetuned_base", q, q=p, distance=-distance, skipped=skipped)


def _split_sum(terms: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the first key's term, the sum over the other keys): kept apart, since the first often holds
    nearly all the weight.
    """
    return terms[..., 0], terms[..., 1:].sum(-1)


def _entropies(
    name: str, p: torch.Tensor, *, log_p: torch.Tensor, log_keys: Keys
) -> dict[str, torch.Tensor]:
    """Entropies of one model's weights; `log_keys` are the logarithms of the numbers of keys."""
    first, rest = _split_sum(-p * log_p)
    weight = p[..., 1:].sum(-1).clamp_min(TINY)
    skipped = len(log_keys.every) - len(log_keys.others)
    entropy, entropy_rest = first + rest, (rest / weight + weight.log())[..., skipped:]
    return {
        f"entropy_{name}": entropy.mean(-1),
        f"normalised_entropy_{name}": (entropy / log_keys.every).mean(-1),
        f"entropy_rest_{name}": entropy_rest.mean(-1),
        f"normalised_entropy_rest_{name}": (entropy_rest / log_keys.others).mean(-1),
        f"first_token_{name}": p[..., 0].mean(-1),
    }


def _divergences(
    name: str, p: torch.Tensor, *, q: torch.Tensor, distance: torch.Tensor, skipped: int
) -> dict[str, torch.Tensor]:
    """KL(p || q), and without the first key; `distance` is log p - log q."""
    first, rest = _split_sum(p * distance)
    weight_p, weight_q = p[..., 1:].sum(-1).clamp_min(TINY), q[..., 1:].sum(-1).clamp_min(TINY)
    without_first = (rest / weight_p - weight_p.log() + weight_q.log())[..., skipped:]
    # a KL is never negative; rounding makes some -1e-8
    return {
        name: (first + rest).clamp_min(0).mean(-1),
        f"{name}_rest": without_first.clamp_min(0).mean(-1),
    }


# ------------------------------ over texts, in numpy: (texts, ...) -> (...)


def over_texts(values: np.ndarray, seed: int) -> dict[str, list]:
    """{"mean", "low", "high"} along the first axis, with bootstrap intervals over texts; the other
    axes stay, as nested lists.
    """
    low, high = ends(resampled_means(values, seed), axis=0, n=len(values))
    return {"mean": values.mean(0).tolist(), "low": low.tolist(), "high": high.tolist()}


def resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    """(resamples, ...) means of texts drawn again with replacement: one product of counts with
    values.
    """
    n = len(values)
    counts = np.stack([np.bincount(rows, minlength=n) for rows in resample(n, seed)])
    return (counts @ values.reshape(n, -1) / n).reshape(-1, *values.shape[1:])


def massive_dimensions(mean_absolute: np.ndarray) -> np.ndarray:
    """Booleans (..., d_model): which dimensions' mean |activation| is at least MASSIVE times the
    median of their state.

    Source: Sun et al., arXiv 2402.17762, who ask for 100 times and single activations; means over
    positions are milder.
    """
    return mean_absolute >= MASSIVE * np.median(mean_absolute, axis=-1, keepdims=True)
