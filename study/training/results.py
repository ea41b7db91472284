"""training.json: the settings of a run, its loss, and the validation NLL at each checkpoint."""

import numpy as np

from eap.resampling import mean_interval
from runs import checkpoints, records

EACH = "eval_nll_of_each"  # in Trainer's log
# Elsewhere in training.json, or a path.
NOT_SETTINGS = {
    "model_path",
    "dataset",
    "output_dir",
    "resume_from_checkpoint",
    "device",
    "seed",
}


def of_run(flags: dict, log: list[dict], *, facts: dict) -> dict:
    """The content of training.json, from Trainer's log and what is known of model and data."""
    kept = checkpoints.complete_checkpoints(flags["output_dir"])
    validated = [entry for entry in log if "eval_nll" in entry]
    hidden = records.COSMETIC | NOT_SETTINGS
    return {
        "format": 1,
        **facts,
        "settings": {name: flags[name] for name in sorted(flags) if name not in hidden},
        "checkpoints": [checkpoints.step_of(folder) for folder in kept],
        "loss": [loss_of(entry) for entry in log if "loss" in entry],
        "validation": [
            validation_of(entry, validated[0], seed=flags["seed"]) for entry in validated
        ],
    }


def loss_of(entry: dict) -> dict:
    """The training loss in an entry of Trainer's log."""
    return {name: entry[name] for name in ("step", "loss", "learning_rate", "grad_norm")}


def validation_of(entry: dict, first: dict, *, seed: int) -> dict:
    """The validation NLL in an entry of Trainer's log, and its `change` since the first entry.

    The change is that of the same examples, so its interval is that of paired differences; it is
    left out where Trainer's log is of an earlier version, without the NLL of each.
    """
    row = {
        "step": entry["step"],
        "nll_nats_per_token": entry["eval_nll"],
        "low": entry["eval_nll_low"],
        "high": entry["eval_nll_high"],
    }
    if entry is not first and EACH in entry and EACH in first:
        change = mean_interval(np.subtract(entry[EACH], first[EACH]), seed)
        row["change"] = {"from_step": first["step"], **change}
    return row
