"""The folder of what is not finished: where it lies, and that one run at a time has it."""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from diffst_cli import segments
from diffst_cli.errors import UserError
from diffst_cli.job import UpscaleJob
from diffst_cli.manifest import read_manifest
from diffst_cli.pieces import PART, Piece, hash_piece
from diffst_cli.probe import probe
from diffst_cli.recipe import make_recipe
from diffst_cli.run import open_output, open_work, run_job
from diffst_cli.segments import Segment
from diffst_cli.work import LOCK, MANIFEST, Work
from tests.cli.test_clips import even, rules
from tests.cli.test_resume import job, stop_after
from tests.cli.test_run import MeddlingModel, Notes
from tests.cli.test_segments import plan
from tests.fakes import BilinearModel, Call
from tests.media import make_video
from tests.outputs import leftovers

OTHER_DISK = Path("/dev/shm")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("work") / "clip.mp4", size=(32, 24), num_frames=3)


@pytest.fixture
def opened(clip: Path, tmp_path: Path) -> Callable[[], Work]:
    """Opens the work of the same output."""
    asked, info = UpscaleJob(input=clip, output=tmp_path / "out.mp4"), probe(clip)
    return lambda: open_work(asked, make_recipe(asked, info), open_output(asked, info))


@pytest.fixture
def left(opened: Callable[[], Work]) -> list[Segment]:
    """What a run was to make that was stopped while it still looked through its input: all of it is made."""
    planned = plan(even(30), rules(clip=4), cuts=[0, 10, 20], fps_x=Fraction(1))
    with opened() as work:
        work.resume()
        work.rules, work.way = rules(clip=4), "whole frames"
        for segment in planned:
            work.add(segment)
            work.record(made_piece(work, segment))
    return planned


def made_piece(work: Work, segment: Segment) -> Piece:
    path = work.folder / f"{segment.index:06d}.mp4"
    path.write_bytes(b"%d" % segment.index)
    return Piece(
        index=segment.index,
        num_frames=segment.stop - segment.start,
        first_time=Fraction(segment.start, 25),
        sha256=hash_piece(path),
    )


class Looking(BilinearModel):
    """Notes what lies in a folder while it works."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.seen: set[str] = set()

    def before(self, call: Call) -> None:
        self.seen.update(leftovers(self._folder))


def test_a_lock_on_a_folder_that_was_removed_meanwhile_is_none(
    opened: Callable[[], Work], monkeypatch: pytest.MonkeyPatch
):
    running, lock = [opened()], fcntl.flock

    def late(file: object, how: int) -> None:
        while running:
            running.pop().remove()  # it ends just now
        lock(file, how)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        second = opened()
    assert second.folder.is_dir()
    with pytest.raises(UserError, match="another diffst is at work"):
        opened()
    second.close()


def test_a_folder_that_goes_before_it_is_locked_is_made_again(
    opened: Callable[[], Work], monkeypatch: pytest.MonkeyPatch
):
    mkdir = Path.mkdir
    done: list[Path] = []

    def gone(folder: Path, *arguments: object, **options: object) -> None:
        mkdir(folder, *arguments, **options)  # type: ignore[arg-type]
        if not done:
            folder.rmdir()
        done.append(folder)

    monkeypatch.setattr(Path, "mkdir", gone)
    with opened() as work:
        assert (work.folder / LOCK).is_file()
    assert len(done) == 2


def test_a_folder_keeps_its_lock_until_it_is_empty(
    opened: Callable[[], Work], monkeypatch: pytest.MonkeyPatch
):
    work, unlink, removed = opened(), os.unlink, []
    for name in ("000000.mkv", "manifest.json", "watch.m3u"):
        (work.folder / name).touch()

    def noted(path: str | Path, **options: object) -> None:
        removed.append(Path(path).name)
        unlink(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "unlink", noted)
    work.remove()
    assert len(removed) == 4
    assert removed[-1] == LOCK
    assert not work.folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_the_folder_of_another_user_is_refused(opened: Callable[[], Work], tmp_path: Path):
    with opened() as work:
        folder = work.folder
    folder.mkdir()
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    (folder / "watch.m3u").symlink_to(precious)
    os.chown(folder, 1234, 1234)
    with pytest.raises(UserError, match="belongs to another user"):
        opened()
    assert precious.read_text() == "mine"
    os.chown(folder, 0, 0)
    opened().close()


def test_a_link_for_a_lock_is_not_followed(opened: Callable[[], Work], tmp_path: Path):
    precious = tmp_path / "precious"
    precious.write_bytes(b"precious")
    with opened() as work:
        folder = work.folder
    folder.mkdir()
    (folder / LOCK).symlink_to(precious)
    with pytest.raises(UserError, match=os.strerror(errno.ELOOP)):
        opened()
    assert precious.read_bytes() == b"precious"


def test_a_long_title_of_wide_letters_has_work(clip: Path, tmp_path: Path):
    output = tmp_path / f"{'電' * 80}.mp4"
    assert run_job(UpscaleJob(input=clip, output=output), model=BilinearModel()).receipt.ok
    assert sorted(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("name", ["pictures", "pictures/x_%03d.png", "."])
def test_work_on_pictures_lies_in_their_folder_where_that_is_there(
    name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "pictures"
    folder.mkdir()
    monkeypatch.chdir(folder if name == "." else tmp_path)
    model = Looking(folder)
    assert run_job(UpscaleJob(input=clip, output=Path(name)), model=model).receipt.ok
    assert len(model.seen) == 1
    assert (len(list(folder.iterdir())), leftovers(folder)) == (3, [])
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.skipif(not OTHER_DISK.is_dir(), reason="needs a second file system")
def test_pictures_replace_those_on_another_disk(
    clip: Path, tmp_path: Path, request: pytest.FixtureRequest
):
    disk = OTHER_DISK / f"diffst-{os.getpid()}"
    disk.mkdir()
    request.addfinalizer(lambda: shutil.rmtree(disk))
    for number in range(1, 6):
        (disk / f"0000{number}.png").write_bytes(b"old")
    folder = tmp_path / "pictures"
    folder.symlink_to(disk)
    asked = UpscaleJob(input=clip, output=folder, overwrite=True)
    assert run_job(asked, model=BilinearModel()).receipt.ok
    assert sorted(path.name for path in disk.iterdir()) == ["00001.png", "00002.png", "00003.png"]
    assert b"old" not in {path.read_bytes() for path in disk.iterdir()}
    assert list(tmp_path.iterdir()) == [folder]


def test_an_interrupt_while_earlier_work_is_looked_through_loses_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(segments, "MIN_KEYFRAMES", 4)
    monkeypatch.setattr(segments, "MAX_KEYFRAMES", 6)
    source = make_video(tmp_path / "in.mp4", size=(32, 24), num_frames=30)
    asked, notes = job(source, tmp_path / "out.mp4"), Notes()
    stop_after(1, asked)
    kept = sorted(tmp_path.glob(".out.diffst-*/*.mp4"))

    def stopped(_path: Path) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("diffst_cli.work.hash_piece", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_job(asked, model=BilinearModel(), reporter=notes)
    assert sorted(tmp_path.glob(".out.diffst-*/*.mp4")) == kept != []
    assert "nothing is kept, as no segment was finished" not in notes.notes
    assert run_job(asked, model=BilinearModel()).frames_resumed > 0


def test_a_piece_stays_only_if_its_segment_is_found_again_as_it_was(
    opened: Callable[[], Work], left: list[Segment]
):
    work = opened()
    assert work.resume() == left[-1].stop
    same, other = left[0], replace(left[1], digest="0" * 32)
    work.add(same)
    work.add(other)
    assert (work.has(same), work.has(other)) == (True, False)
    work.close()


def test_segments_that_are_not_found_again_yet_are_not_forgotten(
    opened: Callable[[], Work], left: list[Segment]
):
    work = opened()
    work.resume()
    work.add(left[0])
    work.record(made_piece(work, left[0]))
    work.close()
    kept = read_manifest(work.folder / MANIFEST)
    assert (kept.segments, len(kept.pieces), kept.scanned) == (tuple(left), len(left), None)


def test_pieces_that_a_killed_run_did_not_finish_go(
    opened: Callable[[], Work], left: list[Segment]
):
    work = opened()
    (work.folder / f"{PART}0123abcd-000003.mp4").write_bytes(b"half")
    (work.folder / f"{PART}0123abcd-000004.png").mkdir()
    finished = sorted(work.folder.glob("0*.mp4"))
    assert len(finished) == len(left) > 2
    work.resume()
    assert sorted(work.folder.glob(f"{PART}*")) == []
    assert sorted(work.folder.glob("0*.mp4")) == finished
    work.close()


@pytest.mark.parametrize("suffix", [".mp4", ""])
@pytest.mark.parametrize("removed", ["out", "work", "work/.*"])
def test_a_folder_that_is_removed_meanwhile_is_named(removed: str, suffix: str, tmp_path: Path):
    source = make_video(tmp_path / "clip.mp4", size=(32, 24), num_frames=24)
    for name in ("out", "work"):
        (tmp_path / name).mkdir()

    def remove() -> None:
        for path in tmp_path.glob(removed):
            path.rename(tmp_path / "gone")  # all of it at once, whoever writes there

    asked = job(source, tmp_path / "out" / f"x{suffix}", work_folder=tmp_path / "work")
    told = rf"the folder `{tmp_path}/{removed}` was removed while it was written to"
    with pytest.raises(UserError, match=told):
        run_job(asked, model=MeddlingModel(remove))
