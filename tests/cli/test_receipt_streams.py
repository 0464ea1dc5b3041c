"""What a receipt says of a file that lacks one of the streams it was to have."""

from dataclasses import replace

import numpy as np
import pytest

from diffst_cli.probe import VideoInfo, probe
from diffst_cli.receipt import verify
from tests.cli.test_receipt import failed, promise_of
from tests.media import make_rich, write_image
from tests.outputs import make


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> VideoInfo:
    """A file with sound, subtitles, an attachment and a cover."""
    folder = tmp_path_factory.mktemp("rich")
    cover = write_image(folder / "cover.png", np.full((16, 16, 3), 200, np.uint8))
    attached = ["-map", "0", "-c", "copy", "-attach", str(cover)]
    attached += ["-metadata:s:t:1", "mimetype=image/png"]
    made = make(folder / "rich.mkv", "-i", str(make_rich(folder / "plain.mkv")), *attached)
    return probe(made)


def test_a_lost_stream_of_any_kind_is_noticed(rich: VideoInfo) -> None:
    promise = promise_of(rich, ".mkv")
    assert failed(verify(rich.path, promise, output=rich.path)) == []
    names = ["audio", "audio", "subtitle", "subtitle", "attachment", "cover"]
    for number, name in enumerate(names):
        kept = [each for index, each in enumerate(promise.plan.kept) if index != number]
        one_less = replace(promise, plan=replace(promise.plan, kept=tuple(kept)))
        assert failed(verify(rich.path, one_less, output=rich.path)) == [name]
