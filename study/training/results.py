"""training.json: the settings of a run, its loss, and the validation NLL at each checkpoint."""

from runs import checkpoints, records

# Elsewhere in training.json, or a path.
NOT_SETTINGS = {
    "model_path",
    "dataset",
    "output_dir",
    "resume_from_checkpoint",
    "device",
    "seed",
}


def of_run(flags: dict, log: list[dict], facts: dict) -> dict:
    """The content of training.json, from Trainer's log and what is known of model and data."""
    kept = checkpoints.complete_checkpoints(flags["output_dir"])
    hidden = records.COSMETIC | NOT_SETTINGS
    return {
        "format": 1,
        **facts,
        "settings": {name: flags[name] for name in sorted(flags) if name not in hidden},
        "checkpoints": [checkpoints.step_of(folder) for folder in kept],
        "loss": [loss_of(entry) for entry in log if "loss" in entry],
        "validation": [validation_of(entry) for entry in log if "eval_nll" in entry],
    }


def loss_of(entry: dict) -> dict:
    """The training loss in an entry of Trainer's log."""
    return {name: entry[name] for name in ("step", "loss", "learning_rate", "grad_norm")}


def validation_of(entry: dict) -> dict:
    """The validation NLL in an entry of Trainer's log."""
    return {
        "step": entry["step"],
        "nll_nats_per_token": entry["eval_nll"],
        "low": entry["eval_nll_low"],
        "high": entry["eval_nll_high"],
    }
