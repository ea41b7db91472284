"""How many hours and how much disk the rest of a study takes, in words."""

from dataclasses import dataclass
from pathlib import Path

from runs import bases, configs, forecast, opening
from study import estimate
from study.pipeline import workload
from study.pipeline.presets import Preset


@dataclass(frozen=True)
class Rest:
    """What is left of some stages of a preset."""

    preset: Preset
    left: dict[str, float]  # the share of each stage that is not done yet
    work: dict[str, estimate.Work]  # of the stages that take long and are not done yet
    finished: list[str]  # the others that take long

    @classmethod
    def of(cls, preset: Preset, stages: set[str], *, left: dict[str, float]) -> "Rest":
        """The rest of these stages, of which `left` says how much is not done yet."""
        amounts = workload.workload(preset, left)
        long = {stage: amount for stage, amount in amounts.items() if stage in stages}
        work = {stage: amount for stage, amount in long.items() if any(amount)}
        finished = [stage for stage in long if stage not in work]
        return cls(preset, left, work, finished)

    def in_words(self, precision, folder: Path) -> list[str]:
        """The estimate, a line each: hours, where they come from, disk, what is left out.

        Times a few steps of the model's shape, in a training.Precision, on its device.
        """
        shape = estimate.shape_of(config_of(self.preset.model))
        new_tokens = int(workload.values_of(self.preset.arms)["max_new_tokens"][0])
        unit = estimate.measure(precision, new_tokens, config=shape.config)
        lines = estimate.lines(
            self.work, unit, precision=precision, shape=shape, new_tokens=new_tokens
        )
        n_bytes = workload.bytes_to_write(self.preset, set(self.work), left=self.left, shape=shape)
        disk = forecast.disk_in_words(n_bytes, folder).removeprefix("; ")
        if disk:
            lines.append(f"Disk: {disk}, downloads not counted.")
        if self.finished:
            done = ", ".join(self.finished)
            lines.append(f"Left out, since their records say they are done: {done}.")
        return lines


def config_of(name: str):
    """The transformers configuration of a model, or of an adapter's, without its weights.

    Raises InputError for a model that the study cannot be done of.
    """
    source = Path(bases.root_of(name))
    opening.require_architecture(name, source)
    return configs.read_config(name, source)
