"""`diffst compare` through its command line, and its page in a browser."""

import base64
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import pytest

from diffst_cli.app import main
from tests.browser import Browser, is_installed
from tests.media import BT709_TAGS, HOSTILE_NAME, make_png_folder, make_video

HTML_VOID = {"meta", "input", "br", "img", "link"}


class Page(HTMLParser):
    """A page's elements; checks that they are closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.ids: dict[str, str] = {}
        self.scripts: dict[str, str] = {}
        self.addresses: list[str] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(self.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        name = found.get("id")
        if name is not None:
            assert name not in self.ids
            self.ids[name] = tag
        self.addresses += [str(found[key]) for key in ("src", "href") if key in found]
        if tag not in HTML_VOID:
            self._open.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        name, _ = self._open.pop()
        assert name == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "script":
            self.scripts[str(self._open[-1][1].get("id"))] = data

    @property
    def data(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.scripts["data"])
        return content


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """12 frames at 10 fps, 64x36."""
    return make_video(tmp_path / "small.mp4", size=(64, 36), num_frames=12, rate="10")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """24 frames at 20 fps, 128x72."""
    return make_video(tmp_path / "large.mp4", size=(128, 72), num_frames=24, rate="20")


def compare(*arguments: str | Path) -> int:
    return main(["compare", "--quiet", *map(str, arguments)])


def test_page_holds_everything_and_asks_for_nothing(
    small: Path, large: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "report.html"
    assert main(["compare", str(small), str(large), "-o", str(output)]) == 0
    said = capsys.readouterr().err
    assert re.search(r"wrote `.*report.html`, 0\.\d MB", said)
    assert re.search(r"large.mp4 against small.mp4: PSNR \d+\.\d\d dB, SSIM 0\.\d{4}", said)
    page = Page(output)
    assert page.addresses == []
    assert "default-src 'none'" in page.text
    assert not re.search(r"https?://", page.text)
    data = page.data
    assert (data["width"], data["height"]) == (128, 72)
    assert [video["chip"] for video in data["videos"]] == ["small.mp4, lanczos", "large.mp4"]
    assert data["frames"] == pytest.approx([index / 20 for index in range(24)])
    assert data["duration"] == pytest.approx(1.2)
    assert data["times"] == pytest.approx([index / 10 for index in range(12)])
    assert len(data["series"]) == 1
    assert {len(values) for values in data["series"][0].values()} == {12}
    for number, frames in enumerate((12, 24)):
        video = tmp_path / f"{number}.mp4"
        video.write_bytes(base64.b64decode(page.scripts[f"video-{number}"]))
        with av.open(str(video)) as container:
            assert sum(1 for _ in container.decode(video=0)) == frames
            assert container.streams.video[0].width == 128


def test_a_video_that_ends_early_is_told(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    short = make_video(tmp_path / "short.mp4", size=(64, 36), num_frames=6, rate="10")
    for part, told in (([], True), (["--duration", "0.3"], False)):
        output = tmp_path / f"{told}.html"
        assert main(["compare", str(small), str(short), "-o", str(output), *part]) == 0
        sentence = "short.mp4 ends at 0:00.60, before the others do: only so much is compared."
        assert (sentence in capsys.readouterr().err) == told
        assert (sentence in Page(output).text) == told
        assert "<td>0:01.20</td>" in Page(output).text


def test_the_reference_is_what_the_others_are_measured_against(
    small: Path, large: Path, tmp_path: Path
):
    other = make_video(
        tmp_path / "other.mp4", size=(128, 72), num_frames=24, rate="20", filters="gblur"
    )
    output = tmp_path / "report.html"
    assert compare(small, other, "--reference", large, "-o", output) == 0
    data = Page(output).data
    assert [video["label"] for video in data["videos"]] == ["large.mp4", "small.mp4", "other.mp4"]
    assert (data["left"], data["right"]) == (1, 2)
    assert len(data["series"]) == 2
    assert len(data["times"]) == 24
    assert "the true video" in output.read_text()


def test_a_long_video_is_played_around_its_moments(small: Path, tmp_path: Path):
    dim = make_video(
        tmp_path / "dim.mp4",
        size=(64, 36),
        num_frames=120,
        rate="10",
        filters="eq=brightness=-0.5:enable='between(t,7,7.2)'",
    )
    plain = make_video(tmp_path / "plain.mp4", size=(64, 36), num_frames=120, rate="10")
    output = tmp_path / "report.html"
    assert compare(plain, dim, "-o", output, "--play", "4") == 0
    data = Page(output).data
    assert data["duration"] <= 4
    worst = data["moments"][data["start"]]
    assert 7 <= worst["time"] < 7.3
    span = next(span for span in data["spans"] if span["start"] <= worst["time"] < span["stop"])
    assert worst["at"] == pytest.approx(span["offset"] + worst["time"] - span["start"])


def test_a_folder_of_pictures_is_a_video(tmp_path: Path):
    folder = make_png_folder(tmp_path / "pictures")
    small = make_png_folder(tmp_path / "same" / "pictures")
    output = tmp_path / "report.html"
    assert compare(folder, small, "-o", output) == 0
    data = Page(output).data
    assert [video["label"] for video in data["videos"]] == [str(folder), str(small)]
    assert data["series"][0]["psnr"] == [100] * 4


def test_names_from_hostile_files_are_only_text(small: Path, tmp_path: Path):
    hostile = make_video(tmp_path / HOSTILE_NAME, size=(64, 36), num_frames=3)
    markup = tmp_path / "<img src=x onerror=alert(1)>.mp4"
    os.link(small, markup)
    output = tmp_path / "é 日本 -.html"
    assert compare("-o", output, "--", hostile, markup) == 0
    page = Page(output)
    assert [video["label"] for video in page.data["videos"]] == [hostile.name, markup.name]
    assert "<img src=x" not in page.text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["one.mp4"], 2, "videos to compare: 1; `compare` takes 2 to 6"),
        (["one.mp4", "one.mp4"], 2, "given twice"),
        (["one.mp4", "none.mp4"], 1, "none.mp4"),
        (["one.mp4", "two.mp4", "-o", "none/x.html"], 2, "cannot be a file"),
        (["one.mp4", "two.mp4", "-o", "two.mp4"], 2, "is one of the videos"),
        (["one.mp4", "two.mp4", "-o", "there.html"], 2, "already exists"),
        (["one.mp4", "two.mp4", "--start", "9"], 1, "no frame in the chosen part"),
        (["one.mp4", "two.mp4", "--duration", "0"], 2, "more than 0 seconds"),
        (["one.mp4", "two.mp4", "--max-side", "10"], 2, "`--max-side` is `10`"),
        (["one.mp4", "two.mp4", "--max-size", "0"], 2, "`--max-size` is `0`"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    for name in ("one.mp4", "two.mp4"):
        make_video(Path(name), num_frames=3)
    Path("there.html").write_text("mine")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert main(["compare", *arguments]) == code
    assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of three videos, one of which is half a second of another brightness."""
    folder = tmp_path_factory.mktemp("page")
    options = {"size": (320, 180), "num_frames": 40, "rate": "20"}
    small = make_video(
        folder / "small.mp4",
        filters=f"{BT709_TAGS},framestep=2,scale=160:90",
        **options,  # type: ignore[arg-type]
    )
    large = make_video(folder / "large.mp4", **options)  # type: ignore[arg-type]
    dim = make_video(
        folder / "dim.mp4",
        filters=f"eq=brightness=-0.5:enable='between(t,1,1.4)',{BT709_TAGS}",
        **options,  # type: ignore[arg-type]
    )
    output = folder / "report.html"
    assert compare(small, large, dim, "-o", output) == 0
    return output


@pytest.fixture
def needs_browser() -> None:
    if not is_installed():
        if os.environ.get("DIFFST_REQUIRE_BROWSER") == "1":
            pytest.fail("DIFFST_REQUIRE_BROWSER=1 but there is no chromium with its chromedriver")
        pytest.skip("needs Debian's packages chromium and chromium-driver")


READY = "player.videos.every((video) => video.readyState >= 2)"


@pytest.mark.slow
@pytest.mark.usefixtures("needs_browser")
def test_page_works_in_a_browser_by_keyboard_and_mouse(page: Path, tmp_path: Path):
    with Browser(1280, 900) as browser:
        browser.open(page)
        browser.wait_for(READY)
        # It opens at the worst moment, as stills.
        assert 1 <= browser.run("return sourceTime(player.time)") < 1.45
        assert browser.run("return stage.root.classList.contains('still')")
        browser.press("n")
        assert browser.run("return document.querySelectorAll('[aria-current=true]').length") == 1
        assert "Moment" in browser.run("return document.getElementById('said').textContent")
        # A frame is one of the fastest video's; all players stand on it.
        browser.press("\ue014")  # right arrow
        assert not browser.run("return stage.root.classList.contains('still')")
        before = browser.run("return player.time")
        browser.press("\ue014")
        assert browser.run("return player.time") == pytest.approx(before + 0.05, abs=1e-6)
        browser.wait_for("player.videos.every((video) => !video.seeking)")
        spread = "const t = player.videos.map((video) => video.currentTime); return Math.max(...t) - Math.min(...t)"
        assert browser.run(spread) < 0.001
        # Playing keeps them together.
        browser.press(" ")
        browser.wait_for("player.playing && player.videos.every((video) => !video.paused)")
        browser.wait_for("player.videos[0].currentTime > 0.5")
        browser.press(" ")
        assert browser.run("return player.videos.every((video) => video.paused)")
        # A click on a plot goes there.
        browser.click(".area")
        assert browser.run("return sourceTime(player.time)") == pytest.approx(1.0, abs=0.05)
        assert browser.run("return document.querySelector('.cursor').style.left").startswith("5")
        browser.press("2")
        assert (
            browser.run("return document.querySelector('input[name=view]:checked').value") == "side"
        )
        sides = "return stage.layers.map(({ layer }) => layer.getBoundingClientRect().width)"
        assert min(browser.run(sides)) > 400
        browser.press("+")
        assert (
            len(set(browser.run("return stage.layers.map((one) => one.content.style.transform)")))
            == 1
        )
        assert browser.run("return stage.zoom") == 1.5
        browser.press("0")
        browser.press("1")
        browser.press("]")
        assert browser.run("return document.getElementById('divider').ariaValueNow") == "52"
        browser.press("x")
        assert browser.run("return [stage.left, stage.right]") == [1, 0]
        assert browser.complaints() == []


@pytest.mark.slow
@pytest.mark.usefixtures("needs_browser")
def test_difference_is_black_where_videos_agree_and_bright_where_not(page: Path):
    mean = """
        const { width, height } = stage.canvas;
        const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(stage.canvas, 0, 0);
        const { data } = copy.getImageData(0, 0, width, height);
        let sum = 0;
        for (let i = 0; i < data.length; i += 4) sum += data[i];
        return sum / (width * height);
    """
    with Browser(1280, 900) as browser:
        browser.open(page)
        browser.wait_for(READY)
        browser.run("setPair(1, 2); setView('difference'); player.seek(0.5)")
        browser.wait_for("player.videos.every((video) => !video.seeking)")
        calm = browser.run(mean)
        browser.run("player.seek(1.2)")
        browser.wait_for("player.videos.every((video) => !video.seeking)")
        assert calm < 20 < 100 < browser.run(mean)
        browser.run("goToMoment(data.start)")
        browser.wait_for("stage.layers.every(({ image }) => image.complete)")
        browser.run("stage.refresh()")
        assert browser.run(mean) > 100
        assert browser.complaints() == []


@pytest.mark.slow
@pytest.mark.usefixtures("needs_browser")
@pytest.mark.parametrize("dark", [False, True])
def test_page_fits_a_phone(page: Path, dark: bool):
    with Browser(360, 740, phone=True, dark=dark) as browser:
        browser.open(page)
        browser.wait_for(READY)
        assert browser.run("return document.documentElement.scrollWidth") == 360
        sizes = browser.run(
            "return [...document.querySelectorAll('button, select')].filter((one) => one.offsetParent)"
            ".map((one) => one.getBoundingClientRect().height)"
        )
        assert min(sizes) >= 40  # for fingers
        colour = browser.run("return getComputedStyle(document.body).backgroundColor")
        assert (colour == "rgb(16, 18, 20)") == dark


@pytest.mark.slow
@pytest.mark.usefixtures("needs_browser")
def test_without_a_codec_the_page_says_so_and_shows_its_stills(page: Path, tmp_path: Path):
    text = page.read_text(encoding="utf-8")
    nothing = base64.b64encode(b"no video at all").decode()
    broken = tmp_path / "broken.html"
    broken.write_text(re.sub(r'(id="video-\d">)[^<]+', rf"\g<1>{nothing}", text), encoding="utf-8")
    with Browser(1280, 900) as browser:
        browser.open(broken)
        browser.wait_for("!document.getElementById('no-video').hidden")
        browser.wait_for("stage.layers.every(({ image }) => image.naturalWidth === 320)")
        assert browser.run("return getComputedStyle(stage.layers[0].image).visibility") == "visible"
        browser.press("n")
        assert browser.run("return document.querySelectorAll('[aria-current=true]').length") == 1
