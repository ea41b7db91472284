"""The embedded newsroom: reproducible, in separate splits, and shaped like news."""

import re

import pytest

from summarization.newsroom import KINDS, N_PATTERNS, SPLITS, articles, people, retellings, split_of
from summarization.newsroom_patterns import FILLER


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def sentences(article: str) -> list[str]:
    return re.split(r'(?<=[.!?])\s+(?=["A-Z])', article)


@pytest.fixture(scope="module")
def rows():
    return {split: articles(split, 400) for split in SPLITS}


def test_same_seed_same_articles_and_a_longer_request_begins_the_same(rows):
    assert articles("test", 50) == rows["test"][:50]
    assert articles("test", 50, seed=1) != rows["test"][:50]


def test_rows_have_the_columns_of_cnn_dailymail(rows):
    assert all(
        set(row) == {"id", "article", "highlights"} for split in SPLITS for row in rows[split]
    )


@pytest.mark.parametrize("column", ["id", "article"])
def test_no_article_occurs_twice(rows, column):
    seen = [row[column] for split in SPLITS for row in rows[split]]
    assert len(set(seen)) == len(seen)


def test_splits_share_no_person(rows):
    surnames = {
        split: {name.split()[1] for row in rows[split] for name in people(row["article"])}
        for split in SPLITS
    }
    assert all(len(names) > 100 for names in surnames.values())
    for split, names in surnames.items():
        assert {split_of(name) for name in names} == {split}


def test_each_article_mentions_two_people_again_after_naming_them(rows):
    for row in rows["train"]:
        surnames = [name.split()[1] for name in people(row["article"])]
        assert len(set(surnames)) == 2, row["article"]
        assert all(row["article"].count(surname) >= 2 for surname in surnames), row["article"]


def test_a_story_told_twice_keeps_its_people_and_figures_but_not_its_sentences():
    pairs = retellings("train", 100)
    assert pairs[:10] == retellings("train", 10)
    for first, second in pairs:
        assert set(people(first)) == set(people(second))
    shared = [
        len(set(sentences(first)) & set(sentences(second))) / len(sentences(first))
        for first, second in pairs
    ]
    assert sum(shared) / len(shared) < 0.5


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="train, validation, test"):
        articles("dev", 1)


def test_there_are_enough_kinds_and_distinct_patterns():
    details = [
        s for kind in KINDS.values() for part in ("fact", "quote", "past") for s in kind[part]
    ]
    salient = [
        s for kind in KINDS.values() for part in ("lead", "key", "next") for s, _ in kind[part]
    ]
    assert len(KINDS) >= 12
    assert len({*details, *salient, *FILLER}) == N_PATTERNS >= 200


def test_every_slot_is_filled_and_no_highlight_line_begins_with_a_name(rows):
    names = {
        part for row in rows["train"] for name in people(row["article"]) for part in name.split()
    }
    for row in rows["train"]:
        assert not set("{}") & set(row["article"] + row["highlights"])
        assert not {line.split()[0] for line in row["highlights"].split("\n")} & names


def test_highlights_compress_the_lead_and_a_sentence_elsewhere(rows):
    positions = set()
    for row in rows["train"]:
        body, lines = sentences(row["article"]), row["highlights"].split("\n")
        assert 2 <= len(lines) <= 3
        best = [
            max(
                range(len(body)), key=lambda i: len(words(line) & words(body[i])) / len(words(line))
            )
            for line in lines
        ]
        assert best[0] == 0 and 0 not in best[1:], row
        assert len(row["highlights"]) < 0.5 * len(row["article"])
        positions.add(best[1])
    assert len(positions) >= 4


def test_figures_of_the_highlights_stand_in_salient_sentences_only(rows):
    """A figure of two or more digits in a highlight is not repeated by chance in more than a few
    articles.
    """
    figures = [
        (figure, row)
        for row in rows["train"]
        for figure in re.findall(r"\d[\d,.]*\d", row["highlights"])
    ]
    repeated = sum(
        sum(figure in re.findall(r"\d[\d,.]*\d", s) for s in sentences(row["article"])) != 1
        for figure, row in figures
    )
    assert len(figures) > 300 and repeated < 0.02 * len(figures)
