"""RandAugment and TrivialAugment: torchvision's own, image by image, before the backbone's transform."""

import pytest
import torch
from torchvision.transforms import v2

from tlresearch.config.errors import ConfigError
from tlresearch.core.types import UNLABELLED, Clock, Spec
from tlresearch.methods.rand_augment import RandAugment
from tlresearch.methods.trivial_augment import TrivialAugment

CLOCK = Clock(0, 0, 0, 10, {})
PEERS = {
    "rand_augment": (lambda: RandAugment(operations=3, magnitude=12), lambda: v2.RandAugment(3, 12)),
    "trivial_augment": (TrivialAugment, v2.TrivialAugmentWide),
}


@pytest.fixture(params=[1, 3])
def images(request, small_batch):
    x = torch.randint(0, 256, (8, request.param, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return small_batch(rows=8)._replace(x=x, activations={"front": torch.zeros(8, 2)})


@pytest.mark.parametrize("name", PEERS)
def test_each_image_is_changed_by_torchvision_alone(images, name):
    ours, peer = PEERS[name]
    torch.manual_seed(4)
    found = ours().batch(None, images, CLOCK)
    torch.manual_seed(4)
    augment = peer()
    expected = torch.stack([augment(image) for image in images.x])
    assert torch.equal(found.x, expected) and found.x.dtype == torch.uint8
    assert not torch.equal(found.x, images.x) and found.activations == {}
    assert found.y is images.y


@pytest.mark.parametrize("name", PEERS)
def test_mixed_images_are_on_the_same_scale_and_unlabelled_rows_stay(images, name):
    ours, _ = PEERS[name]
    images.origin[6:] = UNLABELLED
    found = []
    for x in (images.x, images.x + 0.25):
        torch.manual_seed(4)
        found.append(ours().batch(None, images._replace(x=x), CLOCK).x)
    assert found[1].dtype == torch.float32 and torch.equal(found[1], found[0].float())
    assert torch.equal(found[0][6:], images.x[6:]) and not torch.equal(found[0][:6], images.x[:6])


def test_no_operation_is_the_batch_itself(images):
    assert RandAugment(operations=0).batch(None, images, CLOCK) is images


@pytest.mark.parametrize("method", [RandAugment, TrivialAugment])
def test_what_is_no_image_is_refused_by_name(method):
    name = {RandAugment: "rand_augment", TrivialAugment: "trivial_augment"}[method]
    for spec, reason in ((Spec("text", None, ()), "of kind 'text'"), (Spec("image", (4, 8, 8), ()), "4 channels")):
        with pytest.raises(ConfigError, match=f"'{name}'.*{reason}"):
            method().setup(None, spec)


@pytest.mark.parametrize("bad", [{"operations": -1}, {"magnitude": 31}])
def test_values_out_of_range(bad):
    with pytest.raises(ConfigError, match=next(iter(bad))):
        RandAugment(**bad)
