import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from diffst_cli.errors import UserError
from diffst_cli.evaluation import measures, network_metrics
from diffst_cli.evaluation.measures import METRICS, NOT_PACKAGED, Pair, how_to_get, parse_metrics
from diffst_cli.evaluation.measuring import ffmpeg_output
from diffst_cli.evaluation.scores import COLUMNS

Create = Callable[[str], Callable[..., torch.Tensor]]


@pytest.fixture
def pyiqa(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Create], None]]:
    """Puts a stand-in for pyiqa in place, given its `create_metric`."""

    def install(create: Create) -> None:
        module = types.ModuleType("pyiqa")
        vars(module)["create_metric"] = create
        monkeypatch.setitem(sys.modules, "pyiqa", module)

    network_metrics.open_network.cache_clear()
    yield install
    network_metrics.open_network.cache_clear()


def judge_by_mean(name: str) -> Callable[..., torch.Tensor]:
    """With a reference the mean difference in hundredths, else the mean, of frames as pyiqa takes them."""

    def judge(frame: torch.Tensor, true: torch.Tensor | None = None) -> torch.Tensor:
        assert frame.shape == (1, 3, 2, 4)
        assert frame.dtype == torch.float32
        assert (true is not None) == (name in ("lpips", "dists"))
        return frame.mean() if true is None else (frame - true).abs().mean().view(1, 1) / 100

    return judge


def flat(*levels: int) -> torch.Tensor:
    """One flat frame for each level, (T, 2, 4, 3) uint8."""
    return torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 2, 4, 3)


def test_a_metric_with_a_reference_compares_frame_by_frame(pyiqa: Callable[[Create], None]):
    pyiqa(judge_by_mean)
    values = network_metrics.measure_by_network("dists", flat(51, 102), flat(51, 0))
    assert values == pytest.approx((0, 0.4 / 100))


def test_a_metric_without_reference_sees_the_output_alone(pyiqa: Callable[[Create], None]):
    pyiqa(judge_by_mean)
    values = network_metrics.measure_by_network("clip-iqa", flat(51, 102), flat(0, 0))
    assert values == pytest.approx((0.2, 0.4))


def test_tlp_is_the_error_of_the_perceived_change_in_hundredths(pyiqa: Callable[[Create], None]):
    pyiqa(judge_by_mean)
    # changes 0.2 and 0.4 where 0.4 and 0.4 are true
    values = network_metrics.measure_tlp(flat(0, 51, 153), flat(0, 102, 204))
    assert values == pytest.approx((0.2, 0.0))


def test_each_network_is_loaded_once_and_by_its_own_name(pyiqa: Callable[[Create], None]):
    asked: list[str] = []

    def create(name: str) -> Callable[..., torch.Tensor]:
        asked.append(name)
        return judge_by_mean(name)

    pyiqa(create)
    names = ["lpips", "dists", "clip-iqa", "musiq", "maniqa"]
    assert [metric.name for metric in parse_metrics(names)] == names
    parse_metrics(names)
    assert asked == ["lpips", "dists", "clipiqa", "musiq", "maniqa"]


def test_without_pyiqa_the_hint_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    network_metrics.open_network.cache_clear()
    monkeypatch.setitem(sys.modules, "pyiqa", None)  # what makes its import fail
    with pytest.raises(UserError, match="metric `tlp` is not available") as caught:
        parse_metrics(["psnr", "tlp"])
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("run `pip install 'diffst[metrics]'`")


def test_a_pyiqa_that_does_not_load_is_not_available_either(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    network_metrics.open_network.cache_clear()
    (tmp_path / "pyiqa.py").write_text("raise RuntimeError('operator torchvision::nms is missing')")
    monkeypatch.delitem(sys.modules, "pyiqa", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="not available: operator torchvision::nms is missing"):
        parse_metrics(["lpips"])


def test_a_network_that_lacks_a_package_says_which(pyiqa: Callable[[Create], None]):
    def create(name: str) -> Callable[..., torch.Tensor]:
        raise ModuleNotFoundError("No module named 'pkg_resources'")

    pyiqa(create)
    with pytest.raises(UserError, match="`clip-iqa` is not available: No module named") as told:
        parse_metrics(["clip-iqa"])
    assert "setuptools<81" in str(told.value.hint)


def test_without_weights_the_hint_says_where_they_belong(pyiqa: Callable[[Create], None]):
    def create(name: str) -> Callable[..., torch.Tensor]:
        raise ConnectionError("no route to host")

    pyiqa(create)
    with pytest.raises(UserError, match="weights cannot be fetched: no route to host") as caught:
        parse_metrics(["musiq"])
    assert caught.value.hint is not None
    assert "`~/.cache/torch/hub`" in caught.value.hint


def test_what_no_package_has_names_its_repository():
    for name in ("dover", "flolpips"):
        with pytest.raises(UserError, match=f"metric `{name}` is not available"):
            parse_metrics([name])
        assert "github.com" in NOT_PACKAGED[name]


@pytest.mark.parametrize(
    ("found", "way"),
    [(None, " after `pip install 'diffst[metrics]'`"), (object(), "")],
)
def test_what_was_not_measured_is_listed_with_the_way_to_it(
    monkeypatch: pytest.MonkeyPatch, found: object, way: str
):
    monkeypatch.setattr(measures, "find_spec", lambda _: found)
    networks, *others = how_to_get([METRICS[name] for name in METRICS if name != "dists"])
    assert networks == f"`dists`: name them in `--metrics`{way}"
    assert [line.split(":")[0] for line in others] == ["`dover`", "`flolpips`"]
    assert len(how_to_get(list(METRICS.values()))) == 2
    own, networks, *_ = how_to_get([METRICS["psnr"]])
    assert own.startswith("`ssim`, `ms-ssim`, `vmaf`, ")
    assert own.endswith(": name them in `--metrics`")  # nothing to install
    assert networks.endswith(f": name them in `--metrics`{way}")


def test_the_metric_reads_the_frames_of_both_videos(
    pyiqa: Callable[[Create], None], tmp_path: Path
):
    def create(name: str) -> Callable[..., torch.Tensor]:
        return lambda frame, true: (frame - true).mean()

    pyiqa(create)
    paths = []
    for name, level in (("output", 180), ("reference", 60)):
        paths.append(tmp_path / f"{name}.mkv")
        grey = f"color=0x{level:02x}{level:02x}{level:02x}:s=16x16:d=0.12"
        encode = ["-pix_fmt", "yuv420p", "-c:v", "ffv1", str(paths[-1])]
        ffmpeg_output(["-f", "lavfi", "-i", grey, *encode], "make")
    planes = torch.zeros(2, 16, 16, dtype=torch.uint8)
    pair = Pair(output=paths[0], reference=paths[1], luma=planes, true_luma=planes)
    (metric,) = parse_metrics(["lpips"])
    # two roundings to limited range
    assert metric.measure(pair)["lpips"] == pytest.approx((120 / 255,) * 2, abs=0.01)


def test_every_metric_has_a_column(pyiqa: Callable[[Create], None]):
    shown = {(column.series or "").replace("_", "-") for column in COLUMNS}
    assert {name for name in METRICS if name not in shown} == {"psnr"}  # shown as psnr_y
