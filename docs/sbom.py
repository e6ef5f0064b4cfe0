"""What is locked, as a software bill of materials: `python docs/sbom.py FILE` (or `make release`) writes CycloneDX 1.6.

Choice: names and versions that requirements.lock has for this Python and system, licences from the metadata of what is
installed, and nothing of the moment, so that the same lock makes the same bytes. Cost: the form is written here
(cyclonedx.org/docs/1.6/json). Alternative: the package cyclonedx-bom, which brings a dozen others and a serial number
by chance.
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from importlib.metadata import PackageMetadata, metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
UNSAID = "unsaid"

# Licences as metadata of before PEP 639 writes them, by how a sentence or a classifier begins.
SPELT = {
    "MIT": "MIT", "Apache": "Apache-2.0", "BSD 3-Clause": "BSD-3-Clause", "3-Clause BSD": "BSD-3-Clause",
    "The BSD 2-Clause": "BSD-2-Clause", "New BSD": "BSD-3-Clause", "BSD": "BSD-3-Clause", "ISC": "ISC",
    "Python Software Foundation": "PSF-2.0", "PSF": "PSF-2.0", "Mozilla Public License 2.0": "MPL-2.0",
    "MPL-2.0": "MPL-2.0", "GPL-3.0": "GPL-3.0-only",
}  # fmt: skip


def locked(environment: dict[str, str] | None = None) -> dict[str, str]:
    """Name -> version of what requirements.lock names for this Python and system.

    `environment` says otherwise, in the names of the packaging specification ("python_full_version", "sys_platform").
    Raises ValueError: two versions of one package are meant for it.
    """
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    every = [Requirement(line) for line in lines if line and not line.startswith("#")]
    meant = [one for one in every if one.marker is None or one.marker.evaluate(environment)]
    versions = {one.name: str(one.specifier).removeprefix("==") for one in meant}
    if len(versions) < len(meant):
        raise ValueError(f"requirements.lock: two versions of a package for {environment or 'this Python'}")
    return versions


def licence(name: str) -> str:
    """The licence of an installed package as an SPDX expression; UNSAID where its metadata does not tell.

    Raises PackageNotFoundError: it is not installed.
    """
    said = metadata(name)
    return field(said, "License-Expression") or spelt(said) or UNSAID


def field(said: PackageMetadata, name: str) -> str:
    """One field of metadata, or ""."""
    return said[name] if name in said else ""  # noqa: SIM401 - the type has no `get`


def spelt(said: PackageMetadata) -> str:
    """The expression of older metadata: of its classifiers if there are any, else of its own words; "" of neither."""
    classes = [one.rpartition(" :: ")[2] for one in said.get_all("Classifier") or () if one.startswith("License :: ")]
    own = field(said, "License").partition("\n")[0]
    found = {known(one) for one in (classes if any(map(known, classes)) else re.split(r" AND | OR ", own))} - {""}
    return (" AND " if " AND " in own else " OR ").join(sorted(found))


def known(words: str) -> str:
    """The SPDX identifier of one licence in words, or ""; the longest beginning that fits decides."""
    fitting = [begin for begin in SPELT if words.startswith(begin)]
    return SPELT[max(fitting, key=len)] if fitting else ""


def component(name: str, version: str) -> dict[str, Any]:
    """One package as CycloneDX has it."""
    said = licence(name)
    licences = [{"license": {"name": "not said by its metadata"}}] if said == UNSAID else [{"expression": said}]
    purl = f"pkg:pypi/{name}@{version}"
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, "licenses": licences}


def bill() -> dict[str, Any]:
    """The whole bill: this package, and all that is locked."""
    own = metadata("webtext")
    parts = [component(name, version) for name, version in sorted(locked().items())]
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([own["Version"], parts]))
    purl = f"pkg:pypi/webtext@{own['Version']}"
    main = {"type": "application", "bom-ref": purl, "name": "webtext", "version": own["Version"], "purl": purl}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"component": main | {"licenses": [{"expression": own["License-Expression"]}]}},
        "components": parts,
        "dependencies": [{"ref": purl, "dependsOn": [one["bom-ref"] for one in parts]}],
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(bill(), indent=1) + "\n", "utf-8")
