"""salience.json: rows by fate, tokens corrupted, salience by sentence position."""

import numpy as np

from eap.resampling import mean_interval
from study import captions
from study.pairs.building import Built
from study.pairs.words import lines
from summarization import words

POSITIONS = 20  # sentences from here on are not counted
FEWEST = 5  # nor a position that fewer articles reach


def of_pairs(facts: dict, built: Built, *, parts: tuple[list, list], seed: int) -> dict:
    """What salience.json holds; `facts` say what was made of what, `parts` are the pairs for
    extraction and those for evaluation.
    """
    examples = built.examples
    rouge_words = words.describe(
        [example.summary for example in examples], [example.article for example in examples]
    )
    result = {
        "format": 1,
        **facts,
        "seed": seed,
        "n_extraction": len(parts[0]),
        "n_evaluation": len(parts[1]),
        "rouge_words": rouge_words,
        **summarise(examples, built.pairs, dropped=built.dropped, seed=seed),
    }
    result["lines"] = lines(result) + words.sentences(rouge_words)
    result["captions"] = captions.of("salience")
    return result


def summarise(examples, rows, *, dropped, seed: int) -> dict:
    """Every number that the script prints or draws: rows by fate, tokens corrupted, salience by
    sentence position.
    """
    masked = np.array([_tokens(row["masked"]) for row in rows])
    control = np.array([_tokens(row["control_masked"]) for row in rows])
    articles = np.array([row["summary_start"] for row in rows])
    return {
        "n_rows": len(rows) + sum(dropped.values()),
        "n_kept": len(rows),
        "dropped": dict(sorted(dropped.items())),
        "truncated": sum(example.n_cut > 0 for example in examples),
        "tokens_cut": sum(example.n_cut for example in examples),
        "control_short": int((control < masked).sum()),
        "control_empty": int((control == 0).sum()),
        "article_and_cue_tokens": mean_interval(articles, seed),
        "summary_tokens": mean_interval(
            [len(row["clean_ids"]) - row["summary_start"] for row in rows], seed
        ),
        "sentences": mean_interval([len(row["sentences"]) for row in rows], seed),
        "salient_sentences": mean_interval([len(row["masked"]) for row in rows], seed),
        "corrupted_percent": mean_interval(100 * masked / articles, seed),
        "control_percent": mean_interval(100 * control / articles, seed),
        "by_position": by_position(examples, seed),
    }


def by_position(examples, seed: int) -> list[dict]:
    """For each sentence position, from 1: mean salience, and the percentage of articles whose
    oracle picks it.
    """
    table = []
    for position in range(POSITIONS):
        reaching = [example for example in examples if len(example.sentences) > position]
        if len(reaching) < min(FEWEST, len(examples)):
            break
        salience = [example.salience[position] for example in reaching]
        picked = [100.0 * (position in example.salient) for example in reaching]
        row = {
            "position": position + 1,
            "salience": mean_interval(salience, seed),
            "picked_percent": mean_interval(picked, seed),
        }
        table.append(row)
    return table


def _tokens(spans) -> int:
    return sum(end - start for start, end in spans)
