"""mixup and CutMix against torchvision's own on the same tensors, with the same λ."""

import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from tlresearch.config.errors import ConfigError
from tlresearch.core import batching
from tlresearch.core.types import IGNORE, REPLAYED, UNLABELLED, Batch, Clock, Spec
from tlresearch.methods.cutmix import CutMix
from tlresearch.methods.mixup import Mixup
from tlresearch.nn.mixing import mixed
from tlresearch.training.gradients import task_terms

CLOCK = Clock(0, 0, 0, 10, {})
SEEDS = range(12)
PEERS = {"mixup": (Mixup, v2.MixUp), "cutmix": (CutMix, v2.CutMix)}


@pytest.fixture
def images(small_batch):
    batch = small_batch(rows=8)
    return batch._replace(x=torch.rand(8, 3, 9, 12, generator=torch.Generator().manual_seed(1)))


def stepped(method, model, batch, seed):
    torch.manual_seed(seed)
    return method.batch(model, batch, CLOCK)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
@pytest.mark.parametrize("name", PEERS)
def test_the_batch_is_that_of_torchvision(small_model, images, name, alpha):
    ours, peer = PEERS[name]
    model, mixed_once = small_model(), 0
    for seed in SEEDS:
        found = stepped(ours(alpha=alpha), model, images, seed)
        torch.manual_seed(seed)
        x, y = peer(alpha=alpha, num_classes=3)(images.x.clone(), images.y["label"])
        torch.testing.assert_close(found.x, x)
        torch.testing.assert_close(found.y["label"], y)
        mixed_once += not torch.equal(found.x, images.x)
    assert mixed_once > 3  # a small α often leaves a batch as it is


def test_the_loss_is_mixed_as_the_paper_says(small_model, small_batch):
    model, batch, share = small_model(), small_batch(rows=7), 0.3
    batch = batch._replace(weight=torch.arange(1.0, 8.0))
    found = mixed(model, batch, share, lambda x, partners: share * x + (1 - share) * partners)
    out = model(found.x)
    (term,) = task_terms(model, found, out).values()
    total = 0.0
    for i in range(7):
        x = share * batch.x[i] + (1 - share) * batch.x[i - 1]
        logits = model(x[None]).logits["label"]
        for part, j in ((share, i), (1 - share, i - 1)):
            total += part * batch.weight[j] * F.cross_entropy(logits, batch.y["label"][j : j + 1 if j + 1 else None])
    torch.testing.assert_close(term, total / batch.weight.sum())


def test_an_unlabelled_label_adds_nothing(small_model, small_batch):
    model, batch, share = small_model(), small_batch(rows=2), 0.3
    batch.y["label"][1] = IGNORE
    y = mixed(model, batch, share, lambda x, partners: x).y["label"]
    one = F.one_hot(batch.y["label"][:1], 3)[0].float()
    torch.testing.assert_close(y, torch.stack([0.3 * one, 0.7 * one]))


def test_targets_of_a_regression_are_mixed(small_model, small_batch):
    batch = small_batch(rows=3)._replace(y={"size": torch.tensor([1.0, 2.0, 4.0])})
    y = mixed(small_model(), batch, 0.25, lambda x, partners: x).y["size"]
    torch.testing.assert_close(y, torch.tensor([0.25 + 3.0, 0.5 + 0.75, 1.0 + 1.5]))


def test_unlabelled_rows_stay_as_they_are(small_model, small_batch):
    model, batch = small_model(), small_batch(rows=6)
    batch.origin[4:] = UNLABELLED
    batch.y["label"][4:] = IGNORE
    found = stepped(Mixup(alpha=1.0), model, batch, 0)
    assert torch.equal(found.x[4:], batch.x[4:]) and not found.y["label"][4:].any()
    alone = stepped(Mixup(alpha=1.0), model, batching.take(batch, slice(0, 4)), 0)
    assert torch.equal(found.x[:4], alone.x) and torch.equal(found.y["label"][:4], alone.y["label"])
    assert not torch.equal(found.x[:4], batch.x[:4])


@pytest.mark.parametrize("name", PEERS)
def test_pixels_keep_their_scale_and_the_batch_is_not_changed_in_place(small_model, images, name):
    whole = images._replace(x=(255 * images.x).to(torch.uint8), activations={"front": torch.zeros(8, 2)})
    before = batching.clone(whole)
    found = stepped(PEERS[name][0](alpha=1.0), small_model(), whole, 2)
    plain = stepped(PEERS[name][0](alpha=1.0), small_model(), whole._replace(x=whole.x.float()), 2)
    assert found.x.dtype == torch.float32 and torch.equal(found.x, plain.x) and found.x.max() > 1
    assert torch.equal(whole.x, before.x) and torch.equal(whole.y["label"], before.y["label"])
    assert found.activations == {}, "what a frozen front made of the rows before is theirs no longer"


@pytest.mark.parametrize("name", PEERS)
def test_alpha_zero_is_the_batch_itself(small_model, images, name):
    state = torch.random.get_rng_state()
    assert PEERS[name][0](alpha=0.0).batch(small_model(), images, CLOCK) is images
    assert torch.equal(state, torch.random.get_rng_state())


def test_both_in_a_row_mix_soft_labels(small_model, images):
    once = stepped(Mixup(alpha=1.0), small_model(), images, 1)
    found = stepped(CutMix(), small_model(), once, 2)
    torch.testing.assert_close(found.y["label"].sum(1), torch.ones(8))


def test_replayed_ids_join_soft_labels(small_model, small_batch):
    batch, old = small_batch(rows=4), small_batch(rows=3, seed=1, origin=REPLAYED)
    old.y["label"][0] = IGNORE
    joined = batching.join([stepped(Mixup(alpha=1.0), small_model(), batch, 0), old], {})
    assert isinstance(joined, Batch) and joined.y["label"].shape == (7, 3)
    assert joined.y["label"][4:].sum(1).tolist() == [0.0, 1.0, 1.0]
    assert joined.y["label"][5:].argmax(1).tolist() == old.y["label"][1:].tolist()


@pytest.mark.parametrize(("name", "modality"), [("mixup", "text"), ("cutmix", "text"), ("cutmix", "vector")])
def test_other_data_are_refused_by_name(small_model, name, modality):
    with pytest.raises(ConfigError, match=f"'{name}'.*leave it out"):
        PEERS[name][0]().setup(small_model(), Spec(modality, None, ()))


@pytest.mark.parametrize("name", PEERS)
def test_a_negative_alpha(name):
    with pytest.raises(ConfigError, match=r"alpha: -0\.1"):
        PEERS[name][0](alpha=-0.1)
