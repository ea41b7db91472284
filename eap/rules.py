"""Backward rules: what an operation hands back in place of its derivative.

Gradient methods linearise the model at points: EAP at one, EAP-IG at several. *Secant patching*
replaces every operation, in the backward pass alone, by its exact finite difference between the
clean and the corrupted run: a multiplier M with M . (change of the inputs) = change of the outputs.
The chain of such multipliers from the metric back to a slot's input, M_v, gives

    score(u->v) = sum over positions of  (corrupted_u - clean_u) . M_v.

Unprimed is the clean run, primed the corrupted one, bar the mean of the two, G the multiplier that
arrives at an operation's output:

    linear                 as in any backward pass
    activation a(h)        G (a(h) - a(h')) / (h - h'); where h and h' are close, the derivative's
                           mean over the way from h' to h, by two Gauss-Legendre points
    product A B            for A: G B-bar^T, for B: A-bar^T G
                           (q k^T, weights times values, gates)
    softmax p, rows        L (G - sum(L G) / sum(L)), L the logarithmic mean of p and p',
                           L = (p - p') / (ln p - ln p'), p itself where they agree, 0 where masked
    soft cap c tanh(l/c)   as an activation, of attention's scores and of logits
    LayerNorm              with c = x - mean x, s = sqrt(mean c^2 + epsilon), y = weight G less its
                           mean:  y (1/s + 1/s')/2 - c-bar (y . c-bar) 2 / (d s s' (s + s'))
    RMSNorm                the same with c = x and y = weight G
    gated MLP a(h) up      the activation's and the product's rule
    norm after the heads   RMSNorm's, of what the heads write together: see below
    kl, per target         w - q: w = L / sum(L) over the vocabulary, q the clean run's
                           probabilities
    nll, per target        w - onehot(target)
    logit_diff             onehot(target) - onehot(the corrupted run's favourite)
    js, per target         the softmax rule with G = the secant of each entry's term of the sum

The norm's rule follows from 1/s - 1/s' = (s'^2 - s^2) / (s s' (s + s')) and
c.c - c'.c' = 2 c-bar . (c - c'). Since every operation's change is given exactly, **for every cut
of the graph the scores of the edges that cross it sum to metric(corrupted) - metric(clean)**: over
the edges out of `input`, over those into `logits`, and over those that cross any layer. Nothing is
integrated, so there is no number of points and no gap but rounding. Cost: the two plain runs and
one backward pass. In the limit of equal inputs every multiplier is the derivative.

Where a norm follows attention (Gemma 2), what enters the stream is y = weight t / s(t), t the sum
of what the heads give, and head h's own part of it is z_h = weight t_h / s(t), each run with its
own s. What a head changes of y goes two ways: through its own t_h, and through s, which scales all
heads' parts. No rule of its own is needed for the second: y is a function of t alone, t is linear
in all t_h, and RMSNorm's rule hands a multiplier N back to t with N . (t - t') = G . (y - y')
exactly, both ways in it. So every head's result gets N, and a slot behind it what attention makes
of that; the sums stay exact at every cut. On the writers' side nothing is left to approximate
either: z_h - z'_h is taken from the two runs as it is, and sums to y - y' over the heads.

For activation functions this is the rescale rule of DeepLIFT (Shrikumar et al., arXiv 1704.02685);
the rules for softmax, products, norms and metrics make it exact for a transformer. Relatives, as
methods of their own:

    AttnLRP  (Achtibat et al., arXiv 2402.05602; RelP is its use for patching): the second point is
             zero, not the corrupted run: a(h)/h, half of a product to each factor, the norm's scale
             held constant.
    GIM      (Edin et al., arXiv 2505.17630): the softmax's derivative at temperature 2, half of a
             product to each factor, the norm's scale held constant.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention

from eap import metrics
from eap.metrics import Reference

GIM_TEMPERATURE = 2.0
LOG2_E = 1.4426950408889634
HIDDEN = -0.25  # of the largest number: the score of a key that a query does not see
# Elements of attention weights at a time: what is computed for them should stay near a processor.
ATTENTION_ELEMENTS = {"cpu": 2**18, "cuda": 2**26}


# ---------------------------------------------------------------- elementwise


def log_mean(
    log_p: torch.Tensor, log_q: torch.Tensor, mean: torch.Tensor | None = None
) -> torch.Tensor:
    """The logarithmic mean (p - q) / (ln p - ln q) of two positive tensors, from their logarithms.

    Computed as (p + q)/2 . tanh(t)/t with t = (ln p - ln q)/2, which is exact and has no
    cancellation. `mean` is (p + q)/2 where it is known already.
    """
    half = (log_p - log_q).mul_(0.5).abs_().clamp_(min=torch.finfo(log_p.dtype).tiny)
    ratio = torch.tanh(half).div_(half)
    return ratio.mul_((log_p.exp() + log_q.exp()).mul_(0.5) if mean is None else mean)


def exp_of_weights(log_p: torch.Tensor) -> torch.Tensor:
    """e^log_p, by powers of two: torch's exp is ten times slower on a CPU where it underflows."""
    return torch.exp2(log_p * LOG2_E)


def secant_slope(function: Callable, h: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """(function(h) - function(other)) / (h - other), elementwise; the derivative where they agree.

    Where the difference is small the quotient would lose digits: there it is the mean derivative
    between the two, by Gauss-Legendre quadrature with two points (exact for polynomials of degree
    4).
    """
    difference = h - other
    near = difference.abs() < (1e-3 if h.dtype == torch.float64 else 0.05)
    slope = (function(h) - function(other)) / difference
    if near.any():
        middle, offset = (h + other) / 2, difference / 12**0.5
        both = derivative(function, middle - offset) + derivative(function, middle + offset)
        slope = torch.where(near, both / 2, slope)
    return slope


def slope_from_zero(function: Callable, h: torch.Tensor, other=None) -> torch.Tensor:
    """function(h) / h for a function that is zero at zero: the secant whose other end is zero."""
    return secant_slope(function, h, torch.zeros_like(h))


def derivative(function: Callable, h: torch.Tensor, other=None) -> torch.Tensor:
    """The derivative of an elementwise function at h."""
    with torch.enable_grad():
        leaf = h.detach().requires_grad_()
        return torch.autograd.grad(function(leaf).sum(), leaf)[0]


# ---------------------------------------------------------------- norms


class NormSlope(NamedTuple):
    """How a norm hands back y, the multiplier behind its weight.

    That is scale y - direction (y . direction) along. For a reader behind the norm with projection
    W' (the norm's weight in it, centred where the norm is), y = W' G, and y . direction = G .
    (direction W') = G . (own v + others v'), where v and v' are what the reader projects from the
    stream in this and in the other run, less its constant part. All tensors are (batch, pos, 1) but
    `direction` (batch, pos, d_model), which is None where the scale is held constant.
    """

    scale: torch.Tensor
    direction: torch.Tensor | None = None
    along: torch.Tensor | None = None
    own: torch.Tensor | float = 1.0
    others: torch.Tensor | None = None

    def hand_back(self, y: torch.Tensor) -> torch.Tensor:
        """(batch, pos, d_model): the multiplier at the norm's input."""
        result = y * self.scale
        if self.direction is not None and self.along is not None:
            inner = (y * self.direction).sum(-1, keepdim=True)
            result.addcmul_(self.direction, inner * self.along, value=-1)
        return result


def centre(
    x: torch.Tensor, epsilon: float, *, centred: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """(c, s): the stream less its mean over d_model, and the norm's scale sqrt(mean c^2 + epsilon).

    Not `centred` (RMSNorm), c is a copy of the stream itself.
    """
    if not centred:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        return x.clone(), square.add_(epsilon).sqrt_()
    variance, mean = torch.var_mean(x, -1, correction=0, keepdim=True)
    return x - mean, (variance + epsilon).sqrt_()


def norm_derivative(
    x: torch.Tensor, other: torch.Tensor | None, *, epsilon: float, centred: bool = True
) -> NormSlope:
    """The derivative at x."""
    c, s = centre(x, epsilon, centred=centred)
    return NormSlope(1 / s, c.div_(s), 1 / (s * x.shape[-1]))


def norm_secant(
    x: torch.Tensor, other: torch.Tensor, *, epsilon: float, centred: bool = True
) -> NormSlope:
    """The finite difference between x and `other`."""
    c, s = centre(x, epsilon, centred=centred)
    c_other, s_other = centre(other, epsilon, centred=centred)
    along = 2 / (x.shape[-1] * s * s_other * (s + s_other))
    middle = c.add_(c_other).mul_(0.5)
    return NormSlope((1 / s + 1 / s_other) / 2, middle, along, s / 2, s_other / 2)


def norm_held(
    x: torch.Tensor, other: torch.Tensor | None, *, epsilon: float, centred: bool = True
) -> NormSlope:
    """The scale at x, held constant."""
    _, s = centre(x, epsilon, centred=centred)
    return NormSlope(1 / s)


def norm_mean_held(
    x: torch.Tensor, other: torch.Tensor, *, epsilon: float, centred: bool = True
) -> NormSlope:
    """The mean of 1/scale of both runs, held constant."""
    _, s = centre(x, epsilon, centred=centred)
    _, s_other = centre(other, epsilon, centred=centred)
    return NormSlope((1 / s + 1 / s_other) / 2)


# ---------------------------------------------------------------- attention


def soft_cap(x: torch.Tensor, cap: float) -> torch.Tensor:
    """cap tanh(x / cap): nearly x where it is small, never beyond the cap."""
    return torch.tanh(x / cap) * cap


@dataclass(frozen=True)
class Softmax:
    """How a layer's attention weights come of its queries and keys.

    Scores are `scaling` q k, under a soft `cap` if any; with a `window` a query sees so many keys,
    itself the last of them, instead of all before it.
    """

    scaling: float
    cap: float | None = None
    window: int | None = None

    def sees_all(self, length: int) -> bool:
        """Whether every query of a text of this length sees all keys before it."""
        return self.window is None or self.window >= length

    def scores(self, heads: "Heads", rows: slice) -> torch.Tensor:
        """(batch, heads, rows, keys): scaled products of some queries with keys, before any cap."""
        return (heads.q[..., rows, :] * self.scaling) @ heads.k[..., : rows.stop, :].mT

    def capped(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores under the cap; the tensor itself without one."""
        return scores if self.cap is None else soft_cap(scores, self.cap)

    def slope(self, rule: Callable, scores: torch.Tensor, other=None) -> torch.Tensor | None:
        """What `rule`, an activation's, makes of the cap at these scores; None without one."""
        if self.cap is None:
            return None
        return rule(partial(soft_cap, cap=self.cap), scores, other)

    def log_weights(
        self, capped: torch.Tensor, rows: slice, *, temperature: float = 1.0
    ) -> torch.Tensor:
        """(batch, heads, rows, keys): logarithms of attention weights, finite also where unseen.

        Scores of keys that are not seen are overwritten in `capped` unless the temperature is
        another than 1.
        """
        scores = capped / temperature if temperature != 1 else capped
        queries = torch.arange(rows.start, rows.stop, device=scores.device)[:, None]
        if self.window is not None and not self.sees_all(rows.stop):
            outside = torch.arange(rows.stop, device=scores.device) <= queries - self.window
            scores.masked_fill_(outside, HIDDEN * torch.finfo(scores.dtype).max)
        hidden = queries < queries.T
        scores[..., rows.start :].masked_fill_(hidden, HIDDEN * torch.finfo(scores.dtype).max)
        return scores.log_softmax(-1)

    def weights(self, heads: "Heads", rows: slice) -> torch.Tensor:
        """(batch, heads, rows, keys): the attention weights of some queries."""
        return self.log_weights(self.capped(self.scores(heads, rows)), rows).exp()


class Heads(NamedTuple):
    """What the attention of a layer works on: (batch, heads, pos, d_head) each."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor

    def mean(self, other: "Heads") -> "Heads":
        """The mean of two runs."""
        return Heads((self.q + other.q) / 2, (self.k + other.k) / 2, (self.v + other.v) / 2)


def attention_secant(heads: Heads, other: Heads, *, grad: torch.Tensor, softmax: Softmax) -> Heads:
    """The multipliers of q, k and v, by finite differences of softmax and products.

    Row chunk by row chunk, each with only the keys that its rows see: nothing of size heads x
    positions x positions is ever there.
    """
    middle = heads.mean(other)

    def weights(rows: slice) -> _Weights:
        scores, other_scores = softmax.scores(heads, rows), softmax.scores(other, rows)
        slope = softmax.slope(secant_slope, scores, other_scores)
        log_p = softmax.log_weights(softmax.capped(scores), rows)
        log_q = softmax.log_weights(softmax.capped(other_scores), rows)
        mean = exp_of_weights(log_p).add_(exp_of_weights(log_q)).mul_(0.5)
        return _Weights(mean, log_mean(log_p, log_q, mean), slope)

    return _attention(middle, grad, softmax=softmax, weights=weights)


def attention_half(heads: Heads, other, *, grad: torch.Tensor, softmax: Softmax) -> Heads:
    """AttnLRP: the softmax's derivative; each product gives half to each of its factors."""
    return _halved(
        _attention(heads, grad, softmax=softmax, weights=_at(heads, softmax, rule=slope_from_zero))
    )


def attention_warm(heads: Heads, other, *, grad: torch.Tensor, softmax: Softmax) -> Heads:
    """GIM: the softmax's derivative at temperature 2; each product gives half to each factor."""
    weights = _at(heads, softmax, rule=derivative, temperature=GIM_TEMPERATURE)
    return _halved(_attention(heads, grad, softmax=softmax, weights=weights))


def _at(heads: Heads, softmax: Softmax, *, rule: Callable, temperature: float = 1.0) -> Callable:
    """The `weights` of `_attention` at one run: the softmax's derivative, the cap's by `rule`."""

    def weights(rows: slice) -> _Weights:
        scores = softmax.scores(heads, rows)
        slope = softmax.slope(rule, scores)
        warm = None  # before p, which overwrites scores of keys that are not seen
        if temperature != 1:
            capped = softmax.capped(scores)
            warm = exp_of_weights(softmax.log_weights(capped, rows, temperature=temperature))
        p = exp_of_weights(softmax.log_weights(softmax.capped(scores), rows))
        return _Weights(p, p if warm is None else warm, slope)

    return weights


def _halved(grads: Heads) -> Heads:
    # v is a factor of one product; q and k are factors of a second one behind it
    return Heads(grads.q.mul_(0.25), grads.k.mul_(0.25), grads.v.mul_(0.5))


class _Weights(NamedTuple):
    """What `_attention` takes of some rows, (batch, heads, rows, keys) each."""

    mean: torch.Tensor  # which v's product takes
    rule: torch.Tensor  # the softmax's L
    slope: torch.Tensor | None = None  # of the scores' cap, if any


def _row_chunks(heads: Heads) -> Iterator[slice]:
    """Queries in parts whose weights stay near a processor."""
    batch, n_heads, length, _ = heads.q.shape
    elements = ATTENTION_ELEMENTS.get(heads.q.device.type, 2**18)
    start = 0
    while start < length:
        n_rows = max(16, elements // (batch * n_heads * min(length, start + 64)))
        yield slice(start, min(length, start + n_rows))
        start += n_rows


def _attention(heads: Heads, grad: torch.Tensor, *, softmax: Softmax, weights: Callable) -> Heads:
    """Multipliers of q, k, v. `weights(rows)` gives the `_Weights` of these queries."""
    grads = Heads(torch.empty_like(heads.q), *(torch.zeros_like(x) for x in heads[1:]))
    for rows in _row_chunks(heads):
        seen = slice(0, rows.stop)
        mean, rule, slope = weights(rows)
        arriving = grad[..., rows, :]
        grads.v[..., seen, :] += mean.mT @ arriving
        back = arriving @ heads.v[..., seen, :].mT
        back.sub_((rule * back).sum(-1, keepdim=True) / rule.sum(-1, keepdim=True))
        back.mul_(rule)
        if slope is not None:
            back.mul_(slope)
        grads.q[..., rows, :] = (back @ heads.k[..., seen, :]).mul_(softmax.scaling)
        grads.k[..., seen, :] += back.mT @ (heads.q[..., rows, :] * softmax.scaling)
    return grads


def attend(heads: Heads, softmax: Softmax) -> torch.Tensor:
    """(batch, heads, pos, d_head): causal attention, fused where torch has it fused."""
    if softmax.cap is None and softmax.sees_all(heads.q.shape[-2]):
        return scaled_dot_product_attention(*heads, is_causal=True, scale=softmax.scaling)
    results = torch.empty_like(heads.q)
    for rows in _row_chunks(heads):
        results[..., rows, :] = softmax.weights(heads, rows) @ heads.v[..., : rows.stop, :]
    return results


def attention_derivative(heads: Heads, other, *, grad: torch.Tensor, softmax: Softmax) -> Heads:
    """The gradients of q, k and v of causal attention."""
    if softmax.cap is not None or not softmax.sees_all(heads.q.shape[-2]):
        return _attention(
            heads, grad, softmax=softmax, weights=_at(heads, softmax, rule=derivative)
        )
    with torch.enable_grad():
        leaves = [x.detach().requires_grad_() for x in heads]
        return Heads(*torch.autograd.grad(attend(Heads(*leaves), softmax), leaves, grad))


# ---------------------------------------------------------------- products


def mean_factor(factor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """What the other side of a product is multiplied with: the mean of both runs."""
    return (factor + other) / 2


def half_factor(factor: torch.Tensor, other: torch.Tensor | None) -> torch.Tensor:
    """Half of the derivative goes to each factor."""
    return factor / 2


# ---------------------------------------------------------------- metrics


def metric_secant(
    metric: str, logits: torch.Tensor, *, other: torch.Tensor, reference: Reference
) -> torch.Tensor:
    """(targets, vocabulary): per target the multiplier M of its logits.

    M . (other - logits) = metric(other) - metric(logits).
    """
    log_p, log_q = metrics.log_softmax(logits), metrics.log_softmax(other)
    minus_one = -torch.ones_like(log_p[:, :1])
    target, favourite = reference.target_ids[:, None], reference.corrupted_favourite[:, None]
    if metric == "logit_diff":
        onehot = torch.zeros_like(log_p).scatter_(-1, target, 1.0)
        return onehot.scatter_add_(-1, favourite, minus_one)
    mean = log_mean(log_p, log_q)
    share = mean / mean.sum(-1, keepdim=True)
    if metric == "kl":
        return share - reference.clean_log_probs.exp()
    if metric == "nll":
        return share.scatter_add_(-1, target, minus_one)
    slope = _js_slope(log_p, log_q, clean=reference.clean_log_probs)
    return mean * (slope - (share * slope).sum(-1, keepdim=True))


def _js_slope(log_p: torch.Tensor, log_q: torch.Tensor, *, clean: torch.Tensor) -> torch.Tensor:
    """The secant between two probabilities of their entry's term of the divergence.

    The term is [c ln(2c / (c + p)) + p ln(2p / (c + p))] / 2, its derivative ln(2p / (c + p)) / 2.
    """
    half = torch.log(torch.tensor(2.0, dtype=log_p.dtype))

    def term(log_x: torch.Tensor) -> torch.Tensor:
        middle = torch.logaddexp(clean, log_x) - half
        return (clean.exp() * (clean - middle) + log_x.exp() * (log_x - middle)) / 2

    def slope(log_x: torch.Tensor) -> torch.Tensor:
        return (log_x - torch.logaddexp(clean, log_x) + half) / 2

    quotient = (term(log_p) - term(log_q)) / (log_p.exp() - log_q.exp())
    half_log = (log_p - log_q) / 2
    near = half_log.abs() < (5e-4 if log_p.dtype == torch.float64 else 0.025)
    near |= ~torch.isfinite(quotient)  # both probabilities are too small for their difference
    # the mean derivative at the two Gauss-Legendre points, middle (1 +- tanh(half_log) / sqrt 3)
    log_middle = torch.logaddexp(log_p, log_q) - half
    offset = torch.tanh(half_log) / 3**0.5
    mean = slope(log_middle + torch.log1p(offset)) + slope(log_middle + torch.log1p(-offset))
    return torch.where(near, mean / 2, quotient)


# ---------------------------------------------------------------- sets of rules


@dataclass(frozen=True)
class Rules:
    """What every kind of operation hands back.

    `activation(function, h, other)` gives the slope, `norm(x, other, epsilon=, centred=)` a
    `NormSlope`, `attention(heads, other, grad=, softmax=)` the multipliers of q, k and v,
    `factor(factor, other)` what one side of a gate's product gets of the other, and
    `metric(metric, logits, other=, reference=)` the multipliers of the logits; None stands for the
    metric's derivative. With `two_runs` the rules look at the corrupted run as well.
    """

    activation: Callable
    norm: Callable
    attention: Callable
    factor: Callable
    metric: Callable | None = None
    two_runs: bool = False


SECANT = Rules(
    secant_slope, norm_secant, attention_secant, mean_factor, metric_secant, two_runs=True
)
SECANT_NORM_HELD = Rules(
    secant_slope, norm_mean_held, attention_secant, mean_factor, metric_secant, two_runs=True
)
ATTNLRP = Rules(slope_from_zero, norm_held, attention_half, half_factor)
GIM = Rules(derivative, norm_held, attention_warm, half_factor)
