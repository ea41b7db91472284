"""Headlines: records from hand-made contents, and the one place that puts them into words."""

import copy

import numpy as np
import pytest

from study import findings, headline
from study.bakeoff import headline as bakeoff
from study.differential import headline as differential
from study.evolution import headline as evolution
from study.extraction import headline as extraction
from study.faithfulness import headline as faithfulness
from study.findings import ZERO, Finding, Null, Number
from study.headline import Headline, Table
from study.pairs import headline as pairs
from study.quality import headline as quality
from study.robustness import headline as robustness
from study.training import headline as training
from study.training import results
from summarization import words

WORDS = words.describe(["The council met."] * 20)


def span(mean, low, high, n=20):
    return {"mean": mean, "low": low, "high": high, "n": n}


def kinds(made: Headline) -> list[str]:
    return [finding.kind for finding in made.findings]


# ---------------------------------------------------------------- numbers and words


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (Number(0.7091, 0.6744, 0.7413), "0.71 [0.67, 0.74]"),  # width 0.067: one digit of it
        (Number(0.9521, 0.9399, 0.9628), "0.952 [0.940, 0.963]"),  # 0.023: two
        (Number(0.55, 0.1, 0.75), "0.6 [0.1, 0.8]"),  # 0.65: one
        (Number(9.12, 7.4, 11.2, "%"), "9 % [7, 11]"),  # percent, wider than 1
        (Number(0.524, 0.31, 0.77, "%"), "0.5 % [0.3, 0.8]"),
        (Number(-0.0004, -0.03, 0.02), "0.00 [-0.03, 0.02]"),  # never -0.00
        (Number(-0.0312, -0.0534, -0.0021, signed=True), "-0.031 [-0.053, -0.002]"),
        (Number(0.31, 0.01, 0.7, signed=True), "+0.31 [0.01, 0.70]"),  # excludes zero, and shows it
        (Number(-2e-9), "0.000000"),
        (Number(1625), "1,625"),
        (Number(0.0093036), "0.0093"),
        (Number(4.2, 4.2, 4.2), "4.2 [4.2, 4.2]"),  # no width, as of one value
        (Number(36.2, 28.4, 44.9, "% of heads"), "36 % [28, 45] of heads"),
        (Number(0.0, places=2), "0.00"),
    ],
)
def test_a_number_is_rounded_to_what_its_interval_supports(number, expected):
    assert findings.text(number) == expected


def test_a_column_has_equally_many_decimals():
    cells = [Number(0.8, 0.76, 0.84), None, Number(0.5, 0.1, 0.9), Number(0.61, 0.57, 0.66)]
    assert findings.column(cells) == [
        "0.80 [0.76, 0.84]",
        "-",
        "0.50 [0.10, 0.90]",
        "0.61 [0.57, 0.66]",
    ]


def test_a_sentence_has_number_interval_word_and_null():
    null = Null("noise alone", Number(36.1, 27.2, 44.0, "%"))
    finding = Finding("beyond noise", "edges changed", Number(68.0, unit="%"), null, "2 of 4 steps")
    expected = "edges changed: 68 %, beyond noise (noise alone 36 % [27, 44]); 2 of 4 steps"
    assert findings.sentence(finding) == expected
    assert (
        findings.sentence(Finding("measured", "edges", Number(3, unit="of 9"))) == "edges: 3 of 9"
    )


def test_a_sentence_says_the_paired_difference_that_its_word_is_of():
    finding = Finding(
        "higher",
        "f at 5 %",
        Number(0.71, 0.67, 0.74),
        Null("random", Number(0.0, places=2)),
        difference=Number(0.7, 0.6, 0.8, signed=True),
        n=32,
    )
    expected = "f at 5 %: 0.71 [0.67, 0.74], higher (random 0.00); difference +0.70 [0.60, 0.80]"
    assert findings.sentence(finding) == expected


def test_a_sentence_does_not_say_that_a_difference_is_seen_against_zero():
    difference = Number(0.3, 0.1, 0.5, signed=True)
    assert findings.sentence(Finding("higher", "gain", difference, Null("none", ZERO))) == (
        "gain: +0.3 [0.1, 0.5], higher"
    )


def test_a_finding_is_of_a_known_kind():
    with pytest.raises(ValueError, match="expected a kind"):
        Finding("surely", "edges", Number(1))


@pytest.mark.parametrize("kind", findings.KINDS)
def test_no_finding_of_few_examples_is_a_claim_whoever_makes_it(kind):
    allowed = ("measured", "no claim")
    assert Finding(kind, "f", Number(0.5), n=8).kind == kind
    few = Finding(kind, "f", Number(0.5), n=7)
    assert few.kind == (kind if kind in allowed else "no claim")


def test_a_finding_that_answers_a_question_has_a_number_to_be_seen_against():
    for null in (None, Null("chance")):
        with pytest.raises(ValueError, match="null"):
            Finding("measured", "f", Number(0.5), null, question="Why?")
    assert Finding("measured", "f", Number(0.5), Null("chance", ZERO), question="Why?").question


def test_a_test_says_different_only_for_a_small_p_that_its_examples_allow():
    assert findings.tested({"p": 0.01, "smallest_p": 0.001}) == "different"
    assert findings.tested({"p": 0.05, "smallest_p": 0.001}) == "not shown to differ"
    assert findings.tested({"p": 0.125, "smallest_p": 0.125}) == "no claim"  # of four examples


@pytest.mark.parametrize(
    ("number", "null", "expected"),
    [
        (Number(0.3, 0.1, 0.5), ZERO, "higher"),
        (Number(-0.3, -0.5, -0.1), ZERO, "lower"),
        (Number(0.3, 0.0, 0.5), ZERO, "no clear difference"),  # an end that touches is not apart
        (Number(2.0, 1.0, 3.0), Number(5.0, 4.0, 6.0), "lower"),
        (Number(2.0, 1.0, 4.0), Number(5.0, 4.0, 6.0), "no clear difference"),
        (Number(7.0), Number(5.0, 4.0, 6.0), "higher"),  # without an interval it is its own
    ],
)
def test_a_direction_takes_intervals_that_are_apart(number, null, expected):
    assert findings.direction(number, null) == expected


def test_a_headline_is_of_15_lines_of_100_columns_whatever_it_holds():
    rows = tuple((f"arm {i}", "0.71 [0.67, 0.74]") for i in range(40))
    findings = tuple(Finding("higher", f"f {i} " + "word " * 20, Number(0.5)) for i in range(9))
    many = Headline("title " * 30, Table(("arm", "f"), rows, "note"), findings, ("few",))
    lines = headline.lines(many, "wrote x.json")
    assert len(lines) <= headline.MOST_LINES
    assert max(len(line.text) for line in lines) <= headline.WIDTH
    texts = [line.text for line in lines]
    assert any("more" in text for text in texts)
    assert any(text.startswith("arm 39") for text in texts)  # the last row stays
    assert [text for text in texts if text.startswith("caution: few")]
    assert texts[-1] == "wrote x.json"


def test_a_narrow_terminal_breaks_lines_but_no_interval():
    table = Table(("step", "changed", "a far too wide last column" * 3), (("1", "2", "3"),))
    finding = Finding("higher", "f of the circuit in the other model", Number(0.5, 0.4, 0.6))
    lines = headline.lines(Headline("title", table, (finding,)), "wrote x", width=40)
    texts = [line.text for line in lines]
    assert max(map(len, texts)) <= 40
    assert "step   changed" in texts  # the column that does not fit is left out
    assert any("0.50 [0.40, 0.60]" in text for text in texts)


def test_wide_characters_keep_columns_straight():
    table = Table(("name", "n"), (("模型", "1"), ("model", "2")))
    head, first, second = [line.text for line in headline.lines(Headline("t", table))[2:5]]
    assert [headline.cell_length(line) for line in (head, first, second)] == [9, 9, 9]


def test_what_was_written_is_named_once():
    paths = ["out/evolution.json", "out/layers.json", "out/a.png", "out/b.png"]
    assert headline.written(paths) == ("wrote out/evolution.json, layers.json, 2 plots")
    circuit = ["C.json", "C.examples.safetensors", "C.edges.png", "C.heatmap.png"]
    assert headline.written(circuit) == "wrote C.json, .examples.safetensors, 2 plots"
    many = [f"out/C_step{step}.json" for step in range(10)]
    assert headline.written(many) == "wrote 10 files: out/C_step0.json to C_step9.json"
    assert findings.named(["a", "b"], 3) == "a, b"
    assert findings.named(["a", "b"], 2) == "all 2"
    assert findings.named(list("abcde"), 9) == "5 of 9"


# ---------------------------------------------------------------- pairs, training


PAIRS = {
    "dataset": "demo",
    "split": "validation",
    "without_splits": False,
    "n_rows": 21,
    "n_kept": 20,
    "n_extraction": 10,
    "n_evaluation": 10,
    "dropped": {"no other article": 1},
    "truncated": 0,
    "control_short": 2,
    "control_empty": 0,
    "salient_sentences": span(2.0, 1.9, 2.1),
    "sentences": span(8.0, 7.8, 8.2),
    "corrupted_percent": span(41.5, 41.1, 41.9),
    "control_percent": span(40.0, 39.0, 41.0),
    "by_position": [{"position": 1, "picked_percent": span(60.0, 40.0, 80.0)}],
    "rouge_words": WORDS,
}


def test_pairs_the_first_sentence_beside_any():
    made = pairs.headline(PAIRS)
    (finding,) = made.findings
    assert (finding.kind, finding.number.value) == ("higher", 60.0)
    assert finding.null.number.value == 25.0  # 2 of 8 sentences
    assert any("no other article" in caution for caution in made.cautions)
    within = copy.deepcopy(PAIRS)
    within["by_position"][0]["picked_percent"] = span(30.0, 20.0, 40.0)
    assert kinds(pairs.headline(within)) == ["no clear difference"]
    within["by_position"][0]["picked_percent"] = span(100.0, 100.0, 100.0, n=7)
    assert kinds(pairs.headline(within)) == ["no claim"]


def trained(first, last, kept=20):
    rows = [
        {"step": step, "nll_nats_per_token": nll, "low": low, "high": high}
        for step, (nll, low, high) in ((0, first), (9, last))
    ]
    part = {"kept": kept, "truncated": 0, "dropped": {}}
    return {
        "model": "demo",
        "dataset": "demo",
        "examples": {"train": part, "validation": part},
        "loss": [{"step": 1, "loss": 6.0}, {"step": 9, "loss": 2.0}],
        "validation": rows,
    }


def test_training_says_lower_only_where_intervals_are_apart():
    made = training.headline(trained((6.0, 5.5, 6.5), (2.0, 1.5, 2.5)))
    assert kinds(made) == ["lower"]
    assert made.table.rows[0][-1] == "-"  # no loss before the first step
    assert made.table.rows[1][-1] == "2.0"
    overlapping = trained((6.0, 5.5, 6.5), (5.6, 5.0, 6.2))
    assert kinds(training.headline(overlapping)) == ["no clear difference"]
    assert kinds(training.headline(trained((6, 5.5, 6.5), (2, 1.5, 2.5), kept=7))) == ["no claim"]


def test_training_claims_by_the_change_of_the_same_articles():
    """Articles differ more than a model changes: 16 NLL between 2 and 4 all fall by about .5."""
    before = np.linspace(2, 4, 16)
    after = before - np.linspace(0.4, 0.6, 16)
    logged = [
        {"step": step, "eval_nll": nll.mean(), results.EACH: nll.tolist()}
        | {"eval_nll_low": nll.mean() - 0.3, "eval_nll_high": nll.mean() + 0.3}
        for step, nll in ((0, before), (9, after))
    ]
    run = {"output_dir": "nowhere", "seed": 0}
    facts = trained((0, 0, 0), (0, 0, 0))
    result = facts | {"validation": results.of_run(run, logged, facts={})["validation"]}
    change = result["validation"][1]["change"]
    assert "change" not in result["validation"][0]
    assert (change["from_step"], change["n"]) == (0, 16)
    assert change["mean"] == pytest.approx(-0.5)
    assert -0.55 < change["low"] < -0.5 < change["high"] < -0.45
    (finding,) = training.headline(result).findings
    assert (finding.kind, finding.difference.value) == ("lower", change["mean"])
    assert "difference -0.50" in findings.sentence(finding)
    del result["validation"][1]["change"]  # as in a file of an earlier version
    assert kinds(training.headline(result)) == ["no clear difference"]


def test_training_warns_of_overfitting():
    made = training.headline(trained((2.0, 1.5, 2.5), (6.0, 5.5, 6.5)))
    assert kinds(made) == ["higher"]
    assert any("overfit" in caution for caution in made.cautions)


# ---------------------------------------------------------------- circuits


def circuit(jaccard=0.85, examples=20, gap=0.01):
    stable = jaccard > 0.8
    return {
        "method": "secant",
        "metric": "kl",
        "completeness": {"gap": gap},
        "sizes": {"selected": 200, "pruned": 100, "edges": 1000},
        "example_ids": list(range(examples)),
        "bootstrap": {
            "examples": examples,
            "noise_floor": span(jaccard, jaccard - 0.05, jaccard + 0.05),
            "split_half": span(0.6, 0.5, 0.7),
            "stable": stable and examples >= 8,
            "stable_above": 0.8,
            "sure_edges": 70,
        },
        "stability": None,
    }


def test_a_circuit_is_called_stable_on_enough_examples_only():
    made = extraction.headline({"C": circuit()})
    assert kinds(made)[0] == "stable"
    assert not made.cautions
    assert made.findings[0].null.number.value == pytest.approx(0.1 / 1.9)  # two random tenths
    assert kinds(extraction.headline({"C": circuit(jaccard=0.5)}))[0] == "not stable"
    few = extraction.headline({"C": circuit(examples=4)})
    assert kinds(few)[0] == "no claim"
    assert any("4 examples carry no claim" in caution for caution in few.cautions)


def test_a_circuit_warns_of_its_completeness_gap():
    made = extraction.headline({"C": circuit(gap=0.2)})
    assert any("completeness gap 20 %" in caution for caution in made.cautions)


def test_several_circuits_have_a_row_each():
    made = extraction.headline({"C_step0": circuit(jaccard=0.5), "C_step9": circuit()})
    assert [row[0] for row in made.table.rows] == ["C_step0", "C_step9"]
    assert made.cautions == ("not stable: C_step0",)


# ---------------------------------------------------------------- evolution


def moved_circuits(examples=20):
    floor = {"mean": 0.3, "low": 0.2, "high": 0.4}
    f = {"own": span(0.7, 0.6, 0.8), "final": span(0.5, 0.4, 0.6)}
    effect, gap = span(0.4, 0.3, 0.5), span(0.2, 0.1, 0.3)
    rows = [
        {"name": f"C_step{step}", "step": step, "effect": effect, "own_minus_final": gap, **f}
        for step in (0, 5, 9)
    ]
    undefined = [{**row, "effect": span(0.0, -0.1, 0.1)} for row in rows[:1]] + rows[1:]
    rate = {
        "sizes": [100, 100, 100],
        "of_first": [0.5, 0.3],
        "dS": 0.41,
        "floor": [floor, floor],
        "dS_floor": floor,
        "beyond_noise": [True, False],
    }
    return {
        "checkpoints": [{"name": f"C_step{step}", "step": step} for step in (0, 5, 9)],
        "examples": examples,
        "settings_that_differ": [],
        "rates": {"edges_equal_size": rate, "edges": rate, "nodes": rate},
        "similarity": {
            "edges_jaccard": [[1.0, 0.6, 0.4]],
            "edges_chance": [[1.0, 0.1, 0.1]],
            "edges_noise": [{"mean": 0.6, "low": 0.5, "high": 0.7}] * 3,
            "arrival": 1,
        },
        "arrival_test": {
            "distance": 0.4,
            "null": {"mean": 0.2, "low": 0.1, "high": 0.3},
            "p": 0.001,
            "smallest_p": 0.001,
        },
        "moved": {
            "false_discovery_rate": 0.05,
            "counts": {"no evidence": {"in_a_circuit": 90}, "added": {"in_a_circuit": 10}},
        },
        "layers_noise": {"beyond": [3, 4]},
        "faithfulness": {"examples": examples, "metrics": {"kl": rows, "nll": undefined}},
    }


def test_evolution_compares_with_noise():
    made = evolution.headline(moved_circuits())
    assert kinds(made) == ["beyond noise", "lower", "different", "measured"]
    assert made.findings[3].number == Number(10, unit="of 100")
    assert made.findings[3].note == "layers beyond noise: 3, 4"
    assert [row[1].strip() for row in made.table.rows] == ["-", "50 % *", "30 %"]
    assert [row[2] for row in made.table.rows] == ["-", "20-40 %", "20-40 %"]
    assert made.table.rows[0][-1].endswith("+")  # the paired interval excludes zero
    assert made.cautions == ("f by nll undefined at step 0 (corruption has no clear effect)",)


def test_evolution_claims_nothing_within_noise_or_of_few_examples():
    result = moved_circuits()
    result["rates"]["edges_equal_size"]["dS"] = 0.4  # the floor's upper end
    result["similarity"]["edges_jaccard"] = [[1.0, 0.6, 0.55]]
    result["arrival_test"]["p"] = 0.2
    assert kinds(evolution.headline(result))[:3] == [
        "within noise",
        "no clear difference",
        "not shown to differ",
    ]
    few = evolution.headline(moved_circuits(examples=7))
    assert set(kinds(few)) == {"no claim"}
    assert "*" not in few.table.rows[1][1]
    assert not few.table.rows[0][-1].endswith("+")


def test_evolution_without_scores_says_that_noise_is_unknown():
    result = moved_circuits() | {"examples": None, "moved": None, "arrival_test": None}
    rate = result["rates"]["edges"]
    rate |= {"floor": None, "dS_floor": None, "beyond_noise": None}
    result |= {"rates": {"edges": rate, "nodes": rate}, "faithfulness": None}
    result["similarity"]["edges_noise"] = None
    made = evolution.headline(result)
    assert kinds(made) == ["no claim", "no claim"]
    assert any("noise unknown" in caution for caution in made.cautions)
    assert any("--training" in caution for caution in made.cautions)


# ---------------------------------------------------------------- faithfulness


def faithful(n=20):
    row = {"fraction": 0.05, "selected": 50, "pruned": 45, "f": 0.7, "low": 0.65, "high": 0.75}
    null = {"fraction": 0.05, "f": 0.7, "null_f": 0.01, "null_lowest": -1e-9, "null_highest": 0.02}
    nulls = [
        {**null, "null": name, "difference": span(0.69, 0.6, 0.75, n), "draws": 10}
        for name in ("random", "matched")
    ]
    complement = {**null, "null": "complement", "difference": span(0.69, 0.6, 0.75, n)}
    numbers = {
        "change": span(0.4, 0.3, 0.5, n),
        "rows": [{**row, "kind": "file"}, {**row, "kind": "circuit"}],
        "nulls": [*nulls, complement],
        "sizes_reaching": [
            {"f": 0.8, "fraction": 0.09, "low": 0.07, "high": 0.11},
            {"f": 0.9, "fraction": None, "low": None, "high": None},
        ],
        "control": {
            "change": span(0.03, 0.01, 0.08, n),
            "salient_minus_control": span(0.36, 0.27, 0.43, n),
        },
        "cross": [
            {
                "circuit": "C_before",
                "model": "tuned",
                "change": span(0.4, 0.3, 0.5, n),
                "minus_own": [
                    {
                        "fraction": 0.05,
                        "f": 0.6,
                        "other_f": 0.7,
                        "difference": span(-0.1, -0.2, -0.05, n),
                    }
                ],
            }
        ],
    }
    unclear = copy.deepcopy(numbers) | {"change": span(0.0, -0.1, 0.1, n)}
    return {
        "circuit": "C",
        "model": "tuned",
        "examples": n,
        "found_on": {"C": {"examples": 48, "noise_floor": span(0.5, 0.4, 0.6)}},
        "metrics": {"kl": numbers, "nll": unclear},
        "methods": None,
    }


def test_faithfulness_beside_its_nulls():
    made = faithfulness.headline(faithful())
    assert made.title == "C in tuned: 50 edges (5 %), found on 48 examples, run on 20 others"
    rows = {label: (kl, nll) for label, kl, nll in made.table.rows}
    assert rows["this circuit"] == ("0.70 [0.65, 0.75]", "-")  # f by nll is undefined
    assert rows["random edges (5 %)"] == ("0.00 to 0.02", "-")
    assert rows["f of 0.8 needs, of all edges"][0] == "9 % [7, 11]"
    assert rows["f of 0.9 needs, of all edges"][0] == "none of these sizes"
    assert kinds(made) == ["higher", "higher", "lower"]
    beside_random, beside_others, crossed = made.findings
    assert beside_random.number == Number(0.7, 0.65, 0.75)
    assert beside_random.null.number == Number(0.01, -1e-9, 0.02, places=2)  # lowest, highest draw
    assert beside_random.difference == Number(0.69, 0.6, 0.75, signed=True)
    assert (beside_others.number.value, beside_others.null.number.value) == (0.4, 0.03)
    assert beside_others.difference.value == 0.36
    assert (crossed.number.value, crossed.null.number.value) == (0.6, 0.7)
    assert {finding.n for finding in made.findings} == {20}
    assert any("f undefined by nll in tuned" in caution for caution in made.cautions)
    assert any("C (0.50)" in caution for caution in made.cautions)


def test_faithfulness_is_higher_than_random_only_above_every_draw():
    result = faithful()
    result["metrics"]["kl"]["nulls"][1]["null_highest"] = 0.8
    assert kinds(faithfulness.headline(result))[0] == "no clear difference"


def test_faithfulness_beside_a_single_random_circuit_has_no_range():
    result = faithful()
    for null in result["metrics"]["kl"]["nulls"][:2]:
        null["draws"] = 1
    assert faithfulness.headline(result).findings[0].note == "random: 1 draw"


def test_faithfulness_of_few_examples_claims_nothing():
    made = faithfulness.headline(faithful(n=7))
    assert set(kinds(made)) == {"no claim"}
    assert made.cautions[0] == "7 examples carry no claim"


def test_methods_stand_side_by_side():
    result = faithful()
    result["methods"] = {
        "circuits": [{"method": "secant"}, {"method": "EAP"}],
        "agreement": [{"fraction": 0.05, "jaccard": 0.47, "chance": 0.02}],
        "differences": {
            "kl": [
                {"fraction": 0.05, "f": 0.7, "other_f": 0.64, "difference": span(0.06, 0.01, 0.1)}
            ]
        },
    }
    finding = faithfulness.headline(result).findings[2]
    assert (finding.kind, finding.difference.value) == ("higher", 0.06)
    assert (finding.number.value, finding.null.number.value) == (0.7, 0.64)


# ---------------------------------------------------------------- robustness


def robust(examples=20, p=0.001):
    test = {"distance": 0.5, "null": span(0.2, 0.1, 0.3), "p": p, "smallest_p": 0.001}
    names = ("A", "B")
    return {
        "circuits": [
            {"name": name, "size": 90, "noise_floor": span(0.85, 0.8, 0.9), "stable": True}
            for name in names
        ],
        "pairs": [
            {
                "a": "A",
                "b": "B",
                "jaccard_edges": 0.4,
                "low": None,
                "high": None,
                "chance": {"mean": 0.1, "low": 0.05, "high": 0.15},
                "different": test | {"examples": examples},
            }
        ],
        "perturbation": [
            {
                "level": level,
                "examples": examples,
                "jaccard_edges": jaccard,
                "low": jaccard - 0.1,
                "high": jaccard + 0.1,
                "noise_floor": span(0.8, 0.7, 0.9),
            }
            for level, jaccard in ((0.1, 0.4), (0.9, 0.75))
        ],
        "agreement": {
            "names": ["as extracted", "mask", "swap"],
            "examples": examples,
            "edges": 100,
            "chance": 0.05,
            "noise_floor": {"mean": 0.8, "low": 0.7, "high": 0.9},
            "spearman_noise_floor": {"mean": 0.9},
            "with_first": [
                {"name": "as extracted", "jaccard_edges": 1.0, "low": 1.0, "high": 1.0},
                {"name": "mask", "jaccard_edges": 0.5, "low": 0.45, "high": 0.55},
                {"name": "swap", "jaccard_edges": 0.7, "low": 0.65, "high": 0.75},
            ],
            "spearman": [[1.0, 0.6, 0.8]],
        },
    }


def test_robustness_compares_with_noise_and_swapped_labels():
    made = robustness.headline(robust())
    assert kinds(made) == ["different", "lower"]
    assert made.findings[1].number.value == 0.4  # of the fewest tokens
    assert [row[-1] for row in made.table.rows] == ["", "below noise", "within noise"]
    assert kinds(robustness.headline(robust(p=0.3)))[0] == "not shown to differ"
    assert set(kinds(robustness.headline(robust(examples=7)))) == {"no claim"}


def test_robustness_without_scores_compares_with_chance():
    result = robust() | {"agreement": None, "perturbation": []}
    result["pairs"][0]["different"] = None
    made = robustness.headline(result)
    assert kinds(made) == ["above chance"]
    assert any("--model_path" in caution for caution in made.cautions)
    result["pairs"][0]["jaccard_edges"] = 0.15
    assert kinds(robustness.headline(result)) == ["not above chance"]


# ---------------------------------------------------------------- differences


def different(texts=20, share=1.0):
    def layers(*values):
        return {"mean": list(values), "low": list(values), "high": list(values)}

    entropy = {
        "share_of_heads_lower": {"mean": 0.7, "low": 0.6, "high": 0.8},
        "heads_lower": 5,
        "heads_higher": 1,
        "heads_total": 8,
        "false_discovery_rate": 0.05,
        "layers": layers(-0.1, 0.2),
        "overall": span(-0.2, -0.3, -0.1),
    }
    change = {"label": "1 - centred cosine", "scores": [0.1, 0.3], "order": [1, 0]}
    return {
        "base": "demo",
        "finetuned": "tuned",
        "dataset": "demo",
        "texts": texts,
        "tokens": 2000,
        "dropped": 0,
        "states": ["embeddings", "0", "1", "after final norm"],
        "hidden": {"centred_cosine": layers(1.0, 0.9, 0.7, 0.6)},
        "attention": {"layers": {"kl_base_finetuned": layers(0.5, 0.6)}},
        "entropy_change": {"entropy": entropy},
        "first_token_change": {"overall": span(0.0, -0.1, 0.1)},
        "massive_dimensions": [],
        "changes": {
            "centred_cosine": change | {"first_share": share},
            "cka": change | {"order": [0, 1], "first_share": 1.0},
        },
    }


def test_differences_by_layer():
    made = differential.headline(different())
    assert kinds(made) == ["settled", "lower", "no clear difference"]
    assert made.findings[1].number.value == -0.2
    assert made.findings[1].note.startswith("fell in 70 % [60, 80] of heads; 5 fell, 1 rose")
    assert made.findings[0].subject == "layer 1 most changed"
    assert made.findings[0].null.number.value == 50.0
    assert made.findings[0].note == "by other measures 0"
    assert [row[1] for row in made.table.rows] == ["0.90 [0.90, 0.90]", "0.70 [0.70, 0.70]"]
    assert kinds(differential.headline(different(share=0.94)))[0] == "not settled"
    assert set(kinds(differential.headline(different(texts=7)))) == {"no claim"}


def test_a_run_is_followed_layer_by_layer():
    table = {"mean": [[1, 1, 1], [0.9, 0.8, 0.7]], "low": [[1, 1, 1], [0.89, 0.79, 0.69]]}
    table["high"] = [[1, 1, 1], [0.91, 0.81, 0.71]]
    half = {"first": 4, "last": 5, "low": 4, "high": 9}
    result = {
        "steps": [0, 9],
        "states": ["embeddings", "0", "1"],
        "texts": 20,
        "positions": 8,
        "measures": {"centred_cosine": table},
        "standing": {"centred_cosine": {"layer": 1, "share": 0.99, "half": half}},
    }
    made = differential.headline(result)
    assert kinds(made) == ["settled", "measured"]
    assert made.table.head == ("step", "layer 0", "layer 1")
    assert made.table.rows == (("9", "0.800 [0.790, 0.810]", "0.700 [0.690, 0.710]"),)
    assert findings.text(made.findings[1].number) == "5 [4, 9]"


# ---------------------------------------------------------------- summaries


def judged(n=20):
    def system(kind, rouge, nll=None, **minus):
        entry = {"kind": kind, "words": span(20.0, 19.0, 21.0, n)}
        entry |= {"rouge1": span(rouge, rouge - 2, rouge + 2, n), "rougeLsum": None}
        return entry | ({"nll_nats": nll} if nll else {}) | minus

    better = {
        "rouge1": span(5.0, 2.0, 8.0, n) | {"claim": "higher"},
        "nll_nats": span(-1.0, -2.0, -0.5, n) | {"claim": "lower"},
    }
    systems = {
        "base": system("model", 20.0, span(3.0, 2.5, 3.5, n - 1)),
        "tuned": system("model", 25.0, span(2.0, 1.5, 2.5, n), minus_first=better),
        "Lead-3": system("yardstick", 40.0, minus_first={"rouge1": span(20.0, 18.0, 22.0, n)}),
    }
    return {
        "dataset": "demo",
        "split": "test",
        "without_splits": False,
        "n": n,
        "truncated": {"base": 0, "tuned": 3},
        "systems": systems,
        "rouge_words": WORDS,
    }


def test_quality_says_better_in_the_direction_of_each_measure():
    made = quality.headline(judged())
    assert kinds(made) == ["worse", "better", "better"]  # than Lead-3; than the first model
    assert made.findings[0].number.value == 25.0  # of the best model
    assert made.table.head == (
        "",
        "ROUGE-1",
        "NLL",
        "words",
    )  # a measure without numbers is left out
    assert any("below Lead-3 in ROUGE-1: base, tuned" in caution for caution in made.cautions)
    assert any("tuned 3" in caution for caution in made.cautions)
    assert any("NLL leaves out" in caution and "base 1" in caution for caution in made.cautions)


def test_quality_says_whose_nll_is_of_other_tokens():
    result = judged()
    assert not any("other tokens" in caution for caution in quality.headline(result).cautions)
    del result["systems"]["tuned"]["minus_first"]["nll_nats"]
    made = quality.headline(result)
    assert kinds(made) == ["worse", "better"]
    assert any("other tokens than base's" in note and "tuned" in note for note in made.cautions)


def test_quality_takes_the_paired_difference_where_the_best_model_has_one():
    """Intervals of 20 and 21 overlap; the difference of 1 over the same articles excludes zero."""
    result = judged()
    del result["systems"]["tuned"]
    lead = result["systems"]["Lead-3"]
    lead |= {"rouge1": span(21.0, 19.0, 23.0), "minus_first": {"rouge1": span(1.0, 0.5, 1.5)}}
    (finding,) = quality.headline(result).findings
    assert (finding.kind, finding.difference.value) == ("worse", -1.0)
    lead["minus_first"] = {}
    assert kinds(quality.headline(result)) == ["no clear difference"]


def test_quality_of_few_articles_claims_nothing():
    made = quality.headline(judged(n=7))
    assert set(kinds(made)) == {"no claim"}


# ---------------------------------------------------------------- the bake-off


def baked(n=20, claim="better", seeds=(0,)):
    def arm(placement, rouge, *layers):
        return {
            "method": "lora",
            "placement": placement,
            "layers": [list(layers)],
            "ranks": [8],
            "learning_rate": 0.01,
            "trainable": [1000],
            "sweep": None,
            "rouge1": span(rouge, rouge - 1, rouge + 1, n),
            "nll_nats": span(2.0, 1.9, rouge / 10, n),
        }

    arms = {
        "all": arm("all", 20.0, 0, 1, 2),
        "random": arm("random", 21.0, 1),
        "circuit": arm("measured", 25.0, 2),
    }

    def row(mean, p, word):
        interval = span(mean, mean - 1, mean + 1, n)
        return interval | {"p_holm": p, "claim": word, "detectable": 2.0}

    families = {
        reference: {
            measure: {name: row(4.0, 0.01, claim) for name in arms if name != reference}
            for measure in ("rouge1", "nll_nats")
        }
        for reference in ("all", "random")
    }
    return {
        "model": "demo",
        "dataset": "demo",
        "seeds": list(seeds),
        "n_texts": n,
        "budget_parameters": 1000,
        "arms": arms,
        "yardsticks": {"Lead-3": {"rouge1": span(40.0, 38.0, 42.0, n)}, "Random-3": arms["all"]},
        "differences": families,
        "left_out": {},
    }


def test_the_bake_off_asks_whether_the_circuit_beats_random_layers():
    made = bakeoff.headline(baked(), {name: {"train_seconds": 9.6} for name in baked()["arms"]})
    subjects = [finding.subject for finding in made.findings]
    assert subjects == ["ROUGE-1 of circuit minus random", "NLL of circuit minus random"]
    assert [bool(finding.question) for finding in made.findings] == [False, True]
    assert kinds(made) == ["better", "better"]
    rows = {row[0]: row for row in made.table.rows}
    assert list(rows) == ["circuit", "random", "all", "Random-3"]
    assert rows["circuit"][1] == "2"
    assert rows["circuit"][4:6] == ("better better", "better better")
    assert rows["all"][4] == "-"
    assert rows["circuit"][6] == "10 s"
    assert any("one seed" in caution for caution in made.cautions)


def test_the_bake_off_without_a_circuit_has_its_clearest_difference():
    result = baked(claim=None, seeds=(0, 1))
    del result["arms"]["circuit"]
    for measures in result["differences"].values():
        for family in measures.values():
            family.pop("circuit")
    result["differences"]["all"]["nll_nats"]["random"]["p_holm"] = 0.001
    made = bakeoff.headline(result)
    assert made.findings[0].subject == "NLL of random minus all"
    assert kinds(made) == ["no clear difference", "no clear difference"]
    assert not any("one seed" in caution for caution in made.cautions)
    assert set(kinds(bakeoff.headline(baked(n=7)))) == {"no claim"}
    for measures in result["differences"].values():
        measures |= dict.fromkeys(measures, {})
    assert bakeoff.headline(result).findings == ()  # each reference alone
