"""Cellpose's own models behind the `Segmenter` protocol: zoo names and the user's files.

Works with Cellpose 3 and 4. A name that the installed Cellpose does not know is an error (Cellpose
itself would go on with another model), and so is a file of the other generation (Cellpose 4 would
give empty masks).
"""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_tam.errors import InputError
from napari_tam.networks.cards import LENGTHS, check_weights
from napari_tam.networks.dynamics import enlarge, tidy
from napari_tam.segment.segmenter import (
    Segmentation,
    median_diameter,
    probability_logit,
    resize,
    smallest_area,
    working_size,
)

if TYPE_CHECKING:
    import torch

    from napari_tam.segment.segmenter import Plane
    from napari_tam.settings import Settings

#: Working diameter of Cellpose's networks; Cellpose 4 needs none, and gets images near it.
WORKING_PX = {"cells": 30.0, "nuclei": 17.0}


def cellpose_generation() -> int:
    """Major version of the installed Cellpose."""
    return int(version("cellpose").split(".")[0])


def zoo_names() -> list[str]:
    """Names that the installed Cellpose knows: its zoo and the models the user registered."""
    from cellpose import models

    return [*models.MODEL_NAMES, *models.get_user_models()]


def check_file(path: Path) -> set[str]:
    """Make sure that a file holds a network of the installed Cellpose's generation.

    The file is read without unpickling code (``weights_only``).

    Returns
    -------
    Names of the weights in it.

    Raises
    ------
    InputError
        If it cannot be read, is no network, or belongs to the other generation.
    """
    state = _load_weights(path)
    names = {name for name in state if isinstance(name, str)} if isinstance(state, dict) else set()
    if any(name.startswith("downsample.") for name in names):
        found = 3
    elif "W2" in names or any(name.startswith("encoder.") for name in names):
        found = 4
    else:
        raise _no_model(path, "it holds no Cellpose network")
    installed = cellpose_generation()
    if (found == 3) != (installed <= 3):
        wanted = "'cellpose<4'" if found == 3 else "'cellpose>=4'"
        raise InputError(
            f"this model belongs to Cellpose {'1 to 3' if found == 3 else '4'}, "
            f"but Cellpose {installed} is installed",
            where=path,
            fix=f"use the bundled networks, or install {wanted}",
        )
    return names


def _load_weights(path: Path) -> Any:
    """Read a file as far as it holds weights, numbers and text; anything else is an error."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that are refused anyway
        for mmap in (True, False):  # the old format cannot be memory-mapped
            try:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
            except RuntimeError as error:
                reason: Exception = error
            except Exception as error:
                reason = error
                break
    raise _no_model(path, reason) from reason


def _no_model(path: Path, reason: object) -> InputError:
    first = str(reason).strip().splitlines()[0] if str(reason).strip() else type(reason).__name__
    if isinstance(reason, UnpicklingError):  # torch's own text advises to load it unsafely
        first = "it holds something else than weights, and nothing in it was run"
    return InputError(
        f"this is no Cellpose model file ({first})",
        where=path,
        fix="give the weights file that Cellpose saved, or a name that 'napari-tam models' lists",
    )


class CellposeSegmenter:
    """A Cellpose model, run at its working scale with masks enlarged afterwards.

    Parameters
    ----------
    name
        A zoo name or the path of a model file.
    kind
        "cells" or "nuclei".
    device
        Where to run.
    typical_um
        Diameter to start the estimate from when none is given.
    area_setting
        Name of the setting that holds the smallest area.

    Raises
    ------
    InputError
        If the name is unknown, the file is unusable, or the weights cannot be fetched.
    """

    #: Cellpose keeps its state in the model, so two threads cannot use it.
    one_at_a_time = True

    def __init__(
        self, name: str, kind: str, device: torch.device, typical_um: float, area_setting: str
    ) -> None:
        import torch
        from cellpose.models import MODEL_DIR, CellposeModel

        # Cellpose says nothing of it, and torch would warn of memory errors at the first masks.
        torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]
        logging.getLogger("cellpose").setLevel(logging.ERROR)
        path = Path(name).expanduser()
        known = zoo_names()
        stored: set[str] = set()
        if path.is_file():
            stored = check_file(path)
            name = str(path)
        elif name in known:
            if (MODEL_DIR / name).is_file():  # fetched before, or registered by the user
                stored = check_file(MODEL_DIR / name)
        else:
            raise InputError(
                f"'{name}' is neither a file nor a model that Cellpose {version('cellpose')} knows",
                where="model",
                fix=f"use the bundled networks, a model file, or one of: {', '.join(known)}",
            )
        try:
            if cellpose_generation() >= 4:
                # bfloat16 is emulated, ten times slower, on most processors.
                self.model = CellposeModel(
                    pretrained_model=name, device=device, use_bfloat16=device.type == "cuda"
                )
            elif path.is_file():
                self.model = CellposeModel(pretrained_model=name, device=device)
            else:
                self.model = CellposeModel(model_type=name, device=device)
        except OSError as error:
            raise InputError(
                f"the weights of '{name}' are not on this machine and cannot be downloaded ({error})",
                where="model",
                fix="connect once, copy the file and give its path, or use the bundled networks",
            ) from error
        except (RuntimeError, KeyError, AssertionError, ValueError) as error:
            raise _no_model(path, error) from error
        if stored and cellpose_generation() < 4:
            # Cellpose 3 keeps random numbers for the weights that a file lacks.
            wanted = {key for key in self.model.net.state_dict() if key.endswith((".weight", ".bias"))}
            if wanted - stored:
                lacks = f"it lacks {len(wanted - stored)} of the network's {len(wanted)} weights"
                raise _no_model(path, lacks)
        check_weights(self.model.net.state_dict(), path, fix="copy the file again, or train it again")
        self.working_px = WORKING_PX[kind]
        if cellpose_generation() < 4:
            self.working_px = float(self.model.diam_mean)
            least, most = LENGTHS["diameter_px"]
            if not least <= self.working_px <= most:
                raise _no_model(path, f"its mean diameter is {self.working_px:g} pixels")
        self.typical_um = typical_um
        self.area_setting = area_setting

    def segment(
        self,
        image: Plane,
        second: Plane | None,
        pixel_size_um: float,
        diameter_um: float | None,
        settings: Settings,
    ) -> Segmentation:
        """See `napari_tam.segment.segmenter.Segmenter`."""
        guess = diameter_um or self.typical_um
        labels = self._at_scale(image, second, guess / pixel_size_um, settings, pixel_size_um)
        for _ in range(0 if diameter_um else 3):
            found = median_diameter(labels) * guess / self.working_px
            if not found or abs(np.log(found / guess)) < np.log(1.15):
                break
            guess = float(np.clip(found, guess / 2.5, guess * 2.5))
            labels = self._at_scale(image, second, guess / pixel_size_um, settings, pixel_size_um)
        return Segmentation(enlarge(labels, (image.shape[0], image.shape[1])), guess)

    def _at_scale(
        self,
        image: Plane,
        second: Plane | None,
        diameter_px: float,
        settings: Settings,
        pixel_size_um: float,
    ) -> npt.NDArray[np.int32]:
        factor = self.working_px / diameter_px
        size = working_size(image, factor)
        planes = [resize(plane, size) for plane in (image, second) if plane is not None]
        options: dict[str, Any] = {
            "cellprob_threshold": probability_logit(settings),
            "flow_threshold": settings.flow_threshold,
            "min_size": -1,
        }
        if cellpose_generation() >= 4:
            planes += [np.zeros_like(planes[0])] * (3 - len(planes))
        else:
            options |= {"channels": [1, 2] if second is not None else [0, 0], "diameter": self.working_px}
            planes = planes if second is not None else planes[:1]
        stack = np.stack(planes, axis=-1) if len(planes) > 1 else planes[0]
        if len(planes) > 1:
            options["channel_axis"] = -1
        labels = self.model.eval(stack, **options)[0]
        smallest = smallest_area(settings, self.area_setting, pixel_size_um, factor)
        return tidy(np.asarray(labels, np.int32), smallest)
