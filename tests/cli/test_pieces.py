"""A piece is read back before it counts as finished."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from diffst_cli import pieces
from diffst_cli.checks import Packets, read_packets
from diffst_cli.errors import UserError
from diffst_cli.hashing import sha256
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


@pytest.mark.parametrize("order", [(3, 1, 2), (2, 3, 1)])
def test_pictures_are_hashed_in_their_order_whatever_the_folder_lists_first(
    order: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pictures = [tmp_path / f"{number:09d}.png" for number in (1, 2, 3)]
    for picture in pictures:
        picture.write_text(picture.name)
    monkeypatch.setattr(Path, "iterdir", lambda _folder: (pictures[n - 1] for n in order))
    assert hash_piece(tmp_path) == sha256(*pictures)
