import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import typer

from diffst_cli import __main__
from diffst_cli import app as app_module
from diffst_cli.app import app, main
from diffst_cli.errors import UserError

COMMANDS = (
    "upscale",
    "preview",
    "plan",
    "batch",
    "benchmark",
    "evaluate",
    "compare",
    "train",
    "doctor",
    "models",
)
HEAVY = (
    "torch",
    "diffusers",
    "av",
    "cv2",
    "numpy",
    "scenedetect",
    "safetensors",
    "ffmpeg",
    "psutil",
)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """A command `fail` that raises what the test puts here."""
    errors: list[BaseException] = []

    def fail() -> None:
        raise errors[0]

    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    app.command()(fail)
    return errors


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]):
    for option in ("-h", "--help"):
        assert main([option]) == 0
        shown = capsys.readouterr()
        assert shown.err == ""
        assert shown.out.count("Commands") == 1
        for command in COMMANDS:
            assert f"│ {command} " in shown.out


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_short_help(command: str, capsys: pytest.CaptureFixture[str]):
    assert main([command, "-h"]) == 0
    assert f"Usage: diffst {command}" in capsys.readouterr().out


def test_batch_takes_every_option_of_upscale(capsys: pytest.CaptureFixture[str]):
    shown = {}
    for command in ("upscale", "batch"):
        main([command, "-h"])
        shown[command] = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert shown["upscale"] - shown["batch"] == {"--receipt"}
    assert shown["batch"] - shown["upscale"] == {"--glob", "--log", "--watch"}


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"diffst {version('diffst')}\n"


def test_no_command_is_a_usage_error_that_shows_help(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 2
    assert "upscale" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "sentence", "hint"),
    [
        (["upscale"], "missing argument `INPUT`", "`diffst upscale -h` lists what it takes"),
        (
            ["upscal"],
            "no such command `upscal`; did you mean `upscale`?",
            "`diffst -h` lists what it takes",
        ),
        (
            ["upscale", "a", "b", "--scal", "2"],
            "no such option `--scal`; did you mean `--scale`",
            "`diffst upscale -h` lists what it takes",
        ),
        (
            ["upscale", "a", "b", "--nope"],
            "no such option `--nope`",
            "`diffst upscale -h` lists what it takes",
        ),
        (
            ["upscale", "a", "b", "--scale"],
            "option `--scale` requires an argument",
            "`diffst upscale -h` lists",
        ),
        (
            ["upscale", "a", "b", "--steps", "1.5"],
            "invalid value for `--steps`: it takes a whole number",
            "`diffst upscale -h` lists",
        ),
        (
            ["upscale", "a", ""],
            "the word after `a` is empty",
            "is a variable of the shell not set?",
        ),
        (
            ["upscale", "a", "b", "--model", ""],
            "the word after `--model` is empty",
            "is a variable",
        ),
        (
            ["models", "pull"],
            "missing argument `NAME`",
            "`diffst models pull -h` lists what it takes",
        ),
        (["upscale", "a", "b", "c d"], "too many words: `c d`", "`diffst upscale -h` lists"),
    ],
)
def test_a_wrong_line_is_one_sentence_and_exit_2(
    line: list[str], sentence: str, hint: str, capsys: pytest.CaptureFixture[str]
):
    assert main(line) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    first, second = shown.err.splitlines()
    assert first.startswith(f"error: {sentence}")
    assert second.startswith(f"hint: {hint}")


def test_a_file_that_looks_like_an_option_is_told_from_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "-in.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["upscale", "-in.mp4", "out.mp4"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: no such option `-i`",
        "hint: a file's name that begins with a dash is written `./-in.mp4`",
    ]


def test_a_video_without_a_command_is_told_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "my film.mp4").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["my film.mp4", "out.mp4"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: no such command `my film.mp4`",
        "hint: `diffst upscale 'my film.mp4' out.mp4` makes it larger",
    ]


def test_a_users_error_is_printed_with_its_hint(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
):
    failing.append(UserError("no video in `[a].mp4`", hint="try another"))
    assert main(["fail"]) == 1
    assert capsys.readouterr().err == "error: no video in `[a].mp4`\nhint: try another\n"


def test_a_bug_shows_no_traceback(failing: list[BaseException], capsys: pytest.CaptureFixture[str]):
    failing.append(ZeroDivisionError("division by zero"))
    assert main(["fail"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first == "error: this is a bug in diffst (ZeroDivisionError: division by zero)"
    assert second.startswith("hint: run it again with `--debug`")


@pytest.mark.parametrize("line", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_anywhere_shows_the_traceback(
    line: list[str], failing: list[BaseException], capsys: pytest.CaptureFixture[str]
):
    failing.append(ZeroDivisionError("division by zero"))
    assert main(line) == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert "error: this is a bug" in shown


def test_debug_after_two_dashes_is_a_name():
    assert app_module._debug_first(["upscale", "--", "--debug", "b"]) == [
        "upscale",
        "--",
        "--debug",
        "b",
    ]
    assert app_module._debug_first(["a", "--debug", "--", "--debug"]) == [
        "--debug",
        "a",
        "--",
        "--debug",
    ]


def test_an_interrupt_exits_with_130(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
):
    failing.append(KeyboardInterrupt())
    assert main(["fail"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_commands_exit_code_is_kept(
    failing: list[BaseException], capsys: pytest.CaptureFixture[str]
):
    failing.append(typer.Exit(1))
    assert main(["fail"]) == 1
    assert capsys.readouterr().err == ""


def test_help_needs_nothing_heavy():
    program = (
        "import sys\nfrom diffst_cli.app import main\n"
        f"codes = [main([*command, '-h']) for command in {[[], *([name] for name in COMMANDS)]}]\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(max(codes))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "\n")


def test_help_shows_switches_without_a_type(capsys: pytest.CaptureFixture[str]):
    for line in ([], ["upscale"], ["models"], ["models", "list"]):
        assert main([*line, "--help"]) == 0
        shown = capsys.readouterr().out
        assert "--help" in shown
        assert "bool" not in shown


def test_help_begins_with_what_everyone_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("COLUMNS", "300")
    assert main(["batch", "-h"]) == 0
    shown = capsys.readouterr().out
    assert "goes on after its last finished segment, so the same command goes on" in shown
    headings = re.findall(r"─ ([A-Z][^─]*) ─", shown)
    assert headings[:4] == ["Arguments", "Options", "Size and rate", "Part of the input"]


def test_no_help_holds_what_typer_takes_for_a_colour():
    """It would show `diffst[ray]` as `diffst`."""
    tool = typer.main.get_command(app)
    commands = [tool, *tool.commands.values()]  # type: ignore[attr-defined]
    commands += [each for group in commands[1:] for each in getattr(group, "commands", {}).values()]
    helps = [getattr(option, "help", None) or "" for each in commands for option in each.params]
    assert len(helps) > 100
    assert [text for text in helps if re.search(r"\[[a-z]", text)] == []


def test_windows_is_told_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(__main__, "os", SimpleNamespace(name="nt"))
    assert __main__.main() == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: diffst does not run on Windows itself",
        "hint: run it in WSL",
    ]
