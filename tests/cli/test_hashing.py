import hashlib
from pathlib import Path

from diffst_cli.hashing import BLOCK_BYTES, sha256


def test_files_are_hashed_as_if_they_were_one(tmp_path: Path):
    first, second = bytes(range(256)) * (BLOCK_BYTES // 256 + 1), b"\0end"
    (tmp_path / "a").write_bytes(first)
    (tmp_path / "b").write_bytes(second)
    hashed = sha256(tmp_path / "a", tmp_path / "b")
    assert hashed == hashlib.sha256(first + second).hexdigest()
    assert hashed != sha256(tmp_path / "b", tmp_path / "a")
