"""Add what is vendored to a CycloneDX list of packages: python -m tools.vendored FILE."""

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

_HERE = Path(__file__).parent


def components() -> list[dict[str, Any]]:
    """Return what is vendored, as CycloneDX has it."""
    named = json.loads((_HERE / "package.json").read_text())["dependencies"]
    locked = json.loads((_HERE / "package-lock.json").read_text())["packages"]
    found = []
    for name, version in sorted(named.items()):
        url = f"pkg:npm/{quote(name)}@{version}"
        licence = locked[f"node_modules/{name}"]["license"].strip("()")
        found.append(
            {
                "bom-ref": url,
                "type": "library",
                "name": name,
                "version": version,
                "licenses": [{"expression": licence}],
                "purl": url,
            }
        )
    return found


def main() -> None:
    """Rewrite the file that the command line names."""
    path = Path(sys.argv[1])
    listed = json.loads(path.read_text())
    listed["components"] = [*listed["components"], *components()]
    path.write_text(json.dumps(listed, indent=2) + "\n")


if __name__ == "__main__":
    main()
