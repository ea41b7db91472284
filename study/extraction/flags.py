"""The flags of the extraction: of what a circuit is made, how edges are scored, which are taken."""

from runs import flags

STABLE = 0.8  # what --until_stable means without a number
GOAL = f"""take pairs until the mean Jaccard index between resamples is over J, or they end; with
--all_checkpoints the last one's number of pairs holds for all (J without a number: {STABLE})"""


def add(parser: flags.Parser) -> None:
    """Add all of them to a script's parser."""
    add_files(parser)
    add_attribution(parser)
    add_choice(parser)
    add_checks(parser)
    flags.add_max_memory(parser)


def add_files(parser: flags.Parser) -> None:
    """Add the flags of what is read and written."""
    add = parser.add_argument
    add("--model_path", type=flags.text, help="Hub id, folder, adapter, or demo")
    every = "one circuit per checkpoint-N: <output_dir>/C_step{N}.json"
    add("--all_checkpoints", action="store_true", help=every)
    add("--pairs", type=flags.text, help="clean/corrupted pairs, .jsonl")
    add("--output", type=flags.file_name, help="circuit file; its drawings lie beside it")


def add_attribution(parser: flags.Parser) -> None:
    """Add the flags of how edges are scored."""
    add = parser.add_argument
    add("--method", choices=flags.METHODS, help="NAP, NAP-IG and NAP-secant score nodes")
    add("--kv", choices=flags.KV, help="edges of heads that share keys and values")
    add("--metric", choices=flags.METRICS)
    add("--ig_steps", type=flags.steps, help="points on the path, or auto")
    add("--ig_rule", choices=flags.RULES)
    add("--ablation", choices=flags.ABLATIONS)


def add_choice(parser: flags.Parser) -> None:
    """Add the flags of which edges are taken, and how many."""
    add = parser.add_argument
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--fraction", type=flags.share, help="of all edges, up to 1")
    size.add_argument("--top_n", type=flags.positive_int, help="number of edges instead")
    size.add_argument("--threshold", type=flags.positive_float, help="least |score| instead")
    add("--selection", choices=flags.SELECTIONS)
    add("--absolute", action="store_true", help="rank by |score| (default)")
    add("--no_absolute", dest="absolute", action="store_false", help="rank by signed score")
    rank = "mean: by |mean score|; example: by the mean of |score per example|"
    add("--rank", choices=flags.RANKS, help=rank)


def add_checks(parser: flags.Parser) -> None:
    """Add the flags of what is computed of the scores besides, and on how many pairs."""
    add = parser.add_argument
    add("--spans", action="store_true", help="split scores by where the destination reads")
    add("--resamples", type=flags.count, help="of examples, for the noise floor")
    goal = {"nargs": "?", "const": STABLE, "metavar": "J"}
    add("--until_stable", type=flags.fraction, help=GOAL, **goal)
    add("--exact_top", type=flags.count, help="edges to patch exactly as a check")
