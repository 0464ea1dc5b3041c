"""nano-sharp out of nano: `python -m diffst.training.sharpen [FOLDER]`.

nano is trained to be near the truth, and what it is unsure of comes out weak. Its last convolution
makes the detail that is added to the plain enlargement, so a larger one adds more of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from diffst.checkpoint import NANO_FOLDER, load_pipeline
from diffst.folders import EMBEDDED

MORE_DETAIL = 1.25


def sharpen(source: Path, target: Path) -> None:
    """Write a nano pipeline folder whose codec adds `MORE_DETAIL` times the detail of another's."""
    pipeline = load_pipeline(source)
    with torch.no_grad():
        for parameter in pipeline.codec.tail.parameters():
            parameter.mul_(MORE_DETAIL)
    pipeline.save_pretrained(target)


if __name__ == "__main__":
    sharpen(NANO_FOLDER, Path(sys.argv[1]) if sys.argv[1:] else EMBEDDED["nano-sharp"])
