"""The HTML report: everything escaped, everything inside the page, numbers as they stand in the
JSON files.
"""

import base64
import io
import json
import re
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from page_outputs import EVIL, EXAMPLES, GRAPH, PIXEL, per_example, write_circuit, write_outputs
from safetensors.torch import save_file
from scipy import stats

import make_report
from eap import InputError
from eap.circuit import Circuit
from eap.graph import Graph
from eap.selection import top_n
from runs import disk, records
from study import captions, findings
from study.findings import Number
from study.headline import MOST_LINES, WIDTH
from study.page import circuits as page_circuits
from study.page import gathering, html, packing, pictures, rounding, sections, tables

VOID = {"meta", "img", "link", "input", "br"}


class Checker(HTMLParser):
    """Collects addresses and texts, and fails on tags that do not close."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.links, self.tags = [], [], [], set()
        self.scripts = []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        values = dict(attributes)
        self.sources += [values["src"]] if "src" in values else []
        self.links += [values["href"]] if "href" in values else []
        if tag == "script":
            self.scripts.append(values.get("type", "text/javascript"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder of results that no test changes, and its circuits."""
    folder = tmp_path_factory.mktemp("outputs")
    return folder, write_outputs(folder)


@pytest.fixture
def outputs(tmp_path):
    """A folder of results of a test's own."""
    write_outputs(tmp_path)
    return tmp_path


def made(folder, *flags) -> str:
    make_report.main(["--output_dir", str(folder), "--quiet", *flags])
    return (folder / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(filled):
    """The page of the folder."""
    return made(filled[0])


def data_of(text: str, name: str = "circuits-data"):
    """What stands in the page for its scripts."""
    return json.loads(re.search(rf'id="{name}">(.*?)</script>', text, re.DOTALL)[1])


def unpacked(packed: str) -> np.ndarray:
    """The numbers of a column, by the description in `packing.pack`."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed[3:])), np.uint8)
    width = int(packed[1])
    return planes.reshape(width, -1).T.copy().view(f"<{packed[0]}{width}").ravel()


# ---------------------------------------------------------------- the file


def test_page_is_well_formed_and_self_contained(text):
    checker = Checker()
    checker.feed(text)
    assert not checker.open
    assert len(checker.sources) == 1  # rouge.png; not checkpoints' drawings, nor of no stage
    assert checker.sources[0].startswith("data:image/png;base64,")
    targets = [link for link in checker.links if link not in ("#", "data:,")]
    assert targets and all(f'id="{link[1:]}"' in text for link in targets if link[0] == "#")
    assert all(link[0] == "#" for link in targets)
    assert not checker.tags & {"iframe", "object", "embed"}
    assert "default-src 'none'" in text
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_text_is_text_whatever_it_holds(text):
    assert "<script>document.title" not in text
    assert "5 &lt; 6 &amp; more" in text
    checker = Checker()
    checker.feed(text)
    assert len(checker.scripts) == 3 + len(html.SCRIPTS)
    assert EVIL not in text
    packed = html.script_json({EVIL: [EVIL]})
    assert not set("<>&\u202e\u2066") & set(packed)
    assert json.loads(packed) == {EVIL: [EVIL]}


def test_numbers_are_those_of_the_json(text):
    assert 'data-value="24.803">24.8 [23.1, 26.0]' in text
    assert ">0.0123<" in text
    assert text.index(">C_step2<") < text.index(">C_step10<")


def test_missing_stages_are_named_with_their_command(text):
    missing = re.search(r'<section class="missing">(.*?)</section>', text, re.DOTALL)[1]
    assert "python evaluate_faithfulness.py" in missing
    assert "test_set_evaluation.py" not in missing
    assert "concealed" not in text  # a model's folder holds no results


def test_what_was_run_stands_at_the_end(text):
    end = text[text.index('id="records"') :]
    assert "test_set_evaluation.py" in end and "16.5 min" in end and "0123456789ab" in end
    assert "48" in end and "float32" in end


def test_every_section_names_a_script_and_a_heading_of_the_method_notes():
    headings = re.findall(
        r"^## (.*?)(?: \(|$)",
        (records.ROOT / "docs" / "methods.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    for section in sections.SECTIONS:
        assert (records.ROOT / section.command).is_file()
        assert section.note in headings


def test_a_figure_keeps_its_colours_where_it_is_made_smaller(tmp_path):
    """A key's colour stands in few pixels among thousands of others, and must stay."""
    from PIL import Image

    noise = np.random.default_rng(0).integers(200, 256, (300, 300, 3), dtype=np.uint8)
    noise[:, :100] = 255
    noise[10:14, 10:20] = (0, 158, 115)
    Image.fromarray(noise).save(tmp_path / "figure.png")
    shown = pictures.read(tmp_path / "figure.png", "")
    raw = base64.b64decode(shown.address.split(",")[1])
    assert len(raw) < (tmp_path / "figure.png").stat().st_size
    kept = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB"))
    assert tuple(kept[12, 15]) == (0, 158, 115) and tuple(kept[50, 50]) == (255, 255, 255)
    assert (shown.width, shown.height) == (300, 300)


def test_every_colour_of_a_crowded_figure_can_be_told_in_the_page(tmp_path):
    """Thin lines among much grey text: a blue one had become the green of another."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    from eap.style import COLOURS, subplots

    figure, axes = subplots(3, 3, figsize=(12, 9))
    for axis in axes.flat:
        axis.fill_between([0, 1], 0.2, 0.9, color=COLOURS["circuit"], alpha=0.15, hatch="///")
        axis.set_title("many grey levels at the edges of these letters", fontsize=8)
    for height, colour in enumerate(COLOURS.values()):
        axes[0][0].plot([0, 0.2], [height / 10] * 2, color=colour, linewidth=1.6)
    figure.savefig(tmp_path / "figure.png", dpi=200)
    drawn = Image.open(tmp_path / "figure.png").convert("RGB")
    drawn = drawn.resize((1400, 1400 * drawn.height // drawn.width), Image.Resampling.LANCZOS)
    drawn = np.asarray(drawn).reshape(-1, 3).astype(int)
    raw = base64.b64decode(pictures.read(tmp_path / "figure.png", "").address.split(",")[1])
    shown = np.asarray(Image.open(io.BytesIO(raw)).convert("RGB")).reshape(-1, 3).astype(int)
    for name, colour in COLOURS.items():
        wanted = np.round(255 * np.array(to_rgb(colour)))
        place = np.abs(drawn - wanted).max(1).argmin()
        assert np.abs(shown[place] - drawn[place]).max() <= 24, name


# ---------------------------------------------------------------- circuits in the page


def test_the_explorer_holds_what_the_circuits_hold(filled, text):
    (graph,) = data_of(text)
    names = [circuit["name"] for circuit in graph["circuits"]]
    assert names == ["C_step2", "C_step5", "C_step10", "C_before"]
    assert (graph["layers"], graph["heads"], graph["here"]) == (3, 4, GRAPH.n_edges)
    source, reader = unpacked(graph["source"]), unpacked(graph["reader"])
    named = [
        f"{GRAPH.sources[s]}->{GRAPH.destinations[d]}" for s, d in zip(source, reader, strict=True)
    ]
    assert tuple(named) == GRAPH.edges
    for about in graph["circuits"]:
        circuit, columns = filled[1][about["name"]], about["columns"]
        scores = unpacked(columns["score"])
        np.testing.assert_allclose(scores, circuit.scores.numpy(), rtol=6.2e-5)
        kept = np.unpackbits(unpacked(columns["kept"]), bitorder="little")[: GRAPH.n_edges]
        assert kept.astype(bool).tolist() == circuit.in_graph.tolist()
        assert about["size"] == int(circuit.in_graph.sum())
        assert set(unpacked(columns["frequency"])) == {1000, 9000}
        assert set(unpacked(columns["sign"])) == {9870}


def test_shared_edges_and_what_moved(filled, text):
    (graph,) = data_of(text)
    first, last = filled[1]["C_step2"], filled[1]["C_step10"]
    both = int((first.in_graph & last.in_graph).sum())
    assert graph["pairs"][0][2]["both"] == graph["pairs"][2][0]["both"] == both
    moved = graph["moved"]
    assert (moved["from"], moved["to"], moved["rate"]) == ("C_step2", "C_step10", 0.05)
    number = str(GRAPH.edge_number["input->m0"])
    assert moved["edges"] == {number: {"kind": "strengthened", "q": 0.0123}}


def test_intervals_are_of_resampled_examples():
    """Of two examples, 0 and 1, a resample's mean is 0, 0.5 or 1, each end one time in four."""
    rows = torch.tensor([[0.0, 2.0], [1.0, 2.0]])
    low, high = page_circuits.intervals(
        rows, rows.mean(0).double(), kept=torch.tensor([True, False])
    )
    assert (low[0], high[0]) == (0, 1)
    assert (low[1], high[1]) == (2, 2)


def test_intervals_lie_around_the_score(filled, text):
    (graph,) = data_of(text)
    columns = graph["circuits"][0]["columns"]
    low = unpacked(columns["low"])
    score = unpacked(columns["score"])
    high = unpacked(columns["high"])
    assert (low <= score).all() and (score <= high).all()
    error = per_example(0).std(0).numpy() / EXAMPLES**0.5
    student = stats.t.ppf(0.975, EXAMPLES - 1)
    assert np.median((high - low) / error) == pytest.approx(2 * student, rel=0.1)


def test_the_strongest_edges_are_in_the_page_where_not_all_fit(filled):
    circuit = filled[1]["C_step2"]
    size = int(circuit.in_graph.sum())
    chosen = page_circuits.strongest([circuit], size + 5)
    outside = circuit.scores.abs() * ~circuit.in_graph
    expected = set(circuit.in_graph.nonzero().flatten().tolist()) | set(
        outside.topk(5).indices.tolist()
    )
    assert set(chosen.tolist()) == expected
    assert chosen.tolist() == sorted(chosen.tolist())


@pytest.mark.slow
def test_ten_checkpoints_of_gpt2_small_and_every_figure_take_less_than_8_mb(tmp_path):
    """With what takes most room: scores per example, so that there are intervals, and stability."""
    graph, generator = Graph(12, 12, 768), torch.Generator().manual_seed(0)
    strength = torch.randn(graph.n_edges, generator=generator) ** 3
    for step in range(10):
        drift = torch.randn(graph.n_edges, generator=generator)
        noise = torch.randn(32, graph.n_edges, generator=generator)
        rows = strength + drift + noise
        scores = rows.double().mean(0)
        kept = top_n(graph, scores, n=1625)
        frequency = torch.rand(graph.n_edges, generator=generator).tolist()
        metadata = {
            "example_ids": [f"e{i}" for i in range(32)],
            "bootstrap": {"selection_frequency": frequency, "sign_stability": frequency},
        }
        path = tmp_path / f"C_step{step}.json"
        disk.write_json(path, Circuit(graph, kept, scores, metadata=metadata).to_json())
        save_file({"scores": rows}, path.with_suffix(".examples.safetensors"))
    for picture in (records.ROOT / "docs" / "gallery").glob("*.png"):
        (tmp_path / picture.name).write_bytes(picture.read_bytes())
    page = made(tmp_path)
    (about,) = data_of(page)
    assert about["here"] == graph.n_edges and len(about["circuits"]) == 10
    assert page.count("<img loading") == len([*tmp_path.glob("*.png")]) > 20
    print(f"{(tmp_path / 'report.html').stat().st_size / 1e6:.1f} MB")
    assert (tmp_path / "report.html").stat().st_size < 8e6


def test_circuits_of_other_tools_alone_make_a_page(tmp_path):
    """EAP-IG's JSON under any name, and an older dialect: booleans, q, k and v as one edge."""
    circuit = Circuit(GRAPH, torch.arange(GRAPH.n_edges) % 7 == 0, torch.ones(GRAPH.n_edges))
    eap_ig = circuit.to_json()
    del eap_ig["metadata"]
    disk.write_json(tmp_path / "graph.json", eap_ig)
    nodes = dict.fromkeys(GRAPH.nodes, True)
    cfg = {"n_layers": 3, "n_heads": 4}
    booleans = {"cfg": cfg, "nodes": nodes, "edges": {"input->m0": True, "m0->a1.h2": True}}
    disk.write_json(tmp_path / "older.json", booleans)
    disk.write_json(tmp_path / "settings.json", {"learning_rate": 1})
    (graph,) = data_of(made(tmp_path))
    sizes = {about["name"]: about["size"] for about in graph["circuits"]}
    assert sizes == {"graph": -(-GRAPH.n_edges // 7), "older": 4}
    assert "score" not in graph["circuits"][1]["columns"]


def test_two_graphs_and_two_circuits_of_one_name(tmp_path):
    write_circuit(tmp_path / "a" / "C_after.json", 1)
    write_circuit(tmp_path / "b" / "C_after.json", 2)
    other = make_report.Path(tmp_path / "c" / "C_other.json")
    graph = page_circuits.Graph(2, 2, 8)
    small = Circuit(graph, torch.ones(graph.n_edges).bool(), torch.ones(graph.n_edges))
    disk.write_json(other, small.to_json())
    graphs = data_of(made(tmp_path))
    names = [[about["name"] for about in graph["circuits"]] for graph in graphs]
    assert names == [["a/C_after", "b/C_after"], ["C_other"]]


def test_a_broken_circuit_is_named(tmp_path):
    (tmp_path / "C_after.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="C_after.json"):
        made(tmp_path)


def test_scores_of_another_circuit_are_refused(tmp_path):
    write_circuit(tmp_path / "C_after.json", 1)
    save_file({"scores": per_example(2)}, tmp_path / "C_after.examples.safetensors")
    with pytest.raises(InputError, match="examples.safetensors"):
        made(tmp_path)


def test_packed_columns_keep_what_is_shown():
    values = np.array([0, -1.5, 3.14159e-7, np.nan, 123456.789], dtype="f4")
    np.testing.assert_allclose(unpacked(packing.pack(values)), values, rtol=6.2e-5)
    counts = np.array([0, 1, 65535], dtype="u2")
    assert unpacked(packing.pack(counts)).tolist() == counts.tolist()


# ---------------------------------------------------------------- tables and findings


def test_the_bake_offs_costs_and_paired_differences_are_tables_and_costs_alone_renew_nothing(
    outputs,
):
    row = {"mean": -1.5, "low": -2.5, "high": -0.5, "n": 9, "p_holm": 0.0123, "claim": "worse"}
    nll = row | {"mean": 0.25, "p_holm": 0.75, "claim": None}
    differences = {"all": {"rouge1": {"late": row}, "nll_nats": {"late": nll}}}
    bakeoff = {"format": 1, "arms": {"late": {"method": "lora"}}, "differences": differences}
    disk.write_json(outputs / "bake" / "bakeoff.json", bakeoff)
    cost = {"train_seconds": 12.5, "choice_seconds": None, "peak_gb": 0.75}
    disk.write_json(outputs / "bake" / "costs.json", {"format": 1, "costs": {"late": cost}})
    text = made(outputs)
    assert "Paired differences to all" in text
    assert re.search(r"late</td><td[^>]*>-1\.5 \[-2\.5, -0\.5\]</td><td[^>]*>0\.0123", text)
    assert re.search(r"late</td><td>12\.5</td><td></td><td[^>]*>0\.75", text)
    records.sha256.cache_clear()
    disk.write_json(outputs / "bake" / "costs.json", {"format": 1, "costs": {}})
    assert made(outputs) == text


@pytest.mark.parametrize(("value", "text"), [
    (0.123456, "0.123"), (12, "12"), (True, "yes"), (None, ""), (["a", 3], "a, 3"),
    ([0.5, 0.25], ""), ({"a": 1}, ""),
    ({"mean": 1.0, "low": 0.5, "high": 2.0, "n": 9}, "1.0 [0.5, 2.0]"),
    ("<", "<"), (-1e-9, "-1.00e-09"), (-0.0, "0"), (1625, "1,625"),
])  # fmt: skip
def test_cells(value, text):
    assert tables.cell(value).text == text


def test_numbers_are_rounded_to_what_their_interval_supports():
    assert rounding.with_interval({"mean": 0.8262, "low": 0.7834, "high": 0.8631}) == (
        "0.83 [0.78, 0.86]"
    )
    assert rounding.with_interval({"mean": -0.0001, "low": -0.007, "high": 0.007}).startswith("0.0")
    assert rounding.fixed(-0.0004, 2) == "0.00"


def test_long_tables_say_what_they_leave_out():
    shown = tables.table("many", [{"x": i} for i in range(tables.MOST_ROWS + 3)])
    assert (len(shown.rows), shown.left_out) == (tables.MOST_ROWS, 3)


def test_nothing_to_show_is_no_table():
    for data in (None, [], {}, {"a": {"b": {"c": 1}}}):
        assert tables.table("none", data) is None


def robustness_of(p: float, examples: int) -> dict:
    swapped = {"mean": 0.2, "low": 0.1, "high": 0.3}
    test = {"distance": 0.53, "null": swapped, "p": p, "smallest_p": 0.001, "examples": examples}
    return {"pairs": [{"a": "A", "b": "B", "different": test}], "perturbation": []}


@pytest.mark.parametrize(
    ("p", "examples", "kind"),
    [(0.001, 32, "different"), (0.2, 32, "not shown to differ"), (0.001, 4, "no claim")],
)
def test_guard_26_findings_claim_only_what_is_shown(p, examples, kind):
    (answer,) = gathering.answers_of({"robustness.json": robustness_of(p, examples)})
    assert f"0.53, {kind} (" in answer.sentence
    assert (answer.number.value, answer.null.value, answer.stage) == (0.53, 0.2, "robustness")


def test_the_first_screen_says_what_the_console_says():
    rows = [
        {"step": step, "nll_nats_per_token": nll, "low": nll - 0.5, "high": nll + 0.5}
        for step, nll in ((0, 6.0), (9, 2.0))
    ]
    training = {"validation": rows, "examples": {"validation": {"kept": 20}}}
    (answer,) = gathering.answers_of({"training.json": training})
    (finding,) = gathering.training.findings(training)
    assert answer.sentence == findings.sentence(finding)
    assert answer.question == finding.question and finding.kind == "lower"


def test_a_file_of_an_earlier_version_answers_nothing():
    assert gathering.answers_of({"training.json": {"loss": []}, "other.json": {}}) == []


def test_a_whisker_has_number_null_and_zero_on_one_axis():
    axis = html.whisker(Number(0.8, 0.6, 1.0), findings.ZERO)
    places = [axis["zero"], *(axis["number"][end] for end in ("low", "mean", "high"))]
    assert places == sorted(places) and places[0] > 0 and places[-1] < 100
    assert axis["zero"] == axis["null"]["mean"]


# ---------------------------------------------------------------- the run


def test_renewed_when_results_change_and_up_to_date_otherwise(outputs):
    first = made(outputs)
    stamp = (outputs / "report.html").stat().st_mtime_ns
    assert made(outputs) == first
    assert (outputs / "report.html").stat().st_mtime_ns == stamp
    records.sha256.cache_clear()
    changed = {"format": 1, "systems": {"new": {"rouge1": 1.25}}}
    disk.write_json(outputs / "test" / "rouge.json", changed)
    assert "1.25" in made(outputs)


def test_it_says_in_15_lines_what_is_on_the_page_and_what_is_missing(outputs, capsys):
    validation = [{"step": 0, "nll_nats_per_token": 6.79, "low": 6.51, "high": 7.08}]
    validation.append({"step": 9, "nll_nats_per_token": 0.351, "low": 0.32, "high": 0.41})
    training = {"validation": validation, "examples": {"validation": {"kept": 64}}}
    disk.write_json(outputs / "run" / "training.json", training)
    make_report.main(["--output_dir", str(outputs)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= MOST_LINES and max(map(len, lines)) <= WIDTH
    title = " ".join(line.strip() for line in lines[:2])
    size = f"{(outputs / 'report.html').stat().st_size / 1e6:.1f} MB"
    assert f"{outputs} on one page of {size}: 5 stages, 4 circuits, 1 figure" in title
    row = "Does the model learn to summarize?   0.35 [0.32, 0.41]   at step 0 6.8"
    assert row in lines
    assert any(line.startswith("caution: not there yet: Data, ") for line in lines)
    assert "report.html" in lines[-1] and lines[-1].endswith("more: --verbose")
    make_report.main(["--output_dir", str(outputs), "--overwrite", "--verbose"])
    printed = capsys.readouterr().out
    assert "Quality of the summaries: 1 table; rouge.png" in printed
    assert (
        "validation NLL at step 9: 0.35 [0.32, 0.41] nats per token, lower (at step 0: 6.8"
        in printed
    )


def test_a_foreign_report_is_not_overwritten(outputs):
    (outputs / "report.html").write_text("mine")
    with pytest.raises(InputError, match="overwrite"):
        made(outputs)
    assert made(outputs, "--overwrite") != "mine"


def test_results_that_lie_elsewhere_are_gathered_when_named(outputs, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_circuit(elsewhere / "C_after.json", 3)
    write_circuit(elsewhere / "C_other.json", 4)
    training = {"format": 1, "validation": [{"step": 777}]}
    disk.write_json(elsewhere / "run" / "training.json", training)
    for name in ("C_after.edges.png", "C_after.heatmap.png", "C_other.edges.png"):
        (elsewhere / name).write_bytes(PIXEL)
    text = made(outputs, "--also", str(elsewhere / "C_after.json"), str(elsewhere / "run"))
    assert ">C_after<" in text and "777" in text and "C_other" not in text
    assert text.count("<img loading") == 3  # rouge.png and the two drawings of the circuit
    with pytest.raises(InputError, match="--also"):
        made(outputs, "--also", str(elsewhere / "C_none.json"))


def test_an_empty_folder_is_a_mistake(tmp_path):
    with pytest.raises(InputError, match="found none"):
        made(tmp_path)


def test_the_page_says_of_a_figure_what_its_caption_says(tmp_path):
    """One table of captions serves papers, JSON and page: a second one had gone out of date."""
    from PIL import Image

    Image.new("RGB", (4, 4)).save(tmp_path / "C_x.edges.png")
    (tmp_path / "rouge.json").write_text(json.dumps({"format": 1, "systems": {}}))
    Image.new("RGB", (4, 4)).save(tmp_path / "rouge.png")
    make_report.main(["--output_dir", str(tmp_path), "--quiet"])
    text = (tmp_path / "report.html").read_text()
    assert str(captions.FIGURES["rouge.png"]) in text
    assert captions.of_picture("C_x.edges.png") == str(captions.FIGURES["C_*.edges.png"])
    assert captions.of_picture("holiday.png") == ""
