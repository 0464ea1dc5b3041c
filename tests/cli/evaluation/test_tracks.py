import errno
import os
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import cv2
import numpy as np
import pytest
import torch

from diffst.metrics import psnr
from diffst_cli.errors import UserError
from diffst_cli.evaluation.layouts import Clip
from diffst_cli.evaluation.measuring import ffmpeg_output, read_luma
from diffst_cli.evaluation.tracks import (
    TRACKS,
    Reference,
    Track,
    _is_cut_from,
    make_input,
    make_reference,
    take_input,
)
from diffst_cli.probe import VideoInfo, probe
from tests.cli.evaluation.test_measuring import write_luma
from tests.media import write_image

NUM_FRAMES = 7


def clip_of(source: Path) -> Clip:
    return Clip(name=source.stem, source=source)


def flat_frames(num_frames: int = NUM_FRAMES) -> torch.Tensor:
    """Frame i is all 40 + 20 i, 150x90."""
    levels = 40 + 20 * torch.arange(num_frames, dtype=torch.uint8)
    return levels.view(-1, 1, 1).repeat(1, 90, 150)


def moving_frames() -> torch.Tensor:
    """A texture that moves two pixels a frame, 150x90."""
    wide = torch.rand(1, 1, 12, 40, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(wide, (90, 300), mode="bicubic", align_corners=False)
    picture = fine[0, 0].mul(60).add(90).to(torch.uint8)
    return torch.stack([picture[:, 2 * i : 2 * i + 150] for i in range(NUM_FRAMES)])


def test_a_reference_is_the_source_cut_and_cropped_to_the_last_bit(tmp_path: Path):
    frames = moving_frames()
    source = write_luma(tmp_path / "clip.mkv", frames)
    reference = make_reference(clip_of(source), tmp_path / "work", 5)
    assert (reference.name, reference.width, reference.height) == ("clip", 144, 88)
    assert reference.frame_rate == Fraction(25)
    assert torch.equal(read_luma(reference.path), frames[:5, :88, :144])


@pytest.mark.parametrize("track", TRACKS.values(), ids=TRACKS)
def test_an_input_has_every_second_frame_at_a_quarter_of_the_size(tmp_path: Path, track: Track):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    reference = make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    path = make_input(reference, track, tmp_path / "work")
    luma = read_luma(path)
    assert luma.shape == (4, 22, 36)
    # coding and, for `old`, noise that leaves the mean alone
    assert luma.float().mean((1, 2)).tolist() == pytest.approx([40, 80, 120, 160], abs=1.5)
    assert probe(path).frame_rate == Fraction(25, 2)


def test_colour_is_stated(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    reference = make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    colour = probe(make_input(reference, TRACKS["web"], tmp_path / "work")).colour
    stated = (colour.matrix, colour.range, colour.primaries, colour.transfer)
    assert stated == ("bt709", "tv", "bt709", "bt709")


@pytest.mark.parametrize(("name", "factor"), [("clean", 1), ("web", 24), ("old", 30)])
def test_a_track_is_coded_at_the_protocols_rate_factor(tmp_path: Path, name: str, factor: int):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    reference = make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    written = make_input(reference, TRACKS[name], tmp_path / "work").read_bytes()
    assert f" crf={factor}.0 ".encode() in written  # where x264 says how it was set


def test_tracks_get_worse_from_clean_to_old(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", moving_frames())
    reference = make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    clean, web, old = (
        read_luma(make_input(reference, TRACKS[name], tmp_path / "work"))
        for name in ("clean", "web", "old")
    )
    small = (
        torch.nn.functional.interpolate(
            read_luma(reference.path)[::2, None].float(), scale_factor=0.25, mode="area"
        )[:, 0]
        .round()
        .to(torch.uint8)
    )
    quality = [psnr(frames, small).mean().item() for frames in (clean, web, old)]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] > quality[2] + 6


def test_a_degraded_input_is_the_same_bytes_every_time(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", moving_frames())
    paths = [
        make_input(
            make_reference(clip_of(source), tmp_path / work, NUM_FRAMES),
            TRACKS["old"],
            tmp_path / work,
        )
        for work in ("first", "second")
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_was_made_is_kept_until_its_source_changes(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    path = make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES).path
    for file in (path, source):
        os.utime(file, ns=(0, 0))
    make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    assert path.stat().st_mtime_ns == 0
    write_luma(source, flat_frames(5))
    make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    assert len(read_luma(path)) == 5


def test_nothing_unfinished_is_left_behind(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    reference = make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    reference.path.write_text("broken")
    with pytest.raises(UserError, match=r"ffmpeg cannot make `.*clip\.mp4` from `.*clip\.nut`: "):
        make_input(reference, TRACKS["web"], tmp_path / "work")
    assert list((tmp_path / "work" / "web").iterdir()) == []


def test_a_clip_too_small_to_measure_is_refused(tmp_path: Path):
    source = write_luma(tmp_path / "tiny.mkv", flat_frames()[:, :60])
    with pytest.raises(UserError, match=r"tiny\.mkv` is too small to measure: 150x60"):
        make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)


def test_a_single_frame_is_too_short_to_measure(tmp_path: Path):
    source = write_luma(tmp_path / "one.mkv", flat_frames(1))
    with pytest.raises(UserError, match=r"one\.mkv` is too short to measure: 1 frame; it takes 5"):
        make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)


def test_a_clip_too_short_to_measure_is_refused(tmp_path: Path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        write_image(folder / f"{index}.png", np.zeros((80, 80, 3), np.uint8))
    with pytest.raises(UserError, match=r"pictures` is too short to measure: 4 frames; it takes 5"):
        make_reference(clip_of(folder), tmp_path / "work", NUM_FRAMES)


def test_a_work_folder_may_begin_with_a_dash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    monkeypatch.chdir(tmp_path)
    reference = make_reference(clip_of(source), Path("-w"), NUM_FRAMES)
    assert len(read_luma(make_input(reference, TRACKS["clean"], Path("-w")))) == 4


def write_pictures(folder: Path, frames: torch.Tensor, name: str = "{:08}.png") -> Path:
    """Grey pictures of 8-bit luma, so that only rounding comes between, (T, H, W) uint8."""
    folder.mkdir(parents=True)
    for index, frame in enumerate(frames):
        picture = frame.numpy()[:, :, None].repeat(3, axis=2)
        assert cv2.imwrite(str(folder / name.format(index)), picture)
    return folder


def limited(frames: torch.Tensor) -> torch.Tensor:
    """Full-range grey as limited-range luma."""
    return 16 + frames.float() * 219 / 255


@pytest.mark.parametrize("name", ["{:08}.png", "im{}.png", "Image {:03}.png"])
def test_pictures_make_a_reference(tmp_path: Path, name: str):
    frames = moving_frames()
    source = write_pictures(tmp_path / "a 100% set" / "clip.1", frames, name)
    reference = make_reference(Clip(name="clip.1", source=source), tmp_path / "wo%rk", 5)
    assert (reference.name, reference.width, reference.height) == ("clip.1", 144, 88)
    error = read_luma(reference.path).float() - limited(frames[:5, :88, :144])
    assert error.abs().max() <= 1


def test_pictures_make_a_reference_where_there_are_no_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "symlink_to", no_links)
    clip = Clip(name="clip", source=write_pictures(tmp_path / "set", moving_frames()))
    assert len(read_luma(make_reference(clip, tmp_path / "work", 5).path)) == 5


def test_rgb_video_becomes_bt709_as_pictures_do(tmp_path: Path):
    coloured = ["-vf", "hue=h=60:s=3,format=gbrp", "-c:v", "ffv1"]
    video = tmp_path / "video.mkv"
    ffmpeg_output(["-f", "lavfi", "-i", "testsrc2=s=96x64:d=0.4", *coloured, str(video)], "make")
    (tmp_path / "frames").mkdir()
    ffmpeg_output(["-i", str(video), str(tmp_path / "frames" / "%02d.png")], "split")
    lumas = [
        read_luma(make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES).path)
        for source in (video, tmp_path / "frames")
    ]
    assert torch.equal(*lumas)


def test_a_reference_is_made_again_when_a_picture_changes(tmp_path: Path):
    frames = moving_frames()
    clip = Clip(name="clip", source=write_pictures(tmp_path / "clip", frames))
    first = read_luma(make_reference(clip, tmp_path / "work", 5).path)
    changed = write_pictures(tmp_path / "other", 255 - frames) / "00000001.png"
    changed.replace(tmp_path / "clip" / "00000001.png")
    second = read_luma(make_reference(clip, tmp_path / "work", 5).path)
    assert [torch.equal(a, b) for a, b in zip(first, second, strict=True)] == [
        True,
        False,
        True,
        True,
        True,
    ]


def test_a_sets_own_input_is_every_second_frame_as_it_is(tmp_path: Path):
    frames = moving_frames()
    clip = Clip(name="clip", source=write_pictures(tmp_path / "GT" / "clip", frames))
    reference = make_reference(clip, tmp_path / "work", NUM_FRAMES)
    small = frames[:, 2::4, 2::4]  # 22x37 of 90x150, as the authors would have made it
    own = write_pictures(tmp_path / "LQ" / "clip", small)
    path = take_input(own, reference, "lq", tmp_path / "work", NUM_FRAMES)
    luma = read_luma(path)
    assert luma.shape == (4, 22, 36)
    assert (luma.float() - limited(small[::2, :22, :36])).abs().max() <= 1
    assert probe(path).frame_rate == reference.frame_rate / 2
    assert path == tmp_path / "work" / "lq" / "clip.mp4"


def test_an_own_input_as_large_as_its_reference_is_made_small(tmp_path: Path):
    frames = flat_frames()
    clip = Clip(name="clip", source=write_pictures(tmp_path / "GT" / "clip", frames))
    reference = make_reference(clip, tmp_path / "work", 5)
    own = write_pictures(tmp_path / "LQ" / "clip", frames // 2)
    luma = read_luma(take_input(own, reference, "lq", tmp_path / "work", 5))
    assert luma.shape == (3, 22, 36)
    means = luma.float().mean((1, 2)).tolist()
    assert means == pytest.approx([16 + level / 2 * 219 / 255 for level in (40, 80, 120)], abs=1)


def test_an_own_input_of_any_other_size_is_refused(tmp_path: Path):
    clip = Clip(name="clip", source=write_pictures(tmp_path / "GT" / "clip", flat_frames()))
    reference = make_reference(clip, tmp_path / "work", 5)
    own = write_pictures(tmp_path / "LQ" / "clip", flat_frames()[:, ::2, ::2])
    with pytest.raises(UserError, match=r"LQ/clip` is 75x45, neither a quarter of its reference"):
        take_input(own, reference, "lq", tmp_path / "work", 5)


@pytest.mark.parametrize(
    ("side", "factor", "is_so"),
    [
        (43, 4, False),
        (44, 4, True),
        (46, 4, True),  # of 183, rounded up
        (47, 4, False),
        (175, 1, False),
        (176, 1, True),
        (183, 1, True),
        (184, 1, False),
    ],
)
def test_an_input_belongs_to_a_reference_that_was_cut_from_its_size(
    side: int, factor: int, is_so: bool
):
    cut = Reference(
        name="a", path=Path("a"), width=176, height=176, uncut=(183, 183), frame_rate=Fraction(25)
    )
    info = SimpleNamespace(width=side, height=side)
    assert _is_cut_from(cut, cast(VideoInfo, info), factor) == is_so
