import torch


def combine(plugin, **gradients):
    kept = {name: torch.tensor(g) for name, g in gradients.items()}
    result = plugin("pcgrad").PCGrad().combine(kept)
    assert {name: g.tolist() for name, g in kept.items()} == gradients  # the arguments stay as they came
    return result.tolist()


def test_agreeing_gradients_are_summed(plugin):
    assert combine(plugin, a=[1.0, 0.0], b=[0.0, 1.0], c=[1.0, 1.0]) == [2.0, 2.0]
    assert combine(plugin, a=[1.0, 2.0]) == [1.0, 2.0]


def test_two_in_conflict_by_hand(plugin):
    # a·b = -1: a − (−1/2)b = (0.5, 0.5), b − (−1/1)a = (0, 1)
    assert combine(plugin, a=[1.0, 0.0], b=[-1.0, 1.0]) == [0.5, 1.5]


def test_three_in_the_order_of_their_names(plugin):
    # a: with b (a·b = -2): (0, 2), then with c: (0, 0). b: with a = (2, 2): (-1, 0) − (-2/8)(2, 2) = (-0.5, 0.5),
    # then c: −0.5 < 0: (-0.5, 0). c: with a: (0, -1) − (-2/8)(2, 2) = (0.5, -0.5), then b: −0.5 < 0: (0, -0.5).
    given = {"c": [0.0, -1.0], "a": [2.0, 2.0], "b": [-1.0, 0.0]}
    assert combine(plugin, **given) == [-0.5, -0.5]


def test_a_term_without_gradient_changes_nothing(plugin):
    assert combine(plugin, a=[1.0, 0.0], b=[-1.0, 1.0], z=[0.0, 0.0]) == [0.5, 1.5]
