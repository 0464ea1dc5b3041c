from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffst_cli.playable import eight_bits, fit, open_playable
from diffst_cli.probe import probe
from diffst_cli.reader import read_frames


def test_sixteen_bits_become_the_nearest_of_eight():
    deep = np.arange(65536, dtype=np.uint16).reshape(-1, 1, 1).repeat(3, axis=2)
    exact = np.rint(deep / 257).astype(np.uint8)
    np.testing.assert_array_equal(eight_bits(deep), exact)


def test_eight_bits_stay_as_they_are():
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    np.testing.assert_array_equal(eight_bits(picture), picture)


def test_smaller_pictures_are_enlarged_by_lanczos_and_larger_ones_averaged():
    picture = np.random.default_rng(1).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    lanczos = cv2.resize(picture, (24, 16), interpolation=cv2.INTER_LANCZOS4)
    np.testing.assert_array_equal(fit(picture, (24, 16)), lanczos)
    means = picture.reshape(4, 2, 6, 2, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(fit(picture, (6, 4)), means, atol=0.5)
    assert fit(picture, (12, 8)) is picture


def test_video_is_what_every_player_takes(tmp_path: Path):
    path = tmp_path / "plain.mp4"
    times = [Fraction(0), Fraction(1, 10), Fraction(1, 4)]
    pipe = open_playable(
        path,
        size=(64, 48),
        frame_rate=Fraction(10),
        constant_rate=False,
        crf=18,
        preset="ultrafast",
        max_bits_per_second=500_000,
    )
    for grey, time in zip((40, 120, 200), times, strict=True):
        pipe.write(np.full((48, 64, 3), grey, np.uint8), time)
    pipe.close()
    info = probe(path)
    assert (info.codec, info.pixel_format, info.colour.matrix) == ("h264", "yuv420p", "bt709")
    frames = list(read_frames(info))
    assert [frame.time for frame in frames] == times
    assert [round(float(frame.image.mean())) for frame in frames] == [40, 120, 200]
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # plays before it is loaded whole


def test_odd_sides_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="even sides, not 63x48"):
        open_playable(
            tmp_path / "odd.mp4",
            size=(63, 48),
            frame_rate=Fraction(10),
            constant_rate=True,
            crf=18,
            preset="ultrafast",
        )
