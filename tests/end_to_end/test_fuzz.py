"""Media files with flipped bits, lost parts and lying headers: a good file, or one sentence."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import pytest

from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.memory import peak_bytes
from diffst_cli.run import run_job
from tests.end_to_end.command import names
from tests.fakes import BilinearModel
from tests.media import FAST_X264, pattern, run_ffmpeg, tone

SEED = 6
KINDS = ("a.mp4", "b.mkv", "c.ts", "d.avi", "e.gif", "f.webm")
ENCODERS = {"b.mkv": ("-c:v", "mpeg4"), "f.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime")}
HEADER = 2000  # bytes, in which headers lie
MEMORY_BOUND = 10**9  # bytes, of each process; 431 MB were measured, most of it torch
LONGEST_SECONDS = (
    600.0  # a file of eight frames takes 0.2 by itself, and took 166 among twelve busy programs
)


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


def mutant(number: int, originals: list[Path]) -> tuple[str, bytes]:
    """Name and content of a file: the same for a number, whichever others are made."""
    chance = random.Random(f"{SEED} {number}")
    original = originals[number // len(MUTATIONS) % len(originals)]
    data = bytearray(original.read_bytes())
    MUTATIONS[number % len(MUTATIONS)](data, chance)
    return original.name, bytes(data)


def most_memory() -> int:
    """The most bytes that this process held since `forget_memory`, or any ffmpeg that has ended."""
    return max(peak_bytes(), getrusage(RUSAGE_CHILDREN).ru_maxrss * 1024)


def forget_memory() -> None:
    """Lets this process's peak begin anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


FEW = range(12)
PARTS = [range(start, start + 100) for start in range(0, 1000, 100)]


@pytest.mark.parametrize(
    "numbers", [FEW, *(pytest.param(p, marks=pytest.mark.slow) for p in PARTS)]
)
@pytest.mark.timeout(3600)
def test_damaged_files_end_in_a_good_file_or_one_sentence(
    numbers: range, originals: list[Path], tmp_path: Path
):
    forget_memory()
    bound = max(MEMORY_BOUND, most_memory())  # tests before this one may have had larger children
    num_good = 0
    for number in numbers:
        folder = tmp_path / str(number)
        folder.mkdir()
        name, data = mutant(number, originals)
        (folder / name).write_bytes(data)
        job = UpscaleJob(
            input=folder / name, output=folder / "out.mkv", size=(16, 12), preset="ultrafast"
        )
        told: str | None = None
        began = time.monotonic()
        try:
            assert run_job(job, model=BilinearModel()).receipt.ok, number
            num_good += 1
        except UserError as error:
            told = error.message
        assert time.monotonic() - began < LONGEST_SECONDS, number
        assert most_memory() <= bound, number
        if told is None:
            assert names(folder) == {name, "out.mkv"}, number
        else:
            assert "bug" not in told, (number, told)
            # Where only the joining fails, finished pieces stay in their hidden folder.
            visible = {left for left in names(folder) if not left.startswith(".")}
            assert visible == {name}, (number, told)
    assert 0 < num_good < len(numbers)
