"""Each stage's losses and their gradients against closed forms; what is held fixed; the memory law."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from diffst.cfca import CFCA
from diffst.training import losses
from diffst.wan.training.clips import ClipBatch
from diffst.wan.training.stages import (
    STAGES,
    Cut,
    Sample,
    aggregated,
    counted_frames,
    decoded_run,
    encoded,
    frames_of,
    instants,
    loss_terms,
    stepped,
)
from tests.diffst.wan.training.toy import sample, to_bytes, toy_batch, toy_pipeline

RUN = range(2)
CUT = Cut(first=0, run=RUN)


@pytest.fixture
def pipeline(monkeypatch):
    made = toy_pipeline(monkeypatch)
    for name in ("cfca", "vrg", "transformer"):
        made.components[name].requires_grad_(True)
    return made


@pytest.fixture
def given():
    return sample(toy_batch())


def test_instants_are_those_of_the_windows_targets():
    assert instants(7) == [(2, 0.0), (2, 0.5), (3, 0.0), (3, 0.5), (4, 0.0)]
    assert len(instants(13)) == 17


def test_each_stage_has_the_losses_it_weighs(pipeline, given):
    for stage, recipe in enumerate(STAGES):
        assert set(loss_terms(stage, pipeline, given, CUT)) == set(recipe.weights)


def test_the_loss_of_cfca_is_charbonnier_of_a_constant_error(pipeline, given):
    flat = dataclasses.replace(
        given,
        keyframes=torch.full_like(given.keyframes, 0.5),
        small=torch.full_like(given.small, 0.3),
    )
    made = loss_terms(0, pipeline, flat, CUT)["cfca"]
    # Grey: all of the error is luma; the two colour differences leave epsilon.
    expected = (math.hypot(0.2, 1e-3) + 2e-3) / 3
    torch.testing.assert_close(made.detach(), torch.tensor(expected))


def test_the_gradient_of_the_step_is_its_formula(pipeline, given):
    terms = loss_terms(1, pipeline, given, CUT)
    terms["latent"].backward()
    frames = CFCA.forward(pipeline.cfca, given.keyframes[0], given.flows[0], instants(7))
    start = encoded(pipeline.codec, frames.unsqueeze(0), (64, 64))[0]
    true = encoded(pipeline.codec, given.targets, (64, 64))
    made = stepped(
        pipeline, encoded(pipeline.codec, cfca_frames(pipeline, given), (64, 64)), given.keyframes
    )
    # A fresh network says 0, so z = z_lr - sigma v stays where it is.
    torch.testing.assert_close(made[0], start)
    error = (made - true).detach()
    torch.testing.assert_close(terms["latent"].detach(), error.square().mean())
    # L = mean (z_lr - sigma v - z_hr)^2, and v = bias: dL/dbias, over all of bias, is -2 sigma mean(error).
    gradient = pipeline.transformer.proj_out.bias.grad
    torch.testing.assert_close(gradient.sum(), -2 * pipeline.config.sigma * error.mean())


def cfca_frames(pipeline, given):
    return torch.stack(
        [
            pipeline.cfca(frames, flows, instants(7))
            for frames, flows in zip(given.keyframes, given.flows, strict=True)
        ]
    ).detach()


def test_the_pixel_losses_of_a_shift_are_their_closed_forms(pipeline, given, monkeypatch):
    def shifted(codec, latents, size, run):
        return given.targets[0] + 0.1 + 0 * latents.sum()

    monkeypatch.setattr("diffst.wan.training.stages.decoded_run", shifted)
    same = dataclasses.replace(given, targets=given.targets[:1].expand(2, -1, -1, -1, -1))
    made = loss_terms(2, pipeline, same, CUT)
    grey = (math.hypot(0.1, 1e-3) + 2e-3) / 3
    # Pixels, and half of each of two means, which are the same.
    torch.testing.assert_close(made["reconstruction"].detach(), torch.tensor(2 * grey))
    # All of the spectrum is at frequency 0: 64 * 0.1 of 64 x 33 coefficients.
    expected = torch.tensor(64 * 0.1 / (64 * 33))
    torch.testing.assert_close(made["spectrum"].detach(), expected, rtol=1e-3, atol=1e-6)
    assert made["consistency"] < 1e-6


def test_frames_between_count_only_where_motion_is_true(pipeline, given):
    wrong = given.targets.clone()
    wrong[:, 1::2] = 1 - wrong[:, 1::2]
    never = torch.zeros(2, dtype=torch.bool)
    right, other = (
        dataclasses.replace(given, targets=targets, interpolate=never)
        for targets in (given.targets, wrong)
    )
    for stage in (0, 1, 2):
        ours, theirs = (loss_terms(stage, pipeline, seen, CUT) for seen in (right, other))
        for name, value in ours.items():
            torch.testing.assert_close(value, theirs[name], msg=f"stage {stage}, {name}")
    assert loss_terms(2, pipeline, given, CUT)["latent"] != ours["latent"]


def test_the_vae_learns_nothing_and_cfca_from_its_own_frames_alone(pipeline, given):
    terms = loss_terms(2, pipeline, given, CUT)
    torch.stack([value for name, value in terms.items() if name != "cfca"]).sum().backward()
    assert all(p.grad is None for p in pipeline.codec.parameters())
    assert all(p.grad is None for p in pipeline.cfca.parameters())
    assert any(p.grad.abs().sum() > 0 for p in pipeline.transformer.parameters())
    assert pipeline.vrg.out.weight.grad is not None


def test_a_run_is_decoded_as_in_the_whole_clip_and_only_it_has_gradients(pipeline):
    latents = torch.randn(4, 16, 8, 8, generator=torch.Generator().manual_seed(1))
    ours, theirs = (latents.clone().requires_grad_() for _ in range(2))
    size, run = (60, 64), range(1, 3)
    whole = decoded_run(pipeline.codec, theirs, size, range(4))
    assert whole.shape == (13, 3, 60, 64)
    part = decoded_run(pipeline.codec, ours, size, run)
    assert frames_of(run) == slice(1, 9)
    assert torch.equal(part, whole[frames_of(run)])
    part.square().mean().backward()
    whole[frames_of(run)].square().mean().backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    torch.testing.assert_close(ours.grad[1:3], theirs.grad[1:3])
    assert ours.grad[0].abs().max() == ours.grad[3].abs().max() == 0
    assert theirs.grad[0].abs().max() > 0


def test_a_window_may_begin_with_a_videos_second_latent_as_later_windows_do(pipeline, given):
    pipeline.transformer.proj_out.weight.data.normal_(std=0.1)
    start = encoded(pipeline.codec, cfca_frames(pipeline, given), (64, 64))
    true = encoded(pipeline.codec, given.targets, (64, 64))
    later = stepped(pipeline, start[:, 1:], given.keyframes)
    terms = loss_terms(2, pipeline, given, Cut(first=1, run=range(1, 2)))
    # What comes before counts as without error, and is what the decoder has seen.
    error = (later - true[:, 1:]).square().sum() / true.numel()
    torch.testing.assert_close(terms["latent"], error)
    made = torch.cat((true[:, :1], later), dim=1)
    shown, seen = counted_frames(pipeline.codec, made, given, range(1, 2))
    expected = losses.reconstruction(losses.to_ycbcr(shown - seen))
    torch.testing.assert_close(terms["reconstruction"], expected)


def test_half_of_the_steps_begin_later_and_any_latents_that_are_seen_may_be_decoded():
    cuts = [Cut.of_step(3, step, num_latents=5, length=2) for step in range(400)]
    assert sum(cut.first for cut in cuts) == pytest.approx(200, abs=40)  # 4 deviations
    for first in (0, 1):
        starts = {cut.run.start for cut in cuts if cut.first == first}
        assert starts == set(range(first, 4))
    assert {len(cut.run) for cut in cuts} == {2}
    assert Cut.of_step(3, 7, num_latents=5, length=2) == cuts[7]


def test_of_few_latents_all_that_are_seen_are_decoded():
    cuts = [Cut.of_step(0, step, num_latents=2, length=2) for step in range(20)]
    assert {(cut.first, cut.run) for cut in cuts} == {(0, range(2)), (1, range(1, 2))}
    assert Cut.of_step(0, 1, num_latents=1, length=2) == Cut(first=0, run=range(1))


def test_which_latents_a_step_trains_on_says_nothing_about_its_windows():
    # Clips of a step are planned from (seed, step): the first number says whether they are of videos.
    plans = [np.random.default_rng((0, step)).random() for step in range(400)]
    cuts = [Cut.of_step(0, step, num_latents=5, length=2) for step in range(400)]
    for values in ([cut.first for cut in cuts], [cut.run.start for cut in cuts]):
        assert abs(np.corrcoef(plans, values)[0, 1]) < 0.2  # 4 deviations


@pytest.mark.parametrize("stage", [1, 2])
def test_checkpointing_changes_no_gradient(pipeline, given, stage):
    def gradients():
        pipeline.transformer.zero_grad()
        torch.stack(list(loss_terms(stage, pipeline, given, CUT).values())).sum().backward()
        return [p.grad.clone() for p in pipeline.transformer.parameters() if p.grad is not None]

    pipeline.transformer.proj_out.weight.data.normal_(std=0.1)
    plain = gradients()
    pipeline.transformer.enable_gradient_checkpointing()
    torch.testing.assert_close(gradients(), plain)


def test_a_run_without_guidance_steps_all_the_same(pipeline, given):
    pipeline.vrg = None
    assert torch.isfinite(loss_terms(1, pipeline, given, CUT)["latent"])


def test_the_pictures_losses_are_the_projects_own(pipeline, given):
    made = torch.stack(
        [
            decoded_run(pipeline.codec, window, (64, 64), RUN)
            for window in encoded(pipeline.codec, cfca_frames(pipeline, given), (64, 64))
        ]
    )
    error = losses.to_ycbcr(made - given.targets)
    terms = loss_terms(2, pipeline, given, CUT)
    torch.testing.assert_close(terms["reconstruction"].detach(), losses.reconstruction(error))
    torch.testing.assert_close(terms["consistency"].detach(), losses.consistency(error))


def test_a_picture_has_no_change_and_teaches_cfca_nothing(pipeline):
    given = picture(toy_batch())
    terms = loss_terms(2, pipeline, given, Cut(first=0, run=range(1)))
    assert terms["consistency"] == terms["cfca"] == 0
    assert terms["reconstruction"] > 0
    torch.stack(list(terms.values())).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() == 0 for p in pipeline.cfca.parameters())
    assert any(p.grad.abs().max() > 0 for p in pipeline.transformer.parameters())


def picture(batch):
    """Windows of one frame, as single pictures give them: five keyframes that are the same."""
    return sample(
        dataclasses.replace(
            batch,
            keyframes=batch.keyframes[:, :1].expand(-1, 5, -1, -1, -1),
            flows=batch.flows[:, :4],
            targets=batch.targets[:, :1],
        )
    )


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_batchs_losses_are_the_means_of_its_windows(pipeline, given, stage):
    mixed = dataclasses.replace(given, interpolate=torch.tensor([True, False]))
    tensors = {name: value for name, value in vars(mixed).items() if name != "instants"}
    alone = [
        dataclasses.replace(mixed, **{name: value[[n]] for name, value in tensors.items()})
        for n in range(2)
    ]
    whole, *parts = (loss_terms(stage, pipeline, some, CUT) for some in (mixed, *alone))
    for name, value in whole.items():
        torch.testing.assert_close(value, (parts[0][name] + parts[1][name]) / 2, msg=name)


def test_what_a_run_holds_for_its_gradients_does_not_grow_with_the_clip(pipeline):
    def held(num_latents):
        """Bytes of pixels' size and less, whose number follows from the decoder."""
        latents = torch.randn(num_latents, 16, 4, 4).requires_grad_()
        kept: dict[int, int] = {}

        def keep(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            frames = decoded_run(pipeline.codec, latents, (32, 32), range(1, 3))
        assert len(frames) == 8
        return sum(kept.values())

    short, long = held(3), held(9)
    # The latents themselves are all that may differ: 6 more of 16 x 4 x 4 floats.
    assert abs(long - short) <= 3 * 6 * 16 * 4 * 4 * 4


def clip_batch(given: Sample, instants: list[tuple[int, float]]) -> ClipBatch:
    """Windows of clips, with small targets of their own."""
    return ClipBatch(
        keyframes=to_bytes(given.keyframes),
        flows=given.flows,
        small=torch.full_like(given.small, 51, dtype=torch.uint8),
        targets=to_bytes(given.targets),
        instants=instants,
        interpolate=given.interpolate,
    )


def test_cfca_learns_the_degraded_frames_that_were_dropped_at_any_instant(pipeline, given):
    asked = [(2, 0.625), (2, 0.75), (2, 0.875), (3, 0.0), (3, 0.125)]
    learnt = sample(clip_batch(given, asked))
    flat = dataclasses.replace(learnt, keyframes=torch.full_like(given.keyframes, 0.5))
    made = loss_terms(0, pipeline, flat, CUT)["cfca"]
    expected = (math.hypot(0.3, 1e-3) + 2e-3) / 3  # 51 of 255 is 0.2
    torch.testing.assert_close(made.detach(), torch.tensor(expected))
    frames = pipeline.cfca(learnt.keyframes[0], learnt.flows[0], asked)
    assert torch.equal(aggregated(pipeline, learnt)[0], frames)


def test_frames_that_were_kept_count_where_motion_is_not_true(pipeline, given):
    never = torch.zeros(2, dtype=torch.bool)
    asked = [(2, 0.5), (2, 0.75), (3, 0.0), (3, 0.25), (3, 0.5)]
    still = dataclasses.replace(given, instants=asked, interpolate=never)
    latents = torch.zeros(2, 2, 16, 8, 8)
    shown, true = counted_frames(pipeline.codec, latents, still, range(2))
    same = [torch.equal(shown[:, n], true[:, n]) for n in range(5)]
    assert same == [True, True, False, True, True]
