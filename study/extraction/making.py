"""One circuit made: scores of its pairs, all or as many as it takes, and the choice from them."""

from typing import NamedTuple

from eap import visualization
from eap.circuit import Circuit
from eap.examples import Examples
from eap.models.contract import Adapter
from runs import console, disk, opening, records, weights
from study.extraction import blocks, results, scores, until_stable
from study.extraction.files import Files
from study.extraction.jobs import Job


class Made(NamedTuple):
    """A circuit, the pairs it is made of, and mean scores by span, if they were asked for."""

    circuit: Circuit
    pairs: list
    by_span: object


def make(job: Job, adapter: Adapter, *, pairs: list, known_by: str) -> Made | None:
    """The circuit of a job; writes its scores per example. None where another process does.

    `known_by` is the digest of the run, by which its finished blocks are known. Raises InputError
    before any work where the circuit could not be drawn.
    """
    visualization.graphviz()
    settings = job.settings
    if job.as_many_as:
        ids = disk.read_json(job.as_many_as)["metadata"]["example_ids"]
        pairs = pairs[: len(ids)]
    if not console.is_main_process():
        if job.in_blocks:
            until_stable.score_in_blocks(settings, adapter, pairs=pairs, progress=None)
        else:
            scores.score(settings, adapter, pairs=pairs, path=None)
        return None
    with disk.atomic(Files.of(settings).examples) as scores_file:
        if job.in_blocks:
            finished = blocks.Blocks(job.unfinished, until_stable.key_of(known_by))
            progress = until_stable.Progress(finished, scores_file)
            scored = until_stable.score_in_blocks(settings, adapter, pairs=pairs, progress=progress)
            assert scored is not None  # this process keeps the progress
            pairs, summary, by_span = scored
        else:
            summary, by_span = scores.score(
                settings, adapter, pairs=pairs, path=scores_file, n_circuits=job.n_circuits
            )
        circuit = results.choose(
            settings, adapter, pairs=pairs, scores_file=scores_file, summary=summary
        )
    return Made(circuit, pairs, by_span)


def identified(made: Made, job: Job, *, tokenizer, inputs: dict) -> Circuit:
    """The circuit, which says of what model, tokenizer, pairs and scores it is.

    `inputs` are the run record's.
    """
    scores_file = Files.of(job.settings).examples.resolve()
    circuit = made.circuit.noting(
        pairs_sha256=inputs["pairs"]["sha256"],
        weights_sha256=weights.sha256(job.model_path),
        config_sha256=weights.config_sha256(job.model_path),
        examples_sha256=records.sha256(scores_file),
        tokenizer_sha256=opening.tokenizer_sha256(tokenizer),
        **Examples.of(made.pairs).entries(),
    )
    if "commit" in inputs["model"]:
        circuit = circuit.noting(weights_commit=inputs["model"]["commit"])
    if job.as_many_as:
        circuit = circuit.noting(as_many_pairs_as=job.as_many_as.name)
    return circuit
