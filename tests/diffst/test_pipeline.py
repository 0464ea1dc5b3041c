"""The whole clip journey: identities, types, saving and loading."""

import json
import threading

import pytest
import torch
import torch.nn.functional as F

from diffst.checkpoint import NANO_FOLDER, load_pipeline, new_nano
from diffst.finished import Finished
from diffst.flow import neighbour_flows
from diffst.pipeline import DiffSTPipeline
from tests.diffst.test_cfca import smooth_clip
from tests.diffst.tiny import tiny_pipeline

SIZE = (160, 256)


def test_every_asked_instant_comes_at_the_asked_size_and_in_range():
    made = tiny_pipeline()(smooth_clip(3), [(0, 0.0), (0, 0.5), (1, 0.25), (2, 0.0)], (97, 161))
    assert made.shape == (4, 3, 97, 161)
    assert made.dtype == torch.float32
    assert 0 <= made.min() <= made.max() <= 1


def test_a_still_clip_gives_the_same_frame_at_every_instant():
    clip = smooth_clip(4, moving=False)
    made = tiny_pipeline()(clip, [(0, 0.0), (1, 0.0), (1, 0.4), (2, 0.5), (3, 0.0)], SIZE)
    torch.testing.assert_close(made, made[:1].expand(5, -1, -1, -1), rtol=0, atol=1e-4)


def test_time_reversed_gives_the_result_reversed():
    clip = smooth_clip(6)
    there = tiny_pipeline()(clip, [(2, 0.25), (3, 0.0)], SIZE)
    back = tiny_pipeline()(clip.flip(0), [(2, 0.0), (2, 0.75)], SIZE)
    torch.testing.assert_close(there, back.flip(0), rtol=0, atol=1e-5)


def test_two_lanes_make_the_pictures_of_one():
    """As on every machine with more than one core; other tests have one thread, and so one lane."""
    clip = smooth_clip(7)
    instants = [(n, alpha) for n in range(6) for alpha in (0.0, 0.4, 0.8)]
    made = []
    for threads in (1, 2):
        torch.set_num_threads(threads)  # put back by `one_thread`
        made.append(load_pipeline(NANO_FOLDER)(clip, instants, SIZE, output_type=torch.uint8))
    assert torch.equal(*made)


def test_a_clip_that_ends_with_an_error_leaves_no_lane_behind(monkeypatch):
    """Also while somebody holds the error, and with it the frames of the functions it came through."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Finished, "add", fail)
    torch.set_num_threads(2)
    with pytest.raises(MemoryError) as held:
        tiny_pipeline()(smooth_clip(4), [(n, 0.0) for n in range(4)], SIZE)
    assert held.traceback
    assert not [t for t in threading.enumerate() if t.name.startswith("diffst-lane")]
    assert torch.get_num_threads() == 2


def test_the_far_keyframe_changes_the_frame_between():
    clip = smooth_clip(6)
    changed = clip.clone()
    changed[4] = 1 - changed[4]
    pipeline = tiny_pipeline()
    pipeline.register_modules(vrg=None)  # guidance sees the whole clip; here only CFCA may tell
    there, here = (pipeline(c, [(2, 0.5)], SIZE) for c in (clip, changed))
    assert (there - here).abs().max() > 1e-4


def test_zero_guidance_is_the_null_path():
    clip = smooth_clip(3)
    silent = tiny_pipeline()
    torch.nn.init.zeros_(silent.vrg.out.weight)
    torch.nn.init.zeros_(silent.vrg.out.bias)
    without = tiny_pipeline()
    without.register_modules(vrg=None)
    instants = [(0, 0.0), (1, 0.5)]
    torch.testing.assert_close(
        silent(clip, instants, SIZE), without(clip, instants, SIZE), rtol=0, atol=1e-6
    )
    assert (
        tiny_pipeline()(clip, instants, SIZE) - without(clip, instants, SIZE)
    ).abs().max() > 1e-5


def test_a_silent_transformer_gives_the_codecs_round_trip():
    clip = smooth_clip(3)
    pipeline = tiny_pipeline()
    torch.nn.init.zeros_(pipeline.transformer.proj_out.weight)
    torch.nn.init.zeros_(pipeline.transformer.proj_out.bias)
    own = clip[1:2]
    moved = pipeline.cfca.keyframe_context(clip, neighbour_flows(clip), [1])
    encoded = pipeline.codec.encode(own, moved, SIZE)
    expected = pipeline.codec.decode(encoded.latents, encoded).clamp(0, 1)
    torch.testing.assert_close(pipeline(clip, [(1, 0.0)], SIZE), expected)


def test_the_result_does_not_depend_on_what_is_made_beside_it():
    clip = smooth_clip(5)
    pipeline = tiny_pipeline()
    together = pipeline(clip, [(n, a) for n in range(5) for a in (0.0, 0.5)][:-1], SIZE)
    kept = torch.cat([pipeline(clip, [(n, 0.0)], SIZE) for n in range(5)])
    torch.testing.assert_close(together[::2], kept, rtol=0, atol=1e-5)
    new = torch.cat([pipeline(clip, [(n, 0.5)], SIZE) for n in range(4)])
    torch.testing.assert_close(together[1::2], new, rtol=0, atol=1e-5)


def test_clips_of_one_shot_agree_to_the_bit_and_make_no_keyframe_twice():
    video = smooth_clip(12)
    pipeline = tiny_pipeline()
    pipeline.register_modules(vrg=None)
    made_keyframes: list[int] = []
    encode = pipeline.codec.encode

    def counted(frames, context, size):
        made_keyframes.append(len(frames))
        return encode(frames, context, size)

    pipeline.codec.encode = counted
    whole = pipeline(video, [(n, a) for n in range(2, 9) for a in (0.0, 0.5)], SIZE)
    assert sum(made_keyframes) == 10, "1 to 10"
    _, other = pipeline.next_clip(smooth_clip(2), [(0, 0.0)], SIZE, None)
    made_keyframes.clear()
    asked = [[(n, a) for n in some for a in (0.0, 0.5)] for some in (range(2, 5), range(4, 8))]
    first, before = pipeline.next_clip(video[:9], asked[0], SIZE, other)
    second, _ = pipeline.next_clip(video[1:], asked[1], SIZE, before)
    assert torch.equal(torch.cat((first, second)), whole)
    assert sum(made_keyframes) == 10


def test_a_picture_of_another_size_is_not_taken_over():
    video = smooth_clip(12)
    pipeline = tiny_pipeline()
    pipeline.register_modules(vrg=None)
    expected = pipeline(video, [(5, 0.5)], (80, 128))
    _, before = pipeline.next_clip(video, [(4, 0.5)], SIZE, None)
    made, _ = pipeline.next_clip(video, [(5, 0.5)], (80, 128), before)
    assert torch.equal(made, expected)


def test_in_a_window_of_two_keyframes_a_picture_is_not_taken_over():
    video, pipeline = smooth_clip(10), tiny_pipeline()
    pipeline.register_modules(vrg=None)
    pipeline.register_to_config(window_latents=2)
    asked = [[(n, a) for n in some for a in (0.0, 0.5)] for some in ((2, 3, 4), (4, 5, 6))]
    _, before = pipeline.next_clip(video[:9], asked[0], SIZE, None)
    made, _ = pipeline.next_clip(video[1:], asked[1], SIZE, before)
    assert torch.equal(made, pipeline(video[1:], asked[1], SIZE))


def test_a_clip_that_is_made_again_gives_the_same_where_only_its_beginning_has_new_frames():
    video = smooth_clip(12)
    pipeline = tiny_pipeline()
    pipeline.register_modules(vrg=None)
    instants = [(0, 0.0), (0, 0.5), *((n, 0.0) for n in range(1, 12))]
    first, before = pipeline.next_clip(video, instants, SIZE, None)
    again, _ = pipeline.next_clip(video, instants, SIZE, before)
    assert torch.equal(first, again)


def test_a_call_remembers_no_picture_of_the_one_before():
    clip, used, fresh = smooth_clip(6), tiny_pipeline(), tiny_pipeline()
    instants = [(2, 0.0), (2, 0.5), (3, 0.0)]
    for pipeline in (used, fresh):
        pipeline.register_modules(vrg=None)
    before = used(clip, instants, SIZE)
    for pipeline in (used, fresh):
        for weight in pipeline.codec.tail.parameters():
            weight.zero_()
    made = used(clip, instants, SIZE)
    assert torch.equal(made, fresh(clip, instants, SIZE))
    assert (made - before).abs().amax((1, 2, 3)).min() > 1e-3


def test_instants_come_in_any_order():
    video = smooth_clip(10)
    there = tiny_pipeline()(video, [(0, 0.5), (0, 0.25), (8, 0.5)], SIZE)
    back = tiny_pipeline()(video, [(8, 0.5), (0, 0.25), (0, 0.5)], SIZE)
    assert torch.equal(there, back.flip(0))


def test_the_same_input_gives_the_same_bits():
    clip = smooth_clip(3)
    pipeline = tiny_pipeline()
    instants = [(0, 0.5), (1, 0.0)]
    assert torch.equal(pipeline(clip, instants, SIZE), pipeline(clip, instants, SIZE))


def test_whole_number_output_is_the_float_output_rounded():
    clip = smooth_clip(2)
    pipeline = tiny_pipeline()
    instants = [(0, 0.0), (0, 0.5)]
    floats = pipeline(clip, instants, SIZE)
    codes = pipeline(clip, instants, SIZE, output_type=torch.uint8)
    expected = (floats * 255).round().to(torch.uint8)
    assert torch.equal(codes[0], expected[0])
    # A new frame is mixed of keyframes that are whole numbers already, each looked up as one.
    assert (codes[1].int() - expected[1].int()).abs().max() <= 1


def test_stages_report_their_time():
    seen: dict[str, float] = {}
    tiny_pipeline()(smooth_clip(2), [(0, 0.5)], SIZE, on_stage=seen.__setitem__)
    assert set(seen) == {"cfca", "vrg", "encode", "dit", "decode", "fuse"}
    assert all(seconds > 0 for seconds in seen.values())


def test_progress_is_told_for_each_picture():
    told, asked = [], [(0, 0.0), (0, 0.5), (1, 0.0)]
    tiny_pipeline()(smooth_clip(4), asked, SIZE, on_progress=lambda *now: told.append(now))
    # Keyframes 0 and 1, the new frame, and keyframe 2, which it looks up.
    assert told == [("pictures", number, 4) for number in (1, 2, 3, 4)]


def test_a_saved_folder_loads_as_the_same_pipeline(tmp_path):
    pipeline = tiny_pipeline()
    pipeline.save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["cfca"] == ["diffst.cfca", "CFCA"]
    assert (index["timestep"], index["sigma"], index["window_latents"]) == (399.0, 0.4, 1)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {
        ".json",
        ".safetensors",
    }
    loaded = DiffSTPipeline.from_pretrained(tmp_path, local_files_only=True, use_safetensors=True)
    clip = smooth_clip(2)
    torch.testing.assert_close(loaded(clip, [(0, 0.5)], SIZE), pipeline(clip, [(0, 0.5)], SIZE))


def test_instants_outside_the_clip_are_refused():
    with pytest.raises(ValueError, match="outside a clip of 2 keyframes"):
        tiny_pipeline()(smooth_clip(2), [(1, 0.5)], SIZE)


def test_one_frame_alone_is_enlarged():
    made = tiny_pipeline()(torch.rand(1, 3, 1, 1), [(0, 0.0)], (4, 4))
    assert made.shape == (1, 3, 4, 4)


def test_an_untrained_codec_makes_the_bicubic_enlargement_of_a_keyframe():
    clip = smooth_clip(2)
    made = new_nano(0)(clip, [(1, 0.0)], SIZE)
    torch.testing.assert_close(made, F.interpolate(clip[1:], size=SIZE, mode="bicubic").clamp(0, 1))
