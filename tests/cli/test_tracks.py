import os
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from diffst.metrics import psnr
from diffst_cli.errors import UserError
from diffst_cli.measuring import read_luma
from diffst_cli.probe import probe
from diffst_cli.tracks import TRACKS, Track, find_clips, make_input, make_reference
from tests.cli.test_measuring import write_luma

NUM_FRAMES = 7


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
    reference = make_reference(source, tmp_path / "work", 5)
    assert (reference.name, reference.width, reference.height) == ("clip", 144, 88)
    assert reference.frame_rate == Fraction(25)
    assert torch.equal(read_luma(reference.path), frames[:5, :88, :144])


@pytest.mark.parametrize("track", TRACKS.values(), ids=TRACKS)
def test_an_input_has_every_second_frame_at_a_quarter_of_the_size(tmp_path: Path, track: Track):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    reference = make_reference(source, tmp_path / "work", NUM_FRAMES)
    path = make_input(reference, track, tmp_path / "work")
    luma = read_luma(path)
    assert luma.shape == (4, 22, 36)
    # coding and, for `old`, noise that leaves the mean alone
    assert luma.float().mean((1, 2)).tolist() == pytest.approx([40, 80, 120, 160], abs=1.5)
    assert probe(path).frame_rate == Fraction(25, 2)


def test_colour_is_stated(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    reference = make_reference(source, tmp_path / "work", NUM_FRAMES)
    colour = probe(make_input(reference, TRACKS["web"], tmp_path / "work")).colour
    stated = (colour.matrix, colour.range, colour.primaries, colour.transfer)
    assert stated == ("bt709", "tv", "bt709", "bt709")


def test_tracks_get_worse_from_clean_to_old(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", moving_frames())
    reference = make_reference(source, tmp_path / "work", NUM_FRAMES)
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
            make_reference(source, tmp_path / work, NUM_FRAMES), TRACKS["old"], tmp_path / work
        )
        for work in ("first", "second")
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_was_made_is_kept_until_its_source_changes(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    path = make_reference(source, tmp_path / "work", NUM_FRAMES).path
    for file in (path, source):
        os.utime(file, ns=(0, 0))
    make_reference(source, tmp_path / "work", NUM_FRAMES)
    assert path.stat().st_mtime_ns == 0
    write_luma(source, flat_frames(5))
    make_reference(source, tmp_path / "work", NUM_FRAMES)
    assert len(read_luma(path)) == 5


def test_nothing_unfinished_is_left_behind(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", flat_frames())
    reference = make_reference(source, tmp_path / "work", NUM_FRAMES)
    reference.path.write_text("broken")
    with pytest.raises(UserError, match=r"ffmpeg cannot make `.*clip\.mp4` from `.*clip\.nut`: "):
        make_input(reference, TRACKS["web"], tmp_path / "work")
    assert list((tmp_path / "work" / "web").iterdir()) == []


def test_a_clip_too_small_to_measure_is_refused(tmp_path: Path):
    source = write_luma(tmp_path / "tiny.mkv", flat_frames()[:, :60])
    with pytest.raises(UserError, match=r"tiny\.mkv` is too small to measure: 150x60"):
        make_reference(source, tmp_path / "work", NUM_FRAMES)


def test_only_videos_are_found_by_name(tmp_path: Path):
    for name in ("b.mp4", "a.MKV", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_clips(tmp_path)] == ["a.MKV", "b.mp4"]


def test_a_folder_without_clips_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="no video in"):
        find_clips(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        find_clips(tmp_path / "missing")


def test_two_clips_of_one_name_are_refused(tmp_path: Path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.mkv").touch()
    with pytest.raises(UserError, match="more than one video called `a`"):
        find_clips(tmp_path)
