"""What single codecs and containers cannot hold is left out, or refused before any work."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from diffst_cli.probe import Colour, VideoInfo, probe
from tests import media
from tests.outputs import job_for, make_clip, write


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(make_clip(tmp_path_factory.mktemp("limits") / "clip.mp4", num_frames=2))


def tagged(info: VideoInfo, **tags: str | None) -> VideoInfo:
    """`info` that states limited BT.709 and nothing else, apart from `tags`."""
    colour = Colour(
        matrix="bt709", range="tv", primaries=None, transfer=None, chroma_location="left"
    )
    return replace(info, colour=replace(colour, **tags))


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_prores_of_full_range_video_is_of_limited_range(
    suffix: str, clip: VideoInfo, tmp_path: Path
) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, 32:] = 255
    output = tmp_path / f"o{suffix}"
    receipt = write(
        tagged(clip, range="pc", chroma_location="center"),
        job_for(clip, output, codec="prores", preset=None),
        [(image, Fraction(0))],
    )
    assert receipt.ok, [check for check in receipt.checks if not check.ok]
    raw = tmp_path / "o.raw"
    media.run_ffmpeg(
        "-i", media.file_url(output), "-pix_fmt", "yuv422p10le", "-f", "rawvideo",
        media.file_url(raw),
    )  # fmt: skip
    luma = np.frombuffer(raw.read_bytes(), "<u2")[: 64 * 48].reshape(48, 64)
    assert luma[24, [8, 56]].tolist() == [64, 940]
