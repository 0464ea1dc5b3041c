"""A piece is read back before it counts as finished."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from diffst_cli import pieces
from diffst_cli.checks import Packets, read_packets
from diffst_cli.errors import UserError
from diffst_cli.pieces import PieceWriter, hash_piece
from diffst_cli.probe import probe
from diffst_cli.writer import Output
from tests.outputs import grey_frames, job_for, make_clip


def test_a_piece_that_holds_a_frame_at_another_time_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    info = probe(make_clip(tmp_path / "clip.mp4", num_frames=2))
    output = Output(job_for(info, tmp_path / "out.mp4"), info)

    def one_late(path: Path, index: int) -> Packets:
        found = read_packets(path, index)
        first, second, third = found.video_times
        return replace(found, video_times=[first, second + 1e-5, third])

    monkeypatch.setattr(pieces, "read_packets", one_late)
    with PieceWriter(tmp_path, 0, output.piece_settings) as writer:
        for image, time in grey_frames(info, (64, 48), [Fraction(n, 25) for n in range(3)]):
            writer.write(image, time)
        with pytest.raises(UserError, match="the encoder kept 2 of 3 frames"):
            writer.finish()


def test_pictures_are_hashed_in_their_order_whatever_the_folder_lists_first(tmp_path: Path):
    hashes = set()
    for order in ([1, 2, 3], [3, 1, 2], [2, 3, 1]):
        folder = tmp_path / "".join(map(str, order))
        folder.mkdir()
        for number in order:
            (folder / f"{number:09d}.png").write_bytes(bytes([number]))
        hashes.add(hash_piece(folder))
    assert len(hashes) == 1
