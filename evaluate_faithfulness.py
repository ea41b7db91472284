"""How much of the model's behaviour does a circuit carry, on examples that it was not found on?

f = (m(circuit) - m(empty)) / (m(full) - m(empty)), a ratio of means over examples, with
KL(model || circuit) in nats, over circuit sizes. 1: the circuit does what the model does; 0: no
more than the corrupted run. Beside it stand its nulls: random circuits of the same size, random
ones with the same edges per pair of layers, and the complement; the causal control, in which other
sentences are corrupted; and with --other_circuit and --other_model_path cross-faithfulness: each
circuit run in the other model.

Reads   a circuit, the model it belongs to, pairs kept from extraction; another circuit, another
        model
Writes  faithfulness.json and faithfulness.png in --output_dir; examples.json, a few pairs token by
        token, for the report

    python evaluate_faithfulness.py --circuit C_before_summarization.json --model_path demo
"""

from pathlib import Path

from eap import InputError
from runs import console, devices, flags, hub, records
from study.faithfulness import written
from study.faithfulness.settings import Settings

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
CIRCUIT = "C_before_summarization.json"  # from extract_summarization_circuit.py, or EAP-IG's JSON
MODEL_PATH = "gpt2"  # the model the circuit was found in
PAIRS = "data/pairs_eval.jsonl"  # examples that extraction did not see
# of all edges, by |score|; the areas CPR and CMD integrate over them
FRACTIONS = ".001,.002,.005,.01,.02,.05,.1,.2,.5,1"
RANDOM_FRACTIONS = ".01,.02,.05,.1"  # sizes at which random circuits and complements are run
# sizes for the causal control and cross-faithfulness; fewer save time
CROSS_FRACTIONS = ".001,.002,.005,.01,.02,.05,.1,.2,.5,1"
N_RANDOM = 10  # random circuits per size, and as many matched ones; fewer make their range rougher
# kl: does the circuit predict what the model predicts; nll: does it fit the summary as well
METRICS = "kl,nll"
ABLATION = "patching"  # what edges outside carry: the corrupted run, zero, mean
EXAMPLES = 3  # pairs shown token by token in examples.json, for the report; 0: none
RESAMPLES = 1000  # bootstrap resamples of the examples for the intervals
MAX_MEMORY = "auto"  # GB that the plan of batches may use; auto: what is free

# what every script has
MAX_EXAMPLES = "all"  # pairs that extraction did not see; all: every one of the file
BATCH_SIZE = "auto"  # examples at a time; auto: planned from the free memory
SEED = 0  # of every random choice
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
OUTPUT_DIR = "outputs/evaluate_faithfulness"  # faithfulness.json, faithfulness.png, examples.json
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, constants=globals())
    add = parser.add_argument
    add("--circuit", type=flags.text, help="circuit JSON")
    add("--model_path", type=flags.text, help="Hub id, folder, adapter, or demo")
    add(
        "--other_circuit",
        help="run this circuit too, beside the first: before or after fine-tuning",
    )
    add(
        "--other_model_path",
        help="run the circuits in this model too: the base or the fine-tuned one",
    )
    add("--pairs", type=flags.text, help="pairs that extraction did not see")
    add(
        "--fractions",
        type=flags.shares,
        help="sizes of the curve, of all edges; those of the two flags below are in it too",
    )
    add("--random_fractions", type=flags.shares, help="of random circuits")
    add(
        "--cross_fractions",
        type=flags.shares,
        help="of the causal control and of cross-faithfulness",
    )
    add("--n_random", type=flags.count, help="random circuits per size and kind; 0: none")
    add(
        "--compare_circuit",
        type=flags.text,
        help="a circuit of the same model found by another method, to stand beside the first",
    )
    add("--metrics", type=flags.metric_list, help="of kl, nll, js, logit_diff")
    add("--ablation", choices=flags.ABLATIONS)
    add(
        "--examples",
        type=flags.count,
        help="pairs that examples.json shows token by token, with attention; 0: none",
    )
    add("--resamples", type=flags.positive_int, help="for the intervals")
    add(
        "--allow_same_examples",
        action="store_true",
        help="also evaluate on examples the circuit was found on",
    )
    flags.add_max_memory(parser)
    return parser.parse_args(argv)


def main(argv=None):
    """Evaluate a circuit over sizes."""
    args = parse(argv)
    inputs = inputs_of(args)
    folder = Path(args.output_dir)
    of_methods, of_examples = bool(args.compare_circuit), bool(args.examples)
    files = written.Files(folder, of_methods, of_examples)
    run = records.Run(
        vars(args), records.record_in(folder, __file__), outputs=files.all, inputs=inputs
    )
    if run.up_to_date:
        return
    from study.faithfulness import headline, results, words
    from study.headline import show

    settings = Settings.of(vars(args))
    devices.seed_everything(settings.seed)
    settings.device.say_circuit_dtype(settings.console)
    full = results.Full(N_RANDOM, flags.shares(RANDOM_FRACTIONS), flags.shares(FRACTIONS))
    evaluated = results.evaluate(settings, full)
    result = {"format": 1, **evaluated.numbers}
    methods = result["methods"]
    more = methods["sentences"] if methods else []
    result["sentences"] = words.sentences(result) + more
    files.write(result, evaluated.examples)
    show(
        settings.console,
        headline.headline(result),
        outputs=files.all,
        details=words.lines(result) + more,
    )
    run.finish()


def inputs_of(args) -> dict:
    """{name: what is read}. Raises InputError for a file that is not there."""
    files = {}
    for name in ("circuit", "pairs", "other_circuit", "compare_circuit"):
        path = getattr(args, name)
        if path is None:
            continue
        if not Path(path).is_file():
            raise InputError(
                f"--{name} {path}: expected a file, found none; extract_summarization_circuit.py "
                "and create_causal_summarization_data.py make them, for instance with "
                "--model_path demo"
            )
        files[name] = path
    inputs = {"model": hub.model_source(args.model_path)}  # after what takes no download to see
    if args.other_model_path:
        inputs["other_model"] = hub.model_source(args.other_model_path)
    return inputs | files


if __name__ == "__main__":
    console.run_script(main)
