"""What every script needs: flags, console, files, run records, devices, models and pairs opened."""

import importlib.util
from pathlib import Path


def _refuse_another_eap() -> None:
    """Raise ImportError where `import eap` takes another package: EAP-IG's is called `eap` too."""
    own = Path(__file__).resolve().parents[1] / "eap"
    spec = importlib.util.find_spec("eap")
    imported = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
    if imported != own:
        raise ImportError(
            f"expected the package `eap` of this project, {own}, got {imported or 'none'} "
            f"(EAP-IG's has the same name): put {own.parent} first in PYTHONPATH, or leave the "
            "other one out"
        )


_refuse_another_eap()
