"""Odd sizes, factors and lengths through the real command: every frame there, near the input."""

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffst_cli.probe import probe
from diffst_cli.reader import read_frames
from tests.end_to_end.command import diffst
from tests.media import BT709_TAGS, make_video, run_ffmpeg

NEAR = 12  # codes on the mean; the test picture has hard edges, and both files are compressed


def pictures(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in read_frames(probe(path))]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "num_frames", "scale", "fps_x", "out_size", "out_frames"),
    [
        ((2, 2), 5, "1.5", "2.5", (3, 3), 13),
        ((6, 8), 2, "8", "4", (48, 64), 8),
        ((16, 16), 1, "4", "2", (64, 64), 2),
        ((34, 18), 3, "1", "1", (34, 18), 3),
        ((50, 38), 3, "2.7", "8", (135, 103), 24),
        ((700, 500), 2, "1.5", "2", (1050, 750), 4),
    ],
)
def test_any_size_factor_and_length(
    tmp_path: Path, size, num_frames, scale, fps_x, out_size, out_frames
):
    source = make_video(tmp_path / "in.mkv", size=size, num_frames=num_frames)
    done = diffst(
        "upscale", "in.mkv", "out.mkv", "--scale", scale, "--fps-x", fps_x, "--codec", "ffv1",
        "--receipt", "out.json", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.json").read_text())["frames_out"] == out_frames
    given, made = pictures(source), pictures(tmp_path / "out.mkv")
    assert len(made) == out_frames
    for k in range(out_frames):
        moment = Fraction(k) / Fraction(fps_x)
        if moment.denominator > 1 or moment >= num_frames:
            continue  # between keyframes, or after the last
        assert made[k].shape == (out_size[1], out_size[0], 3)
        back = cv2.resize(made[k], size, interpolation=cv2.INTER_AREA)
        assert np.abs(back.astype(int) - given[int(moment)]).mean() < NEAR


@pytest.mark.slow
def test_no_frame_shows_both_sides_of_a_cut(tmp_path: Path):
    shots = ";".join(
        f"color=c={colour}:size=96x64:rate=25:duration=0.4,noise=alls=30:allf=t,{BT709_TAGS}[{name}]"
        for name, colour in (("a", "0x303030"), ("b", "0xd0d0d0"))
    )
    run_ffmpeg(
        "-filter_complex", f"{shots};[a][b]concat", "-pix_fmt", "yuv420p", "-crf", "12",
        tmp_path / "cut.mp4",
    )  # fmt: skip
    done = diffst("upscale", "cut.mp4", "out.mp4", "--fps-x", "4", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    levels = np.array([picture.mean() for picture in pictures(tmp_path / "out.mp4")])
    assert len(levels) == 80
    dark, bright = levels < 0x30 + 6, levels > 0xD0 - 6
    assert (dark | bright).all()
    first_bright = int(bright.argmax())  # what lies between two shots shows the nearer one
    assert 36 < first_bright <= 40
    assert bright[first_bright:].all()


@pytest.mark.slow
def test_a_static_shot_stays_static(tmp_path: Path):
    make_video(
        tmp_path / "still.mkv", size=(120, 90), num_frames=30,
        filters=f"loop=loop=-1:size=1,trim=end_frame=30,{BT709_TAGS}",
        encoder=("-c:v", "ffv1"),
    )  # fmt: skip
    done = diffst(
        "upscale", "still.mkv", "out.mkv", "--scale", "3", "--fps-x", "2", "--codec", "ffv1",
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, *others = pictures(tmp_path / "out.mkv")
    assert len(others) == 59
    assert all(np.array_equal(first, other) for other in others)
