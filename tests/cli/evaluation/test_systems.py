import os
import sys
from pathlib import Path

import pytest

from diffst.metrics import psnr
from diffst_cli.errors import UserError
from diffst_cli.evaluation.measuring import read_luma
from diffst_cli.evaluation.systems import System, ffmpeg_system, parse_systems, upscale_system
from diffst_cli.evaluation.tracks import TRACKS, Reference, make_input, make_reference
from tests.cli.evaluation.test_measuring import write_luma
from tests.cli.evaluation.test_tracks import NUM_FRAMES, clip_of, moving_frames


@pytest.fixture
def degraded(tmp_path: Path) -> tuple[Path, Reference]:
    """A clean degraded clip of a moving texture, and its reference."""
    source = write_luma(tmp_path / "clip.mkv", moving_frames())
    reference = make_reference(clip_of(source), tmp_path / "work", NUM_FRAMES)
    return make_input(reference, TRACKS["clean"], tmp_path / "work"), reference


COUNT_RUNS = """
import pathlib, sys
output = pathlib.Path(sys.argv[2])
log = output.parent / "runs"
log.write_text((log.read_text() if log.exists() else "") + "x")
output.write_text(str(len(log.read_text())))
"""


def python_system(program: str, *, keeps: bool = True, crf: float = 16) -> System:
    words = ("{input}", "{output}", "x{scale},{fps_x}", "{width}x{height}@{fps}/{crf} {other}")
    return System(
        name="mine", template=(sys.executable, "-c", program, *words), crf=crf, keeps=keeps
    )


def test_frame_i_of_the_baseline_is_frame_i_of_the_reference(
    degraded: tuple[Path, Reference], tmp_path: Path
):
    source, reference = degraded
    output = tmp_path / "out" / "clip.mp4"
    ffmpeg_system(crf=0).run(source, output, reference)
    mine, true = read_luma(output), read_luma(reference.path)
    assert mine.shape == (NUM_FRAMES - 2, 88, 144)  # minterpolate keeps the last keyframe back
    for index in range(len(mine)):
        fits = [psnr(mine[[index]], true[[other]]).item() for other in range(NUM_FRAMES)]
        assert fits.index(max(fits)) == index


def test_a_lower_rate_factor_keeps_more(degraded: tuple[Path, Reference], tmp_path: Path):
    source, reference = degraded
    lossless, coarse = tmp_path / "lossless.mp4", tmp_path / "coarse.mp4"
    ffmpeg_system(crf=0).run(source, lossless, reference)
    ffmpeg_system(crf=40).run(source, coarse, reference)
    assert coarse.stat().st_size < lossless.stat().st_size / 4


def test_a_command_gets_its_files_and_factors(degraded: tuple[Path, Reference], tmp_path: Path):
    source, reference = degraded
    output = tmp_path / "out" / "clip.mp4"
    program = "import sys; open(sys.argv[2], 'w').write(' '.join([sys.argv[1], *sys.argv[3:]]))"
    python_system(program, crf=17.5).run(source, output, reference)
    assert output.read_text() == f"{source} x4,2 144x88@25/17.5 {{other}}"


def test_a_name_that_looks_like_a_placeholder_stays_as_it_is(
    degraded: tuple[Path, Reference], tmp_path: Path
):
    source, reference = degraded
    odd = source.rename(source.with_name("{output} {fps}.mp4"))
    program = "import sys; open(sys.argv[2], 'w').write(sys.argv[1])"
    python_system(program).run(odd, tmp_path / "out.mp4", reference)
    assert (tmp_path / "out.mp4").read_text() == str(odd)


def test_a_relative_name_cannot_pass_for_an_option(
    degraded: tuple[Path, Reference], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source, reference = degraded
    monkeypatch.chdir(tmp_path)
    source.rename("-y.mp4")
    program = "import sys; open(sys.argv[2], 'w').write(sys.argv[1])"
    python_system(program).run(Path("-y.mp4"), Path("-out.mp4"), reference)
    assert Path("-out.mp4").read_text() == str(tmp_path / "-y.mp4")


def test_an_output_is_kept_until_its_command_or_input_changes(
    degraded: tuple[Path, Reference], tmp_path: Path
):
    source, reference = degraded
    output = tmp_path / "out" / "clip.mp4"

    def run(system: System) -> tuple[str, bool]:
        cost = system.run(source, output, reference)
        return output.read_text(), cost is not None

    assert run(python_system(COUNT_RUNS)) == ("1", True)
    assert run(python_system(COUNT_RUNS)) == ("1", False)
    assert run(python_system(COUNT_RUNS, crf=17)) == ("2", True)
    os.utime(source, ns=(0, 0))
    assert run(python_system(COUNT_RUNS, crf=17)) == ("2", False)
    source.write_bytes(source.read_bytes() + b"x")
    assert run(python_system(COUNT_RUNS, crf=17)) == ("3", True)
    assert run(python_system(COUNT_RUNS, crf=17, keeps=False)) == ("4", True)
    assert sorted(path.name for path in output.parent.iterdir()) == [
        "clip.mp4",
        "clip.run.json",
        "runs",
    ]


def test_what_a_run_took_is_measured(degraded: tuple[Path, Reference], tmp_path: Path):
    source, reference = degraded
    program = "import sys, time; time.sleep(0.2); open(sys.argv[2], 'w')"
    cost = python_system(program).run(source, tmp_path / "out.mp4", reference)
    assert cost is not None
    assert cost.seconds > 0.2
    assert cost.peak_bytes > 1e6


def test_a_failing_command_is_reported_with_its_last_words(
    degraded: tuple[Path, Reference], tmp_path: Path
):
    source, reference = degraded
    with pytest.raises(
        UserError, match=r"`mine` failed on `.*clip\.mp4` with exit code 3: no GPU"
    ) as caught:
        python_system("import sys; print('no GPU', file=sys.stderr); sys.exit(3)").run(
            source, tmp_path / "out.mp4", reference
        )
    assert caught.value.hint is not None
    assert str(source) in caught.value.hint


def test_of_a_failing_diffst_the_error_is_told_and_not_its_hint(
    degraded: tuple[Path, Reference], tmp_path: Path
):
    source, reference = degraded
    # One that is met before torch is loaded.
    told = r"with exit code 2: error: cannot tell what kind of file `.*out\.docx` should be$"
    with pytest.raises(UserError, match=told):
        upscale_system("nano", 16, name="nano").run(source, tmp_path / "out.docx", reference)


def test_a_command_that_writes_nothing_has_failed_whatever_was_there(
    degraded: tuple[Path, Reference], tmp_path: Path
):
    source, reference = degraded
    output = tmp_path / "out.mp4"
    output.write_text("from an earlier run")
    with pytest.raises(UserError, match=r"`mine` wrote no `.*out\.mp4`"):
        python_system("pass").run(source, output, reference)
    assert list(tmp_path.glob("unfinished*")) == []


def test_a_missing_program_is_an_error(degraded: tuple[Path, Reference], tmp_path: Path):
    source, reference = degraded
    system = System(name="gone", template=(str(tmp_path / "gone"), "{input}", "{output}"), crf=16)
    with pytest.raises(UserError, match=r"cannot start `.*gone` of `gone`"):
        system.run(source, tmp_path / "out.mp4", reference)


def test_our_tool_is_run_through_its_command_line():
    system = upscale_system("models/new-nano", 16, name="new")
    line = " ".join(system.template[1:])
    assert system.name == "new"
    assert line.startswith("-m diffst_cli upscale {input} {output} --scale {scale} --fps-x {fps_x}")
    assert "--crf {crf} --preset medium --model models/new-nano" in line
    assert not system.keeps


def test_folders_of_one_name_are_told_apart_by_those_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("a/best", "b/best", "b/last", "nano"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model_index.json").write_text("{}", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "b" / "last")
    (tmp_path / "current").symlink_to(tmp_path / "a" / "best")
    folders = ["../../a/best", str(tmp_path / "b" / "best"), ".", "../../nano", "../../current"]
    systems = parse_systems(["nano", *folders], [], 16)
    assert [system.name for system in systems] == [
        "nano",
        "a-best",
        "b-best",
        "last",
        f"{tmp_path.name}-nano",
        "current",
    ]


def test_systems_come_in_the_order_given_and_commands_last():
    systems = parse_systems(["nano", "ffmpeg"], ["esr-x4=run 'a b' {input} {output}"], 16)
    assert [system.name for system in systems] == ["nano", "ffmpeg", "esr-x4"]
    assert systems[1] == ffmpeg_system(16)
    assert systems[2].template == ("run", "a b", "{input}", "{output}")
    assert [system.keeps for system in systems] == [False, True, True]


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        (["nano"], ["mine"], "`mine` is not a system"),
        (["nano"], ["mine=run {input}"], "is not a system"),
        (["nano"], ["=run {input} {output}"], "is not a system"),
        (["nano"], ["../x=run {input} {output}"], "is not a system"),
        (["nano"], ["mine=run '{input} {output}"], "cannot split"),
        (["nano", "nano"], [], "two systems are called `nano`"),
        (["nanoo"], [], "there is no model `nanoo`; `--systems` takes `nano`, "),
        (["tests"], [], "`--systems` is `tests`, a folder without `model_index.json`"),
        (["ffmpeg"], ["ffmpeg=run {input} {output}"], "two systems are called `ffmpeg`"),
        ([], [], "no system to evaluate"),
    ],
)
def test_systems_that_make_no_sense_are_refused(
    names: list[str], templates: list[str], message: str
):
    with pytest.raises(UserError, match=message):
        parse_systems(names, templates, 16)


def test_a_program_that_makes_a_folder_is_told_so(degraded: tuple[Path, Reference], tmp_path: Path):
    source, reference = degraded
    program = "import os, sys; os.mkdir(sys.argv[2])"
    with pytest.raises(UserError, match=r"`mine` makes a folder"):
        python_system(program).run(source, tmp_path / "out" / "clip.mp4", reference)
    assert list((tmp_path / "out").iterdir()) == []
