import json
import math
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from diffst_cli.app import main
from diffst_cli.errors import UserError
from diffst_cli.evaluation.evaluate import Evaluation, evaluate, find_shift, score_folder
from diffst_cli.evaluation.measures import OWN
from diffst_cli.evaluation.measuring import ffmpeg_output
from diffst_cli.evaluation.scores import ClipScore
from diffst_cli.evaluation.systems import System, ffmpeg_system
from diffst_cli.progress import Reporter
from tests.cli.evaluation.test_measuring import write_luma
from tests.cli.evaluation.test_tracks import NUM_FRAMES, moving_frames, write_pictures
from tests.cli.test_run import Notes
from tests.media import make_video

Runner = Callable[..., list[ClipScore]]


def filter_system(name: str, filters: str) -> System:
    """A system that is one ffmpeg filter chain, losslessly coded."""
    from diffst_cli.ffmpeg import ffmpeg_path

    line = [str(ffmpeg_path()), "-v", "error", "-i", "{input}", "-vf", filters]
    return System(name=name, template=(*line, "-crf", "0", "-y", "{output}"), crf=0)


def enlarging(name: str, factor: str) -> System:
    """A script that makes clips as many times as large as the shell command `factor` prints."""
    from diffst_cli.ffmpeg import ffmpeg_path

    script = f'n=$({factor}); {ffmpeg_path()} -v error -i "$1" -vf scale=iw*$n:ih*$n,fps=25 -y "$2"'
    return System(name=name, template=("sh", "-c", script, name, "{input}", "{output}"), crf=0)


SMALL = "scale=iw*2:ih*2,fps=25"
LATE = "scale=iw*4:ih*4,minterpolate=fps=25,tpad=start=1:start_mode=clone"
REPEAT = filter_system("repeat", "scale=iw*4:ih*4:flags=neighbor,fps={fps}")


@pytest.fixture
def run(tmp_path: Path) -> Runner:
    """Evaluates systems on one moving clip, track `clean`."""
    references = tmp_path / "references"
    references.mkdir()
    write_luma(references / "clip.mkv", moving_frames())

    def run_systems(*systems: System, reporter: Reporter | None = None) -> list[ClipScore]:
        settings = Evaluation(
            reference_dir=references,
            work=tmp_path / "work",
            systems=systems,
            tracks=("clean",),
            metrics=tuple(OWN.values()),
            num_frames=NUM_FRAMES,
            crf=0,
        )
        return evaluate(settings, reporter or Reporter()).scores

    return run_systems


def test_the_true_video_scores_as_perfect(run: Runner, tmp_path: Path):
    truth = tmp_path / "references" / "clip.mkv"
    copy = filter_system("truth", "null").template
    system = System(
        name="truth",
        template=tuple(
            {"{input}": str(truth), "null": "crop=144:88:0:0"}.get(word, word) for word in copy
        ),
        crf=0,
    )
    (score,) = run(system)
    series = score.series
    assert series["psnr_y"] == (100.0,) * NUM_FRAMES
    assert series["ssim"] == pytest.approx((1.0,) * NUM_FRAMES)
    assert series["frame_difference"] == series["tof"] == (0.0,) * (NUM_FRAMES - 1)
    assert series["warping"] == series["true_warping"]
    assert len(series["vmaf"]) == NUM_FRAMES
    assert all(map(math.isnan, series["ms_ssim"]))  # 88 lines are too few for five scales


def test_interpolation_beats_repetition_on_new_frames(run: Runner):
    notes = Notes()
    baseline, repeated = run(ffmpeg_system(crf=0), REPEAT, reporter=notes)
    assert notes.stages == ["preparing clip", "clean: clip: ffmpeg", "clean: clip: repeat"]
    assert (baseline.system, baseline.num_frames) == ("ffmpeg", NUM_FRAMES - 2)
    assert min(baseline.series["psnr_y"][1::2]) > max(repeated.series["psnr_y"][1::2]) + 3
    for error in ("frame_difference", "tof"):
        assert sum(baseline.series[error]) < sum(repeated.series[error][: NUM_FRAMES - 3])


def test_a_comparison_is_not_made_twice(run: Runner, tmp_path: Path):
    (first,) = run(ffmpeg_system(crf=0))
    (kept,) = (tmp_path / "work" / "scores").glob("*-vmaf-2.json")
    numbers = json.loads(kept.read_text())
    kept.write_text(json.dumps(numbers | {"series": {"vmaf": [12.5]}}))
    (second,) = run(ffmpeg_system(crf=0))
    assert second.series["vmaf"] == (12.5,)
    assert second.series["psnr_y"] == first.series["psnr_y"]
    assert first.frames_per_second > 0
    assert math.isnan(second.frames_per_second)  # the output was there


def test_the_cost_of_a_run_stands_with_its_score(run: Runner):
    program = "import subprocess, sys, time; subprocess.run(sys.argv[1:]); time.sleep(0.5)"
    slow = System(name="slow", template=(sys.executable, "-c", program, *REPEAT.template), crf=0)
    (score,) = run(slow)
    assert 0 < score.frames_per_second < NUM_FRAMES / 0.5
    assert score.cpu_seconds_per_frame > 0
    assert score.peak_bytes > 1e6


@pytest.mark.parametrize(
    ("filters", "message", "remedy"),
    [
        (SMALL, "the output is 72x44, its reference 144x88", "4 times as wide and high"),
        ("scale=iw*4:ih*4", "the output has 4 frames, its reference 7", "twice the frame rate"),
        (
            "scale=iw*4:ih*4,fps=25,setpts=N/24/TB,fps=24",
            "the output has 24 frames/s",
            "twice the frame rate",
        ),
        (f"{SMALL},format=yuvj420p", "the output is yuvj420p of full range", "write limited range"),
        (LATE, "its frame i looks like frame i-1 of the reference", "first frame must be"),
    ],
)
def test_an_output_that_does_not_fit_is_refused(
    run: Runner, filters: str, message: str, remedy: str
):
    with pytest.raises(UserError, match=message) as caught:
        run(filter_system("wrong", filters))
    assert caught.value.message.startswith("`wrong` on `clip` (clean): ")
    assert remedy in str(caught.value.hint)
    assert "work/outputs/crf0/wrong/clean/clip.mp4" in str(caught.value.hint)


def test_a_finished_output_as_large_as_its_source_is_cut_as_the_reference_is(
    run: Runner, tmp_path: Path
):
    del run  # has made the references, 150x90
    references, own = tmp_path / "references", list(OWN.values())
    outputs = shutil.copytree(references, tmp_path / "mine")
    (score,) = score_folder(outputs, references, tmp_path, own, track="web", num_frames=NUM_FRAMES)
    assert score.series["psnr_y"] == (100.0,) * NUM_FRAMES
    assert min(score.series["vmaf"]) > 90


def test_a_system_that_fails_is_left_out_and_the_others_go_on(run: Runner, tmp_path: Path):
    write_luma(tmp_path / "references" / "other.mkv", moving_frames())
    notes = Notes()
    one = enlarging("one", "case $1 in *other*) echo 2;; *) echo 4;; esac")
    scores = run(one, REPEAT, reporter=notes)
    assert [(score.clip, score.system) for score in scores] == [
        ("clip", "repeat"),
        ("other", "repeat"),
    ]
    assert notes.warnings == ["`one` is left out of what follows, and of the tables"]


def test_an_output_that_did_not_fit_is_made_again(run: Runner, tmp_path: Path):
    factor = tmp_path / "factor"
    system = enlarging("mended", f"cat {factor}")
    factor.write_text("2", encoding="utf-8")
    with pytest.raises(UserError, match="the output is 72x44"):
        run(system)
    factor.write_text("4", encoding="utf-8")
    assert [score.system for score in run(system)] == ["mended"]


def test_an_even_number_of_frames_loses_the_last(run: Runner, tmp_path: Path):
    write_luma(tmp_path / "references" / "clip.mkv", moving_frames()[:6])
    (score,) = run(REPEAT)
    assert score.num_frames == 5


@pytest.mark.parametrize("shift", [-2, -1, 0, 1, 2])
def test_a_shift_in_time_is_found(shift: int):
    frames = moving_frames()
    wrapped = torch.cat([frames[:1], frames[:1], frames, frames[-1:], frames[-1:]])
    output = wrapped[2 + shift : 2 + shift + NUM_FRAMES]
    assert find_shift(output, frames) == shift


def test_a_still_video_has_no_shift():
    assert find_shift(*[moving_frames()[:1].repeat(NUM_FRAMES, 1, 1)] * 2) == 0


def test_a_folder_of_outputs_is_scored_by_name(run: Runner, tmp_path: Path):
    (expected,) = run(REPEAT)
    outputs = tmp_path / "mine"
    shutil.copytree(tmp_path / "work" / "outputs" / "crf0" / "repeat" / "clean", outputs)
    (score,) = score_folder(
        outputs,
        tmp_path / "references",
        tmp_path / "other",
        [OWN["psnr"]],
        track="clean",
        num_frames=NUM_FRAMES,
    )
    assert (score.system, score.clip) == ("mine", "clip")
    assert score.series == {"psnr_y": expected.series["psnr_y"]}


def test_a_folder_of_other_videos_is_refused(run: Runner, tmp_path: Path):
    run(REPEAT)
    outputs = tmp_path / "mine"
    outputs.mkdir()
    ffmpeg_output(["-i", str(tmp_path / "references" / "clip.mkv"), str(outputs / "x.mp4")], "make")
    with pytest.raises(UserError, match=r"no video in `.*mine` is named as one in"):
        score_folder(
            outputs,
            tmp_path / "references",
            tmp_path / "other",
            [OWN["psnr"]],
            track="web",
            num_frames=NUM_FRAMES,
        )


def test_a_published_set_is_measured_with_its_own_inputs(tmp_path: Path):
    frames = moving_frames()
    write_pictures(tmp_path / "UDM10" / "GT" / "000", frames)
    write_pictures(tmp_path / "UDM10" / "LQ" / "000", frames[:, 1::4, 1::4])
    settings = Evaluation(
        reference_dir=tmp_path / "UDM10",
        work=tmp_path / "work",
        systems=(REPEAT,),
        tracks=("lq", "clean"),
        metrics=(OWN["psnr"],),
        num_frames=5,
        crf=0,
    )
    own, made = evaluate(settings, Reporter()).scores
    assert (own.track, own.clip, own.num_frames) == ("lq", "000", 5)
    assert (made.track, made.clip, made.num_frames) == ("clean", "000", 5)
    assert own.series != made.series
    with pytest.raises(UserError, match="the set has no `bd` input for `000`") as caught:
        evaluate(replace(settings, tracks=("bd",)), Reporter())
    assert caught.value.hint == "it has: lq"


def command_line(tmp_path: Path, *options: str) -> list[str]:
    return ["evaluate", str(tmp_path / "references"), "--work", str(tmp_path / "work"), *options]


def test_the_command_prints_tables_and_writes_files(
    run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    del run  # has made the references
    json_file, csv_file = tmp_path / "scores.json", tmp_path / "scores.csv"
    repeat = f"repeat={shlex.join(REPEAT.template)}"
    options = ["--systems", "ffmpeg", "--command", repeat, "--tracks", "web,clean", "--crf", "0"]
    files = ["--json", str(json_file), "--csv", str(csv_file)]
    assert main(command_line(tmp_path, *options, "--frames", "7", *files)) == 0
    printed = capsys.readouterr().out
    assert [line.split("|")[1:4] for line in printed.splitlines()[2:6]] == [
        [" web   ", " clip ", " ffmpeg "],
        [" web   ", " clip ", " repeat "],
        [" clean ", " clip ", " ffmpeg "],
        [" clean ", " clip ", " repeat "],
    ]
    assert printed.count("| ffmpeg - repeat |") == 2
    assert "- `lpips`, `dists`, `clip-iqa`, `musiq`, `maniqa`, `tlp`: name them" in printed
    written = json.loads(json_file.read_text())
    about = [written[key] for key in ("num_frames", "crf", "left_out")]
    assert [*about, list(written["systems"])] == [7, 0, [], ["ffmpeg", "repeat"]]
    clips = written["clips"]
    assert {len(clip["vmaf"]) for clip in clips} == {5}
    assert all({"psnr_y", "ssim", "ms_ssim", "warping", "tof"} < set(clip) for clip in clips)
    assert len(csv_file.read_text().splitlines()) == 5


def test_a_command_that_fails_is_told_and_the_rest_of_the_table_is_there(
    run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    del run  # has made the references
    wrong = f"wrong={shlex.join(filter_system('wrong', SMALL).template)}"
    options = ["--systems", "ffmpeg", "--command", wrong, "--tracks", "clean", "--metrics", "psnr"]
    csv_file = tmp_path / "scores.csv"
    assert main(command_line(tmp_path, *options, "--csv", str(csv_file))) == 1
    printed = capsys.readouterr()
    assert "error: `wrong` on `clip` (clean): the output is 72x44, its reference" in printed.err
    assert "hint: the output must be 4 times as wide and high" in printed.err
    assert "| ffmpeg |" in printed.out
    assert "wrong" not in printed.out
    assert len(csv_file.read_text().splitlines()) == 2


def test_a_clip_that_cannot_be_read_is_told_and_the_others_are_measured(
    run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    del run  # has made the references
    (tmp_path / "references" / "broken.mp4").write_bytes(b"no video")
    make_video(tmp_path / "references" / "tiny.mp4", size=(16, 16), num_frames=5)
    options = ["--systems", "ffmpeg", "--tracks", "clean", "--metrics", "psnr", "--json", "-"]
    assert main(command_line(tmp_path, *options)) == 1
    printed = capsys.readouterr()
    assert [clip["clip"] for clip in json.loads(printed.out)["clips"]] == ["clip"]
    assert printed.err.count("error: ") == 2
    assert "warning: `broken` is left out\n" in printed.err
    assert "too small to measure: 16x16" in printed.err
    assert "| ffmpeg |" in printed.err


def test_a_clip_whose_header_promises_more_than_it_holds_is_left_out_alone(
    run: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    del run  # has made the references
    whole = make_video(tmp_path / "whole.mp4", size=(96, 64), num_frames=30)
    broken = tmp_path / "references" / "broken.mov"
    copy = ["-i", str(whole), "-c:v", "mjpeg", "-movflags", "faststart", str(broken)]
    ffmpeg_output(copy, "put the index first")
    data = broken.read_bytes()
    start = data.index(b"mdat")
    broken.write_bytes(data[: start + (len(data) - start) // 10])  # about three frames of 30
    options = ["--systems", "ffmpeg", "--tracks", "clean", "--metrics", "psnr"]
    assert main(command_line(tmp_path, *options)) == 1
    printed = capsys.readouterr()
    assert "warning: `broken` is left out\n" in printed.err
    assert "too short to measure" in printed.err
    assert "| clip " in printed.out


def test_no_readable_clip_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "references").mkdir()
    for name in ("a.mp4", "b.mp4"):
        make_video(tmp_path / "references" / name, size=(16, 16), num_frames=5)
    assert main(command_line(tmp_path, "--systems", "ffmpeg")) == 1
    said = capsys.readouterr().err
    assert said.count("too small to measure") == 2
    assert said.count("is left out") == 1


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--json", "-", "--csv", "-"], 2, "error: `--json` and `--csv` are both `-`"),
        (
            ["--json", "x.csv", "--csv", "./x.csv"],
            2,
            "error: `--json` and `--csv` are both `x.csv`",
        ),
        (
            ["--tracks", "web,vhs"],
            2,
            "error: unknown track `vhs`\nhint: one of: clean, web, old, lq, bi, bd",
        ),
        (["--tracks", ","], 2, "error: no track to evaluate on"),
        (["--systems", ","], 2, "error: no system to evaluate"),
        (
            ["--systems", "nope,ffmpeg"],
            2,
            "error: there is no model `nope`; `--systems` takes `nano`",
        ),
        (["--systems", "/"], 2, "error: `--systems` is `/`, a folder without `model_index.json`"),
        (["--metrics", "psnr,mse"], 2, "error: unknown metric `mse`\nhint: one of: psnr, ssim, "),
        (["--metrics", ","], 2, "error: no metric to measure"),
        (
            ["--metrics", "dover"],
            1,
            "error: metric `dover` is not available\nhint: no package has it",
        ),
        (
            ["--csv", "/nowhere/scores.csv"],
            2,
            "error: `--csv` is `/nowhere/scores.csv`, which cannot be",
        ),
        (["--frames", "4"], 2, "error: invalid value for `--frames`"),
        ([], 1, "references` is not a folder"),
    ],
)
def test_a_wrong_command_line_is_told_before_any_work(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    code: int,
    message: str,
):
    assert main(command_line(tmp_path, *options)) == code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "work").exists()
