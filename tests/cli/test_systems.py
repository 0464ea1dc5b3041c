import sys
from pathlib import Path

import pytest

from diffst.metrics import psnr
from diffst_cli.errors import UserError
from diffst_cli.measuring import read_luma
from diffst_cli.systems import CommandSystem, FfmpegSystem, parse_systems, upscale_system
from diffst_cli.tracks import TRACKS, Reference, make_input, make_reference
from tests.cli.test_measuring import write_luma
from tests.cli.test_tracks import NUM_FRAMES, moving_frames


@pytest.fixture
def degraded(tmp_path: Path) -> tuple[Path, Reference]:
    """A clean degraded clip of a moving texture, and its reference."""
    source = write_luma(tmp_path / "clip.mkv", moving_frames())
    reference = make_reference(source, tmp_path / "work", NUM_FRAMES)
    return make_input(reference, TRACKS["clean"], tmp_path / "work"), reference


def python_system(program: str) -> CommandSystem:
    return CommandSystem(
        name="mine",
        template=(sys.executable, "-c", program, "{input}", "{output}", "x{scale},{fps_x}"),
    )


def test_frame_i_of_the_baseline_is_frame_i_of_the_reference(
    degraded: tuple[Path, Reference], tmp_path: Path
):
    source, reference = degraded
    output = tmp_path / "out" / "clip.mp4"
    FfmpegSystem(crf=0).run(source, output, reference)
    mine, true = read_luma(output), read_luma(reference.path)
    assert mine.shape == (NUM_FRAMES - 2, 88, 144)  # minterpolate keeps the last keyframe back
    for index in range(len(mine)):
        fits = [psnr(mine[[index]], true[[other]]).item() for other in range(NUM_FRAMES)]
        assert fits.index(max(fits)) == index


def test_a_lower_rate_factor_keeps_more(degraded: tuple[Path, Reference], tmp_path: Path):
    source, reference = degraded
    lossless, coarse = tmp_path / "lossless.mp4", tmp_path / "coarse.mp4"
    FfmpegSystem(crf=0).run(source, lossless, reference)
    FfmpegSystem(crf=40).run(source, coarse, reference)
    assert coarse.stat().st_size < lossless.stat().st_size / 4


def test_a_command_gets_its_files_and_factors(degraded: tuple[Path, Reference], tmp_path: Path):
    source, reference = degraded
    output = tmp_path / "out" / "clip.mp4"
    program = "import sys; open(sys.argv[2], 'w').write(sys.argv[1] + sys.argv[3])"
    python_system(program).run(source, output, reference)
    assert output.read_text() == f"{source}x4,2"


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


def test_a_command_that_writes_nothing_has_failed_whatever_was_there(
    degraded: tuple[Path, Reference], tmp_path: Path
):
    source, reference = degraded
    output = tmp_path / "out.mp4"
    output.write_text("from an earlier run")
    with pytest.raises(UserError, match=r"`mine` wrote no `.*out\.mp4`"):
        python_system("pass").run(source, output, reference)


def test_a_missing_program_is_an_error(degraded: tuple[Path, Reference], tmp_path: Path):
    source, reference = degraded
    system = CommandSystem(name="gone", template=(str(tmp_path / "gone"), "{input}", "{output}"))
    with pytest.raises(UserError, match=r"cannot start `.*gone` of `gone`"):
        system.run(source, tmp_path / "out.mp4", reference)


def test_our_tool_is_run_through_its_command_line():
    system = upscale_system("models/new-nano", 16)
    line = " ".join(system.template[1:])
    assert system.name == "new-nano"
    assert line.startswith("-m diffst_cli upscale {input} {output} --scale {scale} --fps-x {fps_x}")
    assert "--crf 16 --preset medium --model models/new-nano" in line


def test_systems_come_in_the_order_given_and_commands_last():
    systems = parse_systems(["nano", "ffmpeg"], ["mine=run 'a b' {input} {output}"], 16)
    assert [system.name for system in systems] == ["nano", "ffmpeg", "mine"]
    assert isinstance(systems[1], FfmpegSystem)
    assert isinstance(systems[2], CommandSystem)
    assert systems[2].template == ("run", "a b", "{input}", "{output}")


@pytest.mark.parametrize(
    ("names", "templates", "message"),
    [
        (["nano"], ["mine"], "`mine` is not a system"),
        (["nano"], ["mine=run {input}"], "is not a system"),
        (["nano"], ["=run {input} {output}"], "is not a system"),
        (["nano"], ["mine=run '{input} {output}"], "cannot split"),
        (["nano", "models/nano"], [], "two systems are called `nano`"),
        (["ffmpeg"], ["ffmpeg=run {input} {output}"], "two systems are called `ffmpeg`"),
        ([], [], "no system to evaluate"),
    ],
)
def test_systems_that_make_no_sense_are_refused(
    names: list[str], templates: list[str], message: str
):
    with pytest.raises(UserError, match=message):
        parse_systems(names, templates, 16)
