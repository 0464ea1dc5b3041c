import json
import os
from pathlib import Path

import pytest

from diffst_cli.app import main
from diffst_cli.errors import UsageError, UserError
from diffst_cli.report_files import check_report, write_report
from tests.media import make_video


@pytest.mark.parametrize(
    "line",
    [
        ["plan", "{video}", "--json", "{video}"],
        ["benchmark", "{video}", "--json", "{video}"],
        ["evaluate", "{folder}", "--json", "{video}"],
        ["evaluate", "{folder}", "--csv", "{video}"],
        ["batch", "{folder}", "{folder}/out", "--log", "{video}"],
        ["dataset", "scan", "{folder}", "--overwrite", "--output", "{other}"],
        ["upscale", "{video}", "{folder}/out.mp4", "--receipt", "{video}"],
        ["upscale", "{video}", "{folder}/out.mp4", "--overwrite", "--receipt", "{other}"],
    ],
)
def test_a_report_never_replaces_a_video(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    video, other = make_video(tmp_path / "clip.mp4", num_frames=2), tmp_path / "other.mkv"
    other.write_bytes(b"precious")
    before = video.read_bytes()
    given = {"video": video, "other": other, "folder": tmp_path}
    assert main([word.format(**given) for word in line]) == 2
    assert f"error: `{line[-2]}` is `{line[-1].format(**given)}`, which is " in (
        capsys.readouterr().err
    )
    assert (video.read_bytes(), other.read_bytes()) == (before, b"precious")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "other.mkv"]


@pytest.mark.parametrize("name", ["no/speed.json", "folder"])
def test_what_cannot_be_a_file_is_refused(name: str, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match=r"`--json` is `.*`, which cannot be a file"):
        check_report(tmp_path / name, "--json")


def test_an_earlier_report_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "speed.json"
    write_report(path, b"first")
    check_report(path, "--json")

    def full(_self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(UserError, match=r"cannot write `.*speed.json`: No space left"):
            write_report(path, b"second")
    assert path.read_bytes() == b"first"
    write_report(path, b"second")
    assert path.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["sub/../out.mp4", "link.json", "hard.json"])
@pytest.mark.parametrize("command", ["upscale", "compare"])
def test_a_report_is_never_the_video_by_another_way(
    command: str,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    video = make_video(Path("out.mp4"), num_frames=2)
    before = video.read_bytes()
    Path("sub").mkdir()
    Path("link.json").symlink_to("out.mp4")
    Path("hard.json").hardlink_to("out.mp4")
    given = {
        "upscale": ["in.mp4", "out.mp4", "--receipt", name],
        "compare": ["in.mp4", "out.mp4", "--output", name],
    }
    assert main([command, *given[command], "--overwrite"]) == 2
    told = capsys.readouterr().err
    assert f"`{name}`, which is the video itself" in told or "is one of the videos" in told
    assert video.read_bytes() == before


def test_a_link_to_itself_is_no_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("loop.json").symlink_to("loop.json")
    line = ["upscale", "missing.mp4", "out.mp4", "--receipt", "loop.json", "--overwrite"]
    assert main(line) == 1  # as the input is missing


def test_a_link_to_a_video_is_no_report(tmp_path: Path):
    (tmp_path / "other.mkv").write_bytes(b"precious")
    (tmp_path / "link.json").symlink_to("other.mkv")
    with pytest.raises(UsageError, match="is no report by its name"):
        check_report(tmp_path / "link.json", "--json")


def test_what_is_written_as_it_is_needs_no_open_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pipe, closed = tmp_path / "pipe", tmp_path / "closed"
    os.mkfifo(pipe)
    os.mkfifo(closed)
    (tmp_path / "link.json").symlink_to("other.json")
    (tmp_path / "other.json").touch()
    own = (Path("/dev/stdout"), Path("/dev/stderr"), pipe, tmp_path / "link.json")
    monkeypatch.setattr(os, "access", lambda path, _: path in own)  # as for everyone but root
    for path in own:
        check_report(path, "--json")
    for path in (closed, tmp_path / "new.json", Path("/dev/new.json")):
        with pytest.raises(UsageError, match="cannot be a file"):
            check_report(path, "--json")


def test_standard_output_is_not_there_already(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["upscale", "missing.mp4", "out.mp4", "--receipt", "/dev/stdout"]) == 1
    assert main(["compare", "missing.mp4", "none.mp4", "--output", "/dev/stdout"]) == 1
    assert capsys.readouterr().err.count("missing.mp4") == 2
    assert main(["dataset", "scan", ".", "--output", "/dev/stdout", "--overwrite"]) == 2
    assert "`--output` is `/dev/stdout`, which is no file" in capsys.readouterr().err


def test_a_report_goes_after_what_standard_output_was_led_to(tmp_path: Path):
    path = tmp_path / "figures"  # as after `diffst plan in.mp4 --json /dev/fd/3 3>> figures`
    path.write_bytes(b"first ")
    with path.open("ab") as file:
        name = Path(f"/dev/fd/{file.fileno()}")
        check_report(name, "--json")
        write_report(name, b"second")
    assert path.read_bytes() == b"first second"


def test_a_report_may_go_into_a_pipe(tmp_path: Path):
    read, write = os.pipe()
    write_report(Path(f"/dev/fd/{write}"), b"figures")
    os.close(write)
    assert os.read(read, 100) == b"figures"
    os.close(read)


def test_a_log_may_lie_in_the_folder_that_a_batch_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    assert main(["batch", str(source), str(out), "--log", str(out / "log.jsonl")]) == 1
    assert "--log" not in capsys.readouterr().err  # but that there is no video
    out.rmdir()
    assert main(["batch", str(source), str(out), "--log", str(out)]) == 2
    assert "which cannot be a file" in capsys.readouterr().err


def test_a_dash_prints_the_report_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "clip.mp4", num_frames=2)
    assert main(["plan", "clip.mp4", "--json", "-"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["output"]
    assert "clip.mp4" in printed.err
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize(
    ("line", "option"),
    [
        (["batch", "folder", "out", "--log", "-"], "--log"),
        (["dataset", "scan", "folder", "--output", "-"], "--output"),
    ],
)
def test_what_grows_or_is_read_again_cannot_be_printed(
    line: list[str],
    option: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    make_video(tmp_path / "folder" / "clip.mp4", num_frames=2)
    assert main(line) == 2
    assert f"error: `{option}` cannot be `-`, standard output\nhint: name a file" in (
        capsys.readouterr().err
    )
