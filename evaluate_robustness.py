"""How stable is a circuit, on other examples and other inputs, and how far do circuits overlap?

Jaccard stands beside what two random circuits of the same sizes would have, the noise floor (the
same extraction on resampled examples), and the Spearman correlation of all scores, which does not
depend on where the circuit is cut. Whether two circuits differ is answered by a p value from
swapping the two models' labels example by example.

Reads   circuits with their per-example scores; with --model_path also the pairs, for the first
        circuit's extraction from perturbed inputs and by other corruptions, metrics and methods
Writes  robustness.json, robustness.png and, with --model_path, robustness.matrix.png in
        --output_dir

    python evaluate_robustness.py --circuits C_before_summarization.json --model_path demo
"""

import argparse
import re
from pathlib import Path

from eap import InputError
from runs import console, devices, disk, flags, hub, records
from study.robustness.settings import Settings

# ---- constants: each is the default of the flag of its name; edit here or give the flag ----
CIRCUITS = ("C_before_summarization.json", "C_after_summarization.json")  # every two are compared
PAIRS = "data/pairs.jsonl"  # with --model_path: the pairs that the first circuit was extracted from
# shares of the salient tokens that are corrupted; 1 is the circuit itself
LEVELS = ".1,.2,.3,.4,.5,.6,.7,.8,.9"
# The first circuit is extracted again for each of these: mask, swap:SEED (other drawings of the
# corruption), control (other sentences corrupted); a metric; a method (EAP with nll where the
# metric is flat). Each costs an extraction.
VARIANTS = (
    "mask,swap:1,swap:2,control,kl,nll,js,logit_diff,secant,EAP-IG-inputs,clean-corrupted,EAP"
)
MASK_TEXT = "."  # what mask repeats
RESAMPLES = 1000  # bootstrap resamples of the examples for the intervals
MAX_MEMORY = "auto"  # GB that the plan of batches may use; auto: what is free

# what every script has
MAX_EXAMPLES = "all"  # pairs; all: every one of the file
BATCH_SIZE = "auto"  # examples at a time; auto: planned from the free memory
SEED = 0  # of every random choice
DEVICE = "auto"  # auto: the GPU if there is one; cpu, cuda, cuda:1, mps
DTYPE = "float32"  # of the model: float32, bfloat16 or float64
OUTPUT_DIR = "outputs/evaluate_robustness"  # robustness.json and plots
# --------------------------------------------------------------------------------------------


def parse(argv=None):
    """The script's arguments."""
    parser = flags.parser(__doc__, OUTPUT_DIR, constants=globals())
    add = parser.add_argument
    add("--circuits", nargs="+", type=flags.text, help="circuit files")
    add("--model_path", help="extract the first circuit again in this model, its own")
    add("--pairs", type=flags.text, help="pairs for that")
    add("--levels", type=flags.fractions, help="shares of salient tokens corrupted")
    add("--variants", type=variant_names, help="other ways of extracting, by commas")
    add("--mask_text", type=flags.text, help="what the variant mask repeats (default: %(default)r)")
    add("--resamples", type=flags.positive_int, help="for the intervals")
    flags.add_max_memory(parser)
    return parser.parse_args(argv)


def variant_names(value) -> list[str]:
    """Names of variants separated by commas, each once; argparse turns the error into one line."""
    known = "mask", "control", *flags.METRICS, *flags.METHODS
    names = flags.name_list(value)
    for name in names:
        if name not in known and not re.fullmatch(r"(swap|mask):[0-9]+", name):
            raise argparse.ArgumentTypeError(
                f"expected names of {', '.join(known)} and swap:SEED, separated by commas, "
                f"got {name!r}"
            )
    return names


def main(argv=None):
    """Compare circuits; extract again."""
    args = parse(argv)
    for path in args.circuits:
        if not Path(path).is_file():
            raise InputError(
                f"--circuits {path}: expected a circuit file, found none; make it with "
                "extract_summarization_circuit.py, for instance with --model_path demo"
            )
    inputs = {path: path for path in args.circuits}
    names = ["robustness.json", "robustness.png"]
    if args.model_path:
        inputs |= {"model": hub.model_source(args.model_path), "pairs": args.pairs}
        names.append("robustness.matrix.png")
    folder = Path(args.output_dir)
    outputs = [folder / name for name in names]
    run = records.Run(
        vars(args), records.record_in(folder, __file__), outputs=outputs, inputs=inputs
    )
    if run.up_to_date:
        return
    from study import captions
    from study.headline import show
    from study.robustness import again, figures, headline, results, words

    settings = Settings.of(vars(args))
    devices.seed_everything(settings.seed)
    settings.device.say_circuit_dtype(settings.console)
    circuits = results.load(settings)
    result = {
        "format": 1,
        "circuits": [results.describe(settings, loaded) for loaded in circuits],
        "pairs": results.compare(settings, circuits),
    }
    if args.model_path:
        pairs_sha256 = run.identity["inputs"]["pairs"]["sha256"]
        full = again.Full(flags.fractions(LEVELS), variant_names(VARIANTS))
        result |= again.extract_again(settings, circuits[0], pairs_sha256=pairs_sha256, full=full)
    else:
        result |= results.NOT_AGAIN
    result["sentences"] = words.lines(result)
    result["captions"] = captions.of("robustness")
    disk.write_json(folder / "robustness.json", result)
    disk.save_figure(lambda: figures.overlap(result), folder / "robustness.png")
    if args.model_path:
        disk.save_figure(
            lambda: figures.matrix(result["agreement"]), folder / "robustness.matrix.png"
        )
    show(settings.console, headline.headline(result), outputs=outputs, details=result["sentences"])
    run.finish()


if __name__ == "__main__":
    console.run_script(main)
