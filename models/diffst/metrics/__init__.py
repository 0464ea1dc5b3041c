"""Quality of a video against the true one: tensors in, numbers out."""

from diffst.metrics.psnr import MAX_PSNR_DB, psnr
from diffst.metrics.ssim import ssim
from diffst.metrics.temporal import frame_difference_error, warping_error

__all__ = ["MAX_PSNR_DB", "frame_difference_error", "psnr", "ssim", "warping_error"]
