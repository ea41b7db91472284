"""The HTML report: everything escaped, everything inside the page, numbers as they stand in the JSON files."""

import json
import re
from html.parser import HTMLParser

import pytest

import make_report
from eap import InputError
from runs import disk, records
from study import page as report

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


class Checker(HTMLParser):
    """Collects sources and links, and fails on tags that do not close."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.links, self.tags = [], [], [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        self.sources += [values["src"]] if "src" in values else []
        self.links += [values["href"]] if "href" in values else []
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def outputs(tmp_path):
    """A folder as the pipeline leaves it: several stages, and things that are none of the report's."""
    rouge = {
        "format": 1,
        "systems": {
            "<b>evil</b>": {"rouge1": {"mean": 24.803, "low": 23.1, "high": 26.0}, "kind": "model"}
        },
    }
    differential = {
        "format": 1,
        "sentences": ["5 < 6 & more"],
        "changes": {
            "cka": {"label": "1 - CKA", "scores": [0.1, 0.2], "order": [1, 0], "first_share": 0.98}
        },
    }
    circuit = {
        "edges": {"a": {"in_graph": True}, "b": {"in_graph": False}},
        "metadata": {
            "sizes": {"selected": 2, "edges": 9},
            "completeness": {"gap": 0.0123},
            "example_ids": ["x", "y"],
            "method": "EAP",
        },
    }
    files = {
        "test/rouge.json": rouge,
        "diff/differential.json": differential,
        "test/run.test.json": {"duration_seconds": 987.5},
        "circuits/C_step10.json": circuit,
        "circuits/C_step2.json": circuit,
        "circuits/C_step2.run.json": {"duration_seconds": 987.5},
        "m/checkpoint-5/rouge.json": {"systems": {"hidden": {"rouge1": 1}}},
    }
    for name, content in files.items():
        disk.write_json(tmp_path / name, content)
    for name in ("test/rouge.png", "circuits/C_step2.edges.png", "other.png"):
        (tmp_path / name).write_bytes(PIXEL)
    return tmp_path


def made(outputs, *flags):
    make_report.main(["--output_dir", str(outputs), "--quiet", *flags])
    return (outputs / "report.html").read_text()


def test_page_is_well_formed_and_self_contained(outputs):
    checker, text = Checker(), made(outputs)
    checker.feed(text)
    assert not checker.open
    assert (
        len(checker.sources) == 1
    )  # rouge.png; not every checkpoint's drawing, nor files of no stage
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    assert all(link.startswith("#") and f'id="{link[1:]}"' in text for link in checker.links)
    assert not checker.tags & {"script", "link", "iframe", "object"}
    assert "http" not in text


def test_everything_is_escaped(outputs):
    text = made(outputs)
    assert "<b>evil" not in text
    assert "&lt;b&gt;evil&lt;/b&gt;" in text
    assert "5 &lt; 6 &amp; more" in text


def test_numbers_are_those_of_the_json(outputs):
    text = made(outputs)
    assert "24.8 [23.1, 26]" in text
    assert "<td>1, 0</td>" in text
    assert "0.0123" in text
    assert text.index("C_step2<") < text.index("C_step10<")


def test_no_time_no_checkpoint_and_missing_stages_named(outputs):
    text = made(outputs)
    assert "987" not in text
    assert "hidden" not in text
    assert re.search(r"Not there yet: .*faithfulness", text)


def test_the_bake_offs_costs_and_paired_differences_are_tables_and_costs_alone_renew_nothing(
    outputs,
):
    found = {
        "mean": -1.5,
        "low": -2.5,
        "high": -0.5,
        "n": 9,
        "p_holm": 0.0123,
        "claim": "worse",
        "seeds": [-1.5],
    }
    differences = {
        "all": {
            "rouge1": {"late": found},
            "nll_nats": {"late": found | {"mean": 0.25, "p_holm": 0.75, "claim": None}},
        }
    }
    disk.write_json(
        outputs / "bake" / "bakeoff.json",
        {"format": 1, "arms": {"late": {"method": "lora"}}, "differences": differences},
    )
    cost = {
        "train_seconds": 12.5,
        "sweep_seconds": 0.0,
        "choice_seconds": None,
        "peak_gb": 0.75,
        "peak_of": "the process, this arm",
    }
    disk.write_json(outputs / "bake" / "costs.json", {"format": 1, "costs": {"late": cost}})
    text = made(outputs)
    assert (
        "<td>late</td><td>-1.5 [-2.5, -0.5]</td><td>0.0123</td><td>worse</td><td>0.25 [-2.5, -0.5]</td><td>0.75</td><td></td>"
        in text
    )
    assert (
        "<td>late</td><td>12.5</td><td>0</td><td></td><td>0.75</td><td>the process, this arm</td>"
        in text
    )
    assert "Paired differences to all" in text
    records.sha256.cache_clear()
    disk.write_json(outputs / "bake" / "costs.json", {"format": 1, "costs": {}})
    assert made(outputs) == text


def test_renewed_when_results_change_and_up_to_date_otherwise(outputs):
    first = made(outputs)
    stamp = (outputs / "report.html").stat().st_mtime_ns
    assert made(outputs) == first
    assert (outputs / "report.html").stat().st_mtime_ns == stamp
    records.sha256.cache_clear()
    disk.write_json(
        outputs / "test" / "rouge.json", {"format": 1, "systems": {"new": {"rouge1": 1.25}}}
    )
    assert "1.25" in made(outputs)


def test_a_foreign_report_is_not_overwritten(outputs):
    (outputs / "report.html").write_text("mine")
    with pytest.raises(InputError, match="overwrite"):
        made(outputs)
    assert made(outputs, "--overwrite") != "mine"


def test_results_that_lie_elsewhere_are_gathered_when_named(outputs, tmp_path_factory):
    there = tmp_path_factory.mktemp("elsewhere")
    circuit = json.loads((outputs / "circuits/C_step2.json").read_text())
    disk.write_json(there / "C_before.json", circuit)
    disk.write_json(there / "C_other.json", circuit)
    disk.write_json(there / "run" / "training.json", {"format": 1, "validation": [{"step": 777}]})
    for name in ("C_before.edges.png", "C_before.heatmap.png", "C_other.edges.png"):
        (there / name).write_bytes(PIXEL)
    text = made(outputs, "--also", str(there / "C_before.json"), str(there / "run"))
    assert "C_before<" in text and "777" in text and "C_other" not in text
    assert text.count("<img") == 3  # rouge.png and the two drawings of the circuit
    with pytest.raises(InputError, match="--also"):
        made(outputs, "--also", str(there / "C_none.json"))


def test_an_empty_folder_is_a_mistake(tmp_path):
    with pytest.raises(InputError, match="found none"):
        made(tmp_path)


@pytest.mark.parametrize(("value", "text"), [
    (0.123456, "0.1235"), (12, "12"), (True, "yes"), (None, ""), (["a", 3], "a, 3"), ([0.5, 0.25], ""), ({"a": 1}, ""),
    ({"mean": 1.0, "low": 0.5, "high": 2.0, "n": 9}, "1 [0.5, 2]"), ("<", "&lt;"),
])  # fmt: skip
def test_cells(value, text):
    assert report.cell(value) == text


def test_long_tables_say_what_they_leave_out():
    text = report.table("many", [{"x": i} for i in range(report.MOST_ROWS + 3)])
    assert "3 more rows" in text
    assert text.count("<tr>") == report.MOST_ROWS + 1


def test_nothing_to_show_is_no_table():
    assert report.table("none", None) == report.table("none", []) == report.table("none", {}) == ""
    assert json.dumps(report.table("nested", {"a": {"b": {"c": 1}}})) == '""'
