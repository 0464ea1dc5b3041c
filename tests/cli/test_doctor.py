import json
import stat
from pathlib import Path

import pytest

from diffst_cli import doctor
from diffst_cli.app import main
from diffst_cli.doctor import Finding, examine, report
from diffst_cli.encoding import encoder_works
from diffst_cli.ffmpeg import ffmpeg_path


def found(name: str) -> Finding:
    (finding,) = (finding for finding in examine() if finding.name == name)
    return finding


def forget_ffmpeg() -> None:
    ffmpeg_path.cache_clear()
    encoder_works.cache_clear()


@pytest.fixture(autouse=True)
def only_the_default_encoder(monkeypatch: pytest.MonkeyPatch):
    """Trying every encoder takes a second, and is the same code."""
    monkeypatch.setattr(doctor, "ENCODERS", {"libx264": "H.264"})


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An ffmpeg of version 7.1 that can encode nothing."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        '#!/bin/sh\n[ "$1" = -version ] && echo "ffmpeg version 7.1" && exit 0\nexit 1\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("DIFFST_FFMPEG", str(program))
    forget_ffmpeg()
    yield program
    forget_ffmpeg()


def test_only_encoders_that_run_are_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "ENCODERS", {"no_such_encoder": "Nonsense", "libx264": "H.264"})
    assert found("encoders") == Finding(name="encoders", ok=True, value="H.264 (`libx264`)")


def test_ffmpeg_is_named_with_its_version_and_origin(fake_ffmpeg: Path):
    assert found("ffmpeg") == Finding(
        name="ffmpeg", ok=True, value=f"7.1, named by DIFFST_FFMPEG: `{fake_ffmpeg}`"
    )


def test_ffmpeg_without_the_default_encoder_is_a_problem(fake_ffmpeg: Path):
    finding = found("encoders")
    assert finding.ok is False
    assert finding.value == "none; `libx264`, the default, does not run"
    assert finding.hint is not None


def test_ffmpeg_that_does_not_run_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("DIFFST_FFMPEG", str(tmp_path / "missing"))
    forget_ffmpeg()
    try:
        finding = found("ffmpeg")
    finally:
        forget_ffmpeg()
    assert finding.ok is False
    assert finding.hint == "unset it to use the bundled ffmpeg"


def test_little_memory_and_disk_give_hints_but_no_problem(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doctor, "LOW_MEMORY_BYTES", 10**18)
    monkeypatch.setattr(doctor, "LOW_DISK_BYTES", 10**18)
    for name in ("memory", "disk"):
        assert found(name).ok is True
        assert found(name).hint is not None


def test_report_puts_each_hint_below_its_finding():
    findings = [
        Finding(name="a", ok=True, value="fine"),
        Finding(name="long", ok=False, value="broken", hint="mend it"),
    ]
    assert report(findings).splitlines() == [
        "ok      a     fine",
        "PROBLEM long  broken",
        "              hint: mend it",
    ]


@pytest.mark.parametrize(
    ("ok", "code", "last"), [(True, 0, "diffst can"), (False, 1, "diffst cannot")]
)
def test_exit_code_says_whether_upscaling_can_work(
    ok: bool,
    code: int,
    last: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(doctor, "examine", lambda: [Finding(name="torch", ok=ok, value="here")])
    assert main(["doctor"]) == code
    assert capsys.readouterr().out.splitlines()[-1].startswith(last)


def test_json_holds_every_finding(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(
        doctor, "examine", lambda: [Finding(name="torch", ok=False, value="gone", hint="mend")]
    )
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "works": False,
        "findings": [{"name": "torch", "ok": False, "value": "gone", "hint": "mend"}],
    }
