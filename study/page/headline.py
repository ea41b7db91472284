"""report.html in a few lines: what it is made of, findings beside their nulls, what is missing."""

from dataclasses import replace

from study.findings import decimals, rounded, text
from study.headline import Headline, Table
from study.page.answers import Answer
from study.page.gathering import Page
from study.page.rounding import counted

LIMIT_MB = 8.0  # of a page; what is larger is slow to open and to send
HEAD = ("question", "number", "beside")


def report_headline(page: Page, n_bytes: int, *, folder) -> Headline:
    """The `Headline` of a page that takes so many bytes, of the results in a folder."""
    return Headline(title(page, n_bytes, folder=folder), table(page), (), cautions(page, n_bytes))


def title(page: Page, n_bytes: int, *, folder) -> str:
    """What is on the page, and how large it is."""
    n_circuits = sum(len(graph["circuits"]) for graph in page.explorer)
    n_figures = sum(len(part.pictures) for stage in page.stages for part in stage.parts)
    counts = [
        counted(len(page.stages), "stage"),
        counted(n_circuits, "circuit"),
        counted(n_figures, "figure"),
    ]
    return f"{folder} on one page of {n_bytes / 1e6:.1f} MB: {', '.join(counts)}"


def table(page: Page) -> Table | None:
    """Every finding's question with its number and what that is to be seen against; None without
    findings.
    """
    rows = tuple(map(_row, page.findings))
    return Table(HEAD, rows, "the report says them in words") if rows else None


def _row(answer: Answer) -> tuple[str, str, str]:
    """A question's number, without its unit but percent, and what it is to be seen against."""
    number, null = answer.number, answer.null
    shown = replace(number, unit="%" if number.unit.startswith("%") else "")
    beside = f"{answer.null_name} {rounded(null.value, decimals(null))}"
    return answer.question, text(shown), beside


def cautions(page: Page, n_bytes: int) -> tuple[str, ...]:
    """What is not on the page, and whether it is too large."""
    words = []
    for graph in page.explorer:
        if graph["here"] < graph["edges"]:
            shares = f"{graph['here']:,} of a graph's {graph['edges']:,}"
            words.append(f"the strongest {shares} edges are in the page")
    if page.missing and page.stages:
        titles = ", ".join(section.title for section in page.missing)
        words.append(f"not there yet: {titles}")
    if n_bytes > LIMIT_MB * 1e6:
        words.append(f"the page is over {LIMIT_MB:g} MB")
    return tuple(words)


def details(page: Page) -> list[str]:
    """A line for each stage: its figures and tables; then each finding in words."""
    lines = []
    for stage in page.stages:
        pictures = [picture.name for part in stage.parts for picture in part.pictures]
        n_tables = sum(len(part.tables) for part in stage.parts)
        names = ", ".join(pictures) or "no figure"
        lines.append(f"{stage.section.title}: {counted(n_tables, 'table')}; {names}")
    return [*lines, *(finding.sentence for finding in page.findings)]
