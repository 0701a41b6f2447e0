"""One live process holds a run folder: on this machine by process number and start, on others by heartbeat."""

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time

import pytest

from tlresearch.results import lock, store

ELSEWHERE = {"host": "another", "space": "x", "pid": 1, "started": "1", "token": "theirs"}


def put(folder, owner, silent=0.0, name=lock.LOCK):
    """A lock as its owner left it, last touched `silent` seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(owner))
    touched = time.time() - silent
    os.utime(folder / name, (touched, touched))


def dead(token="gone"):
    """Our own number and machine, another start: what a killed process leaves when its number is in use again."""
    return {**lock.process(), "started": "1", "token": token}


def test_a_claim_ends_with_its_thread_and_its_file(tmp_path):
    before = threading.active_count()
    held = lock.claim(tmp_path / "run")
    assert held.held()
    assert threading.active_count() == before + 1
    with pytest.raises(lock.Busy, match=f"is being run by process {os.getpid()} on "):
        lock.claim(tmp_path / "run")
    held.release()
    assert threading.active_count() == before
    assert list((tmp_path / "run").iterdir()) == []
    lock.claim(tmp_path / "run").release()


def test_the_owner_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.01)
    held = lock.claim(tmp_path)
    old = time.time() - 1000
    os.utime(tmp_path / lock.LOCK, (old, old))
    end = time.monotonic() + 30
    while (tmp_path / lock.LOCK).stat().st_mtime < old + 500 and time.monotonic() < end:
        time.sleep(0.01)
    assert (tmp_path / lock.LOCK).stat().st_mtime > old + 500
    held.release()


def test_a_killed_process_lets_go(tmp_path):
    code = "import pathlib, sys, tlresearch.results.lock as lock; lock.claim(pathlib.Path(sys.argv[1])); input()"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE)
    while lock.holder(tmp_path) is None:
        assert child.poll() is None
        time.sleep(0.01)
    store.write_record(tmp_path, {"schema": 1, "identity": "x", "status": "running"})
    assert store.read_record(tmp_path)["status"] == "running"
    with pytest.raises(lock.Busy, match=str(child.pid)):
        lock.claim(tmp_path)
    child.kill()
    while lock.holder(tmp_path) is not None:
        time.sleep(0.01)  # killed, but not yet waited for: it has let go already
    assert store.read_record(tmp_path)["status"] == "interrupted"
    lock.claim(tmp_path).release()
    child.communicate()


def test_a_running_record_without_a_lock_is_interrupted(tmp_path):
    store.write_record(tmp_path, {"schema": 1, "identity": "x", "status": "running", "process": lock.process()})
    assert store.read_record(tmp_path)["status"] == "interrupted"


def test_another_machine_lives_as_long_as_it_touches(tmp_path):
    put(tmp_path, ELSEWHERE, silent=lock.EXPIRY - 60)
    assert lock.holder(tmp_path)["host"] == "another"
    with pytest.raises(lock.Busy, match="process 1 on another"):
        lock.claim(tmp_path)
    put(tmp_path, ELSEWHERE, silent=lock.EXPIRY + 60)
    assert lock.holder(tmp_path) is None
    held = lock.claim(tmp_path)
    assert held.held()
    assert [path.name for path in tmp_path.iterdir()] == [lock.LOCK]
    held.release()


def test_the_clock_is_the_file_servers(tmp_path, monkeypatch):
    put(tmp_path, ELSEWHERE)
    monkeypatch.setattr(time, "time", lambda: 4e9)  # this machine believes it is 2096
    assert lock.holder(tmp_path)["host"] == "another"
    assert lock.holder(tmp_path, touch=False) is None


def test_asking_leaves_nothing(tmp_path):
    put(tmp_path, ELSEWHERE)
    lock.holder(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [lock.LOCK]


def test_a_container_of_the_same_name_is_another_machine(tmp_path):
    put(tmp_path, {**dead(), "space": "another boot/1"})
    assert lock.holder(tmp_path) is not None


def test_a_lock_without_words_counts_by_its_touch(tmp_path):
    (tmp_path / lock.LOCK).touch()  # killed between making and writing it
    assert lock.holder(tmp_path) is not None
    old = time.time() - lock.EXPIRY - 60
    os.utime(tmp_path / lock.LOCK, (old, old))
    lock.claim(tmp_path).release()


def test_what_died_while_it_took_over_is_succeeded_too(tmp_path):
    put(tmp_path, dead("first"))
    put(tmp_path, dead("second"), name="lock.after.first")
    held = lock.claim(tmp_path)
    assert held.held()
    assert [path.name for path in tmp_path.iterdir()] == [lock.LOCK]
    held.release()


def test_the_right_to_take_over_may_be_another_machines(tmp_path):
    put(tmp_path, dead("first"))
    put(tmp_path, ELSEWHERE, name="lock.after.first")
    with pytest.raises(lock.Busy):
        lock.claim(tmp_path)


def test_a_right_that_came_too_late_is_given_back(tmp_path):
    """Judged dead, then succeeded and cleaned up by another, before our own right was made."""
    held = lock.claim(tmp_path)
    assert not lock._take_over(tmp_path, dead("long gone"), {**lock.process(), "token": "late"})
    assert held.held()
    assert [path.name for path in tmp_path.iterdir()] == [lock.LOCK]
    held.release()


def test_a_lost_lock_is_noticed_and_left_alone(tmp_path):
    held = lock.claim(tmp_path)
    put(tmp_path, ELSEWHERE)
    assert not held.held()
    held.release()
    assert lock.holder(tmp_path)["token"] == "theirs"


def contend(folder, rounds, log, start):
    """Claims the folder again and again, and dies with it in its hands every other time."""
    start.wait()
    for number in range(rounds):
        try:
            held = lock.claim(folder)
        except lock.Busy:
            continue
        with open(log, "a") as file:
            file.write(f"{os.getpid()} in\n")
        time.sleep(0.001)
        with open(log, "a") as file:
            file.write(f"{os.getpid()} out\n")
        if number % 2:
            held.release()
        else:
            held._over.set()  # as if killed: the file stays, by an owner that is dead
            owner = {**json.loads((folder / lock.LOCK).read_text()), "started": "1"}
            (folder / "mine").with_name(f"own{os.getpid()}").write_text(json.dumps(owner))
            os.replace(folder / f"own{os.getpid()}", folder / lock.LOCK)


def test_of_many_that_take_over_at_once_one_holds(tmp_path):
    context = multiprocessing.get_context("spawn")
    folder, log, start = tmp_path / "run", tmp_path / "log", context.Event()
    put(folder, dead())
    arguments = (folder, 150, log, start)
    crowd = [context.Process(target=contend, args=arguments) for _ in range(4)]
    for process in crowd:
        process.start()
    start.set()
    for process in crowd:
        process.join()
        assert process.exitcode == 0
    lines = [line.split() for line in log.read_text().splitlines()]
    assert len(lines) > 20, "the crowd hardly ever got it"
    assert [state for _, state in lines] == ["in", "out"] * (len(lines) // 2)
    assert all(enter[0] == leave[0] for enter, leave in zip(lines[::2], lines[1::2], strict=True))
