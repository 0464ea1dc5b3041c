"""The table of faults in docs/faults.md names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| [^|]+ \| [^|]+ \| `([^`:]+)::(test_\w+)` \|$", re.MULTILINE)
MIN_ROWS = 25


def test_every_fault_has_a_test():
    rows = ROW.findall((ROOT / "docs" / "faults.md").read_text(encoding="utf-8"))
    assert len(rows) >= MIN_ROWS
    missing = [
        f"{file}::{test}"
        for file, test in rows
        if f"def {test}(" not in (ROOT / "tests" / file).read_text(encoding="utf-8")
    ]
    assert missing == []
