"""Quality of a video against the true one: tensors in, numbers out."""

from diffst.metrics.psnr import MAX_PSNR_DB, psnr
from diffst.metrics.ssim import MIN_MULTI_SCALE_SIZE, ms_ssim, ssim
from diffst.metrics.temporal import flow_error, frame_difference_error, warping_error

__all__ = [
    "MAX_PSNR_DB",
    "MIN_MULTI_SCALE_SIZE",
    "flow_error",
    "frame_difference_error",
    "ms_ssim",
    "psnr",
    "ssim",
    "warping_error",
]
