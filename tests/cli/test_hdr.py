from pathlib import Path

import pytest

from diffst_cli.hdr import x265_parameters
from diffst_cli.probe import probe
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
    assert x265_parameters(probe(source)) == (DISPLAY, LIGHT)
    output = tmp_path / f"out{suffix}"
    assert copy_video(source, output).ok
    assert x265_parameters(probe(output)) == (DISPLAY, LIGHT)


def test_a_file_without_static_hdr_data_gives_none(tmp_path: Path) -> None:
    assert x265_parameters(probe(make_pq(tmp_path / "pq.mp4"))) == ()
    assert x265_parameters(probe(make_clip(tmp_path / "sdr.mp4", num_frames=2))) == ()
