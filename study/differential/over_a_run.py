"""How a run leaves its base model behind: each checkpoint's latents against checkpoint-0's.

No model is needed. The measures are those of two models, text by text on the probe's positions; the
first token is none of them (guard 4), and all states are before any norm (guard 3).
"""

from pathlib import Path

import numpy as np

from eap import MIN_EXAMPLES, InputError
from eap.resampling import LEVEL, tails
from runs import checkpoints
from study.differential import latents, measures
from study.differential.results import first_layer_sentence

MEASURES = {
    "centred_cosine": measures.centred_cosine,
    "cosine": measures.cosine,
    "relative_l2": measures.relative_l2,
}
LEAST_POSITIONS = 4  # debiased CKA is undefined with fewer


def files(run: str) -> list[tuple[int, Path]]:
    """(step, latents file) of every checkpoint of a run's folder, in order. Raises InputError
    without checkpoint-0 and another one.
    """
    saved = []
    for path in (Path(run) / "latents").glob("*.safetensors"):
        step = checkpoints.step_of(path.with_suffix(""))
        if step is not None:
            saved.append((step, path))
    saved.sort()
    if len(saved) < 2 or saved[0][0] != 0:
        raise InputError(
            f"--run {run}: expected latents/checkpoint-0.safetensors, the base model's, and later "
            f"ones, found {', '.join(str(step) for step, _ in saved) or 'none'}; "
            "run_finetuning_with_checkpoints.py writes them, for instance with --model_path demo "
            "--dataset demo"
        )
    return saved


def follow(saved: list[tuple[int, Path]], seed: int, *, progress=lambda items: items) -> dict:
    """{"measures": {name: {"mean", "low", "high": (steps, states)}}} and what they are of;
    intervals over texts.

    CKA and RSA compare pairs of positions, and are left out when a text has fewer than 4. Raises
    InputError for files of other probes.
    """
    base, tables, changes = latents.read(saved[0][1]), {}, {}
    columns = [np.flatnonzero(base.example == text) for text in np.unique(base.example)]
    n_positions = min(map(len, columns))
    wanted = MEASURES | (measures.GEOMETRY if n_positions >= LEAST_POSITIONS else {})
    for _, path in progress(saved):
        now = latents.read(path)
        if not latents.same_probe(base, now):
            raise InputError(
                f"{path}: expected the probe of {saved[0][1].name}, got other texts or another "
                "model shape; fine-tune again with --overwrite"
            )
        for name, measure in wanted.items():
            values = np.stack(
                [measure(base.streams[:, text], now.streams[:, text]).numpy() for text in columns]
            )
            tables.setdefault(name, []).append(measures.over_texts(values, seed))
            changes.setdefault(name, []).append(
                (values if name == "relative_l2" else 1 - values)[:, 1:]
            )  # distance from the base
    steps = [step for step, _ in saved]
    summary = {
        "steps": steps,
        "states": ["embeddings", *map(str, range(len(base.streams) - 1))],
        "texts": len(columns),
        "positions": n_positions,
        "level": LEVEL,
        "measures": {
            name: {key: [row[key] for row in rows] for key in ("mean", "low", "high")}
            for name, rows in tables.items()
        },
        "standing": {
            name: standing(steps, np.stack(values, 1), seed=seed)
            for name, values in changes.items()
        },
    }
    return {**summary, "sentences": _sentences(summary)}


def standing(steps: list[int], changes: np.ndarray, *, seed: int) -> dict | None:
    """Which layer is farthest from the base at the last step, and when half of that way was gone;
    None if no layer moved.

    `changes` are distances, (texts, steps, layers). {"layer": the farthest by the mean over texts,
    "share": of the resamples of texts in which it is that, "half": {"first", "last": the first and
    the last step at which a layer that moved gets half as far as it is at the end, "low", "high":
    where the two are in 95 % of resamples, as `tails` cuts them}}.
    """
    means = changes.mean(0)  # (steps, layers)
    drawn = measures.resampled_means(changes, seed)  # (resamples, steps, layers)
    low, high = tails(len(changes))
    moved = np.quantile(drawn[:, -1], low, axis=0) > measures.ROUNDING
    if not moved.any():
        return None
    layer = int(means[-1].argmax())
    whole = half_way(steps, means[None])[:, moved]
    resampled = half_way(steps, drawn)[:, moved]
    half = {
        "first": whole.min(),
        "last": whole.max(),
        "low": np.quantile(resampled.min(1), low, method="lower"),
        "high": np.quantile(resampled.max(1), high, method="higher"),
    }
    return {
        "layer": layer,
        "share": float((drawn[:, -1].argmax(1) == layer).mean()),
        "half": {key: int(at) for key, at in half.items()},
    }


def half_way(steps: list[int], distances: np.ndarray) -> np.ndarray:
    """(resamples, layers): the first step at which a layer is half as far as at the last one.

    `distances` are (resamples, steps, layers).
    """
    return np.array(steps)[(distances >= distances[:, -1:] / 2).argmax(1)]


def _sentences(summary: dict) -> list[str]:
    """Which layer is farthest from the base at the end, as far as resampled texts agree (guard 26),
    and when half of the way was gone.
    """
    moved = {name: row for name, row in summary["standing"].items() if row}
    firsts = {name: (row["layer"], row["share"]) for name, row in moved.items()}
    sentences = [
        first_layer_sentence(
            firsts,
            summary["texts"],
            what=f"farthest from the base model at step {summary['steps'][-1]}",
        )
    ]
    if not moved or summary["texts"] < MIN_EXAMPLES:
        return sentences
    halves = "; ".join(f"{name} {_half_words(row['half'])}" for name, row in moved.items())
    return [
        *sentences,
        "Half of the last checkpoint's distance is reached at step (first to last of the layers "
        f"that moved): {halves}.",
    ]


def _half_words(half: dict) -> str:
    """The steps of half the way, once where they are one, and their interval."""
    steps = dict.fromkeys((half["first"], half["last"]))
    return f"{' to '.join(map(str, steps))} [{half['low']}, {half['high']}]"


def lines(summary: dict) -> list[str]:
    """The table that the script prints, layers by steps with intervals, for the centred cosine;
    then the sentences.
    """
    table = summary["measures"]["centred_cosine"]
    title = "centred cosine to step 0"
    rows = [f"{title:<26}" + "".join(f"{f'step {step}':>24}" for step in summary["steps"][1:])]
    for i, state in enumerate(summary["states"]):
        cells = [
            f"{table['mean'][t][i]:.4f} [{table['low'][t][i]:.4f}, {table['high'][t][i]:.4f}]"
            for t in range(1, len(table["mean"]))
        ]
        rows.append(
            f"{f'layer {state}' if state.isdigit() else state:<26}"
            + "".join(f"{cell:>24}" for cell in cells)
        )
    return [*rows, "", *summary["sentences"]]
