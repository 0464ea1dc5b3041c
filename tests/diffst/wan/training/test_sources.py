import dataclasses
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from diffst.training.media import read_clip, read_info
from diffst.wan.training.manifest import Clip
from diffst.wan.training.sources import decode, packed, read_facts, read_frames, read_image
from tests.diffst.wan.training.footage import RATE, moving, video_clip, write_video
from tests.media import HOSTILE_NAME, make_rotated, make_video


@pytest.mark.parametrize("start", [0, 1, 9, 13])
def test_frames_of_a_clip_are_exactly_those(tmp_path: Path, start: int):
    frames = moving(20)
    clip = video_clip(write_video(tmp_path / HOSTILE_NAME, frames), 7, start=start)
    np.testing.assert_array_equal(read_frames(clip, 2, 4), frames[start + 2 : start + 6])


@pytest.mark.parametrize(("num_frames", "start"), [(12, 6), (20, 17), (6, 0)])
def test_a_video_that_cannot_seek_is_read_from_its_beginning(tmp_path: Path, num_frames, start):
    frames = moving(num_frames)
    path = write_video(tmp_path / "a.ts", frames)  # MPEG-TS has no index and starts late
    times = [picture.time for picture in decode(path)]
    clip = dataclasses.replace(video_clip(path, 3), start=times[start] or Fraction(0))
    np.testing.assert_array_equal(read_frames(clip, 0, 3), frames[start : start + 3])


def test_frames_that_are_not_there_are_said(tmp_path: Path):
    clip = video_clip(write_video(tmp_path / "a.mp4", moving(5)), 9)
    with pytest.raises(ValueError, match=r"a\.mp4` has fewer frames"):
        read_frames(clip, 2, 4)


def test_a_turned_video_is_upright(tmp_path: Path):
    path = make_rotated(tmp_path / "turned.mp4", 90)
    picture = next(iter(decode(path)))
    image = picture.rgb()
    assert picture.size == image.shape[:2] == (64, 48)
    # Stored with green on top, red left: turned clockwise green is on the right, red on top.
    assert image[4, -6].argmax() == 1
    assert image[4, 10].argmax() == 0
    assert image[-4, 10].argmax() == 2


@pytest.mark.parametrize("matrix", ["bt709", "bt2020", "smpte240m"])
def test_a_stated_matrix_is_the_one_that_is_used(tmp_path: Path, matrix: str):
    tag = {"bt2020": "bt2020nc"}.get(matrix, matrix)
    exact = "out_range=tv:flags=accurate_rnd+full_chroma_int"
    path = make_video(
        tmp_path / "green.mp4",
        size=(64, 64),
        num_frames=3,
        filters=f"drawbox=c=0x20C040:t=fill,format=rgb24,scale=out_color_matrix={matrix}:{exact},"
        f"format=yuv420p,setparams=colorspace={tag}:range=tv",
        options=("-qp", "0"),
    )
    for image in (next(iter(decode(path))).rgb(), read_clip(read_info(path))[0]):
        np.testing.assert_allclose(image[32, 32].astype(int), (32, 192, 64), atol=3)


def test_a_matrix_that_is_not_known_is_refused(tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", filters="setparams=colorspace=ycgco")
    with pytest.raises(ValueError, match="a colour matrix that is not known here, number 8"):
        read_info(path)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_a_picture_is_read_as_it_is(tmp_path: Path, suffix: str):
    image = moving(1)[0]
    path = tmp_path / f"é 日本{suffix}"
    cv2.imwrite(str(path), image[..., ::-1])
    clip = Clip(path=path, kind="image", width=96, height=64)
    np.testing.assert_array_equal(read_image(clip), image)
    np.testing.assert_array_equal(read_frames(clip, 0, 1), image[None])


@pytest.mark.parametrize("content", [b"", b"no picture"])
def test_what_is_no_picture_or_video_is_said(tmp_path: Path, content: bytes):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot read"):
        read_image(Clip(path=path, kind="image", width=1, height=1))
    with pytest.raises(ValueError, match="cannot read"):
        read_facts(path)
    with pytest.raises(ValueError, match="cannot read"):
        list(decode(tmp_path / "nowhere.mp4"))


def test_a_header_says_size_rate_and_hdr(tmp_path: Path):
    plain = read_facts(make_video(tmp_path / "a.mp4", rate="30000/1001"))
    assert (plain.width, plain.height, plain.is_hdr) == (64, 48, False)
    assert plain.frame_rate == Fraction(30000, 1001)
    pq = make_video(
        tmp_path / "hdr.mp4", filters="setparams=color_trc=smpte2084:colorspace=bt2020nc"
    )
    assert read_facts(pq).is_hdr


def test_a_packed_clip_is_the_clip_with_hardly_any_loss(tmp_path: Path):
    frames = moving(12)
    clip = video_clip(write_video(tmp_path / "a.mp4", frames), 5, start=4)
    data = packed(clip)
    shard = tmp_path / "shard"
    shard.write_bytes(b"\0" * 512 + data + b"\0" * 512)
    inside = dataclasses.replace(
        clip, path=shard, offset=512, num_bytes=len(data), start=Fraction(0)
    )
    error = read_frames(inside, 0, 5).astype(float) - frames[4:9]
    assert 10 * np.log10(255**2 / (error**2).mean()) > 37  # the texture is hard to code
    assert np.abs(error.mean((0, 1, 2))).max() < 0.3  # no shift of colour
    shard_file = tmp_path / "alone.mp4"
    shard_file.write_bytes(data)
    assert read_facts(shard_file).frame_rate == RATE
