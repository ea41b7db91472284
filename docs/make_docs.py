"""Which parts of the papers are made from the code and the demo: lists, messages, the gallery.

python docs/make_docs.py                          # the lists
python docs/make_docs.py --gallery outputs/demo   # and the gallery's pictures, from the demo
"""

import argparse
import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from study.captions import FIGURES  # noqa: E402
from study.page.pictures import smaller  # noqa: E402

ROOMS = ("", "eap", "runs", "summarization", "study")  # "" is the folder of the scripts
FURTHER = ("benchmarks", "demo", "docs")  # they have files to list, and no messages
WIDTH = 38  # of a path in README's list
RAISED = ("InputError", "ArgumentTypeError")
PICTURES = ROOT / "docs" / "gallery"
FIGURES_HEAD = """# The figures

Every plot of a study, what it shows and what to look for. Each is a PNG of 200 dots an inch;
`--figure_format pdf` or `svg` writes that beside it, and `--figure_width 3.4` makes it fit a
paper's column when it is printed. All use one colour-blind palette, whose colours mean the same
everywhere. The words stand in the JSON beside each figure too, as `captions`. Every formula, with
its source: [method notes](methods.md).
"""
GALLERY_HEAD = """# Gallery

Every figure of a study, as `make demo` draws it, and how to read it. Made by
`python docs/make_docs.py --gallery outputs/demo` from the table in [the figures](figures.md).
"""
MESSAGES_HEAD = """# Troubleshooting

Every line with which a script ends when its input cannot be used (exit code 2), and what helps. `…`
stands for a name or a number of yours. A traceback instead of one line is a fault of this software:
please report it. This list is made from the code by `python docs/make_docs.py`.
"""


def python_files() -> list[str]:
    """Paths of the project's Python files, from its root, sorted."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return sorted(name for name in set(listing.split()) if (ROOT / name).is_file())


def room_of(name: str) -> str:
    return name.split("/")[0] if "/" in name else ""


def tree_of(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def first_sentence(name: str) -> str:
    """The first sentence of a file's docstring, without its full stop; empty for none."""
    paragraph = (ast.get_docstring(tree_of(name)) or "").partition("\n\n")[0]
    words = " ".join(paragraph.split())
    return re.split(r"(?<=[.?!]) ", words, maxsplit=1)[0].rstrip(".")


def file_list() -> str:
    """README's list: a block a room, a line a file."""
    names = [
        name for name in python_files() if not name.endswith("__init__.py") or "models" in name
    ]
    blocks = []
    for room in (*ROOMS, *FURTHER):
        members = [name for name in names if room_of(name) == room]
        blocks.append("\n".join(f"{name:<{WIDTH}}{first_sentence(name)}" for name in members))
    return "\n\n".join(block for block in blocks if block)


def message_of(node: ast.Call) -> str:
    """The text of an error, with `…` where a value is put in; empty for one made elsewhere."""
    if not node.args:
        return ""
    argument = node.args[0]
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    words = []
    for part in parts:
        constant = isinstance(part, ast.Constant) and isinstance(part.value, str)
        words.append(part.value if constant else "…")
    return re.sub(r"\s+", " ", "".join(words)).strip()


def messages(name: str) -> list[str]:
    """Messages of the errors that a file raises, in its order."""
    calls = [
        node.exc
        for node in ast.walk(tree_of(name))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    calls = [call for call in calls if ast.unparse(call.func).split(".")[-1] in RAISED]
    texts = [message_of(call) for call in sorted(calls, key=lambda call: call.lineno)]
    return [text for text in dict.fromkeys(texts) if text.strip("…; ")]


def troubleshooting() -> str:
    """The list of error messages with their cures, a table a file."""
    parts = ["\n".join(textwrap.wrap(part, 100)) for part in MESSAGES_HEAD.split("\n\n")]
    for name in python_files():
        texts = messages(name) if room_of(name) in ROOMS else []
        if not texts:
            continue
        rows = ["| message | what to do |", "|---|---|"]
        for message in texts:
            text, _, cure = message.replace("|", "\\|").partition("; ")
            rows.append(f"| `{text.replace('`', '')}` | {cure or 'as the message says'} |")
        parts.append(f"## {first_sentence(name)} (`{name}`)\n\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def figures() -> str:
    """The table of figures, from their captions."""
    rows = ["| plot | what it shows | what to look for |", "|---|---|---|"]
    for name, caption in FIGURES.items():
        rows.append(f"| `{name}` | {caption.shows} | {caption.look_for} |")
    return FIGURES_HEAD + "\n" + "\n".join(rows) + "\n"


def picture_of(pattern: str) -> str:
    """The name of a figure's picture in the gallery."""
    return pattern.replace("*", "after_summarization")


def gallery() -> str:
    """The gallery's text: each figure's picture with a sentence on how to read it."""
    parts = ["\n".join(textwrap.wrap(part, 100)) for part in GALLERY_HEAD.split("\n\n")]
    for pattern, caption in FIGURES.items():
        name = picture_of(pattern)
        words = textwrap.wrap(str(caption), 100)
        picture = f"![{name}](gallery/{name})" if (PICTURES / name).is_file() else ""
        parts.append("\n\n".join(filter(None, [f"## `{name}`", "\n".join(words), picture])))
    return "\n\n".join(parts) + "\n"


def copy_pictures(outputs: Path) -> None:
    """Copy each figure of a run into the gallery, where the run has it."""
    PICTURES.mkdir(exist_ok=True)
    for pattern in FIGURES:
        name = picture_of(pattern)
        made = sorted(outputs.rglob(name))
        if made:
            (PICTURES / name).write_bytes(smaller(made[0].read_bytes()))


def readme() -> str:
    """README with its table of scripts and its list of files as they are now."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = script_table()
    above, below = text.split(rows[0] + "\n", 1)
    text = "\n".join([above + rows[0], *rows[1:], "", below.split("\n\n", 1)[1]])
    head, rest = text.split("## The files\n\n```\n", 1)
    tail = rest.split("\n```\n", 1)[1]
    return f"{head}## The files\n\n```\n{file_list()}\n```\n{tail}"


def script_table() -> list[str]:
    """The lines of README's table of scripts."""
    sys.path.insert(0, str(ROOT))
    from runs import scripts

    return scripts.table()


def anchor(heading: str) -> str:
    """The address of a heading in its page, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def method_notes() -> str:
    """The method notes with their table of contents as it is now."""
    text = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    lines = []
    for marks, heading in re.findall(r"^(##+) (.*)$", text, flags=re.MULTILINE):
        if heading != "Contents":
            indent = "  " * (len(marks) - 2)
            lines.append(f"{indent}- [{heading}](#{anchor(heading)})")
    head, rest = text.split("## Contents\n\n", 1)
    tail = rest[rest.index("\n\n") :]
    return f"{head}## Contents\n\n" + "\n".join(lines) + tail


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gallery", type=Path, help="folder of a finished demo")
    args = parser.parse_args()
    if args.gallery:
        copy_pictures(args.gallery)
    papers = {"README.md": readme, "docs/troubleshooting.md": troubleshooting}
    papers |= {
        "docs/figures.md": figures,
        "docs/gallery.md": gallery,
        "docs/methods.md": method_notes,
    }
    for name, make in papers.items():
        (ROOT / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
