"""The stages as the page shows them: their files, how to read them, what becomes a table."""

from dataclasses import dataclass
from fnmatch import fnmatch


@dataclass(frozen=True)
class Section:
    """A stage of the study on the page.

    `json` and `png` say which files are its; `tables` are (caption, dotted path into its JSON).
    `formula` is the method note's, `note` the heading in docs/methods.md that explains it, and
    `command` makes the stage where it is missing.
    """

    name: str
    title: str
    json: str
    png: str
    command: str
    reading: str
    note: str
    formula: tuple[str, ...] = ()
    tables: tuple[tuple[str, str], ...] = ()
    times: str = ""  # a JSON file of seconds and memory: shown, but a page is not renewed for it


CIRCUIT = "C_*.json"
EXAMPLES = "examples.json"
SECTIONS = (
    Section(
        name="data",
        title="Data",
        json="salience.json",
        png="salience.png",
        command="create_causal_summarization_data.py",
        reading="A salient sentence is one that the reference summary draws on. The corrupted "
        "share should be about that of the control, in which as many tokens of other sentences "
        "are replaced.",
        note="Pairs",
        formula=("salience(sentence) = ( F1 of ROUGE-1 + F1 of ROUGE-2 against the summary ) / 2",),
        tables=(("Pairs", ""), ("Salience by position of the sentence", "by_position")),
    ),
    Section(
        name="training",
        title="Fine-tuning",
        json="training.json",
        png="training.png",
        command="run_finetuning_with_checkpoints.py",
        reading="The validation NLL, in nats per summary token, should fall and then level off; "
        "if it rises again, the last checkpoints overfit.",
        note="Fine-tuning",
        formula=("NLL = mean over examples of mean over summary tokens of −log p(token)",),
        tables=(("Validation along the schedule", "validation"), ("Training loss", "loss")),
    ),
    Section(
        name="circuits",
        title="Circuits",
        json=CIRCUIT,
        png="C_*.png",
        command="extract_summarization_circuit.py",
        reading="A circuit is the set of edges with the largest scores. It is stable where it "
        "overlaps with itself on resampled examples by more than 0.8; a completeness gap over "
        "5 % says that the scores miss part of what corruption changes.",
        note="Edge scores",
        formula=(
            "score(u→v) = mean over examples, sum over positions, of "
            "( corrupted u − clean u ) · ∂ metric / ∂ input of v",
            "completeness: sum of scores out of input = metric(corrupted) − metric(clean)",
        ),
    ),
    Section(
        name="evolution",
        title="How the circuit moves",
        json="evolution.json",
        png="evolution.*.png",
        command="analyze_circuit_evolution.py",
        reading="A change counts only above the noise floor, which is what extracting again from "
        "resampled examples changes; a Jaccard index counts only above its chance level.",
        note="Evolution",
        formula=(
            "dS = mean over steps of ( edges added + edges removed ) / edges of the first circuit",
            "Jaccard = | A ∩ B | / | A ∪ B |,   chance for equal shares K:  K / ( 2 − K )",
        ),
        tables=(
            ("Checkpoints", "checkpoints"),
            ("Change rates", "rates"),
            ("Edges by what happened to their score", "moved.counts"),
            ("Edges that moved most, first to last", "moved.edges"),
            ("Faithfulness (KL) at each checkpoint", "faithfulness.metrics.kl"),
        ),
    ),
    Section(
        name="differential",
        title="What changed inside",
        json="differential*.json",
        png="differential.*.png",
        command="differential_analysis.py",
        reading="A layer changed where similarity is below 1 or attention KL above 0. Where the "
        "measures put different layers first, no single layer changed most; what stands right "
        "of the dotted line is after the final norm, not a layer.",
        note="Inside the models",
        formula=(
            "attention entropy H = −Σ p log p over keys, in nats; fine-tuned minus base, paired "
            "by text",
        ),
        tables=(
            ("Layers that changed most", "changes"),
            ("Attention entropy, fine-tuned minus base", "entropy_change"),
            ("Massive dimensions", "massive_dimensions"),
            ("Encoder's attention entropy, fine-tuned minus base", "parts.encoder.entropy_change"),
            ("Decoder's attention entropy, fine-tuned minus base", "parts.decoder.entropy_change"),
            ("Cross attention's entropy, fine-tuned minus base", "parts.cross.entropy_change"),
        ),
    ),
    Section(
        name="faithfulness",
        title="Faithfulness",
        json="faithfulness.json",
        png="faithfulness*.png",
        command="evaluate_faithfulness.py",
        reading="f is 1 where the circuit does what the model does, and 0 where it does no more "
        "than the corrupted run. It means something only as far as it is above random circuits "
        "of the same size.",
        note="Faithfulness",
        formula=("f(C) = ( m(C) − m(empty) ) / ( m(full) − m(empty) ),   means over examples",),
        tables=(
            ("The circuit running alone: differences that should be zero", "identities"),
            ("By metric", "metrics"),
            ("KL, by size", "metrics.kl.rows"),
            ("NLL, by size", "metrics.nll.rows"),
            ("KL, against random circuits and the complement", "metrics.kl.nulls"),
            ("KL, smallest share of edges that reaches f", "metrics.kl.sizes_reaching"),
        ),
    ),
    Section(
        name="robustness",
        title="Robustness",
        json="robustness.json",
        png="robustness*.png",
        command="evaluate_robustness.py",
        reading="Two circuits differ only if their overlap is below what two extractions of one "
        "model on resampled examples have, and agree only if it is above chance.",
        note="Robustness",
        formula=("p = ( 1 + swaps of labels at least as far apart ) / ( 1 + 1,000 )",),
        tables=(
            ("Circuits", "circuits"),
            ("Pairs of circuits", "pairs"),
            ("Perturbed inputs", "perturbation"),
            ("Other ways of extracting, with the circuit as extracted", "agreement.with_first"),
        ),
    ),
    Section(
        name="quality",
        title="Quality of the summaries",
        json="rouge.json",
        png="rouge.png",
        command="test_set_evaluation.py",
        reading="Lead-3 takes the first three sentences and needs no model; a model is of use "
        "above it. The oracle is what copying whole sentences can reach at most.",
        note="Quality",
        formula=("ROUGE-1, -2, -L: F1 in percent, of stemmed words, against the reference",),
        tables=(("Systems", "systems"),),
    ),
    Section(
        name="bakeoff",
        title="LoRA bake-off",
        json="bakeoff.json",
        png="bakeoff.png",
        command="run_peft_bakeoff.py",
        reading="An arm is better or worse than another only where a word says so: the interval "
        "of their paired difference excludes zero, Holm's p is under 0.05 and all seeds agree "
        "in sign. Small points are seeds.",
        note="The bake-off",
        formula=(
            "difference = mean over texts of ( arm − reference ), each a mean over seeds; p by "
            "sign flips, Holm over arms",
        ),
        tables=(
            ("Arms", "arms"),
            ("Yardsticks", "yardsticks"),
            ("Left out", "left_out"),
            (
                "Costs: training as the mean of a seed; choice of layers empty where there is no "
                "record of it",
                "costs",
            ),
        ),
        times="costs.json",
    ),
)
# The drawings of every checkpoint's circuit would fill the page; the explorer shows them all.
MANY = "C_step*"


def belongs(name: str, section: Section) -> bool:
    """Whether a file of this name is shown in the section."""
    if name.endswith(".run.json") or (fnmatch(name, MANY) and name.endswith(".png")):
        return False
    return fnmatch(name, section.json) or fnmatch(name, section.png) or name == section.times


def known(name: str) -> bool:
    """Whether a file of this name is of a stage, or the example view's."""
    return name == EXAMPLES or any(belongs(name, section) for section in SECTIONS)
