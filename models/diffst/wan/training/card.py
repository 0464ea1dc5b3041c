"""The model card of a pipeline folder that a training leaves: README.md with what the hub reads at its head."""

from __future__ import annotations

from huggingface_hub import ModelCardData

from diffst.training.card import figure_table, settings_block
from diffst.wan.training.config import WanTrainConfig
from diffst.wan.training.stages import STAGES
from diffst.wan.training.validation import Figures

UNSAID = "not said; put `{}` into `[card]` of the training file"
STAGE_NAMES = ("CFCA alone", "all but the VAE, in latents", "all but the VAE, in pixels")
FIGURES = {
    "kept_psnr_y": "PSNR of kept frames' luma, dB",
    "kept_psnr_y_bicubic": "the same of bicubic enlargement, dB",
    "new_psnr_y": "PSNR of new frames' luma, dB",
    "kept_ssim": "SSIM of kept frames",
    "new_ssim": "SSIM of new frames",
    "frame_difference": "error of frame differences, 8-bit levels",
    "warping": "warping error, 8-bit levels",
    "true_warping": "warping error of the true clips",
    "tof": "tOF, pixels",
}


def model_card(config: WanTrainConfig, *, step: int, num_processes: int, figures: Figures) -> str:
    """The card's text.

    Args:
        config: The run; its `card` says what only its owner knows.
        step: Steps that the weights have had in this stage.
        num_processes: That trained together.
        figures: Of `validate`; empty where nothing was measured.
    """
    said = config.card
    head = ModelCardData(
        base_model=said.get("base_model"),
        license=said.get("license"),
        library_name="diffst",
        pipeline_tag="video-to-video",
        tags=["video-super-resolution", "frame-interpolation", "diffst"],
    )
    losses = ", ".join(
        f"{name} {weight:g}"
        for name, weight in (STAGES[config.stage].weights | config.weights).items()
        if weight
    )
    rows = figure_table(figures, FIGURES)
    measured = rows or ["Not measured during the training; `diffst evaluate` measures it."]
    windows = config.batch_windows * config.gradient_accumulation * num_processes
    lines = [
        f"---\n{head.to_yaml()}\n---",
        "# DiffST at Wan's size\n",
        "Space-time video super-resolution in one step: `diffst upscale in.mp4 out.mp4 --model FOLDER`.\n",
        f"- Base model: {said.get('base_model', UNSAID.format('base_model'))}",
        f"- Licence: {said.get('license', UNSAID.format('license'))}",
        f"- Data: {said.get('data', f'`{config.data}`')}",
        f"- Stage {config.stage}, {STAGE_NAMES[config.stage]}: {step} steps of "
        f"{windows} windows, {config.frames} frames of {4 * config.crop} pixels",
        f"- Losses and their weights: {losses}",
        f"- Trained: {f'low-rank updates, rank {config.lora_rank}, merged' if config.lora_rank else 'all weights'}\n",
        "## Figures\n",
        *measured,
        f"\n{config.validation_windows} windows of `{config.validation}`; the averaged weights.\n"
        if rows
        else "",
        "## The training file\n",
        settings_block(config),
    ]
    return "\n".join(lines) + "\n"
