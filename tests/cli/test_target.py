import os
from dataclasses import replace
from pathlib import Path

import pytest

from diffst_cli.errors import UsageError, UserError
from diffst_cli.probe import VideoInfo, probe
from diffst_cli.target import Target, choose_target, publish_file, publish_pictures
from tests.outputs import make_clip


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    return probe(make_clip(tmp_path_factory.mktemp("target") / "clip.mp4", num_frames=2))


def test_a_video_name_is_a_file(clip: VideoInfo, tmp_path: Path) -> None:
    target = choose_target(tmp_path / "Out.MP4", clip, overwrite=False)
    assert (target.suffix, target.pattern) == (".mp4", None)


@pytest.mark.parametrize("name", ["frames", "dots.in.name"])
def test_a_folder_gets_numbered_pictures(name: str, clip: VideoInfo, tmp_path: Path) -> None:
    folder = tmp_path / name
    if "." in name:
        folder.mkdir()  # only a folder that is there can be told from a file of unknown kind
    target = choose_target(folder, clip, overwrite=False)
    assert target.suffix == ".png"
    assert target.picture(7) == folder / "00007.png"


def test_a_pattern_numbers_its_own_way(clip: VideoInfo, tmp_path: Path) -> None:
    target = choose_target(tmp_path / "a_%03d_b.png", clip, overwrite=False)
    assert target.picture(12) == tmp_path / "a_012_b.png"
    assert choose_target(tmp_path / "%d.png", clip, overwrite=False).picture(12).name == "12.png"


def test_one_picture_cannot_hold_many(clip: VideoInfo, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one picture, the input is many"):
        choose_target(tmp_path / "one.png", clip, overwrite=False)
    one = replace(clip, num_frames=1)
    assert choose_target(tmp_path / "one.png", one, overwrite=False).picture(1).name == "one.png"


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_input_is_never_the_output(overwrite: bool, tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", num_frames=2))
    (tmp_path / "soft.mp4").symlink_to(info.path)
    os.link(info.path, tmp_path / "hard.mp4")
    (tmp_path / "sub").mkdir()
    for path in (
        info.path,
        tmp_path / "soft.mp4",
        tmp_path / "hard.mp4",
        tmp_path / "sub/../clip.mp4",
    ):
        with pytest.raises(UsageError, match="is the input itself"):
            choose_target(path, info, overwrite=overwrite)


def test_pictures_are_not_written_over_the_input_s(tmp_path: Path) -> None:
    make_clip(tmp_path / "%05d.png", num_frames=2)
    info = probe(tmp_path)
    with pytest.raises(UsageError, match="holds the input itself"):
        choose_target(tmp_path, info, overwrite=True)


def test_what_exists_is_replaced_only_when_asked(clip: VideoInfo, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"old")
    with pytest.raises(UsageError, match="already exists") as caught:
        choose_target(path, clip, overwrite=False)
    assert caught.value.hint == "add --overwrite to replace it"
    assert choose_target(path, clip, overwrite=True).path == path


def test_the_first_of_the_pictures_in_the_way_is_named(clip: VideoInfo, tmp_path: Path) -> None:
    for number in (3, 1, 2, 5, 4):
        (tmp_path / f"0000{number}.png").touch()
    with pytest.raises(UsageError, match=r"00001\.png` already exists"):
        choose_target(tmp_path, clip, overwrite=False)


def test_a_dangling_link_counts_as_existing(clip: VideoInfo, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.symlink_to(tmp_path / "nowhere.mp4")
    with pytest.raises(UsageError, match="already exists"):
        choose_target(path, clip, overwrite=False)


def test_a_folder_with_a_video_s_name_is_refused(clip: VideoInfo, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        choose_target(tmp_path / "out.mp4", clip, overwrite=True)


def test_an_unknown_ending_is_refused(clip: VideoInfo, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot tell what kind of file") as caught:
        choose_target(tmp_path / "out.xyz", clip, overwrite=False)
    assert ".mkv" in str(caught.value.hint)


def test_a_missing_folder_is_an_error(clip: VideoInfo, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder") as caught:
        choose_target(tmp_path / "missing/out.mp4", clip, overwrite=False)
    assert caught.value.exit_code == 1


def test_a_closed_folder_is_an_error(
    clip: VideoInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(UserError, match="cannot write into the folder"):
        choose_target(tmp_path / "out.mp4", clip, overwrite=False)


def test_a_name_that_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = Target(path=tmp_path / "out.mp4", suffix=".mp4", folder=tmp_path, pattern=None)
    finished = tmp_path / "finished.mp4"
    finished.write_bytes(b"new")
    target.path.write_bytes(b"theirs")
    with pytest.raises(UserError, match="appeared meanwhile"):
        publish_file(finished, target, overwrite=False)
    assert target.path.read_bytes() == b"theirs"
    publish_file(finished, target, overwrite=True)
    assert target.path.read_bytes() == b"new"


def test_fewer_pictures_leave_none_of_the_old(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in ("00001.png", "00002.png", "00003.png", "notes.txt"):
        (folder / name).write_bytes(b"old")
    finished = tmp_path / "finished"
    finished.mkdir()
    (finished / "000000001.png").write_bytes(b"new")
    target = Target(path=folder, suffix=".png", folder=folder, pattern="%05d.png")
    publish_pictures(finished, target, overwrite=True)
    assert sorted(entry.name for entry in folder.iterdir()) == ["00001.png", "notes.txt"]
    assert (folder / "00001.png").read_bytes() == b"new"


def test_a_temporary_name_fits_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / f"{'n' * 250}.mp4"
    target = Target(path=path, suffix=".mp4", folder=tmp_path, pattern=None)
    target.temporary("abcd1234", ".video.mp4").write_bytes(b"")
    assert target.temporary("abcd1234", ".mp4").suffix == ".mp4"
