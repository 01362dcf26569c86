from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch

from napari_tam.networks import devices, threads
from napari_tam.networks.devices import choose_device, kind_of
from napari_tam.networks.threads import limit_process, limit_threads, limit_torch, thread_count

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
