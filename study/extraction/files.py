"""The files of one extraction, and its pictures."""

from dataclasses import dataclass
from pathlib import Path

from runs import disk
from study import captions
from study.extraction.settings import Settings


@dataclass(frozen=True)
class Files:
    """Where a circuit, its scores and its pictures lie: all beside the circuit's file."""

    circuit: Path
    with_stability: bool
    with_spans: bool

    @classmethod
    def of(cls, settings: Settings) -> "Files":
        """The files that these settings ask for."""
        return cls(settings.output, settings.resamples > 1, settings.spans)

    @property
    def examples(self) -> Path:
        """Scores per example."""
        from eap.scores import examples_beside

        return examples_beside(self.circuit)

    @property
    def spans(self) -> Path:
        """Scores by where the destination reads."""
        from eap.scores import groups_beside

        return groups_beside(self.circuit)

    def picture(self, name: str) -> Path:
        """`C.json` -> `C.<name>.png`."""
        return self.circuit.with_name(f"{self.circuit.stem}.{name}.png")

    @property
    def all(self) -> list[Path]:
        """Everything that is written."""
        written = [self.circuit, self.examples, self.picture("edges"), self.picture("heatmap")]
        if self.with_stability:
            written.append(self.picture("stability"))
        if self.with_spans:
            written += [self.spans, self.picture("spans")]
        return written


def write(files: Files, circuit, *, by_span, unit: str) -> None:
    """Write a circuit, its scores by span, if there are any, and its pictures."""
    from eap.scores import save_group_scores
    from summarization.corruption import GROUPS

    circuit = circuit.noting(captions=captions.of("C_*", files.circuit.stem))
    disk.write_json(files.circuit, circuit.to_json())
    if files.with_spans:
        with disk.atomic(files.spans) as path:
            save_group_scores(by_span, names=GROUPS.names, path=path)
    draw(files, circuit, by_span=by_span, unit=unit)


def draw(files: Files, circuit, *, by_span, unit: str) -> None:
    """Draw the strongest edges, the heat map and, where they are known, stability and spans."""
    from eap import visualization
    from study.stability import figures as stability

    name, about = files.circuit.stem, circuit.about
    title = f"{name}: {about.method}, {about.metric}, n = {len(about.examples)}"
    graph, scores = circuit.graph, circuit.scores
    disk.drawn(
        lambda path: visualization.draw_circuit(
            graph, scores, kept=circuit.in_graph, path=path, title=title
        ),
        files.picture("edges"),
    )
    disk.save_figure(
        lambda: visualization.heat_map(graph, scores, title=title, unit=unit),
        files.picture("heatmap"),
    )
    if files.with_stability:
        share = circuit.n_selected / graph.n_edges
        disk.save_figure(
            lambda: stability.figure(about.stability, name, own_fraction=share),
            files.picture("stability"),
        )
    if files.with_spans:
        spans = about.spans
        tokens = dict(zip(spans["names"], spans["tokens"], strict=True))
        disk.save_figure(
            lambda: visualization.group_bars(graph, by_span, tokens=tokens, title=title),
            files.picture("spans"),
        )
