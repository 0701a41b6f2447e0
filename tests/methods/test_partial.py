"""Which parameters partial fine-tuning moves, against the blocks themselves."""

import pytest

from tlresearch.config.build import build
from tlresearch.config.errors import ConfigError
from tlresearch.core.model import Model
from tlresearch.core.types import Clock, Spec
from tlresearch.methods.partial import Partial


def moving(model, method):
    method.setup(model, Spec("vector", (4,), ()))
    chosen = {id(p) for p in method.trainable(model, Clock(0, 0, 0, 1, ()))}
    return [name for name, p in model.backbone.named_parameters() if id(p) in chosen]


def of_blocks(model, numbers):
    blocks = model.backbone.blocks()
    wanted = {id(p) for i in numbers for p in blocks[i].parameters()}
    return [name for name, p in model.backbone.named_parameters() if id(p) in wanted]


@pytest.mark.parametrize("blocks", range(4))
def test_the_last_blocks_move(small_model, blocks):
    model = small_model(layers=3)
    assert moving(model, Partial(blocks=blocks)) == of_blocks(model, range(3 - blocks, 3))


def test_more_blocks_than_there_are(small_model):
    with pytest.raises(ConfigError, match="blocks: 4: must be at most 3, the blocks of this backbone"):
        Partial(blocks=4).setup(small_model(layers=3), Spec("vector", (4,), ()))
    with pytest.raises(ConfigError, match="at least 0"):
        Partial(blocks=-1)


def test_the_stem_of_a_transformer_rests(tiny_bert_folder):
    options = {"name": "transformers", "weights": f"path:{tiny_bert_folder}"}
    model = Model(build("backbone", options, spec=Spec("text", None, ())))
    assert all("encoder.layer.1." in name for name in moving(model, Partial(blocks=1)))


def test_patterns_add_and_take_away(small_model):
    model = small_model(layers=3)
    first, last = of_blocks(model, [0]), of_blocks(model, [2])
    biases = [name for name, _ in model.backbone.named_parameters() if name.endswith("bias")]
    assert moving(model, Partial(blocks=0, include="bias$")) == biases
    assert moving(model, Partial(blocks=1, include=r"layers\.0")) == first + last
    assert moving(model, Partial(blocks=1, exclude="bias")) == [name for name in last if name not in biases]
    mixed = moving(model, Partial(blocks=1, include=r"layers\.0", exclude=r"layers\.2.*bias"))
    assert mixed == [name for name in first + last if name not in last or name not in biases]


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        ({"include": "nothing"}, "include", "matches no parameter of the backbone; there are 6: layers.0"),
        ({"include": "layers"}, "include", "matches every parameter of the backbone; use finetune"),
        ({"include": r"layers\.2"}, "include", "matches nothing beyond the last 2 blocks"),
        ({"include": "["}, "include", "is no regular expression"),
        ({"exclude": r"layers\.0"}, "exclude", "matches no parameter that would move"),
        ({"exclude": "layers"}, "exclude", "matches every parameter that would move; use probe"),
    ],
)
def test_a_pattern_that_chooses_nothing_or_everything(small_model, options, key, said):
    with pytest.raises(ConfigError) as error:
        Partial(**options).setup(small_model(layers=3), Spec("vector", (4,), ()))
    assert [problem.key for problem in error.value.problems] == [key]
    assert repr(options[key]) in str(error.value) and said in str(error.value)
