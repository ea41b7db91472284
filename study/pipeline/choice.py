"""Which preset was asked for, and what takes the place of its model and its articles."""

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from eap import InputError
from runs import hub
from study.pipeline.presets import PRESETS, Preset
from summarization import corpus, splits

ARTICLE_FLAGS = ("article_column", "summary_column", "prompt", "instruction", "max_length")


@dataclass(frozen=True)
class Choice:
    """The flags that say which model and which articles a study is of; None: the preset's own."""

    name: str  # of the preset
    model_path: str | None
    dataset: str | None
    article_flags: dict[str, str | None]  # of every script that reads articles
    seed: int

    @classmethod
    def of(cls, flags: dict) -> "Choice":
        """The choice that the pipeline's flags make."""
        article_flags = {name: flags[name] for name in ARTICLE_FLAGS}
        seed = int(flags["seed"] or 0)
        return cls(flags["preset"], flags["model_path"], flags["dataset"], article_flags, seed)

    def made(self, out: Path, *, split: bool) -> Preset:
        """The preset with model and articles in place of its own.

        A file of articles is split into three in `out`, if `split`. Raises InputError for articles
        that are not there.
        """
        preset = PRESETS[self.name]
        preset = replace(preset, model=self.model_path or preset.model)
        given = dict(self.article_flags)
        if self.dataset:
            dataset = corpus.resolve(self.dataset)
            if Path(dataset).is_file():
                article, summary = given.pop("article_column"), given.pop("summary_column")
                parts = out / "articles"
                if split:
                    columns = corpus.Columns(article or "", summary or "")
                    splits.split(Path(dataset), parts, seed=self.seed, columns=columns)
                dataset = str(parts)
            preset = replace(preset, dataset=dataset)
        words = [shlex.join([f"--{name}", value]) for name, value in given.items() if value]
        return replace(preset, articles=" ".join([preset.articles, *words]).strip())

    def require_reachable(self, preset: Preset) -> None:
        """Raise InputError unless the model and the articles of the preset can be had."""
        try:
            hub.resolve_model(preset.model, weights=False)
            corpus.resolve(preset.dataset)
        except hub.NotGiven as error:
            raise InputError(
                f"--preset {self.name}: expected what it needs of the Hugging Face Hub, got for "
                f"{error.short}; or use --preset demo"
            ) from error
