"""The scripts of a study, in order: what each asks, reads and writes, and which flags say where."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Script:
    """A row of the README's table of scripts, and what other scripts need to know of it."""

    name: str
    question: str
    reads: str
    writes: str
    demo: str  # how long it takes in `run_pipeline.py --preset demo`
    places: tuple[str, ...]  # its flags, besides --output_dir, that say where something lies
    results: tuple[str, ...] = ()  # those whose run record stands in their folder

    @property
    def file(self) -> str:
        """What is run."""
        return f"{self.name}.py"


MODEL = "model"  # a folder of weights, among results

SCRIPTS = (
    Script(
        name="create_causal_summarization_data",
        question="Which sentences does a summary draw on, and what would the article be without "
        "them?",
        reads="articles, a tokenizer",
        writes="`pairs.jsonl`, `pairs_eval.jsonl`",
        demo="7 s",
        places=("dataset", "model_path", "output"),
    ),
    Script(
        name="run_finetuning_with_checkpoints",
        question="How does the model become a summarizer?",
        reads="a model, articles",
        writes="`checkpoint-N/`, latents, loss curve",
        demo="2.8 min",
        places=("dataset", "model_path"),
        results=("training.json", MODEL),
    ),
    Script(
        name="extract_summarization_circuit",
        question="Which edges carry the summary?",
        reads="a model or all checkpoints, pairs",
        writes="`C_*.json`; beside it per-example scores, drawing, heat map, stability",
        demo="30 to 67 s each",
        places=("model_path", "pairs", "output"),
    ),
    Script(
        name="analyze_circuit_evolution",
        question="How does the circuit move, and is that more than noise?",
        reads="circuits in order; for f at each, the run and unseen pairs",
        writes="`evolution.json`, `layers.evolution.json`, plots",
        demo="33 s",
        places=("circuits", "training", "pairs"),
        results=("evolution.json", "layers.evolution.json"),
    ),
    Script(
        name="differential_analysis",
        question="Which layers change, does attention become more focused?",
        reads="base and fine-tuned model, articles; or `--run`, a run's latents",
        writes="`differential.json`, `layers.differential.json`, plots",
        demo="16 s",
        places=("base_model_path", "finetuned_model_path", "dataset", "run"),
        results=("differential.json", "layers.differential.json"),
    ),
    Script(
        name="evaluate_faithfulness",
        question="How much of the model does the circuit carry?",
        reads="a circuit, its model, unseen pairs",
        writes="`faithfulness.json`, plot",
        demo="2.0 min",
        places=(
            "circuit",
            "other_circuit",
            "compare_circuit",
            "model_path",
            "other_model_path",
            "pairs",
        ),
        results=("faithfulness.json",),
    ),
    Script(
        name="evaluate_robustness",
        question="How stable is the circuit?",
        reads="circuits, pairs",
        writes="`robustness.json`, plot",
        demo="2.0 min",
        places=("circuits", "model_path", "pairs"),
        results=("robustness.json",),
    ),
    Script(
        name="test_set_evaluation",
        question="How good are the summaries, beside what needs no model?",
        reads="models, articles",
        writes="`rouge.json`, texts, plot",
        demo="19 s",
        places=("model_paths", "dataset"),
        results=("rouge.json",),
    ),
    Script(
        name="run_peft_bakeoff",
        question="Does knowing the circuit make LoRA better?",
        reads="a model, articles, `layers.*.json`",
        writes="`bakeoff.json`, `costs.json`, adapters, plot",
        demo="3.0 min",
        places=("model_path", "dataset", "layers_observed", "layers_circuit"),
        results=("bakeoff.json", "costs.json"),
    ),
    Script(
        name="run_pipeline",
        question="all of them, in order, resumable",
        reads="a preset",
        writes="one folder",
        demo="16 min; `--preset demo-full`: not timed with its present sizes",
        places=(),
    ),
    Script(
        name="make_report",
        question="what came out?",
        reads="a folder of results",
        writes="`report.html`",
        demo="13 s",
        places=(),
    ),
)

# Flags that say where something lies. It may lie elsewhere next time: a run is known by the names
# and by what the inputs hold.
PLACES = {"output_dir"}.union(*(script.places for script in SCRIPTS))

# The stages of the pipeline, in their order: every script but the one that runs the others.
STAGES = tuple(script.name for script in SCRIPTS if script.name != "run_pipeline")


def maker_of(result: str) -> str | None:
    """The script that writes a result whose run record stands in its folder; None for others."""
    return next((script.name for script in SCRIPTS if result in script.results), None)


def table() -> list[str]:
    """The lines of the README's table of scripts."""
    head = ["| script | question | reads | writes | demo |", "|---|---|---|---|---|"]
    return head + [
        f"| `{script.file}` | {script.question} | {script.reads} | {script.writes} | {script.demo} "
        "|"
        for script in SCRIPTS
    ]
