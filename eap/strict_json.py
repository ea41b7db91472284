"""JSON as it was meant: each name of an object once. json itself takes the last of two."""

import json
from pathlib import Path


class Twice(ValueError):
    """An object has a name twice."""


def loads(text: str):
    """What a JSON text holds.

    Raises ValueError for what is not JSON (json.JSONDecodeError) or cannot be read, and Twice for
    an object with a name that is there twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_names_once)
    except RecursionError as error:
        raise ValueError("lists or objects in each other too deeply") from error


def _names_once(items: list[tuple]) -> dict:
    """The object of these items. Raises Twice for a name that comes again."""
    parsed = dict(items)
    if len(parsed) < len(items):
        names = [name for name, _ in items]
        twice = next(name for name in parsed if names.count(name) > 1)
        raise Twice(f"{twice!r} is there twice")
    return parsed


def items(text: str):
    """Yield the items of a JSON array. Raises ValueError as `loads` does, at what is wrong."""
    decoder = json.JSONDecoder(object_pairs_hook=_names_once)
    place = _after_space(text, 0) + 1  # behind the bracket
    while text[(place := _after_space(text, place)) : place + 1] != "]":
        item, place = decoder.raw_decode(text, place)
        yield item
        place = _after_space(text, place)
        if text[place : place + 1] == ",":
            place += 1
        elif text[place : place + 1] != "]":
            raise json.JSONDecodeError("Expecting ',' delimiter", text, place)
    if end := text[place + 1 :].strip():
        raise json.JSONDecodeError(f"Extra data {end[:20]!r}", text, place + 1)


def _after_space(text: str, place: int) -> int:
    while text[place : place + 1] in (" ", "\n", "\r", "\t"):
        place += 1
    return place


def not_by_lines(path) -> str | None:
    """What a file starts with if it is not one object a line but JSON all the same, in words."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig").lstrip()
        parsed, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None
    if isinstance(parsed, list):
        return "an array"
    whole = isinstance(parsed, dict) and "\n" not in text[:end]
    return None if whole else "an object over several lines"
