"""What each figure shows and what to look for in it: for the JSON beside it and for the papers."""

from fnmatch import fnmatch
from typing import NamedTuple

from study.differential.part_names import PARTS


class Caption(NamedTuple):
    """A figure's caption: what it shows, what to look for."""

    shows: str
    look_for: str

    def __str__(self) -> str:
        return f"{self.shows[0].upper()}{self.shows[1:]}. Look for: {self.look_for}."


FIGURES = {  # by the name of the picture; * is the name of a circuit
    "salience.png": Caption(
        "where in the article the salient sentences stand, and what became of the rows",
        "how soon the lead sentences stop being picked; how many controls are smaller"
        " than their corruption",
    ),
    "training.png": Caption(
        "training loss and validation NLL with its interval, at each checkpoint",
        "where the NLL stops falling while the loss goes on: from there it overfits",
    ),
    "C_*.edges.png": Caption(
        "the 200 strongest edges, input below, logits on top, a row a layer; width "
        "grows with the absolute score, the colour tells what an edge is read as",
        "heads where many keys and values meet; solid: ablating the edge raises the "
        "metric; dashed: lowers it",
    ),
    "C_*.spans.png": Caption(
        "in which part of the text each layer reads what counts",
        "bars beside the last one, the tokens' own shares",
    ),
    "C_*.stability.png": Caption(
        "overlap of two circuits against the number of examples (resamples, disjoint "
        "samples; dashed and hatched: foretold, with its interval), and against size",
        'whether the curve is over the line for "stable"; the diamond, how many '
        "examples it takes; filled dots, sizes at which it is stable, far above "
        "dotted chance",
    ),
    "C_*.heatmap.png": Caption(
        "sum of absolute scores from every layer to every other, logarithmic",
        "where attribution is concentrated",
    ),
    "evolution.change.png": Caption(
        "loss; nodes, edges and equal-size circuits: changed per step and from the first circuit",
        "change *above* its hatched noise floor; inside it, it is noise",
    ),
    "evolution.layers.png": Caption(
        "attribution by layer in the first and the last circuit; below, how much the "
        "scores of all edges changed",
        "layers whose bar ends above the hatched noise floor; the bake-off chooses "
        "its layers from these",
    ),
    "evolution.trajectories.png": Caption(
        "scores over the checkpoints of the edges that changed beyond noise, with the"
        " central 95 % of resamples",
        "whether they move together, and when; the title says so where no change is beyond noise",
    ),
    "evolution.moved.png": Caption(
        "the single edges whose scores changed beyond noise: new, gone, up, down, sign changed",
        "which layers they join",
    ),
    "evolution.faithfulness.png": Caption(
        "f of each checkpoint's own circuit and of the final one in each checkpoint",
        "when the final circuit begins to carry the model; hollow, or told in the "
        "title if off the scale: f means nothing there",
    ),
    "evolution.jaccard.png": Caption(
        "overlap of every two checkpoints' circuits",
        "above chance, and above or below the noise floor",
    ),
    "differential.similarity.png": Caption(
        "cosine, centred cosine, CKA, RSA and relative L2 between base and fine-tuned"
        " states, by layer",
        "raw cosine near 1 where centred cosine and CKA fall: a few massive "
        "dimensions hide the change; right of the dotted line is after the final "
        "norm, no layer",
    ),
    "differential.attention.png": Caption(
        "KL of the attention weights (nats) in both directions, by layer and head, and its mean "
        "by layer",
        "layers and heads where it is large; whether it stays without attention to the first token",
    ),
    "differential.entropy.png": Caption(
        "change of the entropy of the attention weights, and of the attention to the first token, "
        "by layer and head",
        "heads marked as changed after false-discovery control (triangle up: more, down: less); "
        "whether the change stays without attention to the first token",
    ),
    "differential.layers.png": Caption(
        "which layers come first by each measure",
        'rows that disagree: then no single layer "changed most"',
    ),
    "differential.latents.png": Caption(
        "similarity to the base model over layers and training steps",
        "when each layer leaves the base model, and whether late steps still move it",
    ),
    "faithfulness.methods.png": Caption(
        "two methods' circuits of one model: f over size, overlap of resamples and "
        "with each other, passes a pair",
        "stars: sizes at which the paired difference's interval excludes zero",
    ),
    "faithfulness.png": Caption(
        "f over circuit size with its interval; below, the causal control, and each "
        "circuit in the other model",
        "distance from random circuits, from those with the circuit's own layers, "
        "from the complement; 1 is the whole model, 0 the corrupted run",
    ),
    "robustness.png": Caption(
        "overlap with itself on resampled examples, with other circuits (with a p "
        "value), under perturbed inputs",
        "two circuits differ only below the noise floor, agree only above the dotted chance",
    ),
    "robustness.matrix.png": Caption(
        "agreement between corruptions, metrics and methods: Jaccard above, Spearman "
        "below the diagonal",
        "numbers in bold: they are inside the noise floor",
    ),
    "rouge.png": Caption(
        "ROUGE of each model with intervals beside Lead-3, Random-3 and the oracle",
        "models above Lead-3, and whose paired difference has a word in the table",
    ),
    "bakeoff.png": Caption(
        "what each arm reaches, above; below, its paired difference from random "
        "layers at the same budget, with interval; green squares: layers by circuit "
        "or observed change, triangles: layers fixed beforehand",
        "filled points: interval without zero, Holm's p under 5 %, all seeds agreeing",
    ),
}


def of(stage: str, circuit: str = "") -> dict[str, str]:
    """The captions of a stage's figures by file name: `evolution`; `C_*` of a circuit's name."""
    return {
        name.replace("C_*", circuit): str(caption)
        for name, caption in FIGURES.items()
        if name.startswith(f"{stage}.")
    }


def of_picture(name: str) -> str:
    """The caption of the picture of this name; "" for a picture of something else.

    Of an encoder-decoder each part has pictures of its own: differential.encoder.entropy.png.
    """
    whole = ".".join(word for word in name.split(".") if word not in PARTS)
    for key, caption in FIGURES.items():
        if fnmatch(name, key) or (name.startswith("differential.") and fnmatch(whole, key)):
            return str(caption)
    return ""
