"""Steps in their order, some of them begun early in a thread of their own."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pandas as pd
import pytest
from paths import ROOT

from napari_tam.io.images import read_fields
from napari_tam.networks import threads
from napari_tam.pipeline.models import load_models
from napari_tam.pipeline.order import in_order
from napari_tam.pipeline.runner import run
from napari_tam.pipeline.steps import Step
from napari_tam.settings import Settings
from napari_tam.stopping import Interrupted, checkpoint, set_cancel_check


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 2)


def _steps(**work):
    """first → second → third (takes first only, may go on beside) → last."""
    takes = {"second": ("first",), "third": ("first",), "last": ("second", "third")}
    return [
        Step(name, work.get(name, lambda _: None), takes.get(name, ()), beside=name == "third")
        for name in ("first", "second", "third", "last")
    ]


def _drive(steps, state=None):
    return [progress.step for progress in in_order(steps, state)]


def test_what_takes_only_the_first_step_goes_on_beside_the_second(two_cores):
    met = threading.Barrier(2, timeout=20)  # passed only if both steps are there at once
    whose = {}

    def meet(name):
        def work(_):
            whose[name] = threading.current_thread()
            met.wait()

        return work

    order = _drive(_steps(second=meet("second"), third=meet("third")))
    assert order == ["first", "second", "third", "last"]
    assert whose["second"] is threading.current_thread()
    assert whose["third"] is not whose["second"]


def test_on_one_core_each_waits_for_the_one_before(monkeypatch):
    monkeypatch.setattr(threads, "cores", lambda: 1)
    whose = []
    _drive(_steps(third=lambda _: whose.append(threading.current_thread())))
    assert whose == [threading.current_thread()]


def test_a_thread_that_may_use_one_core_only_uses_one(two_cores):
    whose = []

    def drive():
        threads.limit_threads(1)
        _drive(_steps(third=lambda _: whose.append(threading.current_thread())))

    thread = threading.Thread(target=drive)
    thread.start()
    thread.join()
    assert whose == [thread]


def test_what_goes_wrong_beside_is_raised_at_its_turn(two_cores):
    def fail(_):
        raise ValueError("no light")

    seen = []
    with pytest.raises(ValueError, match="no light"):
        for progress in in_order(_steps(third=fail), None):
            seen.append(progress.step)
    assert seen == ["first", "second", "third"]


@pytest.mark.parametrize("how", ["error", "closed", "cancelled"])
def test_what_ends_the_others_ends_what_goes_on_beside(two_cores, how):
    begun, ended = threading.Event(), threading.Event()

    def long(_):
        begun.set()
        try:
            while True:
                checkpoint()
                time.sleep(0.01)
        except Interrupted:
            ended.set()
            raise

    def short(_):
        assert begun.wait(20)
        if how == "error":
            raise ValueError("no cells")

    asked = threading.Event()
    generator = in_order(_steps(second=short, third=long), None)
    set_cancel_check(asked.is_set)
    try:
        next(generator), next(generator)
        if how == "error":
            with pytest.raises(ValueError, match="no cells"):
                next(generator)
        elif how == "closed":
            next(generator)
            generator.close()
        else:
            next(generator)
            asked.set()
            with pytest.raises(Interrupted):
                next(generator)
    finally:
        set_cancel_check(None)
    assert ended.is_set()


def test_what_is_known_is_taken_and_not_done_beside(two_cores):
    done = []
    steps = _steps(third=done.append)
    known = Step("third", done.append, ("first",), known=(lambda _: True,), beside=True)
    _drive([steps[0], steps[1], known, steps[3]], SimpleNamespace())
    assert done == []


def test_tables_are_those_of_one_core(monkeypatch):
    image = next(read_fields(ROOT / "sample_data" / "field_01.ome.tif", Settings()))
    models, tables = load_models(Settings()), []
    for count in (1, 2):
        monkeypatch.setattr(threads, "cores", lambda count=count: count)
        analysis = run(image, Settings(), models)
        tables.append((analysis.table, analysis.puncta, analysis.candidates))
    for one, two in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(one, two, check_exact=True)
