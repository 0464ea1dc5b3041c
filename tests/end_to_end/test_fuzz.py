"""Media files with flipped bits, lost parts and lying headers: a good file, or one sentence."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.run import run_job
from tests.end_to_end.command import names
from tests.fakes import BilinearModel
from tests.media import FAST_X264, pattern, run_ffmpeg, tone

SEED = 6
KINDS = ("a.mp4", "b.mkv", "c.ts", "d.avi", "e.gif", "f.webm")
ENCODERS = {"b.mkv": ("-c:v", "mpeg4"), "f.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime")}
HEADER = 2000  # bytes, in which headers lie


def flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 40)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut_off(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(1, len(data)) :]


def lose_a_part(data: bytearray, chance: random.Random) -> None:
    start = chance.randrange(len(data))
    del data[start : start + chance.randint(1, 4000)]


def lie_in_the_header(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(min(HEADER, len(data)))
        data[place : place + 4] = chance.choice((b"\xff" * 4, b"\0" * 4, chance.randbytes(4)))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    flip_bits,
    cut_off,
    lose_a_part,
    lie_in_the_header,
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("originals")
    made = []
    for name in KINDS:
        sound = [] if name == "e.gif" else tone(440, 0.3)
        encoder = ENCODERS.get(name, () if name == "e.gif" else FAST_X264)
        run_ffmpeg(*pattern((32, 24), 8, "25"), *sound, *encoder, "-shortest", folder / name)
        made.append(folder / name)
    return made


@pytest.mark.parametrize("count", [12, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.timeout(4 * 3600)
def test_damaged_files_end_in_a_good_file_or_one_sentence(
    count: int, originals: list[Path], tmp_path: Path
):
    torch.set_num_threads(1)
    chance = random.Random(SEED)
    num_good = 0
    for number in range(count):
        original = originals[number // 2 % len(originals)]
        data = bytearray(original.read_bytes())
        MUTATIONS[number % len(MUTATIONS)](data, chance)
        folder = tmp_path / str(number)
        folder.mkdir()
        source = folder / original.name
        source.write_bytes(data)
        job = UpscaleJob(input=source, output=folder / "out.mkv", size=(16, 12), preset="ultrafast")
        told: str | None = None
        try:
            assert run_job(job, model=BilinearModel()).receipt.ok, number
            num_good += 1
        except UserError as error:
            told = error.message
        if told is None:
            assert names(folder) == {original.name, "out.mkv"}, number
        else:
            assert "bug" not in told, (number, told)
            # Where only the joining fails, finished pieces stay in their hidden folder.
            visible = {name for name in names(folder) if not name.startswith(".")}
            assert visible == {original.name}, (number, told)
    assert 0 < num_good < count
