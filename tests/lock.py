"""docs/sbom.py, which is in no package, and what it says that requirements.lock names for this Python."""

import importlib.util
from pathlib import Path

SPEC = importlib.util.spec_from_file_location("sbom", Path(__file__).resolve().parents[1] / "docs" / "sbom.py")
sbom = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(sbom)
LOCKED = sbom.locked()
