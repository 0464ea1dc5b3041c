"""Whatever is wrong: one sentence, the right exit code, no traceback, and nothing left behind."""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from diffst_cli.app import main
from tests.end_to_end.command import diffst, names
from tests.media import make_audio_only, make_video

GOOD = "good.mp4"
OUT = "out.mp4"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("good") / GOOD, num_frames=3)


def nothing(_folder: Path) -> None:
    """No further file is needed."""


def empty(folder: Path) -> None:
    (folder / "bad.mp4").touch()


def text(folder: Path) -> None:
    (folder / "bad.mp4").write_text("this is no video\n" * 100, encoding="utf-8")


def audio(folder: Path) -> None:
    make_audio_only(folder / "bad.mp4")


def half_header(folder: Path) -> None:
    (folder / "bad.mp4").write_bytes((folder / GOOD).read_bytes()[:300])


def folder_named_like_a_video(folder: Path) -> None:
    (folder / "bad.mp4").mkdir()


def playlist(folder: Path) -> None:
    (folder / "bad.m3u8").write_text(
        f"#EXTM3U\n#EXTINF:1,\n{GOOD}\n#EXT-X-ENDLIST\n", encoding="utf-8"
    )


def concat_list(folder: Path) -> None:
    (folder / "bad.mp4").write_text(f"ffconcat version 1.0\nfile {GOOD}\n", encoding="utf-8")


def existing_output(folder: Path) -> None:
    (folder / OUT).write_bytes(b"precious")


def existing_receipt(folder: Path) -> None:
    (folder / "receipt.json").write_bytes(b"precious")


def closed_folder(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o500)


def output_folder(folder: Path) -> None:
    (folder / "sub").mkdir()


@pytest.mark.parametrize(
    ("prepare", "line", "code", "sentence"),
    [
        (nothing, ["missing.mp4", OUT], 1, "no such file: `missing.mp4`"),
        (nothing, ["-missing.mp4", OUT], 2, "no such option `-m`"),
        (nothing, [".", OUT], 1, "no pictures in the folder `.`"),
        (folder_named_like_a_video, ["bad.mp4", OUT], 1, "no pictures in the folder `bad.mp4`"),
        (empty, ["bad.mp4", OUT], 1, "`bad.mp4` is empty"),
        (text, ["bad.mp4", OUT], 1, "`bad.mp4` is not a video that can be read"),
        (half_header, ["bad.mp4", OUT], 1, "`bad.mp4` is not a video that can be read"),
        (audio, ["bad.mp4", OUT], 1, "no video stream in `bad.mp4`"),
        (playlist, ["bad.m3u8", OUT], 1, "`bad.m3u8` is a playlist"),
        (concat_list, ["bad.mp4", OUT], 1, "`bad.mp4` is a playlist"),
        (nothing, ["https://127.0.0.1/a.mp4", OUT], 1, "is an address, not a file"),
        (nothing, ["concat:good.mp4|good.mp4", OUT], 1, "concat:good.mp4|good.mp4"),
        (nothing, [GOOD, GOOD], 2, "`good.mp4` is the input itself"),
        (nothing, [GOOD, f"../{{folder}}/{GOOD}"], 2, "is the input itself"),
        (existing_output, [GOOD, OUT], 2, "`out.mp4` already exists"),
        (existing_receipt, [GOOD, OUT, "--receipt", "receipt.json"], 2, "`receipt.json` exists"),
        (
            nothing,
            [GOOD, OUT, "--receipt", "no/receipt.json"],
            2,
            "`--receipt` is `no/receipt.json`",
        ),
        (
            nothing,
            [GOOD, OUT, "--receipt", OUT],
            2,
            "`--receipt` is `out.mp4`, which is the video itself",
        ),
        (nothing, [GOOD, "no/out.mp4"], 1, "no folder `{path}/no` to write into"),
        (output_folder, [GOOD, "sub/x.mp4/y.mp4"], 1, "no folder"),
        (nothing, [GOOD, "-"], 2, "the standard output is no place for a video"),
        (nothing, [GOOD, os.devnull], 2, "is neither a file nor a folder"),
        (nothing, [GOOD, "."], 2, "the folder `.` holds other things, as `good.mp4`"),
        (nothing, [GOOD, "x_%d_%d.png"], 2, "`x_%d_%d.png` has two places for a number"),
        (nothing, [GOOD, "out.JPG"], 2, "pictures are written as PNG"),
        (output_folder, [GOOD, OUT, "--receipt", "sub"], 2, "`sub`, which cannot be a file"),
        (nothing, [GOOD, "out.docx"], 2, "cannot tell what kind of file `out.docx` should be"),
        (nothing, [GOOD, OUT, "--scale", "0"], 2, "`--scale` is `0`"),
        (nothing, [GOOD, OUT, "--scale", "-2"], 2, "`--scale` is `-2`"),
        (nothing, [GOOD, OUT, "--scale", "nan"], 2, "`--scale` is `nan`, which is not a number"),
        (
            nothing,
            [GOOD, OUT, "--scale", "2", "--size", "9x9"],
            2,
            "`--scale` and `--size` exclude",
        ),
        (nothing, [GOOD, OUT, "--size", "0x9"], 2, "`--size` is `0x9`"),
        (nothing, [GOOD, OUT, "--size", "20000x9"], 2, "`--size` is `20000x9`"),
        (nothing, [GOOD, OUT, "--fps-x", "0.5"], 2, "`--fps-x` is `0.5`"),
        (nothing, [GOOD, OUT, "--fps", "inf"], 2, "`--fps` is `inf`"),
        (nothing, [GOOD, OUT, "--codec", "nope"], 2, "`nope`"),
        (nothing, [GOOD, OUT, "--crf", "99"], 2, "`--crf` is `99`"),
        (nothing, [GOOD, OUT, "--start", "soon"], 2, "`--start` is `soon`"),
        (nothing, ["batch", "missing", "out"], 1, "`missing` is not a folder"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    prepare: Callable[[Path], None],
    line: list[str],
    code: int,
    sentence: str,
    good: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    shutil.copy2(good, GOOD)
    prepare(tmp_path)
    before = names(tmp_path)
    line = [word.replace("{folder}", tmp_path.name) for word in line]
    returned = main([*([] if line[0] == "batch" else ["upscale"]), *line])
    said = capfd.readouterr()
    told = said.err.splitlines()
    assert [word.split(":")[0] for word in told] in (["error"], ["error", "hint"]), said.err
    assert sentence.replace("{path}", str(tmp_path)) in told[0]
    assert returned == code
    assert said.out == ""
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("prepare", "line", "code", "sentence"),
    [
        (nothing, [GOOD, OUT, "--crf", "99"], 2, "error: `--crf` is `99`"),
        (text, ["bad.mp4", OUT], 1, "error: `bad.mp4` is not a video that can be read"),
    ],
)
def test_bad_input_is_told_by_the_program_too(
    prepare: Callable[[Path], None],
    line: list[str],
    code: int,
    sentence: str,
    good: Path,
    tmp_path: Path,
):
    shutil.copy2(good, tmp_path / GOOD)
    prepare(tmp_path)
    before = names(tmp_path)
    done = diffst("upscale", *line, folder=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(sentence)
    assert "Traceback" not in done.stderr
    assert names(tmp_path) == before


@pytest.mark.skipif(sys.platform == "win32", reason="folders are closed by permissions")
def test_an_output_folder_that_is_closed_is_told(tmp_path: Path):
    make_video(tmp_path / GOOD, num_frames=3)
    closed_folder(tmp_path)
    try:
        (tmp_path / "closed" / "probe").touch()
    except PermissionError:
        done = diffst("upscale", GOOD, "closed/out.mp4", folder=tmp_path)
        assert (done.returncode, done.stderr.split(" `")[0]) == (
            1,
            "error: cannot write into the folder",
        )
    else:
        (tmp_path / "closed" / "probe").unlink()
        pytest.skip("this user writes wherever it likes")


def test_a_playlist_inside_a_video_name_never_reaches_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        (tmp_path / "bad.mp4").write_text(
            f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n", encoding="utf-8"
        )
        for source in ("bad.mp4", address):
            assert main(["upscale", source, OUT]) == 1
        with pytest.raises(TimeoutError):
            server.accept()
