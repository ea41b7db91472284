"""Figures of evolution.json: plain numbers in, a matplotlib Figure out."""

import numpy as np

from eap import style

MARKERS = "os^Dv<>Ph*Xp"
SETS = (("nodes", "nodes", "o", "base"), ("edges", "edges", "^", "finetuned"),
        ("edges_equal_size", "edges, equal-size circuits", "s", "highlight"))


def change_figure(content: dict):
    """Change from one checkpoint to the next and from the first one, with the noise floor; the training loss above if it is known."""
    training = content.get("training")
    n_panels = 3 if training else 2
    figure, axes = style.subplots(n_panels, 1, figsize=(8.4, 2.5 * n_panels), sharex=True)
    x = np.arange(len(content["checkpoints"]))
    if training:
        _loss_panel(axes[0], training, _steps(content))
    _rate_panel(axes[-2], content, x)
    _from_first_panel(axes[-1], content, x)
    _step_axis(axes[-1], content)
    examples = content["checkpoints"][0]["examples"]
    known = f"; noise floor from {content['noise_resamples']} resamplings of {examples} examples" if content["noise_resamples"] else ""
    axes[0].set_title(f"{len(x)} checkpoints{known}", fontsize=9)
    return figure


def _steps(content) -> list[int]:
    """Training steps of the checkpoints; the number of the file where they are unknown."""
    steps = [checkpoint["step"] for checkpoint in content["checkpoints"]]
    return list(range(len(steps))) if None in steps else steps


def _step_axis(axis, content):
    """Checkpoints at equal distances, labelled with their steps: their schedule is often geometric, and starts at 0."""
    labels = labels_of(content)
    axis.set_xticks(range(len(labels)), labels, rotation=90 if len(labels) > 12 else 20 if len("".join(labels)) > 60 else 0, fontsize=8)
    axis.set_xlabel("circuit" if None in [checkpoint["step"] for checkpoint in content["checkpoints"]] else "checkpoint (training step)")


def labels_of(content) -> list[str]:
    """The step of every checkpoint, or the file's name if some have none."""
    steps = [checkpoint["step"] for checkpoint in content["checkpoints"]]
    return [checkpoint["name"] for checkpoint in content["checkpoints"]] if None in steps else list(map(str, steps))


def _loss_panel(axis, training, checkpoints):
    """Losses between two checkpoints are placed by their step on the line between these."""
    def place(rows):
        return np.interp([row["step"] for row in rows], checkpoints, range(len(checkpoints)))

    loss, validation = ([row for row in training[name] if row["step"] <= checkpoints[-1]] for name in ("loss", "validation"))
    axis.plot(place(loss), [row["loss"] for row in loss], color=style.COLOURS["random"], label="training loss")
    axis.plot(place(validation), [row["nll_nats_per_token"] for row in validation], "o-", color=style.COLOURS["base"],
              label="validation NLL")  # fmt: skip
    axis.fill_between(place(validation), [row["low"] for row in validation], [row["high"] for row in validation],
                      color=style.COLOURS["base"], alpha=0.2, linewidth=0)  # fmt: skip
    axis.set_ylabel("nats per\nsummary token")
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _rate_panel(axis, content, x):
    for name, label, marker, colour in SETS:
        if name not in content["rates"]:
            continue
        rate = content["rates"][name]
        axis.plot(x[1:], 100 * np.array(rate["of_first"]), marker=marker, color=style.COLOURS[colour],
                  label=f"{label}: dS = {rate['dS']:.0%}")
        if rate["floor"] and name != "edges_equal_size":
            low, high = ([100 * floor[key] for floor in rate["floor"]] for key in ("low", "high"))
            _band(axis, x[1:], low, high, style.COLOURS[colour], f"noise floor, {label}", hatch="////" if name == "nodes" else "....")
    axis.set_ylabel("changed since the previous\ncheckpoint (% of S_0)")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _band(axis, x, low, high, colour, label, hatch):
    """A band; where there is one step only, a bar with caps, since a band would have no width."""
    if len(x) == 1:
        middle = (low[0] + high[0]) / 2
        axis.errorbar(x, [middle], [[middle - low[0]], [high[0] - middle]], fmt="none", color=colour, capsize=6, label=label)
        return
    axis.fill_between(x, low, high, facecolor=colour, alpha=0.15, hatch=hatch, edgecolor=colour, linewidth=0, label=label)


def _from_first_panel(axis, content, x):
    for name, label, marker, colour in SETS[:2]:
        axis.plot(x, 100 * np.array(content["rates"][name]["from_first"]), marker=marker, color=style.COLOURS[colour], label=label)
    axis.set_ylabel("differs from the first\ncheckpoint (% of S_0)")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))


def jaccard_figure(content: dict):
    """Jaccard of the edges of every two circuits as a matrix, and of each with the last beside chance and noise floor."""
    similarity = content["similarity"]
    matrix, n = np.array(similarity["edges_jaccard"]), len(content["checkpoints"])
    labels = labels_of(content)
    figure, (left, right) = style.subplots(1, 2, figsize=(9.6, 4.2))
    image = left.imshow(matrix, cmap=style.SEQUENTIAL, vmin=0, vmax=1)
    left.grid(False)
    for axis_ticks in (left.set_xticks, left.set_yticks):
        axis_ticks(range(n), labels, fontsize=7)
    left.tick_params(axis="x", rotation=90 if n > 6 else 0)
    for i in range(n):
        for j in range(n):
            left.text(j, i, f"{matrix[i, j]:.2f}", ha="center", va="center", fontsize=6 if n > 8 else 7,
                      color="white" if matrix[i, j] < 0.6 else "black")
    figure.colorbar(image, ax=left, label="Jaccard of edges", fraction=0.046)
    left.set_title("edges of every two circuits", fontsize=9)
    _with_last(right, similarity, n)
    right.set_xticks(range(n), labels, fontsize=7, rotation=90 if n > 6 else 0)
    for axis in (left, right):
        axis.set_xlabel("circuit" if labels[0] == content["checkpoints"][0]["name"] else "checkpoint (training step)")
    return figure


def _with_last(axis, similarity, n):
    x = np.arange(n)
    for name, marker, colour, hatch in (("edges", "^", "finetuned", "...."), ("nodes", "o", "base", "////")):
        axis.plot(x, similarity[f"{name}_jaccard"][-1], marker=marker, color=style.COLOURS[colour], label=name)
        chance = [row[-1] for row in similarity[f"{name}_chance"][:-1]]
        axis.plot(x[:-1], chance, linestyle=":", marker=marker, markersize=3, markerfacecolor="white", color=style.COLOURS["chance"],
                  label=f"chance, {name}")
        if similarity[f"{name}_noise"]:
            floor = similarity[f"{name}_noise"][-1]
            axis.axhspan(floor["low"], floor["high"], facecolor=style.COLOURS[colour], edgecolor=style.COLOURS[colour], alpha=0.15,
                         hatch=hatch, linewidth=0, label=f"two extractions of the last, {name}")
    axis.set_ylim(0, 1.02)
    axis.set_ylabel("Jaccard with the last circuit")
    axis.set_title("each circuit with the last", fontsize=9)
    axis.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)


def trajectories_figure(content: dict):
    """Normalised scores over the checkpoints of the edges that moved most, labelled at the right end."""
    figure, axis = style.subplots(figsize=(7.2, 4.2))
    x = np.arange(len(content["checkpoints"]))
    colours = [style.COLOURS[name] for name in ("base", "finetuned", "circuit", "highlight", "noise", "control", "text", "random")]
    for i, entry in enumerate(content["trajectories"]):
        colour, scores = colours[i % len(colours)], 100 * np.array(entry["scores"])
        axis.plot(x, scores, marker=MARKERS[i % len(MARKERS)], color=colour, label=entry["edge"])
        if entry["low"]:
            axis.fill_between(x, 100 * np.array(entry["low"]), 100 * np.array(entry["high"]), color=colour, alpha=0.15, linewidth=0)
    axis.axhline(0, color=style.COLOURS["text"], linewidth=0.8)
    _step_axis(axis, content)
    axis.set_ylabel("score (% of the sum of all |scores|)")
    examples = content["checkpoints"][0]["examples"]
    bands = f", 95 % intervals over {examples} examples" if content["trajectories"] and content["trajectories"][0]["low"] else ""
    axis.set_title(f"The {len(content['trajectories'])} edges that moved most{bands}", fontsize=9)
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def layers_figure(content: dict):
    """Attribution by layer before and after, and how much of it changed: what the layer choices of the bake-off are made from."""
    figure, (upper, lower) = style.subplots(2, 1, figsize=(6.4, 4.6), sharex=True)
    layers = np.arange(content["graph"]["n_layers"])
    bars = (("before", "first circuit", "base", "", -0.2), ("after", "last circuit", "finetuned", "//", 0.2))
    for name, label, colour, hatch, shift in bars:
        upper.bar(layers + shift, 100 * np.array(content["layers"][name]), 0.4, color=style.COLOURS[colour], hatch=hatch,
                  edgecolor="white", linewidth=0.3, label=label)  # fmt: skip
    upper.set_ylabel("edges in the circuit\n(% of all |scores|)")
    upper.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    lower.bar(layers, 100 * np.array(content["layers"]["change"]), 0.6, color=style.COLOURS["circuit"])
    lower.set_ylabel("change of the scores\nof all edges (% of |scores|)")
    lower.set_xticks(layers)
    lower.set_xlabel("layer (an edge counts half where it leaves and half where it arrives; input and logits left out)")
    return figure
