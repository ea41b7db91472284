"""Circuits in a transformer language model: edge attribution patching, circuit runs, comparison."""


class InputError(ValueError):
    """What a user can cause and mend: says what was expected, what came and what to do. Scripts print it as one line and exit 2."""
