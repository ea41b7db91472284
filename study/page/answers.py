"""The first screen: the questions of a study, each answered by a stage's finding in its words."""

from collections.abc import Iterable
from dataclasses import dataclass

from study.findings import Finding, Number, sentence


@dataclass(frozen=True)
class Answer:
    """A question, the stage that answers it, the sentence of its finding, and the number behind it
    beside its null, both on one axis.
    """

    stage: str  # the name of its section
    question: str
    sentence: str
    number: Number
    null: Number
    null_name: str


def answers(stage: str, findings: Iterable[Finding]) -> list[Answer]:
    """Those of a stage's findings that answer a question."""
    made = []
    for finding in findings:
        if finding.question and finding.null is not None and finding.null.number is not None:
            answer = Answer(
                stage,
                finding.question,
                sentence(finding),
                finding.number,
                finding.null.number,
                finding.null.name.rstrip(":,"),
            )
            made.append(answer)
    return made
