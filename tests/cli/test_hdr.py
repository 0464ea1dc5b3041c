from pathlib import Path

import pytest

from diffst_cli.hdr import MASTERING, _display, read_static, x265_parameters
from diffst_cli.probe import probe
from diffst_cli.probe_file import open_container
from tests.outputs import copy_video, make_clip

DISPLAY = "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
LIGHT = "max-cll=1000,400"


def make_pq(path: Path, *parameters: str) -> Path:
    """A 10-bit PQ clip with these static HDR parameters."""
    tags = "setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc"
    encoder = ["-c:v", "libx265", "-preset", "ultrafast"]
    encoder += ["-x265-params", ":".join(("log-level=error", *parameters))]
    return make_clip(path, "-vf", f"format=yuv420p10le,{tags}", *encoder, num_frames=2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_static_hdr_data_reaches_the_output(suffix: str, tmp_path: Path) -> None:
    source = make_pq(tmp_path / "source.mp4", DISPLAY, LIGHT)
    assert x265_parameters(read_static(probe(source))) == (DISPLAY, LIGHT)
    output = tmp_path / f"out{suffix}"
    assert copy_video(source, output).ok
    assert x265_parameters(read_static(probe(output))) == (DISPLAY, LIGHT)


def test_a_file_without_static_hdr_data_gives_none(tmp_path: Path) -> None:
    for clip in (make_pq(tmp_path / "pq.mp4"), make_clip(tmp_path / "sdr.mp4", num_frames=2)):
        assert x265_parameters(read_static(probe(clip))) == ()
        output = clip.with_suffix(".webm")
        assert copy_video(clip, output).notes == ()


def test_static_hdr_data_reaches_av1(tmp_path: Path) -> None:
    source = make_pq(tmp_path / "source.mp4", DISPLAY, LIGHT)
    output = tmp_path / "out.webm"
    receipt = copy_video(source, output, codec="av1", preset="12")
    assert receipt.ok
    assert receipt.notes == ()
    before, after = read_static(probe(source)), read_static(probe(output))
    assert after.light == before.light == (1000, 400)
    assert [float(value) for value in after.display] == pytest.approx(
        [float(value) for value in before.display], abs=1e-4
    )


@pytest.mark.parametrize(
    ("suffix", "codec"), [(".webm", "vp9"), (".mov", "prores"), (".gif", None)]
)
def test_static_hdr_data_that_is_lost_is_told(
    suffix: str, codec: str | None, tmp_path: Path
) -> None:
    source = make_pq(tmp_path / "source.mp4", DISPLAY, LIGHT)
    receipt = copy_video(source, tmp_path / f"out{suffix}", codec=codec, preset=None)
    assert receipt.notes[0] == (
        "HDR10's data of display and brightest pixels left out: of `--codec`, `hevc` and `av1` keep it"
    )
    pale = "a GIF cannot say that its brightness is PQ or HLG: its picture looks flat and pale"
    assert (pale in receipt.notes) == (suffix == ".gif")


@pytest.mark.parametrize("flags", [(0, 1), (1, 0), (0, 0)])
def test_half_a_description_of_the_screen_is_none(flags: tuple[int, int]) -> None:
    described = (0, 1) * 10  # zero and no fault, as in data of which nothing was filled in
    assert len(_display((*described, 1, 1))) == 10
    assert _display((*described[:-1], 0, 1, 1)) == (), "a fraction of nothing"
    assert _display(MASTERING.unpack(MASTERING.pack(*described, *flags))) == ()


def test_a_damaged_first_packet_is_passed_over(tmp_path: Path) -> None:
    parameters = (DISPLAY, LIGHT, "repeat-headers=1", "keyint=1")  # in front of each picture
    source = make_pq(tmp_path / "source.mkv", *parameters)
    with open_container(source) as container:
        packet = bytes(next(container.demux(video=0)))
    data = source.read_bytes()
    assert data.count(packet) == 1
    source.write_bytes(data.replace(packet, b"\xff" * len(packet)))
    assert x265_parameters(read_static(probe(source))) == (DISPLAY, LIGHT)
