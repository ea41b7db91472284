"""Behaviour as a number per example: the mean over its target tokens of a function of the logits.

Sums over the vocabulary, in nats.
"""

from typing import NamedTuple

import torch


class Reference(NamedTuple):
    """What a metric compares logits with; rows are the target tokens of all examples in turn."""

    clean_log_probs: torch.Tensor  # (targets, vocabulary), of the clean run
    corrupted_favourite: torch.Tensor  # (targets,), the token that the corrupted run prefers
    target_ids: torch.Tensor  # (targets,), the examples' own target tokens


def kl(log_probs: torch.Tensor, reference: Reference) -> torch.Tensor:
    """KL(clean run || this run) in nats per target token.

    That is the sum over the vocabulary of p_clean (log p_clean - log p).
    """
    clean = reference.clean_log_probs
    return (clean.exp() * (clean - log_probs)).sum(-1)


def nll(log_probs: torch.Tensor, reference: Reference) -> torch.Tensor:
    """-log p(target token) in nats per target token."""
    return -log_probs.gather(-1, reference.target_ids[:, None])[:, 0]


def js(log_probs: torch.Tensor, reference: Reference) -> torch.Tensor:
    """Jensen-Shannon divergence from the clean run in nats per target token; at most log 2."""
    clean = reference.clean_log_probs
    middle = torch.logaddexp(clean, log_probs) - torch.log(torch.tensor(2.0))
    of_clean = (clean.exp() * (clean - middle)).sum(-1)
    of_this = (log_probs.exp() * (log_probs - middle)).sum(-1)
    return (of_clean + of_this) / 2


def logit_diff(log_probs: torch.Tensor, reference: Reference) -> torch.Tensor:
    """logit(target token) - logit(the corrupted run's favourite) per target token.

    Unlike with the others, more is better.
    """
    chosen = torch.stack([reference.target_ids, reference.corrupted_favourite], -1)
    target, favourite = log_probs.gather(-1, chosen).unbind(-1)
    return target - favourite


METRICS = {"kl": kl, "nll": nll, "js": js, "logit_diff": logit_diff}
UNITS = {"kl": "nats", "nll": "nats", "js": "nats", "logit_diff": "logits"}


def reference(
    clean_logits: torch.Tensor, corrupted_logits: torch.Tensor, *, target_ids: torch.Tensor
) -> Reference:
    """The `Reference` of a batch from its two plain runs' logits (targets, vocabulary)."""
    return Reference(log_softmax(clean_logits), corrupted_logits.argmax(-1), target_ids)


def per_example(
    metric: str,
    logits: torch.Tensor,
    *,
    reference: Reference,
    target_rows: torch.Tensor,
    n_examples: int,
) -> torch.Tensor:
    """(examples,) the metric's mean over each example's target tokens.

    `target_rows` says whose token each row of `logits` (targets, vocabulary) is.
    """
    values = METRICS[metric](log_softmax(logits), reference)
    totals = values.new_zeros(n_examples).index_add(0, target_rows, values)
    return totals / torch.bincount(target_rows, minlength=n_examples)


def log_softmax(logits: torch.Tensor) -> torch.Tensor:
    """Log-probabilities in float32, or in float64 where the logits are."""
    return (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)
