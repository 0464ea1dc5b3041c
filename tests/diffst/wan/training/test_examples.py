"""The example files of a training are read by those that they are for."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from diffst.wan.training.config import load_wan_config

EXAMPLES = Path(__file__).parents[4] / "examples" / "train"


def test_the_training_file_is_a_run():
    assert load_wan_config(EXAMPLES / "wan_stage1.toml").stage == 1


@pytest.mark.parametrize(
    ("name", "kind"),
    [("several_gpus.yaml", "MULTI_GPU"), ("fsdp.yaml", "FSDP"), ("deepspeed.yaml", "DEEPSPEED")],
)
def test_accelerate_reads_its_files(name, kind):
    # An unknown key is an error there.
    assert load_config_from_file(str(EXAMPLES / name)).distributed_type == kind
