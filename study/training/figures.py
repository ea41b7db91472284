"""The loss curve of a fine-tuning run."""

from eap.style import COLOURS, subplots


def figure(result: dict):
    """A figure of training loss and validation NLL over steps, logarithmic if checkpoints are."""
    drawn, axes = subplots()
    loss, validation = result["loss"], result["validation"]
    n_train = result["examples"]["train"]["kept"]
    n_validation = result["examples"]["validation"]["kept"]
    steps = [row["step"] for row in validation]
    axes.plot(
        [row["step"] for row in loss],
        [row["loss"] for row in loss],
        color=COLOURS["random"],
        label=f"training loss, mean since the previous point ({n_train} articles)",
    )
    axes.plot(
        steps,
        [row["nll_nats_per_token"] for row in validation],
        "o-",
        color=COLOURS["finetuned"],
        label=f"validation NLL, 95 % interval over {n_validation} articles",
    )
    axes.fill_between(
        steps,
        [row["low"] for row in validation],
        [row["high"] for row in validation],
        color=COLOURS["finetuned"],
        alpha=0.2,
        linewidth=0,
    )
    if (
        result["settings"]["checkpoint_schedule"] == "log"
        and not result["settings"]["checkpoint_steps"]
    ):
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks(steps, [str(step) for step in steps], minor=False)
        axes.minorticks_off()
    highest = max(
        row[name] for rows, name in ((loss, "loss"), (validation, "high")) for row in rows
    )
    axes.set(
        xlabel="optimizer step",
        ylabel="nats per summary token",
        ylim=(0, 1.25 * highest),
        title=f"{result['model']} fine-tuned on {result['dataset']}",
    )
    axes.legend(frameon=False)
    return drawn
