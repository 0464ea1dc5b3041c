import json
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from diffst.wan import levers
from diffst.wan.names import DECODERS
from diffst_cli import model_benchmark
from diffst_cli.app import main
from diffst_cli.errors import UsageError
from diffst_cli.job import UpscaleJob
from diffst_cli.memory_laws import wan_operations
from diffst_cli.model_benchmark import (
    ModelPlan,
    chosen_levers,
    count_operations,
    measure_model,
    report_model,
    timed_run,
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same classes at a size for tests, under a name of its own."""
    monkeypatch.setitem(model_benchmark.RANDOM_SIZES, "wan-1.3b", "tiny")
    monkeypatch.setattr(model_benchmark, "matrix_rate", lambda device, precision: 2e12)


def job(decoder: str = "full") -> UpscaleJob:
    return UpscaleJob(
        input=Path("in.mp4"),
        output=Path("out.mp4"),
        model="wan-1.3b",
        device="cpu",
        precision="fp32",
        decoder=decoder,
    )


def plan(**options: Any) -> ModelPlan:
    usual: dict[str, Any] = {
        "job": job(),
        "size": (64, 32),
        "scale": Fraction(2),
        "fps_x": Fraction(2),
        "num_frames": 5,
        "repeats": 2,
        "levers": "stock",
    }
    return ModelPlan(**{**usual, **options})


def test_output_frames_lie_between_keyframes():
    assert plan().instants == [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5), (2, 0.0)]
    assert plan().input_size == (32, 16)


def test_tiny_model_is_measured_and_counted():
    said: list[str] = []
    result = measure_model(plan(), said.append)
    assert (result.frames, result.keyframes, result.repeats) == (5, 3, 2)
    assert (result.device, result.precision) == ("cpu", "fp32")
    assert set(result.parameters) == {"cfca", "vrg", "transformer", "codec"}
    assert {"cfca", "vrg", "encode", "dit", "decode"} <= result.stage_seconds.keys()
    assert all(result.stage_operations[name] > 0 for name in ("encode", "dit", "decode"))
    total = sum(result.stage_operations.values())
    assert result.floor_seconds == pytest.approx(total / 2e12)
    assert result.fraction_of_floor == pytest.approx(result.floor_seconds / result.seconds.median)
    assert result.teraflops == pytest.approx(total / result.seconds.median / 1e12)
    assert said == ["building the model", "warming up", "counting", "run 1 of 2", "run 2 of 2"]
    lines = report_model(result).splitlines()
    assert lines[0].startswith("5 frames of 64x32 from 3 of 32x16, fp32 on cpu, random weights")
    assert any(line.startswith("transformer ") and "parameters" in line for line in lines)


def test_levers_are_pulled_and_told():
    stock, exact = (measure_model(plan(levers=name), lambda _: None) for name in ("stock", "exact"))
    assert stock.levers == []
    assert "phase_convolutions" in exact.levers
    assert exact.stage_operations["decode"] < stock.stage_operations["decode"]
    assert exact.parameters == stock.parameters
    assert (
        report_model(stock).splitlines()[1]
        == "levers: none, the modules of diffusers; decoder: full"
    )
    assert "levers: fused_norms, no_copies," in report_model(exact)


# More frames bring the VAE's other pieces, each of which is compiled anew.
@pytest.mark.parametrize("num_frames", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_compiled_parts_are_compiled_before_they_are_timed(
    num_frames: int, monkeypatch: pytest.MonkeyPatch
):
    """Torch gives up for good what it first meets under a counter of operations."""
    calls: list[str] = []
    said = ["building the model"]

    def backend(graph: Any, _inputs: Any) -> Any:
        def compiled(*given: Any) -> Any:
            calls.append(said[-1])
            return graph.forward(*given)

        return compiled

    original = levers.compile_parts
    monkeypatch.setattr(levers, "compile_parts", lambda made: original(made, cast(Any, backend)))
    torch.compiler.reset()
    measure_model(plan(levers="compiled", num_frames=num_frames), said.append)
    assert {"warming up", "run 1 of 2", "run 2 of 2"} <= set(calls)
    first, second = (calls.count(f"run {number} of 2") for number in (1, 2))
    assert first == second > 0
    assert "counting" not in calls


def test_cudnns_attention_is_refused_in_float32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_benchmark, "choose_place", lambda _job: ("cuda:0", "fp32"))
    with pytest.raises(UsageError, match="no kernel for fp32"):
        chosen_levers(plan(levers="cudnn_attention"))


def test_the_tiny_decoder_takes_the_place_of_the_vaes():
    full, tiny = (measure_model(plan(job=job(decoder=name)), lambda _: None) for name in DECODERS)
    assert (full.decoder, tiny.decoder) == ("full", "tiny")
    assert tiny.parameters["codec"] != full.parameters["codec"]
    assert tiny.parameters["transformer"] == full.parameters["transformer"]
    assert tiny.stage_operations["encode"] == full.stage_operations["encode"]
    assert tiny.formula_operations["decode"] < 0.1 * full.formula_operations["decode"]
    assert "; decoder: tiny" in report_model(tiny).splitlines()[1]


def test_operations_are_credited_to_the_stage_that_did_them():
    left = torch.ones(10, 20)
    right = torch.ones(20, 30)

    def run(on_stage: Any) -> torch.Tensor:
        first = left @ right
        on_stage("dit", 0.1)
        on_stage("idle", 0.1)
        second = left @ right @ right.T
        on_stage("decode", 0.1)
        return first + second.sum()

    counted = count_operations(run)
    assert counted == {
        "dit": 2 * 10 * 20 * 30,
        "decode": 2 * 10 * 20 * 30 + 2 * 10 * 30 * 20,
    }


def test_time_outside_of_stages_is_told():
    def run(on_stage: Any) -> torch.Tensor:
        on_stage("dit", 0.0)
        return torch.empty(0)

    whole, stages = timed_run(run)
    assert stages == {"dit": 0.0, "all else": whole}


def test_command_writes_everything_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "speed.json"
    words = ["--model", "wan-1.3b", "--random-weights", "--device", "cpu", "--size", "64x32"]
    limits = ["--frames", "5", "--repeats", "1", "--scale", "2", "--json", str(file)]
    assert main(["benchmark", *words, *limits]) == 0
    written = json.loads(file.read_text())
    assert written["model"] == "wan-1.3b"
    assert written["precision"] in ("bf16", "fp32")
    assert written["parameters"]["transformer"] > 0
    assert written["output_size"] == [64, 32]
    assert "folded_timestep" in written["levers"]
    assert "peak memory" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--model", "nano"], "there is no `nano` with random weights"),
        (["--model", "wan-1.3b", "--frames", "0"], "`--frames` and `--repeats` take 1 or more"),
        (["--model", "wan-1.3b", "--levers", "fast"], "there is no lever `fast`; there are fused"),
        (
            ["--model", "wan-1.3b", "--device", "cpu", "--levers", "cudnn_attention"],
            "`cudnn_attention` needs a GPU of NVIDIA",
        ),
        (["--model", "wan-1.3b", "in.mp4"], "measures the model alone, without a video"),
        (["--model", "wan-1.3b", "--input-size", "64x32"], "measures the model alone"),
    ],
)
def test_wrong_words_are_usage_errors(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["benchmark", "--random-weights", *words]) == 2
    assert sentence in capsys.readouterr().err


def test_input_of_nothing_is_refused():
    with pytest.raises(UsageError, match="too small"):
        plan(size=(2, 2), scale=Fraction(8))


@pytest.mark.slow
def test_laws_count_what_torch_counts_at_full_size():
    """On the meta device, where nothing is computed: 1.4 billion parameters, 5 frames of 256x128."""
    from diffst.transformer import one_step
    from diffst.wan.build import empty_parts, named_size

    transformer = empty_parts(named_size("1.3b"))["transformer"].to("meta")
    latents = torch.empty(2, 16, 16, 32, device="meta")
    guidance = torch.empty(1, 64, 4096, device="meta")

    def run(on_stage: Any) -> torch.Tensor:
        with torch.inference_mode():
            made = one_step(
                transformer, latents, guidance, timestep=399.0, sigma=0.4, window_latents=2
            )
        on_stage("dit", 0.0)
        return made

    law = wan_operations(256 * 128, 5, guidance_tokens=64)["dit"]
    assert count_operations(run)["dit"] == pytest.approx(law, rel=0.01)
