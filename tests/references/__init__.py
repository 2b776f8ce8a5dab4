"""Independent oracles, and the recorded numbers of other systems; nothing of the package."""

import json
from pathlib import Path

RECORDED = Path(__file__).parent.parent / "recorded"


def recorded(system: str, prefix: str = "") -> dict[str, dict]:
    """The recorded cases of a system, by id."""
    text = (RECORDED / f"{system}.json").read_text()
    return {c["id"]: c for c in json.loads(text)["cases"] if c["id"].startswith(prefix)}
