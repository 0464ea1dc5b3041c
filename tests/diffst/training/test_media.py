import os
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from diffst.training.degradation import Codec, draw_degradation
from diffst.training.media import code_round_trip, read_clip, read_info
from diffst.wan.training.sources import decode, read_facts
from tests.media import HOSTILE_NAME, make_video

LOSSLESS = Codec(encoder="libx264", arguments=("-qp", "0"))


def colour_patches() -> np.ndarray:
    """1024 random colours, (3, 512, 512, 3), every patch 16 x 16."""
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    frame = colours.repeat(16, axis=0).repeat(16, axis=1)
    return np.stack([frame] * 3)


@pytest.mark.parametrize("matrix", ["bt709", "smpte170m"])
def test_lossless_coding_keeps_every_colour(matrix: str) -> None:
    frames = colour_patches()
    coded = code_round_trip(frames, LOSSLESS, frame_rate=Fraction(12), matrix=matrix)
    inside = np.s_[:, 7::16, 7::16]  # away from the patches' edges, which share chroma
    difference = coded[inside].astype(int) - frames[inside]
    # Three 8-bit YUV roundings come back as at most a few code values, without a bias.
    assert np.abs(difference).max() <= 5
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.15


@pytest.mark.parametrize("encoder", ["libx264", "libx265", "libvpx-vp9", "mpeg4", "mpeg2video"])
def test_every_drawn_encoder_gives_back_all_frames_at_an_odd_rate(encoder: str) -> None:
    draws = (
        draw_degradation(t, np.random.default_rng(s)) for s in range(400) for t in ("web", "old")
    )
    codec = next(c for drawn in draws for c in drawn.codecs if c.encoder == encoder)
    y, x = np.mgrid[:64, :96]
    frames = (
        np.stack([(y + x + 4 * k) % 256 for k in range(7)])
        .astype(np.uint8)[..., None]
        .repeat(3, -1)
    )
    coded = code_round_trip(frames, codec, frame_rate=Fraction(30000, 2002), matrix="bt709")
    assert coded.shape == frames.shape
    error = np.abs(coded.astype(int) - frames).mean(axis=(1, 2, 3))
    shifted = np.abs(coded[1:].astype(int) - frames[:-1]).mean(axis=(1, 2, 3))
    assert (error[1:] < shifted).all()


def test_failure_of_ffmpeg_is_told() -> None:
    with pytest.raises(RuntimeError, match="ffmpeg failed"):
        code_round_trip(
            colour_patches(),
            Codec(encoder="no_such", arguments=()),
            frame_rate=Fraction(25),
            matrix="bt709",
        )


@pytest.mark.parametrize(
    ("tag", "height", "matrix"),
    [
        ("bt709", 64, "bt709"),
        ("bt470bg", 64, "smpte170m"),
        (None, 64, "smpte170m"),
        (None, 720, "bt709"),
    ],
)
def test_matrix_is_the_stated_one_or_follows_the_height(
    tmp_path: Path, tag: str | None, height: int, matrix: str
) -> None:
    path = tmp_path / "clip.mp4"
    source = ["-f", "lavfi", "-i", f"color=c=0xc03020:s=64x{height}:r=24:d=0.125,format=yuv420p"]
    tags = ["-colorspace", tag] if tag else []
    ffmpeg = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([ffmpeg, "-loglevel", "error", *source, *tags, str(path)], check=True)
    info = read_info(path)
    assert (info.width, info.height, info.frame_rate, info.matrix) == (
        64,
        height,
        Fraction(24),
        matrix,
    )
    assert read_clip(info).shape == (3, height, 64, 3)
    assert read_clip(info, divisor=2).shape == (3, height // 2, 32, 3)


def test_a_clip_on_its_side_is_read_upright(tmp_path: Path) -> None:
    make = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error"]
    stored, turned = tmp_path / "stored.mp4", tmp_path / "turned.mp4"
    source = ["-f", "lavfi", "-i", "color=red:s=64x96:r=25:d=0.12,pad=128:96"]
    subprocess.run([*make, *source, "-pix_fmt", "yuv420p", str(stored)], check=True)
    turn = ["-display_rotation:v:0", "90", "-i", str(stored), "-c", "copy", str(turned)]
    subprocess.run([*make, *turn], check=True)
    info = read_info(turned)
    assert (info.width, info.height) == (96, 128)
    frames = read_clip(info)
    assert frames.shape[1:] == (128, 96, 3)
    is_red = frames[0, :, :, 0] > 128
    assert is_red[70:].all() or is_red[:58].all()
    assert is_red.mean() == pytest.approx(0.5, abs=0.05)


CONCAT = "ffconcat version 1.0\nfile secret.mp4\n"
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n"
ART = "\x1b[31mred\n" * 20


@pytest.mark.parametrize("content", [CONCAT, PLAYLIST, ART])
@pytest.mark.parametrize("name", ["a.mp4", "a.ans"])
def test_a_file_that_names_another_is_not_read_as_that(
    tmp_path: Path, name: str, content: str
) -> None:
    real = read_info(make_video(tmp_path / "secret.mp4"))
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ValueError, match=f"cannot read `.*{name}`: "):
        read_info(path)
    with pytest.raises(ValueError, match=f"cannot read `.*{name}`: "):
        read_clip(replace(real, path=path))
    with pytest.raises(ValueError, match=f"cannot read `.*{name}`: "):
        list(decode(path))
    with pytest.raises(ValueError, match=f"cannot read `.*{name}`: "):
        read_facts(path)


@pytest.mark.parametrize("name", [HOSTILE_NAME, "-y", "http:a%02d.mp4", "concat:a.mp4|b.mp4"])
def test_a_name_is_nothing_but_a_name(tmp_path: Path, monkeypatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "a.mp4", num_frames=3).rename(name)
    info = read_info(Path(name))
    assert (info.width, info.height) == (64, 48)
    assert len(read_clip(info)) == len(list(decode(Path(name)))) == 3


def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"a\.mp4`: it is not a regular file"):
        read_info(tmp_path / "a.mp4")
