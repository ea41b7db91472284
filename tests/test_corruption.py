"""Clean/corrupted pairs: token-exact alignment, the control, and the script that writes them."""

import json
import shutil

import numpy as np
import pytest

import create_causal_summarization_data as script
from eap import InputError
from eap.dataset import Pair, read_pairs
from study.pairs import figures as pair_figures
from summarization import corruption, newsroom, prompt, rouge

SUMMARY_END = [7, 8, 9]
KEYS = ("clean_ids", "corrupted_ids", "control_ids")


def example(name, lengths, salient):
    """An article of sentences of the given lengths; a token is 1000 x article + position, so that
    it shows where it came from.
    """
    ends = np.cumsum(lengths)
    ids = np.concatenate([1000 * name + np.arange(ends[-1]), SUMMARY_END]).astype(np.int32)
    spans = list(zip((ends - lengths).tolist(), ends.tolist(), strict=True))
    return corruption.Example(
        str(name), ids, int(ends[-1]), spans, [0.0] * len(spans), salient, 0, "article", "summary"
    )


@pytest.fixture(scope="module")
def prepared(tiny_tokenizer, articles):
    return corruption.prepare_all(tiny_tokenizer, articles, max_length=320)[0]


def differing(row, key):
    return {
        i
        for i, (clean, corrupted) in enumerate(zip(row["clean_ids"], row[key], strict=True))
        if clean != corrupted
    }


def covered(spans):
    return {i for start, end in spans for i in range(start, end)}


# ---------------------------------------------------------------- sentences


def test_sentence_spans_hold_exactly_their_sentences(tiny_tokenizer, articles):
    for row in articles:
        spans, texts = corruption.sentences_of(tiny_tokenizer, row["article"], n_tokens=10_000)
        ids = prompt.encode(tiny_tokenizer, row["article"])
        assert [tiny_tokenizer.decode(ids[start:end]).strip() for start, end in spans] == texts
        assert " ".join(texts) == row["article"]


def test_the_newsrooms_salient_sentences_are_found():
    """The generator compresses the lead and one or two others, one highlight each: the oracle must
    find the lead and no more than these.
    """
    rows = newsroom.articles("validation", 100)
    picked = [rouge.oracle(row["article"], row["highlights"]) for row in rows]
    assert np.mean([0 in sentences for sentences in picked]) >= 0.9
    assert all(
        len(sentences) <= row["highlights"].count("\n") + 1
        for sentences, row in zip(picked, rows, strict=True)
    )


def test_rows_that_make_no_pair_are_dropped_with_the_reason(tiny_tokenizer, articles):
    rows = [
        articles[0],
        {**articles[0], "id": "again"},
        {**articles[1], "highlights": "zzz qqq"},
        {**articles[2], "highlights": "word " * 320},
        {**articles[3], "id": articles[0]["id"]},
    ]
    examples, dropped = corruption.prepare_all(tiny_tokenizer, rows, max_length=320)
    assert [made.id for made in examples] == [articles[0]["id"], articles[0]["id"] + "#2"]
    assert dropped == {
        "the same article as an earlier row": 1,
        "no sentence shares a word with the highlights": 1,
        "summary and cue leave under 16 of 320 tokens to the article": 1,
    }


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("kind", corruption.CORRUPTIONS)
def test_guard_15_pairs_align_token_for_token(prepared, kind):
    fill = corruption.CORRUPTIONS[kind](prepared, [3])
    for number, made in enumerate(prepared):
        row = corruption.pair(made, number, fill=fill, seed=0)
        assert len(row["clean_ids"]) == len(row["corrupted_ids"]) == len(row["control_ids"])
        assert differing(row, "corrupted_ids") <= covered(row["masked"])
        assert differing(row, "control_ids") <= covered(row["control_masked"])
        assert row["masked"] == [made.sentences[i] for i in made.salient]
        assert max(covered(row["masked"])) < row["summary_start"]


def test_separators_of_documents_stay_where_they_are(tiny_tokenizer, articles):
    """Two articles to a row, as in Multi-News: none is replaced, and none is put in elsewhere."""
    mark = f" {rouge.SEPARATOR} "
    rows = [
        {**first, "article": first["article"] + mark + second["article"]}
        for first, second in zip(articles[::2], articles[1::2], strict=True)
    ]
    prepared = corruption.prepare_all(tiny_tokenizer, rows, max_length=1000)[0]
    fill = corruption.swap_filler(prepared, [3])
    for number, made in enumerate(prepared):
        row = corruption.pair(made, number, fill=fill, seed=0)
        texts = [tiny_tokenizer.decode(row[key][: row["summary_start"]]) for key in KEYS]
        assert [text.count(rouge.SEPARATOR) for text in texts] == [1, 1, 1]
        places = [
            [number for number, token in enumerate(row[key]) if "|" in tiny_tokenizer.decode(token)]
            for key in KEYS
        ]
        assert places[0] == places[1] == places[2] != []


def test_guard_16_the_control_is_as_large_and_touches_no_salient_sentence(prepared):
    fill = corruption.swap_filler(prepared, [3])
    for number, made in enumerate(prepared):
        row = corruption.pair(made, number, fill=fill, seed=0)
        others = sum(made.lengths(salient=False))
        assert len(covered(row["control_masked"])) == min(len(covered(row["masked"])), others)
        assert not covered(row["control_masked"]) & covered(row["masked"])


def test_mask_repeats_the_neutral_tokens():
    made = example(1, [5, 4], [0])
    row = corruption.pair(made, 0, fill=corruption.mask_filler([made], [50, 60]), seed=0)
    assert row["corrupted_ids"] == [50, 60, 50, 60, 50, 1005, 1006, 1007, 1008, *SUMMARY_END]
    assert row["control_ids"] == [1000, 1001, 1002, 1003, 1004, 50, 60, 50, 60, *SUMMARY_END]
    assert row["control_masked"] == [(5, 9)]  # 4 of the 5 tokens wanted: there are no more


def test_swap_takes_a_whole_non_salient_sentence_of_the_same_length_from_another_article():
    examples = [
        example(1, [3, 6, 5, 9], [2]),
        example(2, [5, 5, 5, 7], [1]),
        example(3, [5, 5, 6], [1]),
    ]
    fill = corruption.swap_filler(examples, [])
    drawn = {tuple(fill(5, 0, np.random.default_rng(seed))) for seed in range(20)}
    assert drawn == {
        (2010, 2011, 2012, 2013, 2014)
    }  # not the salient ones, not the first ones, not its own


def test_swap_cuts_the_shortest_longer_sentence_and_joins_shorter_ones():
    examples = [example(1, [3, 6], [0]), example(2, [2, 4, 7, 9], [0])]
    fill = corruption.swap_filler(examples, [])
    rng = np.random.default_rng(0)
    assert fill(5, 0, rng).tolist() == [2006, 2007, 2008, 2009, 2010]  # of 7, the first 5
    assert fill(12, 0, rng).tolist() == [
        *range(2013, 2022),
        2002,
        2003,
        2004,
    ]  # the longest of 9, then 3 of 4
    assert len(fill(100, 0, rng)) == 100


def test_swap_never_takes_from_the_article_itself():
    examples = [example(1, [3, 3, 4], [1]), example(2, [3], [0])]
    with pytest.raises(corruption.Dropped, match="another article"):
        corruption.pair(examples[0], 0, fill=corruption.swap_filler(examples, []), seed=0)


def test_the_control_is_empty_when_every_sentence_is_salient():
    examples = [example(1, [4, 4], [0, 1]), example(2, [4, 4], [0])]
    row = corruption.pair(examples[0], 0, fill=corruption.swap_filler(examples, []), seed=0)
    assert row["control_masked"] == []
    assert row["control_ids"] == row["clean_ids"]


def test_pairs_depend_on_the_seed_and_on_nothing_else(prepared):
    fill = corruption.swap_filler(prepared, [])
    first = corruption.pair(prepared[3], 3, fill=fill, seed=0)
    again = corruption.pair(prepared[3], 3, fill=fill, seed=0)
    other = corruption.pair(prepared[3], 3, fill=fill, seed=1)
    assert first == again
    assert first["corrupted_ids"] != other["corrupted_ids"]


# ---------------------------------------------------------------- the script


def run(tmp_path, articles_file, model, *more):
    script.main(
        [
            "--dataset",
            articles_file,
            "--model_path",
            model,
            "--output",
            str(tmp_path / "data" / "pairs.jsonl"),
            "--output_dir",
            str(tmp_path / "out"),
            "--quiet",
            *more,
        ]
    )
    return tmp_path / "data" / "pairs.jsonl"


def rows_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_script_writes_two_files_that_the_reader_takes(
    tmp_path, articles_file, tiny_model_dir, tiny_tokenizer
):
    path = run(tmp_path, articles_file, tiny_model_dir)
    parts = [
        read_pairs(file, vocabulary_size=len(tiny_tokenizer), context_length=320)
        for file in (path, path.with_name("pairs_eval.jsonl"))
    ]
    assert [len(part) for part in parts] == [6, 6]
    assert not {pair.id for pair in parts[0]} & {pair.id for pair in parts[1]}
    for row in rows_of(path):
        summary = row["clean_ids"][row["summary_start"] :]
        assert tiny_tokenizer.decode(summary) == " " + row["summary"] + "<|endoftext|>"
        assert summary.count(tiny_tokenizer.eos_token_id) == 1
        assert set(row) == {
            "id",
            "clean_ids",
            "corrupted_ids",
            "summary_start",
            "control_ids",
            "masked",
            "control_masked",
            "sentences",
            "salience",
            "article",
            "summary",
            "prompt",
        }
    salience = json.loads((tmp_path / "out" / "salience.json").read_text(encoding="utf-8"))
    assert salience["sentences"]["mean"] > salience["salient_sentences"]["mean"] > 0 and all(
        isinstance(line, str) for line in salience["lines"]
    )
    assert (
        salience["format"],
        salience["n_rows"],
        salience["n_kept"],
        salience["n_evaluation"],
        salience["truncated"],
    ) == (1, 12, 12, 6, 0)
    assert salience["by_position"][0]["salience"]["n"] == 12
    _, fates = pair_figures.figure(salience | {"n_rows": 1, "n_kept": 1}).axes
    assert all(tick == round(tick) for tick in fates.get_xticks())  # rows have no halves


def test_a_tokenizer_without_weights_will_do_and_gives_the_same_bytes(
    tmp_path, articles_file, tiny_model_dir, tiny_tokenizer
):
    first = run(tmp_path / "one", articles_file, tiny_model_dir)
    tiny_tokenizer.save_pretrained(tmp_path / "tokenizer")
    second = run(tmp_path / "two", articles_file, str(tmp_path / "tokenizer"))
    assert first.read_bytes() == second.read_bytes()
    pictures = [(tmp_path / name / "out" / "salience.png").read_bytes() for name in ("one", "two")]
    assert pictures[0] == pictures[1]


def test_all_rows_go_to_one_file_without_an_evaluation_part(
    tmp_path, articles_file, tiny_model_dir
):
    path = run(
        tmp_path,
        articles_file,
        tiny_model_dir,
        "--eval_fraction",
        "0",
        "--corruption",
        "mask",
        "--mask_text",
        " the",
    )
    assert len(rows_of(path)) == 12
    assert not path.with_name("pairs_eval.jsonl").exists()


def test_what_is_there_is_up_to_date_or_refused(tmp_path, articles_file, tiny_model_dir, capsys):
    path = run(tmp_path, articles_file, tiny_model_dir)
    before = path.stat().st_mtime_ns
    run(tmp_path, articles_file, tiny_model_dir)
    assert path.stat().st_mtime_ns == before
    with pytest.raises(InputError, match="--overwrite"):
        run(tmp_path, articles_file, tiny_model_dir, "--seed", "1")
    run(tmp_path, articles_file, tiny_model_dir, "--seed", "1", "--overwrite")
    assert path.stat().st_mtime_ns != before


def test_it_says_what_became_of_every_row(tmp_path, articles, tiny_model_dir, capsys):
    long = articles[7]["article"] + " More rain fell." * 60
    rows = [*articles[:6], {**articles[6], "highlights": "zzz"}, {**articles[7], "article": long}]
    file = tmp_path / "articles.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    script.main(
        [
            "--dataset",
            str(file),
            "--model_path",
            tiny_model_dir,
            "--output",
            str(tmp_path / "p.jsonl"),
            "--output_dir",
            str(tmp_path),
            "--verbose",
        ]
    )
    out = capsys.readouterr().out
    assert "7 pairs from 8 rows: 3 for extraction, 4 for evaluation" in out
    assert "truncated 1:" in out
    assert "dropped 1: no sentence shares a word with the highlights" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_length", "999"], "--max_length 999: expected at most .* 320 tokens"),
        (["--max_length", "12"], "expected rows that make a pair, got none of 12"),
        (["--max_examples", "1", "--corruption", "mask"], "at least 2 pairs"),
    ],
)
def test_mistakes_are_explained(tmp_path, articles_file, tiny_model_dir, flags, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, articles_file, tiny_model_dir, *flags)


def test_a_model_without_a_tokenizer_is_refused(tmp_path, articles_file, tiny_model_dir):
    shutil.copytree(tiny_model_dir, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*"))
    with pytest.raises(InputError, match="tokenizer"):
        run(tmp_path, articles_file, str(tmp_path / "bare"))


def test_groups_say_where_a_token_stands():
    pair = Pair("a", list(range(9)), list(range(9)), 6, None, ((0, 2), (3, 4)), ((0, 2), (2, 5)))
    names = [corruption.GROUPS.names[group] for group in corruption.GROUPS.of(pair)]
    salient, other = "salient sentences", "other article text"
    assert names[:5] == ["first token", salient, other, salient, other]
    assert names[5:] == ["cue"] + ["summary so far"] * 3
    with pytest.raises(InputError, match="pair b: expected its sentences"):
        corruption.groups_of(Pair("b", [1, 2], [1, 3], 1))
