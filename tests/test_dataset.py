"""Pairs: what is refused, what is padded, where the targets stand."""

import json

import pytest
import torch

from eap import InputError, dataset
from eap.dataset import Pair

ROW = {"id": "a", "clean_ids": [1, 2, 3, 4], "corrupted_ids": [1, 9, 3, 4], "summary_start": 2}


def write(tmp_path, *rows):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_reads_what_is_required_and_what_is_optional(tmp_path):
    pair = dataset.read_pairs(
        write(tmp_path, ROW | {"masked": [[1, 2]], "control_ids": [7, 2, 3, 4]})
    )[0]
    assert pair.corrupted_spans == ((1, 2),)
    assert pair.control().corrupted_ids == [7, 2, 3, 4]
    with pytest.raises(InputError, match="control_ids"):
        dataset.read_pairs(write(tmp_path, ROW))[0].control()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summary_start": 4}, "summary_start"),
        ({"clean_ids": [1, 2, 3, 99]}, "below 50"),
        ({"clean_ids": None}, "row 2"),
        ({"clean_ids": [1, 2, 3, -1]}, "at least 0, got -1"),
        ({"id": ["a"]}, "id that is neither"),
        ({"corrupted_ids": []}, "no list of tokens"),
        ({"corrupted_ids": [1, 9, 3, 5]}, "row 2: expected the same tokens from summary_start on"),
        ({"control_ids": [1, 2, 9, 4]}, "row 2: expected the same tokens from summary_start on"),
    ],
)
def test_bad_rows_are_named(tmp_path, change, message):
    path = write(tmp_path, ROW | {"id": "first"}, ROW | change)
    with pytest.raises(InputError, match=message):
        dataset.read_pairs(path, vocabulary_size=50)


def test_a_name_that_is_twice_in_a_row_is_refused_by_number(tmp_path):
    path = tmp_path / "pairs.jsonl"
    twice = json.dumps(ROW | {"id": "b"})[:-1] + ', "corrupted_ids": [1, 8, 3, 4]}'
    path.write_text(json.dumps(ROW) + "\n" + twice + "\n", encoding="utf-8")
    with pytest.raises(InputError, match="row 2: .*'corrupted_ids' is there twice"):
        dataset.read_pairs(path)


def test_a_file_that_is_no_pairs_file_is_told_from_a_missing_one(tmp_path):
    path = tmp_path / "pairs.jsonl"
    for data, message in (
        (b"[1]\n", "one JSON object a line, got an array"),
        (json.dumps(ROW, indent=1).encode(), "a line, got an object over several lines"),
        (b"{", "not JSON"),
        ("\xff".encode("latin-1"), "UTF-8"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            dataset.read_pairs(path)
    path.write_bytes(
        b"\xef\xbb\xbf" + json.dumps(ROW).encode()
    )  # a byte order mark, as some editors write
    assert len(dataset.read_pairs(path)) == 1


def test_too_long_for_the_model_or_missing(tmp_path):
    with pytest.raises(InputError, match="at most 3 tokens"):
        dataset.read_pairs(write(tmp_path, ROW), context_length=3)
    with pytest.raises(InputError, match="found none"):
        dataset.read_pairs(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="at least one"):
        dataset.read_pairs(write(tmp_path))


def test_batches_hold_targets_one_position_before_their_token():
    pairs = [Pair("a", [1, 2, 3], [1, 5, 3], 2), Pair("b", [4, 5, 6, 7, 8], [4, 0, 6, 7, 8], 3)]
    (batch,) = dataset.batches(pairs, 2)
    assert batch.rows == [1, 0]  # longest first
    assert batch.clean_ids.tolist() == [[4, 5, 6, 7, 8], [1, 2, 3, 0, 0]]
    assert batch.mask.sum(1).tolist() == [5, 3]
    assert list(
        zip(
            batch.target_rows.tolist(),
            batch.target_positions.tolist(),
            batch.target_ids.tolist(),
            strict=True,
        )
    ) == [(0, 2, 7), (0, 3, 8), (1, 1, 3)]


def test_partly_corrupted_changes_that_share_of_the_differing_tokens():
    pair = Pair("a", list(range(10)), [100 + i if 2 <= i < 8 else i for i in range(10)], 9)
    half = dataset.partly_corrupted(pair, 0.5, generator=torch.Generator().manual_seed(0))
    assert sum(a != b for a, b in zip(half.corrupted_ids, pair.clean_ids, strict=True)) == 3
    assert (
        dataset.partly_corrupted(pair, 1.0, generator=torch.Generator()).corrupted_ids
        == pair.corrupted_ids
    )


def test_pairs_of_another_tokenizer_are_refused():
    class Letters:
        all_special_ids = ()

        def decode(self, ids, skip_special_tokens):
            return "".join(chr(97 + i) for i in ids)

        def __call__(self, text, **options):
            return {"input_ids": [ord(letter) - 97 for letter in text.strip()]}

    pair = Pair("a", [0, 1, 2], [0, 0, 2], 1, target_text="bc")
    assert dataset.check_tokenizer([pair], Letters(), path="pairs.jsonl") is None
    with pytest.raises(InputError, match="tokenizer"):
        dataset.check_tokenizer(
            [Pair("a", [0, 2, 1], [0, 0, 1], 1, target_text="bc")], Letters(), path="pairs.jsonl"
        )
    joined = [Pair("0", [3], [3], 0), pair, Pair("b", [0, 2, 1], [0, 0, 1], 1, target_text="bc")]
    with pytest.raises(InputError, match="pair b reads"):  # two files in one, the first row untold
        dataset.check_tokenizer(joined, Letters(), path="pairs.jsonl")
    assert "not checked" in dataset.check_tokenizer([pair], None, path="pairs.jsonl")
    assert "not checked" in dataset.check_tokenizer(joined[:1], Letters(), path="pairs.jsonl")


def test_a_summary_that_is_no_text_is_refused(tmp_path):
    row = {"clean_ids": [1, 2], "corrupted_ids": [3, 2], "summary_start": 1, "summary": 5}
    (tmp_path / "p.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match="row 1: .* a summary that is no text"):
        dataset.read_pairs(tmp_path / "p.jsonl")
