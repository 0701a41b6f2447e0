"""Replay: what the buffer holds, how it is drawn from, and that it survives a round trip."""

import pytest
import torch

from tlresearch.core.rows import Rows
from tlresearch.core.types import REPLAYED, TRAIN, Clock, Stage
from tlresearch.methods.replay import Replay

CLOCK = Clock(0, 0, 0, 10, {})


def end_stage(method, model, *batches):
    rows = Rows(torch.cat([batch.x for batch in batches]), {})
    method.on_stage_end(model, Stage("s", (), rows, rows, rows), lambda split: iter(batches))


def test_an_empty_buffer_leaves_the_batch_alone(small_model, small_batch):
    batch = small_batch()
    assert Replay().batch(small_model(), batch, CLOCK) is batch


def test_the_buffer_is_shared_evenly_among_stages(small_model, small_batch):
    torch.manual_seed(0)
    method, model = Replay(size=12), small_model()
    for seed in range(3):
        end_stage(method, model, small_batch(rows=40, seed=seed))
        assert [rows.rows for rows in method.stages] == [12 // (seed + 1)] * (seed + 1)
    for seed, rows in enumerate(method.stages):
        source = small_batch(rows=40, seed=seed)
        assert len(set(rows.index.tolist())) == 4
        assert torch.equal(rows.x, source.x[rows.index]) and torch.equal(rows.y["label"], source.y["label"][rows.index])
        assert (rows.origin == REPLAYED).all()


def test_every_row_of_a_stage_is_kept_with_the_same_probability(small_model, small_batch):
    torch.manual_seed(0)
    model, counts = small_model(), torch.zeros(20)
    parts = [small_batch(rows=10, seed=1), small_batch(rows=10, seed=2)]
    parts[1] = parts[1]._replace(index=parts[1].index + 10)
    for _ in range(600):
        method = Replay(size=5)
        end_stage(method, model, *parts)
        counts[method.stages[0].index] += 1
    deviation = (counts - 150).abs().max() / (600 * 0.25 * 0.75) ** 0.5
    assert deviation < 4.5  # standard deviations of a binomial with p = 5/20


def test_replayed_rows_join_with_their_labels(small_model, small_batch):
    torch.manual_seed(0)
    method, model, batch = Replay(size=8, share=0.5), small_model(), small_batch(rows=6, seed=3)
    end_stage(method, model, small_batch(rows=10))
    joined = method.batch(model, batch, CLOCK)
    assert joined.rows == 9 and (joined.origin[:6] == TRAIN).all() and (joined.origin[6:] == REPLAYED).all()
    assert torch.equal(joined.x[:6], batch.x)
    assert set(joined.index[6:].tolist()) <= set(method.stages[0].index.tolist())
    assert (joined.y["label"] >= 0).all()


def test_state_survives_a_round_trip(small_model, small_batch):
    torch.manual_seed(0)
    method, other, model = Replay(size=6), Replay(size=6), small_model()
    end_stage(method, model, small_batch(rows=10))
    end_stage(method, model, small_batch(rows=10, seed=1))
    other.load_state_dict(method.state_dict())
    drawn = []
    for m in (method, other):
        torch.manual_seed(1)
        drawn.append(m.batch(model, small_batch(), CLOCK))
    assert torch.equal(drawn[0].x, drawn[1].x) and torch.equal(drawn[0].y["label"], drawn[1].y["label"])


@pytest.mark.parametrize("bad", [{"size": 0}, {"share": 0.0}])
def test_bad_values_name_their_key(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Replay(**bad)
