"""What a circuit's file says of how the circuit was found, read once and typed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from eap import InputError
from eap.examples import Examples
from eap.selection import RANKS, SELECTIONS, THRESHOLD, Rule

# Entries that are read again, and what each must be; null is as if it was not there.
KINDS = {
    **dict.fromkeys(("tokenizer_sha256", "weights_sha256", "config_sha256"), str),
    "examples_sha256": str,
    **dict.fromkeys(("sizes", "example_sha256", "bootstrap", "stability"), dict),
    "kv_heads": int,
}


@dataclass(frozen=True)
class Sizes:
    """How many edges were asked for (None: a threshold was), chosen, left by pruning, and there."""

    requested: int | None
    selected: int
    pruned: int | None = None
    edges: int | None = None


@dataclass(frozen=True)
class Metadata:
    """How a circuit was found; what a file does not say is None.

    Files of other tools say little of it, and other things: `entries` holds everything, as in the
    file.
    """

    method: str | None = None
    metric: str | None = None
    steps: int | None = None
    quadrature: str | None = None  # `rule` in a file
    ablation: str | None = None
    selection: str = "topn"
    threshold: float | None = None
    absolute: bool = True
    rank: str = "mean"
    consistent_edges: tuple[int, ...] | None = None
    sizes: Sizes | None = None
    dtype: str | None = None
    examples: Examples = field(default_factory=Examples)
    bootstrap: dict | None = None
    stability: dict | None = None
    until_stable: dict | None = None  # of blocks of examples, and looks at them
    spans: dict | None = None  # of scores by group of positions
    pairs_sha256: str | None = None
    tokenizer_sha256: str | None = None
    weights_sha256: str | None = None
    config_sha256: str | None = None
    examples_sha256: str | None = None
    entries: Mapping = field(default_factory=dict)

    @property
    def noise_floor(self) -> dict | None:
        """{"mean", "low", "high"} of the Jaccard index of two resamples of its examples."""
        return None if self.bootstrap is None else self.bootstrap.get("noise_floor")

    def rule(self, n_kept: int, *, nodes: bool) -> Rule:
        """How the circuit's `n_kept` edges were chosen.

        A file without sizes is from elsewhere: as many as it has, not pruned.
        """
        ranked = {"absolute": self.absolute, "rank": self.rank, "nodes": nodes}
        if self.sizes is None:
            return Rule(n_kept, prunes=False, **ranked)
        if self.selection == THRESHOLD:
            return Rule(threshold=self.threshold, **ranked)
        n = self.sizes.requested if nodes else self.sizes.selected
        return Rule(n, self.selection, eligible=self.consistent_edges, **ranked)


def read_metadata(entries: Mapping, path="the circuit") -> Metadata:
    """The `Metadata` in the entries of a circuit's file. Raises InputError, naming the file."""
    entries = {
        name: value for name, value in entries.items() if name not in KINDS or value is not None
    }
    _require_kinds(entries, path)
    sizes = entries.get("sizes")
    eligible = entries.get("consistent_edges")
    return Metadata(
        method=entries.get("method"),
        metric=entries.get("metric"),
        steps=entries.get("steps"),
        quadrature=entries.get("rule"),
        ablation=entries.get("ablation"),
        selection=entries.get("selection", "topn"),
        threshold=entries.get("threshold"),
        absolute=bool(entries.get("absolute", True)),
        rank=entries.get("rank", "mean"),
        consistent_edges=None if eligible is None else tuple(eligible),
        sizes=None if sizes is None else _sizes(sizes),
        dtype=entries.get("dtype"),
        examples=Examples.read(entries),
        bootstrap=entries.get("bootstrap"),
        stability=entries.get("stability"),
        until_stable=_object(entries, "until_stable"),
        spans=_object(entries, "spans"),
        pairs_sha256=entries.get("pairs_sha256"),
        tokenizer_sha256=entries.get("tokenizer_sha256"),
        weights_sha256=entries.get("weights_sha256"),
        config_sha256=entries.get("config_sha256"),
        examples_sha256=entries.get("examples_sha256"),
        entries=entries,
    )


def _object(entries: Mapping, name: str) -> dict | None:
    """An entry that is a JSON object; None for one that says in words why there is none."""
    entry = entries.get(name)
    return entry if isinstance(entry, dict) else None


def _sizes(sizes: dict) -> Sizes:
    names = ("requested", "selected", "pruned", "edges")
    return Sizes(**{name: sizes.get(name) for name in names})  # pyright: ignore


def _chosen_well(entries: Mapping) -> dict[str, bool]:
    """{entry: whether it can be true} of what says how edges were chosen."""
    selected, most = entries["sizes"].get("selected"), entries["sizes"].get("edges")
    whole = type(selected) is int and selected > 0
    selection, eligible = entries.get("selection", "topn"), entries.get("consistent_edges")
    known = {
        "sizes": whole and (type(most) is not int or selected <= most),
        "selection": selection in (*SELECTIONS, THRESHOLD),
        "consistent_edges": eligible is None
        or (
            type(eligible) is list
            and all(type(edge) is int and 0 <= edge < (most or edge + 1) for edge in eligible)
        ),
    }
    if selection == THRESHOLD:
        known["threshold"] = type(entries.get("threshold")) in (int, float)
    return known


def _require_kinds(entries: Mapping, path) -> None:
    """Raise InputError for entries of other kinds than ours."""
    fine = {name: type(entries[name]) is kind for name, kind in KINDS.items() if name in entries}
    if fine.get("example_sha256"):
        hashes = entries["example_sha256"]
        lists = [type(hashes.get(name)) is list for name in ("tokens", "articles")]
        fine["example_sha256"] = all(lists)
    if fine.get("sizes"):  # then we wrote it, and how edges were chosen is read from it
        fine |= _chosen_well(entries)
    if "absolute" in entries:
        value = entries["absolute"]
        fine["absolute"] = type(value) is bool or (type(value) is int and value in (0, 1))
    for name, is_fine in fine.items():
        if not is_fine:
            raise InputError(
                f"{path}: expected metadata.{name} as this software writes it, got "
                f"{json.dumps(entries.get(name))[:40]}; leave it out, or extract the circuit again"
            )
    ids = entries.get("example_ids")
    listed = ids is None or isinstance(ids, list | tuple)
    if not listed or any(type(name) not in (str, int) for name in ids or ()):
        raise InputError(
            f"{path}: expected metadata.example_ids as a list of texts; extract it again"
        )
    if entries.get("rank", "mean") not in RANKS:
        raise InputError(
            f"{path}: expected edges ranked by {' or '.join(RANKS)}, got {entries['rank']!r}; "
            "extract it again"
        )
