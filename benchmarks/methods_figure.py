"""The figure of `benchmarks/methods.py`."""


def plot(rows, planted):
    """A Figure."""
    from eap.style import subplots

    return subplots()[0]
