from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch

from napari_tam.networks import devices, threads
from napari_tam.networks.devices import choose_device, kind_of
from napari_tam.networks.threads import (
    has_cores_to_spare,
    limit_process,
    limit_threads,
    limit_torch,
    shares,
    thread_count,
    together,
)
from napari_tam.stopping import Interrupted, checkpoint, set_cancel_check

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(threads, "_process", {"count": 0})
    yield
    threads._own.__dict__.pop("count", None)
    torch.set_num_threads(before)


def test_a_limit_is_that_of_its_thread() -> None:
    torch.set_num_threads(3)
    with ThreadPoolExecutor(1, initializer=limit_threads, initargs=(1,)) as pool:
        assert pool.submit(thread_count).result() == 1
    torch.set_num_threads(3)
    assert thread_count() == 3


def test_a_limit_holds_for_torch_too_also_when_it_came_later() -> None:
    limit_threads(2)
    torch.set_num_threads(1)
    limit_torch()
    assert torch.get_num_threads() == 2


def test_the_limit_of_a_process_holds_in_all_of_its_threads() -> None:
    limit_process(2)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(thread_count).result() == thread_count() == torch.get_num_threads() == 2


@pytest.mark.parametrize(("given", "count"), [("5", 5), ("", 0), ("4,2", 0)])
def test_without_torch_the_system_is_asked(given: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(threads.sys.modules, "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert thread_count() == count


def test_the_kind_of_a_device() -> None:
    for device in ("cuda:1", torch.device("cuda", 1), torch.device("cuda")):
        assert kind_of(device) == "cuda"


def test_a_processor_only_build_of_torch_has_no_graphics_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices.Path, "exists", lambda _: True)
    for build, possible in (("2.13.0+cpu", False), ("2.13.0", True), ("2.13.0+cu130", True)):
        monkeypatch.setattr(devices, "version", lambda _, build=build: build)
        assert devices.gpu_is_possible() == possible


def test_without_a_driver_there_is_no_graphics_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "version", lambda _: "2.13.0")
    monkeypatch.setattr(devices.sys, "platform", "linux")
    monkeypatch.setattr(devices.Path, "exists", lambda _: False)
    assert not devices.gpu_is_possible()
    assert choose_device("auto") == "cpu"


def test_an_apple_processor_may_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    for machine, possible in (("arm64", True), ("x86_64", False)):
        monkeypatch.setattr(devices.platform, "machine", lambda machine=machine: machine)
        assert devices.gpu_is_possible() == possible


def test_where_torch_sees_a_card_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "gpu_is_possible", lambda: True)
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
        assert choose_device("auto") == device


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tasks_done_together_answer_in_their_order(count: int) -> None:
    limit_process(count)
    assert together(*(lambda number=number: number**2 for number in range(20))) == [n**2 for n in range(20)]
    assert together() == []


def test_tasks_run_at_the_same_time_on_one_core_each_if_there_are_cores() -> None:
    limit_process(3)
    meeting = threading.Barrier(3, timeout=30)

    def meet() -> bool:
        meeting.wait()  # ends only if all three wait for each other
        return has_cores_to_spare()

    assert together(meet, meet, meet) == [False, False, False]
    assert has_cores_to_spare()


def test_without_cores_to_spare_everything_is_done_by_the_caller() -> None:
    limit_threads(1)
    assert set(together(*[threading.get_ident] * 4)) == {threading.get_ident()}


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_task_that_fails_is_told_and_no_thread_is_left(count: int) -> None:
    limit_process(count)
    done: list[int] = []

    def fail() -> None:
        raise ValueError("two")

    before = threading.active_count()
    with pytest.raises(ValueError, match="two"):
        together(lambda: done.append(1), fail, *[lambda: done.append(3)] * 50)
    assert threading.active_count() == before
    assert len(done) < 51


def test_what_stops_the_caller_stops_the_tasks() -> None:
    limit_process(2)
    set_cancel_check(lambda: True)
    try:
        with pytest.raises(Interrupted):
            together(checkpoint, checkpoint)
    finally:
        set_cancel_check(None)


@pytest.mark.parametrize(("count", "least", "parts"), [(10, 3, 3), (10, 6, 1), (0, 5, 1), (1000, 5, 4)])
def test_shares_cover_everything_once(count: int, least: int, parts: int) -> None:
    limit_process(4)
    cut = shares(count, least)
    assert len(cut) == parts
    assert [n for part in cut for n in range(count)[part]] == list(range(count))
