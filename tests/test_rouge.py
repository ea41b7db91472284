"""ROUGE and its yardsticks against numbers worked out by hand."""

import numpy as np
import pytest

from summarization import rouge

SENTENCES = [
    ("Rain fell. Snow fell.", ["Rain fell.", "Snow fell."]),
    (
        "Mr. Smith met John F. Kennedy in the U.S. Senate.",
        ["Mr. Smith met John F. Kennedy in the U.S. Senate."],
    ),
    ("It cost $4.2 million. Nobody paid.", ["It cost $4.2 million.", "Nobody paid."]),
    ('"Stop!" he said. "Go." She left.', ['"Stop!" he said.', '"Go."', "She left."]),
    ("By . Associated Press . it rained .", ["By .", "Associated Press .", "it rained ."]),
    ("No stop here\n\nNor here", ["No stop here", "Nor here"]),
    (
        "He waited until 3 p.m. then left... Really?! Yes",
        ["He waited until 3 p.m. then left...", "Really?!", "Yes"],
    ),
    ("  \n ", []),
    ("It rained ||||| It snowed. It cleared. |||||", ["It rained", "It snowed.", "It cleared."]),
]


@pytest.mark.parametrize(("text", "sentences"), SENTENCES)
def test_sentences_by_rule(text, sentences):
    assert rouge.split_sentences(text) == sentences


def test_rouge_by_hand():
    # 3 of 4 words and 2 of 3 pairs shared on both sides; the longest common subsequence is "the cat
    # sat"
    scores = rouge.score("the cat sat up", "the cat sat down")
    assert scores == pytest.approx({"rouge1": 75, "rouge2": 200 / 3, "rougeL": 75, "rougeLsum": 75})


def test_rouge_stems_and_ignores_case():
    assert rouge.score("CATS jumping", "cat jumped")["rouge1"] == 100


def test_guard_10_rougelsum_sees_sentences_and_rougel_does_not():
    # the same two sentences in the other order: every sentence is found (Lsum), the longest
    # subsequence is one of them (L)
    scores = rouge.score("Snow hit Rome. Rain hit Oslo hard.", "Rain hit Oslo hard. Snow hit Rome.")
    assert scores["rougeLsum"] == 100
    assert scores["rougeL"] == pytest.approx(100 * 4 / 7)


@pytest.mark.parametrize("prediction", ["", " \n", "..."])
def test_an_empty_prediction_scores_zero(prediction):
    assert set(rouge.score(prediction, "the cat").values()) == {0}


def test_scores_equal_rouge_score_to_the_last_digit(articles):
    from rouge_score import rouge_scorer

    plain = rouge_scorer.RougeScorer(list(rouge.NAMES), use_stemmer=True)
    for row in articles:
        prediction, reference = "\n".join(rouge.split_sentences(row["article"])), row["highlights"]
        expected = plain.score(reference, prediction)
        assert rouge.score(row["article"], reference) == {
            name: 100 * expected[name].fmeasure for name in rouge.NAMES
        }


def test_processes_give_the_same_scores_in_the_same_order(articles):
    predictions, references = (
        [row["article"] for row in articles] * 20,
        [row["highlights"] for row in articles] * 20,
    )
    alone = rouge.score_all(predictions, references, processes=1)
    together = rouge.score_all(predictions, references, processes=2)
    assert all((alone[name] == together[name]).all() for name in rouge.NAMES)
    assert len(alone["rouge1"]) == 240


def test_salience_by_hand():
    # words: 2 common of 3 + 2; pairs: 1 common of 2 + 1
    assert rouge.salience(["the red fox", "a dog"], "red fox") == pytest.approx(
        [50 * (4 / 5 + 2 / 3), 0]
    )


def test_the_oracle_adds_sentences_while_the_sum_of_rouge_1_and_2_rises():
    article = "A dog barked. The mayor quit on Monday. Nothing else took place. A bridge fell down."
    assert rouge.oracle(article, "Mayor quit.\nBridge fell.") == [1, 3]
    assert rouge.oracle(article, "zebra") == []


def test_the_oracle_does_not_take_what_lowers_the_score():
    # the long sentence repeats the short one's words among many others
    assert rouge.oracle(
        "The mayor quit. Yesterday it was said that the mayor quit and then went home by bus.",
        "The mayor quit.",
    ) == [0]


def test_the_oracle_counts_a_repeated_word_as_often_as_the_highlights_do():
    # "red red red" holds one of the highlights' two words once (F1 2/5), "blue" has 2/3; both
    # together 4/6, no more than "blue" alone
    assert rouge.greedy_oracle(["red red red", "blue"], "red blue") == [1]
    assert rouge.salience(["red red red", "blue"], "red blue") == pytest.approx(
        [50 * 2 / 5, 50 * 2 / 3]
    )


def test_lead_and_random_pass_over_lines_of_a_few_words():
    article = "By . Associated Press . " + " ".join(
        f"Sentence number {word} is here today." for word in ("one", "two", "three", "four")
    )
    lead = rouge.lead(article)
    assert lead.split("\n") == [
        f"Sentence number {word} is here today." for word in ("one", "two", "three")
    ]
    drawn = [
        rouge.random_sentences(article, 3, rng=np.random.default_rng(seed)) for seed in range(20)
    ]
    assert all(len(text.split("\n")) == 3 and "Associated" not in text for text in drawn)
    assert len(set(drawn)) == 4  # each of the four ways to leave one out, in the article's order


def test_short_articles_have_a_lead():
    assert rouge.lead("Hi there.") == "Hi there."
    assert rouge.random_sentences("Hi there.", 3, rng=np.random.default_rng(0)) == "Hi there."


def test_copy_rate_by_hand():
    article = "one two three four five six"
    assert rouge.copy_rate("one two three four five", article) == 1
    assert rouge.copy_rate("one two three four nine", article) == 0.5  # one of two runs of four
    assert rouge.copy_rate("Two, three!", article) == 1  # a text shorter than four words is one run
    assert rouge.copy_rate("six one", article) == 0
    assert rouge.copy_rate("", article) == 0
