"""The flags of fine-tuning: what is trained on what, when it is kept, and Trainer's own."""

from runs import flags

RESUME = """go on from this checkpoint, or from the last whole one of --output_dir, which happens by
itself as well"""


def add(parser: flags.Parser) -> None:
    """Add all of them to a script's parser."""
    add_data(parser)
    add_checkpoints(parser)
    add_optimizer(parser)
    flags.add_trainer(parser)
    add_loading(parser)
    flags.add_data(parser)


def add_data(parser: flags.Parser) -> None:
    """Add the flags that say what is trained on what."""
    add = parser.add_argument
    add(
        "--model_path", type=flags.text, help="Hub id, folder, checkpoint-N, adapter folder or demo"
    )
    add("--dataset", type=flags.text, help="Hub id, file, save_to_disk folder or demo")
    add("--subset_train_size", type=flags.positive_int, help="training articles")
    add("--validation_size", type=flags.positive_int, help="validation articles")


def add_checkpoints(parser: flags.Parser) -> None:
    """Add the flags that say when checkpoints are kept, with what, and where to go on."""
    add = parser.add_argument
    add("--checkpoint_schedule", choices=["log", "even"])
    add("--num_checkpoints", type=flags.positive_int, help="of the schedule")
    steps = "steps of the checkpoints, as in 0,10,100, in place of a schedule"
    add("--checkpoint_steps", type=flags.int_list, help=steps)
    add("--probe_examples", type=flags.count, help="examples of the latents; 0 for none")
    add("--probe_positions", type=flags.positive_int, help="positions of each")
    add("--resume_from_checkpoint", nargs="?", const="last", metavar="PATH", help=RESUME)
    patience = "stop after so many evaluations without a better NLL; 0: never"
    add("--early_stopping_patience", type=flags.count, help=patience)


def add_optimizer(parser: flags.Parser) -> None:
    """Add the flags of the optimizer and the loss."""
    add = parser.add_argument
    add("--learning_rate", type=flags.natural_float)
    add("--per_device_eval_batch_size", type=flags.positive_int)
    add("--optim", type=flags.text)
    add("--max_grad_norm", type=flags.natural_float)
    add("--adam_beta1", type=flags.below_one)
    add("--adam_beta2", type=flags.below_one)
    add("--adam_epsilon", type=flags.natural_float)
    add("--label_smoothing_factor", type=flags.fraction)


def add_loading(parser: flags.Parser) -> None:
    """Add the flags of the order in which rows come, and of the log."""
    add = parser.add_argument
    add("--train_sampling_strategy", choices=["random", "sequential", "group_by_length"])
    add("--dataloader_num_workers", type=flags.count)
    add("--logging_steps", type=flags.positive_int)
