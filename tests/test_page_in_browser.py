"""The report in a real Chromium and Firefox, without a network: what a reader sees, does, saves.

    SCREENSHOT=docs/explorer.png .venv/bin/python -m pytest tests/test_page_in_browser.py

also takes the picture of the README, of the report that REPORT names (default:
outputs/demo/report.html).
"""

import contextlib
import json
import os
import shutil
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from page_outputs import EVIL, GRAPH, write_outputs

import make_report
from eap.circuit import Circuit
from eap.graph import Graph
from eap.selection import top_n
from runs import disk

sync_api = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FIREFOX = ("firefox-esr", "firefox")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
IN_FIREFOX = {"light": 1, "dark": 0}  # of its setting for the scheme that pages see


def installed(names) -> str | None:
    """The path of the first of these programs that the system has."""
    return next(filter(None, map(shutil.which, names)), None)


@dataclass(frozen=True)
class Browser:
    """The system's Chromium or Firefox, started when a page is first wanted in a colour scheme."""

    name: str
    playwright: Any
    program: str
    downloads: Path
    started: dict = field(default_factory=dict)

    def context(self, width: int, height: int, scheme: str):
        """A window without animations, of this size, for pages in this scheme."""
        window = {"viewport": {"width": width, "height": height}, "accept_downloads": True}
        if self.name == "chromium":
            window |= {"color_scheme": scheme, "reduced_motion": "reduce"}
        else:  # which takes these when it starts, and no other way
            window |= {"color_scheme": "null", "reduced_motion": "null"}
        return self.start(scheme).new_context(**window)

    def start(self, scheme: str):
        """The browser's process; Firefox has one for each scheme."""
        key = scheme if self.name == "firefox" else ""
        if key not in self.started:
            launch = self.launch_firefox if self.name == "firefox" else self.launch_chromium
            self.started[key] = launch(scheme)
        return self.started[key]

    def launch_chromium(self, _scheme: str):
        return self.playwright.chromium.launch(executable_path=self.program, args=FLAGS)

    def launch_firefox(self, scheme: str):
        """Firefox as it is installed, by WebDriver BiDi. Skips the test where Playwright wants a
        newer one.
        """
        settings = {
            "layout.css.prefers-color-scheme.content-override": IN_FIREFOX[scheme],
            "ui.prefersReducedMotion": 1,
        }
        started = self.playwright.firefox.launch(
            channel="moz-firefox",
            executable_path=self.program,
            firefox_user_prefs=settings,
            downloads_path=self.downloads,
        )
        try:
            started.new_context(color_scheme="null", reduced_motion="null").close()
        except sync_api.Error as error:
            started.close()
            if "unknown command" not in str(error):
                raise
            pytest.skip(f"Playwright wants a newer Firefox than {started.version}: {error}")
        return started

    def saved(self, page, click, name: str) -> Path:
        """The file of this name that a click saves."""
        path = self.downloads / name
        path.unlink(missing_ok=True)
        if self.name == "chromium":
            with page.expect_download() as download:
                click()
            assert download.value.suggested_filename == name
            download.value.save_as(path)
        else:  # of whose downloads Playwright hears nothing
            click()
            for _ in range(200):
                if path.is_file() and path.stat().st_size and not [*self.downloads.glob("*.part")]:
                    break
                page.wait_for_timeout(50)
        folder = self.downloads / str(len([*self.downloads.iterdir()]))
        folder.mkdir()
        return path.rename(folder / name)

    def close(self) -> None:
        for started in self.started.values():
            started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of results with its report."""
    outputs = tmp_path_factory.mktemp("outputs")
    write_outputs(outputs)
    make_report.main(["--output_dir", str(outputs), "--quiet"])
    return outputs


@pytest.fixture(scope="module")
def playwright():
    with sync_api.sync_playwright() as started:
        yield started


@pytest.fixture(scope="module", params=["chromium", "firefox"])
def browser(request, playwright, tmp_path_factory):
    """Either browser; a test is skipped where the system has none of that name."""
    program = installed({"chromium": CHROMIUM, "firefox": FIREFOX}[request.param])
    if program is None:
        pytest.skip(f"needs the system's {request.param.title()}")
    downloads = tmp_path_factory.mktemp("downloads")
    browser = Browser(request.param, playwright, program, downloads)
    yield browser
    browser.close()


@contextlib.contextmanager
def opened(browser, path, address="", *, width=1300, height=900, scheme="light"):
    """A page of the report; afterwards: no error on its console, no request but for the file."""
    context = browser.context(width, height, scheme)
    page, problems, requests = context.new_page(), [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"file://{path}{address}")
    page.wait_for_selector("#explorer[data-ready=yes]")
    yield page
    # these tests read the canvas back, which the browser remarks on
    assert [message for message in problems if "willReadFrequently" not in message] == []
    assert [url for url in requests if not url.startswith(("file://", "data:", "blob:"))] == []
    context.close()


def until(page, condition: str) -> None:
    """Wait for a condition; not by `wait_for_function`, whose eval the page's policy forbids."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came: {condition}")


def shown(page) -> list[str]:
    """Names of the edges that are drawn."""
    return page.evaluate(
        "() => { const s = report.explorer.state;"
        " return s.passing.edges.map((e) => s.graph.edgeName(e)); }"
    )


def edges_of(folder, name: str) -> dict[str, dict]:
    """The edges of a circuit's file."""
    path = next(folder.rglob(f"{name}.json"))
    return json.loads(path.read_text())["edges"]


def kept(folder, name: str) -> set[str]:
    return {edge for edge, about in edges_of(folder, name).items() if about["in_graph"]}


def ink(page) -> int:
    """How many pixels of the drawing are not empty."""
    return page.evaluate(
        "() => { const c = document.getElementById('canvas');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; return n; }"
    )


def test_the_first_view_is_the_last_checkpoints_circuit(browser, folder):
    with opened(browser, folder / "report.html") as page:
        assert set(shown(page)) == kept(folder, "C_step10")
        scores = edges_of(folder, "C_step10")
        strength = [abs(scores[edge]["score"]) for edge in shown(page)]
        assert strength == sorted(strength, reverse=True)
        assert ink(page) > 5000
        assert page.title() == "How the model learned to summarize"


def test_slider_and_keys_step_through_the_checkpoints(browser, folder):
    with opened(browser, folder / "report.html") as page:
        before = ink(page)
        page.locator("#step").fill("0")
        assert set(shown(page)) == kept(folder, "C_step2")
        assert ink(page) != before
        page.keyboard.press("]")
        assert set(shown(page)) == kept(folder, "C_step5")
        new = kept(folder, "C_step5") - kept(folder, "C_step2")
        gone = kept(folder, "C_step2") - kept(folder, "C_step5")
        words = page.locator("#step-change").inner_text()
        assert words == f"+{len(new)} −{len(gone)} since step 2"


def test_filters(browser, folder):
    with opened(browser, folder / "report.html") as page:
        page.locator("#slots .slot-q").click()
        page.locator("#slots .slot-m").click()
        expected = {
            edge
            for edge in kept(folder, "C_step10")
            if not edge.endswith("<q>") and "->m" not in edge
        }
        assert set(shown(page)) == expected
        page.locator("#signs label").nth(0).click()
        scores = edges_of(folder, "C_step10")
        assert set(shown(page)) == {edge for edge in expected if scores[edge]["score"] < 0}
        page.locator("#filters summary").click()
        page.locator("#reset").click()
        assert set(shown(page)) == kept(folder, "C_step10")
        page.locator("#from").select_option("1")
        first = {edge for edge in shown(page) if edge.startswith(("input", "a0", "m0"))}
        assert shown(page) and not first
        page.locator("#reset").click()
        page.locator("#reach").select_option("2")
        assert "input->m0" not in shown(page) and "m0->m1" not in shown(page)
        page.locator("#reset").click()
        page.locator("#all").check()
        page.locator("#edges").fill("100")
        assert len(shown(page)) == GRAPH.n_edges
        page.locator("#stable").fill("50")
        assert set(shown(page)) == kept(folder, "C_step10")
        page.locator("#moved").check()
        assert shown(page) == sorted({"input->m0"} & kept(folder, "C_step10"))


def test_a_click_shows_a_nodes_edges_with_scores_and_intervals(browser, folder):
    with opened(browser, folder / "report.html") as page:
        x, y = page.evaluate(
            "() => { const n = report.explorer.state.graph.numbers.get('m1');"
            " const b = report.explorer.place.boxes[n]; return [b.x, b.y]; }"
        )
        page.locator("#canvas").click(position={"x": x, "y": y})
        assert page.locator("#panel h3").inner_text() == "m1"
        scores = edges_of(folder, "C_step10")
        incoming = [edge for edge in kept(folder, "C_step10") if edge.endswith("->m1")]
        outgoing = [edge for edge in kept(folder, "C_step10") if edge.startswith("m1->")]
        heads = page.locator("#panel h4").all_inner_texts()
        assert heads == [f"Reads from {len(incoming)}", f"Is read by {len(outgoing)}"]
        cell = page.locator("#panel table").nth(0).locator("tbody tr td").nth(1)
        strongest = max(incoming, key=lambda edge: abs(scores[edge]["score"]))
        value = float(cell.get_attribute("data-value"))
        assert value == pytest.approx(scores[strongest]["score"], rel=1e-4)
        assert "[" in cell.inner_text()
        page.locator("#panel table button.link").first.click()
        assert page.locator("#panel h3").inner_text() == strongest
        assert page.locator("#panel .trajectory circle").count() == 3
        page.keyboard.press("Escape")
        assert page.locator("#panel h3").inner_text() == "C_step10"
        page.locator("#canvas").click(position={"x": x, "y": y})
        page.locator("#panel button.close").click()
        assert page.locator("#panel h3").inner_text() == "C_step10"


@pytest.mark.parametrize("width", [390, 1300])
def test_the_drawing_keeps_its_height_on_the_full_screen(browser, folder, width):
    """At most that of the screen, and the same however often it is drawn."""
    height = "() => document.getElementById('canvas').clientHeight"
    with opened(browser, folder / "report.html", width=width) as page:
        page.keyboard.press("f")
        page.wait_for_timeout(300)
        before = page.evaluate(height)
        for _ in range(3):
            page.evaluate("() => report.explorer.paint()")
        assert 160 < page.evaluate(height) == before <= 900


def test_search_and_the_keyboard_move_among_nodes(browser, folder):
    with opened(browser, folder / "report.html") as page:
        page.keyboard.press("/")
        page.keyboard.type("a1.h1")
        page.keyboard.press("Enter")
        assert page.locator("#panel h3").inner_text() == "a1.h1"
        page.locator("#canvas").focus()
        for key, name in (("ArrowUp", "a2.h1"), ("ArrowRight", "a2.h2"), ("ArrowDown", "a1.h2")):
            page.keyboard.press(key)
            assert page.locator("#panel h3").inner_text() == name
        page.locator("#find").fill("nowhere")
        page.keyboard.press("Enter")
        assert "nowhere" in page.locator("#toast").inner_text()


def test_two_circuits_beside_each_other(browser, folder):
    with opened(browser, folder / "report.html") as page:
        page.locator("#other").select_option("C_before")
        first, second = kept(folder, "C_step10"), kept(folder, "C_before")
        page.locator("#edges").fill("100")
        assert set(shown(page)) == first | second
        panel = page.locator("#panel").inner_text()
        assert f"{len(first & second) / len(first | second):.2f}" in panel
        page.locator("#parts .part-here").click()
        page.locator("#parts .part-both").click()
        assert set(shown(page)) == second - first
        page.locator("#other").select_option("C_step2")
        assert "false-discovery rate 5 %" in page.locator("#panel").inner_text()


def test_a_view_is_shared_by_its_address(browser, folder):
    address = "#circuit=C_step5&other=C_before&node=m0&slots=vm&edges=15"
    with opened(browser, folder / "report.html", address) as page:
        assert page.locator("#panel h3").inner_text() == "m0"
        assert page.locator("#circuit").input_value() == "C_step5"
        assert len(shown(page)) == 15
        assert all(edge.endswith("<v>") or "->m" in edge for edge in shown(page))
        page.locator("#other").select_option("")
        until(page, "() => !location.hash.includes('other=')")
        assert "circuit=C_step5" in page.url and "node=m0" in page.url
        page.reload()
        page.wait_for_selector("#explorer[data-ready=yes]")
        assert page.locator("#panel h3").inner_text() == "m0"
        page.evaluate("location.hash = '#circuit=C_before'")
        until(page, "() => report.explorer.state.circuit.name === 'C_before'")


def test_an_address_of_another_report_does_no_harm(browser, folder):
    address = "#circuit=C_none&node=%3Cb%3E&edges=x&slots=zz&from=99&stable=-3&span=q&edge=a-%3Eb"
    with opened(browser, folder / "report.html", address) as page:
        assert page.locator("#circuit").input_value() == "C_step10"
        assert shown(page) == []


def test_labels_and_view_are_kept_in_the_saved_file(browser, folder):
    with opened(browser, folder / "report.html", "#circuit=C_step2&node=m0") as page:
        page.locator("#note-label").fill(EVIL[:40])
        page.locator("#note-group").fill("copies names")
        first = browser.saved(page, page.locator("#save").click, "report-view.html")
    with opened(browser, first) as page:
        assert page.locator("#circuit").input_value() == "C_step2"
        assert page.locator("#note-label").input_value() == EVIL[:40]
        assert "copies names" in page.locator("#legend").inner_text()
        assert page.title() == "How the model learned to summarize"
        page.locator("#note-label").fill("copier")
        page.locator("#find").fill("copier")
        page.keyboard.press("Enter")
        page.keyboard.press("Escape")
        second = browser.saved(page, page.locator("#save").click, "report-view.html")
    changed = abs(first.stat().st_size - second.stat().st_size)
    assert changed < 400  # the same file but for its view and labels


def test_text_of_data_sets_changes_nothing(browser, folder):
    with opened(browser, folder / "report.html") as page:
        page.locator("#stage-quality details.table summary").click()
        row = page.locator("#stage-quality tbody tr td").first
        assert row.text_content() == EVIL
        assert page.title() == "How the model learned to summarize"
        assert page.locator("b", has_text="evil").count() == 0


def reads(words: str) -> str:
    """The condition that the example's text, drawn when weights are unpacked, holds these words."""
    return (
        "() => { const text = document.querySelector('.example-text');"
        f" return text !== null && text.innerText.includes('{words}'); }}"
    )


def test_an_example_shows_its_tokens_costs_and_where_a_head_looks(browser, folder):
    with opened(browser, folder / "report.html", "#token=1") as page:
        text = page.locator(".example-text").first
        until(page, reads("50 % of its attention on the marked tokens"))
        assert text.locator("span").all_text_contents() == ["The", EVIL]
        assert page.locator(".example-text").nth(1).locator(".salient").inner_text() == " other"
        titles = [token.get_attribute("title") for token in page.locator(".token").all()]
        assert titles[0] == "clean 0.500, circuit 1, corrupted 2 nats"
        page.locator(".token").nth(0).click()
        until(page, reads("100 % of its attention"))
        until(page, "() => location.hash.includes('token=0')")
        page.locator("#example-head").select_option("")
        until(page, f"() => !({reads('attention')})()")


def test_tables_are_sorted_and_saved(browser, folder):
    with opened(browser, folder / "report.html") as page:
        page.locator("#stage-circuits details.table summary").first.click()
        table = page.locator("#stage-circuits table").first
        head = table.locator("th", has_text="after pruning")
        column = page.evaluate("(th) => th.cellIndex", head.element_handle())
        head.click()
        cells = [row[column] for row in page.evaluate(
            "(t) => [...t.tBodies[0].rows].map((r) => [...r.cells].map((c) => c.textContent))",
            table.element_handle(),
        )]  # fmt: skip
        assert cells == ["60", "60", "60", "40"]
        click = page.locator("#stage-circuits button.csv").first.click
        rows = browser.saved(page, click, "Circuits.csv").read_text().splitlines()
        assert rows[0].startswith("circuit,method") and len(rows) == 5
        assert "0.71" in rows[1] and "[" not in rows[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1300])
def test_nothing_is_wider_than_the_screen(browser, folder, scheme, width):
    with opened(browser, folder / "report.html", width=width, scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper, words = page.evaluate(
            "() => { const style = getComputedStyle(document.body);"
            " return [style.backgroundColor, style.color]; }"
        )
        light = [sum(map(int, colour[4:-1].split(","))) for colour in (paper, words)]
        assert (light[0] > light[1]) == (scheme == "light")
        canvas = page.locator("#canvas").bounding_box()
        assert canvas["width"] > 0.5 * min(width, 600) and ink(page) > 2000


def write_steps(folder, graph: Graph, n_kept: int, steps=(0, 5, 10)) -> None:
    """Circuits of random scores at some training steps, and their report."""
    for step in steps:
        scores = torch.randn(graph.n_edges, generator=torch.Generator().manual_seed(step)) ** 3
        circuit = Circuit(graph, top_n(graph, scores, n=n_kept), scores.double())
        disk.write_json(folder / f"C_step{step}.json", circuit.to_json())
    make_report.main(["--output_dir", str(folder), "--quiet"])


# Nine steps of the slider, each to another circuit, and drawn: reading a pixel waits for that. The
# milliseconds of each.
STEPS = """() => {
  const slider = document.getElementById("step");
  return [1, 2, 0, 1, 2, 0, 1, 2, 0].map((value) => {
    const since = performance.now();
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    document.getElementById("canvas").getContext("2d").getImageData(0, 0, 1, 1);
    document.body.offsetHeight;
    return performance.now() - since;
  });
}"""


def milliseconds_a_step(browser, page) -> float:
    """The processor's time that a step of the slider takes of the page's thread.

    What other programs take is not in it.
    """
    page.evaluate(STEPS)
    seconds = seconds_of_pages_in_firefox
    if browser.name == "chromium":
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        seconds = partial(seconds_of, session)
    before = seconds()
    page.evaluate(STEPS)
    return 1000 * (seconds() - before) / 9


def seconds_of(session) -> float:
    """Processor time of the page's thread in Chromium so far."""
    metrics = {
        row["name"]: row["value"] for row in session.send("Performance.getMetrics")["metrics"]
    }
    return metrics["TaskDuration"]


def seconds_of_pages_in_firefox() -> float:
    """Processor time so far of the first threads of Firefox's pages, as Linux has it: Firefox does
    not tell it.
    """
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # one that has ended
            thread = path.parent / "task" / path.parent.name / "stat"
            name, _, rest = thread.read_text().partition("(")[2].rpartition(")")
            if name.endswith(("Content", "Web Co")):
                ticks += sum(map(int, rest.split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def test_a_step_of_the_slider_takes_under_100_ms_with_2000_edges(browser, tmp_path):
    """Circuits of GPT-2 small's graph; the time from the choice to the end of its drawing."""
    write_steps(tmp_path, Graph(12, 12, 768), 4000)
    with opened(browser, tmp_path / "report.html", "#edges=2000") as page:
        milliseconds = milliseconds_a_step(browser, page)
        assert len(shown(page)) == 2000
    print(f"{browser.name}: {milliseconds:.0f} ms a step")
    assert milliseconds < 100


@pytest.mark.slow
def test_the_graph_of_a_large_model_can_be_explored(browser, tmp_path):
    """Three circuits of Qwen2.5-0.5B's graph, of 179,749 edges.

    The strongest are in the page, which says so; each act takes under a second by the clock.
    """
    graph = Graph(24, 14, 896)
    write_steps(tmp_path, graph, 9000)
    assert (tmp_path / "report.html").stat().st_size < 8e6
    with opened(browser, tmp_path / "report.html", "#edges=2000") as page:
        footnote = page.locator("#explorer-foot").inner_text()
        milliseconds = milliseconds_a_step(browser, page)
        print(f"{browser.name}: {milliseconds:.0f} ms a step; {footnote}")
        assert milliseconds < 100
        assert f"of the graph's {graph.n_edges:,} edges are in this page" in footnote
        acts = {
            "all edges": "() => report.explorer.choose({all: '1', edges: 2000})",
            "a filter": "() => report.explorer.choose({slots: 'qk', reach: 3})",
            "a node": "() => report.explorer.choose({node: 'a9.h2'})",
            "an edge": "() => report.explorer.choose({edge: 'm0->a9.h2<k>', node: ''})",
            "two circuits": "() => report.explorer.choose({other: 'C_step0', edge: ''})",
        }
        for name, act in acts.items():
            timed = (
                f"() => {{ const t = performance.now(); ({act})(); return performance.now() - t; }}"
            )
            quickest = min(page.evaluate(timed) for _ in range(5))
            print(f"{browser.name}, {name}: {quickest:.0f} ms")
            assert quickest < 1000, name


@pytest.mark.skipif("SCREENSHOT" not in os.environ, reason="SCREENSHOT names no file")
def test_screenshot(browser):
    report = Path(os.environ.get("REPORT", "outputs/demo/report.html")).resolve()
    with opened(browser, report, width=1440, height=900) as page:
        page.screenshot(path=os.environ["SCREENSHOT"])
