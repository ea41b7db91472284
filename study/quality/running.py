"""What models write for a test set's articles, the NLL of its summaries, and the result."""

from dataclasses import dataclass

import numpy as np

from runs import forecast, opening
from study.quality import numbers
from study.quality import words as quality_words
from study.quality.settings import Settings
from summarization import corpus, encoder_decoder, examples, generation, prompt, words

# Positions of reference summaries at a time, where no batch size is given: 3 GB for GPT-2 small.
NLL_TOKENS = 4096


@dataclass(frozen=True)
class Written:
    """What a model made of the rows."""

    texts: list[generation.Generated]
    nll: dict[int, float]  # by row; of those whose summary fits
    prompt: dict  # how the articles were given


def summaries(settings: Settings, path: str, *, label: str, rows, n_models: int = 1) -> list[dict]:
    """What a model writes for each row, and its reference's NLL: rows of generated.<label>.jsonl.

    The model is the first of `n_models` to come.
    """
    device = settings.device
    model, tokenizer = opening.open_for_texts(
        path, device.torch_dtype, device=device.torch_device, flag="--model_paths", reading=True
    )
    progress = Progress(settings, label, n_models)
    if model.config.is_encoder_decoder:
        written = _by_encoder_decoder(
            settings, model, tokenizer=tokenizer, rows=rows, path=path, progress=progress
        )
    else:
        written = _by_decoder(
            settings, model, tokenizer=tokenizer, rows=rows, path=path, progress=progress
        )
    sha256 = opening.tokenizer_sha256(tokenizer)
    return [
        {
            "id": row["id"],
            "summary": made.text,
            "n_tokens": made.n_tokens,
            "ended": made.ended,
            "n_cut": made.n_cut,
            "nll_nats": written.nll.get(number),
            "prompt": written.prompt,
            "tokenizer_sha256": sha256,
            "reference": row["highlights"],
        }
        for number, (row, made) in enumerate(zip(rows, written.texts, strict=True))
    ]


@dataclass(frozen=True)
class Progress:
    """The progress bars of a model, the first of `n_models` to come."""

    settings: Settings
    label: str
    n_models: int

    def generating(self, batches):
        """A bar over the batches of summaries, which forecasts those of the other models too."""
        ahead = forecast.Ahead(steps=self.n_models * len(batches))
        return self.settings.console.progress(batches, f"{self.label}: generating", ahead=ahead)

    def judging(self, batches):
        """A bar over the batches of reference summaries."""
        return self.settings.console.progress(batches, f"{self.label}: NLL")

    def say(self, words: str) -> None:
        """A line for who asks for all of them."""
        self.settings.console.detail(f"{self.label}: {words}")


def _by_decoder(settings: Settings, model, *, tokenizer, rows, path, progress) -> Written:
    length = prompt.row_length(settings.max_length, model.config, tokenizer=tokenizer, name=path)
    template = prompt.template(
        tokenizer,
        settings.prompt,
        instruction=settings.instruction,
        generation=model.generation_config,
    )
    progress.say(f"prompts are {template.kind}")
    made = generation.generate(
        model,
        list(rows["article"]),
        options=settings.options(length),
        tokenizer=tokenizer,
        template=template,
        progress=progress.generating,
    )
    encoded = examples.encode(rows, tokenizer, max_length=length, template=template)
    longest = max(map(len, encoded.data["input_ids"]))
    size = settings.batch_size or max(1, NLL_TOKENS // longest)
    nll = examples.summary_nll(
        model, encoded.data, tokenizer=tokenizer, batch_size=size, progress=progress.judging
    )
    by_row = dict(zip(encoded.rows, nll.tolist(), strict=True))
    return Written(made, by_row, template.record())


def _by_encoder_decoder(settings: Settings, model, *, tokenizer, rows, path, progress) -> Written:
    encoder_decoder.require_plain(settings.prompt, settings.instruction, name=path)
    frame = encoder_decoder.frame(model, tokenizer, name=path, max_length=settings.max_length)
    progress.say(f"an encoder-decoder; before each article it reads {frame.prefix!r}")
    made = generation.generate_from_sources(
        model,
        list(rows["article"]),
        options=settings.options(frame.max_source),
        tokenizer=tokenizer,
        frame=frame,
        progress=progress.generating,
    )
    texts = encoder_decoder.build_all(tokenizer, rows, frame=frame)
    longest = max((len(text.source) + len(text.target) for text in texts.values()), default=1)
    size = settings.batch_size or max(1, NLL_TOKENS // longest)
    nll = encoder_decoder.summary_nll(
        model, list(texts.values()), frame=frame, batch_size=size, progress=progress.judging
    )
    return Written(made, dict(zip(texts, nll, strict=True)), frame.record())


# ---------------------------------------------------------------- the result


def system(label: str, written: list[dict]) -> numbers.System:
    """The `System` of a model, from the rows of its file."""
    values = {
        "tokens": [row["n_tokens"] for row in written],
        "ended_percent": [100 * row["ended"] for row in written],
        "nll_nats": [np.nan if row["nll_nats"] is None else row["nll_nats"] for row in written],
    }
    arrays = {name: np.array(column, dtype=float) for name, column in values.items()}
    texts, sha256 = [row["summary"] for row in written], written[0].get("tokenizer_sha256")
    return numbers.System(label, "model", texts, arrays, sha256)


def evaluate(settings: Settings, rows, *, written: dict[str, list[dict]]) -> dict:
    """Everything that stands in rouge.json, from the rows and what each model wrote."""
    articles, references = list(rows["article"]), list(rows["highlights"])
    systems = [system(label, texts) for label, texts in written.items()]
    bar = settings.console.progress(rows, "yardsticks")
    systems += numbers.yardsticks(bar, settings.seed)
    numbers.measure(systems, articles, references=references)
    extra = {
        name: numbers.further(
            numbers.load_metric(name), name, systems=systems, references=references
        )
        for name in settings.metrics
    }
    surface = numbers.surface(references, articles)
    reference = numbers.System(numbers.REFERENCE, numbers.REFERENCE, references, surface)
    table = numbers.summarise([*systems, reference], settings.seed)
    described = words.describe(references, *(system.texts for system in systems))
    return {
        "format": 1,
        "dataset": corpus.label(settings.dataset),
        "split": settings.split,
        "without_splits": corpus.without_splits(settings.dataset),
        "n": len(rows),
        "seed": settings.seed,
        "num_beams": settings.num_beams,
        "min_new_tokens": settings.min_new_tokens,
        "max_new_tokens": settings.max_new_tokens,
        "truncated": {
            label: sum(row["n_cut"] > 0 for row in texts) for label, texts in written.items()
        },
        "prompts": {label: texts[0]["prompt"] for label, texts in written.items()},
        "first": systems[0].label,
        "rouge_words": described,
        "systems": table,
        "metrics": extra,
        "sentences": quality_words.claims(table) + words.sentences(described),
    }


def lines(result: dict) -> list[str]:
    """The tables and sentences that the script prints."""
    cut = ", ".join(f"{label} {count}" for label, count in result["truncated"].items())
    how_counted = words.sentences(result["rouge_words"])
    return [*quality_words.lines(result["systems"]), *how_counted, f"articles cut to fit: {cut}"]
