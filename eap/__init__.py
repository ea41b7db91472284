"""Circuits in a transformer language model: edge attribution patching, circuit runs, comparison."""

# With fewer examples an interval over them is too narrow to carry a claim, and none is made
# (guard 26).
MIN_EXAMPLES = 8


class InputError(ValueError):
    """What a user can cause and mend: says what was expected, what came and what to do.

    Scripts print it as one line and exit 2.
    """
