"""What is kept between runs: by kind and by size, the least recently used goes."""

from tlresearch.training.memory import MOST, OTHERS, Memory


def test_of_a_kind_the_oldest_goes():
    memory = Memory()
    for i in range(OTHERS + 2):
        memory.keep(("some", i), i)
        memory.keep(("data", i), i)
        memory.get(("some", 0))
    kept = [i for i in range(OTHERS + 2) if memory.get(("some", i)) is not None]
    assert kept == [0, *range(3, OTHERS + 2)]
    assert [i for i in range(OTHERS + 2) if memory.get(("data", i)) is not None] == list(range(34 - MOST["data"], 34))


def test_sizes_that_grow_make_room():
    memory, grown = Memory(), [4.0]
    memory.keep(("a", 1), "first", lambda: grown[0], 10)
    memory.keep(("b", 1), "second", lambda: 5.0, 10)
    assert memory.get(("a", 1)) == "first"
    grown[0] = 7.0
    memory.keep(("c", 1), "third", lambda: 1.0, 10)
    assert memory.get(("b", 1)) is None and memory.get(("a", 1)) == "first" and memory.get(("c", 1)) == "third"
    memory.clear()
    assert memory.get(("a", 1)) is None
