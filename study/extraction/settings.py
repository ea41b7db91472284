"""How a circuit is extracted, and which settings mean nothing together."""

from dataclasses import dataclass
from pathlib import Path

from eap import InputError
from runs import errors
from runs.settings import FromFlags

AUTOMATIC_STEPS = (4, 8, 16, 32, 64)  # that --ig_steps auto tries, until the gap is small


@dataclass(frozen=True)
class Settings(FromFlags):
    """The settings of one circuit: flags of extract_summarization_circuit.py, by their names."""

    output: Path  # the circuit's file
    pairs: str  # the file of pairs
    method: str
    metric: str
    ig_steps: int | str  # points on the path, or auto
    ig_rule: str
    ablation: str
    fraction: float  # of all edges; `top_n` or `threshold` instead
    top_n: int | None
    threshold: float | None
    selection: str
    absolute: bool
    rank: str
    spans: bool
    resamples: int
    until_stable: float  # the goal; 0: all pairs
    exact_top: int  # edges to patch exactly
    batch_size: int | None  # None: planned
    seed: int

    @property
    def attribution(self):
        """The eap.methods.Method."""
        from eap import methods

        return methods.METHODS[self.method]

    @property
    def unit(self) -> str:
        """What scores are measured in."""
        from eap import metrics

        return metrics.UNITS[self.metric]

    @property
    def steps_to_try(self) -> tuple[int, ...]:
        """The numbers of points to try, until the completeness gap is small."""
        return AUTOMATIC_STEPS if isinstance(self.ig_steps, str) else (self.ig_steps,)

    def points(self, graph, steps: int) -> int:
        """How many points the method really takes where `steps` are asked for."""
        method = self.attribution
        return len(method.points(graph, steps, self.ig_rule)) if method.points else 1

    def rule(self, graph, per_example):
        """The selection.Rule; `per_example` scores say which edges are sign-consistent."""
        from eap import selection

        eligible = None
        if self.selection == "sign-consistent":
            consistent = selection.consistent(per_example, seed=self.seed)
            eligible = tuple(consistent.nonzero().flatten().tolist())
        asked = self.top_n or max(1, round(self.fraction * graph.n_edges))
        return selection.Rule(
            asked if self.threshold is None else None,
            self.selection,
            self.threshold,
            self.absolute,
            self.rank,
            self.attribution.nodes,
            eligible,
        )

    # ---------------------------------------------------------------- checks

    def check(self, *, several: bool = False) -> None:
        """Raise InputError for settings that mean nothing together, before any work.

        `several`: of circuits that are to be comparable.
        """
        from eap import methods

        self._check_resampling(several)
        steps = 5 if isinstance(self.ig_steps, str) else self.ig_steps
        scoring = methods.Settings(self.method, self.metric, steps, self.ig_rule, self.ablation)
        scoring.check()
        self._check_nodes()
        self._check_rank()
        self._check_threshold()
        if self.ig_steps == "auto" and not self.attribution.quadrature:
            raise InputError(
                "--ig_steps auto adds points until the completeness gap is small; "
                f"{self.method} integrates over none: expected a number, or another --method; "
                "leave --ig_steps out"
            )
        if self.attribution.points is None and self.device.dtype == "bfloat16":
            raise InputError(
                "--dtype bfloat16 is for matrix products of attribution: expected float32 or "
                f"float64 with --method {self.method}"
            )

    def _check_resampling(self, several: bool) -> None:
        if self.exact_top == 1:
            raise InputError(
                "--exact_top 1: expected 0 or at least 2 edges: a correlation needs two"
            )
        if self.until_stable == 1:
            raise InputError(
                "--until_stable 1: expected a Jaccard index under 1, which is never passed"
            )
        if self.until_stable and self.resamples < 2:
            raise InputError(
                "--until_stable resamples the examples: expected --resamples of 2 or more, got "
                f"{self.resamples}"
            )
        if self.until_stable and several and self.ablation == "mean":
            raise InputError(
                "--until_stable --all_checkpoints --ablation mean: expected another --ablation, "
                "since the means would be of other pairs at the last checkpoint than at the "
                "others; give --max_examples in place of --until_stable"
            )

    def _check_nodes(self) -> None:
        thresholded = self.threshold is not None or self.selection != "topn"
        if self.attribution.nodes and thresholded:
            raise InputError(
                f"--method {self.method} scores nodes and takes all edges among the best: expected "
                "--fraction or --top_n, got --threshold or another --selection; leave it out or "
                "use EAP-IG-inputs"
            )

    def _check_rank(self) -> None:
        if self.rank == "example" and not self.absolute:
            raise InputError(
                "--rank example is by |score|, which has no sign: expected no --no_absolute; "
                "leave one of the two out"
            )
        if self.rank == "example" and self.attribution.nodes:
            raise InputError(
                f"--rank example ranks edges, and --method {self.method} nodes: "
                "leave it out or use a method that scores edges"
            )

    def _check_threshold(self) -> None:
        if self.threshold is not None and self.selection != "topn":
            raise InputError(
                "--threshold keeps all edges above it: expected no --selection, got "
                f"{self.selection}; leave one of the two out"
            )

    def check_graph(self, graph) -> None:
        """Raise InputError if more edges are asked for than the graph has."""
        if self.top_n and self.top_n > graph.n_edges:
            raise InputError(
                f"--top_n {self.top_n}: expected at most the {graph.n_edges} edges of {graph}; ask "
                "for fewer"
            )

    def check_pairs(self, pairs: list) -> None:
        """Raise InputError for pairs of which the settings ask what they cannot give."""
        from summarization import corruption

        if self.spans:
            with errors.advising("make the pairs again, or leave --spans out"):
                for pair in pairs:
                    corruption.groups_of(pair)
        if self.until_stable and len(pairs) < 2:
            raise InputError(
                f"--until_stable resamples the pairs: expected at least 2, got {len(pairs)}, of "
                "which every resample is the same"
            )
        if self.selection == "sign-consistent" and len(pairs) < 2:
            raise InputError(
                f"--selection sign-consistent: expected at least 2 pairs, got {len(pairs)}"
            )
