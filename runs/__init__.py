"""What every script needs: flags, console, files, run records, devices, models and pairs opened."""

import importlib.util
from pathlib import Path


def _refuse_another_eap() -> None:
    """Raise ImportError where `import eap` takes another package: EAP-IG's is called `eap` too."""
    ours = Path(__file__).resolve().parents[1] / "eap"
    spec = importlib.util.find_spec("eap")
    theirs = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
    if theirs != ours:
        raise ImportError(
            f"expected the package `eap` of this project, {ours}, got {theirs or 'none'} (EAP-IG's "
            f"has the same name): put {ours.parent} first in PYTHONPATH, or leave the other one out"
        )


_refuse_another_eap()
