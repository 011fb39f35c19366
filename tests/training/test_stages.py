import pytest
import yaml

from avocado.config.overrides import composed
from avocado.config.sections import Epochs
from avocado.config.training import plan
from avocado.config.values import config_directory
from avocado.errors import InputError
from avocado.training.stage import Stage
from avocado.training.stages import STAGES, stage_named

CONF = config_directory()


def test_every_stage_has_settings_and_epochs():
    epochs = vars(Epochs())
    for name, stage in STAGES.items():
        assert name == stage.name
        assert yaml.safe_load((CONF / "stage" / f"{name}.yaml").read_text())["steps"] == [name]
        assert epochs.get(name, stage.epochs) >= 1
        assert stage.needs is None or STAGES[stage.needs].shares_model


def test_a_command_carries_out_stages_that_exist_after_those_they_need():
    for file in (CONF / "stage").glob("*.yaml"):
        steps = yaml.safe_load(file.read_text())["steps"]
        for number, step in enumerate(steps[1:], 1):
            assert stage_named(step).needs in (None, *steps[:number])


def test_what_the_stages_are():
    assert set(STAGES) == {"pilot", "genome", "joint", "transfer"}
    assert [stage_named(name).region_for("chr20") for name in ("pilot", "genome", "joint")] == [
        "pilot",
        "chr20",
        "chr20",
    ]
    assert [stage_named(name).trains_network for name in ("pilot", "genome", "joint")] == [True, False, True]
    assert (stage_named("genome").needs, stage_named("joint").shares_model) == ("pilot", False)
    assert [name for name, stage in STAGES.items() if stage.adds] == ["transfer"]
    assert not stage_named("transfer").trains_network
    assert not hasattr(Epochs(), "transfer")
    with pytest.raises(InputError, match="unknown stage 'fine'; there is: pilot, genome, joint, transfer"):
        stage_named("fine")


def test_a_further_stage_brings_its_epochs(tiny_store, monkeypatch):
    monkeypatch.setitem(STAGES, "further", Stage("further", region="pilot", epochs=3))
    config = composed("train", ["fit.min_steps=0", "trainer=cpu", "split.folds=3"])
    assert plan(config, tiny_store, "further").fit.epochs == 3
    assert plan(config, tiny_store, "pilot").fit.epochs == config.epochs.pilot
