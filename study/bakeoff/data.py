"""What every arm of a bake-off trains on and is judged on."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from eap import InputError
from study.bakeoff import lora
from study.bakeoff.settings import Settings
from study.training.setup import open_for_training
from summarization import corpus, examples, prompt
from summarization.prompt import Template

if TYPE_CHECKING:  # libraries that take long to import
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase


class Data(NamedTuple):
    """What every arm trains on and is judged on, and what of it stands in each arm's configuration.

    `validation` is what learning rates are chosen on; None without a sweep.
    """

    train: examples.Encoded
    validation: examples.Encoded | None
    test: examples.Encoded
    rows: "Dataset"  # the test rows, as many as `test`
    tokenizer: "PreTrainedTokenizerBase"
    identity: dict
    template: Template  # of the prompts
    max_length: int  # tokens of prompt and summary


def prepare(settings: Settings, inputs: dict):
    """(the `Data` of all arms, shapes of the modules that can be wrapped); prints how much there
    is.

    `inputs` are the entries of the run record. Raises InputError.
    """
    model, tokenizer, template, length = open_for_training(settings)
    room = length - template.n_fixed - prompt.MIN_ARTICLE_TOKENS
    if settings.max_new_tokens > room:
        raise InputError(
            f"--max_new_tokens {settings.max_new_tokens}: expected {room} at most, so that "
            f"something of the article fits in {length} tokens (the model's context, or "
            "--max_length) beside it"
        )
    rows = load_rows(settings)
    parts = {
        what: examples.encode(
            part,
            tokenizer,
            max_length=length,
            progress=lambda part: settings.console.progress(part, "tokens"),
            template=template,
        )
        for what, part in rows.items()
    }
    for what, part in parts.items():
        settings.console.detail(part.describe(what))
    judged = rows["test"].select(parts["test"].rows)
    identity = {
        "model": Path(settings.model_path).name,
        "model_sha256": inputs["model"]["sha256"],
        "prompt": template.record(),
        "max_length": length,
        "dataset": corpus.label(settings.dataset),
        "data_sha256": [
            inputs[name]["sha256"] for name in corpus.inputs(settings.dataset, settings.columns)
        ],
        "examples": {
            what: part.counts()
            | {"articles_sha256": digest(corpus.digests(rows[what].select(part.rows)))}
            for what, part in parts.items()
        },
    }
    data = Data(
        parts["train"],
        parts.get("validation"),
        parts["test"],
        judged,
        tokenizer,
        identity,
        template,
        length,
    )
    return data, lora.module_shapes(model)


def load_rows(settings: Settings) -> dict:
    """{"train", "test" and, for a sweep, "validation": rows}, without a row in common.

    Prints where a part had to be held out.
    """
    others = {"test": settings.max_examples}
    if settings.lr_sweep:
        others["validation"] = settings.validation_size
    rows, notes = examples.load_parts(
        settings.dataset,
        settings.subset_train_size,
        others=others,
        seed=settings.seed,
        columns=settings.columns,
    )
    for note in notes:
        settings.console.say(note)
    return rows


def digest(values) -> str:
    """A short SHA-256 of a list of texts."""
    return hashlib.sha256("\n".join(values).encode()).hexdigest()[:16]
