import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import torch

from diffst.metrics import psnr
from diffst_cli.evaluation.measuring import ffmpeg_output, read_luma, read_rgb
from diffst_cli.evaluation.systems import System
from diffst_cli.evaluation.tracks import TRACKS, make_input, make_reference
from diffst_cli.probe import probe
from tests.cli.evaluation.test_measuring import write_luma
from tests.cli.evaluation.test_tracks import NUM_FRAMES, clip_of, moving_frames

ROOT = Path(__file__).parents[1]
# What the example uses of ncnn, around a network that repeats each pixel four times both ways.
FAKE_NCNN = """
import numpy as np

class Mat:
    class PixelType:
        PIXEL_RGB = 1

    @staticmethod
    def from_pixels(picture, kind, width, height):
        assert kind == 1 and picture.shape == (height, width, 3)
        mat = Mat()
        mat.values = picture.transpose(2, 0, 1).astype(np.float32)
        return mat

    def substract_mean_normalize(self, means, factors):
        self.values *= np.float32(factors).reshape(3, 1, 1)

class Net:
    class opt:
        num_threads = 1

    def load_param(self, path):
        return 0 if path == "net.param" else -1

    def load_model(self, path):
        return 0 if path == "net.bin" else -1

    def input_names(self):
        return ["data"]

    def output_names(self):
        return ["output"]

    def create_extractor(self):
        return Extractor()

class Extractor:
    def input(self, name, mat):
        assert name == "data"
        self.values = mat.values

    def extract(self, name):
        assert name == "output"
        return 0, self.values.repeat(4, axis=1).repeat(4, axis=2)
"""


def ncnn_system(tmp_path: Path, model: str) -> System:
    """The example's command line, with a stand-in for ncnn."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "ncnn.py").write_text(FAKE_NCNN)
    start = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'models')!r}, {str(modules)!r}]; "
        "import runpy; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    example = str(ROOT / "examples" / "ncnn_system.py")
    words = (example, model, "{input}", "{output}", "{fps}", "{crf}")
    return System(name="net", template=(sys.executable, "-c", start, *words), crf=0)


def test_the_ncnn_example_enlarges_by_the_network_and_doubles_the_rate(tmp_path: Path):
    source = write_luma(tmp_path / "clip.mkv", moving_frames())
    reference = make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    small = make_input(reference, TRACKS["clean"], tmp_path / "work")
    output = tmp_path / "out.mp4"
    ncnn_system(tmp_path, "net").run(small, output, reference)
    frames = read_luma(output)
    expected = read_luma(small).repeat_interleave(4, 1).repeat_interleave(4, 2)
    assert probe(output).frame_rate == Fraction(25)
    assert len(frames) == NUM_FRAMES - 2  # minterpolate keeps the last keyframe back
    # within the rounding of YUV to RGB and back
    assert psnr(frames[::2], expected[: len(frames[::2])]).min() > 48
    between = torch.stack([psnr(frames[[1]], frames[[i]]) for i in (0, 2)])
    assert between.max() < 48  # a new frame is neither of its neighbours


def test_the_ncnn_example_keeps_colours(tmp_path: Path):
    source = tmp_path / "red.mkv"
    red = "color=0xC81E3C:s=144x88:r=25,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
    encode = ["-frames:v", str(NUM_FRAMES), "-c:v", "ffv1", str(source)]
    ffmpeg_output(["-f", "lavfi", "-i", red, *encode], "make")
    reference = make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    small = make_input(reference, TRACKS["clean"], tmp_path / "work")
    output = tmp_path / "out.mp4"
    ncnn_system(tmp_path, "net").run(small, output, reference)
    frames = read_rgb(output, (NUM_FRAMES - 2, 88, 144)).int()
    # 8 bits of limited-range YUV, twice
    assert (frames - torch.tensor([200, 30, 60])).abs().max() <= 4


def test_the_ncnn_example_says_which_network_is_missing(tmp_path: Path):
    system = ncnn_system(tmp_path, "other")
    command = [*system.template[:5], "in.mp4", "out.mp4", "25", "16"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip() == "cannot load other.param and other.bin"
