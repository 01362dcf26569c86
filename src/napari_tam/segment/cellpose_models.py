"""Cellpose's own models: zoo names and the user's files.

Networks of Cellpose 1 to 3 are read here and run as the bundled ones are; models of Cellpose 4 are run by
Cellpose. A name that the installed Cellpose does not know is an error (Cellpose itself would go on with
another model).
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
from napari_tam.networks.devices import kind_of
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
    from collections.abc import Mapping

    from napari_tam.networks.cpnet import CPNet
    from napari_tam.segment.segmenter import Plane
    from napari_tam.settings import Settings

#: Working diameter (px) of Cellpose's network "nuclei".
NUCLEI_PX = 17.0

#: What to do about damaged weights.
AGAIN = "copy the file again, or train it again"

#: Cellpose 4 needs no diameter, and gets images near these.
WORKING_PX = {"cells": 30.0, "nuclei": NUCLEI_PX}


def cellpose_generation() -> int:
    """Major version of the installed Cellpose."""
    return int(version("cellpose").split(".")[0])


def zoo_names() -> list[str]:
    """Names that the installed Cellpose knows: its zoo and the models the user registered, each once."""
    from cellpose import models

    return list(dict.fromkeys([*models.MODEL_NAMES, *models.get_user_models()]))


def cellpose_network(name: str) -> tuple[CPNet, float] | None:
    """Load a network of Cellpose 1 to 3, which needs no Cellpose to run.

    A file is read without unpickling code (``weights_only``).

    Parameters
    ----------
    name
        A model file, or a name that the installed Cellpose knows; it then fetches the weights if need be.

    Returns
    -------
    The network and the diameter (px) that it works at; None for a model of Cellpose 4
    (`CellposeSegmenter`).

    Raises
    ------
    InputError
        If the name is unknown, the weights cannot be fetched or read, are of no network, or need
        Cellpose 4 where an older one is installed.
    """
    path = _weights_file(name)
    if path is None:
        return None
    state = _load_weights(path)
    names = {key for key in state if isinstance(key, str)} if isinstance(state, dict) else set()
    if "W2" in names or any(key.startswith("encoder.") for key in names):
        _check_transformer(state, path)
        if cellpose_generation() >= 4:
            return None
        raise InputError(
            f"this model belongs to Cellpose 4, but Cellpose {cellpose_generation()} is installed",
            where=path,
            fix="use the bundled networks, or install 'cellpose>=4'",
        )
    if not any(key.startswith("downsample.") for key in names):
        raise _no_model(path, "it holds no Cellpose network")
    from napari_tam.networks.cellpose_file import network_of  # loads torch

    try:
        network, diameter = network_of(state)
    except InputError as error:
        raise _no_model(path, error.what) from error
    if network.in_channels not in (1, 2):
        raise _no_model(
            path, f"it takes {network.in_channels} channels, not a cell stain and a nuclear stain"
        )
    check_weights(network.state_dict(), path, fix=AGAIN)
    least, most = LENGTHS["diameter_px"]
    if not least <= diameter <= most:
        raise _no_model(path, f"its mean diameter is {diameter:g} pixels")
    # Cellpose's own network for nuclei has the cells' diameter stored.
    return network, NUCLEI_PX if name == "nuclei" else diameter


def _check_transformer(state: Mapping[str, Any], where: Path) -> None:
    """Refuse weights of Cellpose 4 that find nothing: a layer that is zero or not finite."""
    import torch

    tensors = {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
    check_weights(tensors, where, fix=AGAIN, fewest_axes=2)


def _weights_file(name: str) -> Path | None:
    """Return the file of a model; None if the installed Cellpose 4 knows the name, and has no file of it."""
    path = Path(name).expanduser()
    if path.is_file():
        return path
    known = zoo_names()
    if name not in known:
        raise InputError(
            f"'{name}' is neither a file nor a model that Cellpose {version('cellpose')} knows",
            where="model",
            fix=f"use the bundled networks, a model file, or one of: {', '.join(known)}",
        )
    from cellpose import models

    if cellpose_generation() >= 4:
        return models.MODEL_DIR / name if (models.MODEL_DIR / name).is_file() else None
    try:
        return Path(models.model_path(name))
    except OSError as error:
        raise _not_here(name, error) from error


def _not_here(name: str, error: OSError) -> InputError:
    return InputError(
        f"the weights of '{name}' are not on this machine and cannot be downloaded ({error})",
        where="model",
        fix="connect once, copy the file and give its path, or use the bundled networks",
    )


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
    """A model of Cellpose 4, run near its working scale with masks enlarged afterwards.

    Parameters
    ----------
    name
        A zoo name or the path of a model file, as `cellpose_network` has found it.
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
        If the weights are unusable or cannot be fetched.
    """

    #: Cellpose keeps its state in the model, so two threads cannot use it.
    one_at_a_time = True

    def __init__(self, name: str, kind: str, device: str, typical_um: float, area_setting: str) -> None:
        import torch
        from cellpose.models import CellposeModel

        # Cellpose says nothing of it, and torch would warn of memory errors at the first masks.
        torch.sparse.check_sparse_tensor_invariants.disable()  # type: ignore[no-untyped-call]
        logging.getLogger("cellpose").setLevel(logging.ERROR)
        path = Path(name).expanduser()
        fetched = _weights_file(name) is None
        try:
            # bfloat16 is emulated, ten times slower, on most processors.
            self.model = CellposeModel(
                pretrained_model=str(path) if path.is_file() else name,
                device=torch.device(device),
                use_bfloat16=kind_of(device) == "cuda",
            )
        except OSError as error:
            raise _not_here(name, error) from error
        except (RuntimeError, KeyError, AssertionError, ValueError) as error:
            raise _no_model(path, error) from error
        if fetched:  # a file was checked by `cellpose_network`
            _check_transformer(self.model.net.state_dict(), path)
        self.working_px = WORKING_PX[kind]
        self.typical_um = typical_um
        self.area_setting = area_setting

    def segment(
        self,
        image: Plane,
        second: Plane | None,
        pixel_size_um: float,
        diameter_um: float | None,
        settings: Settings,
        nuclei: npt.NDArray[Any] | None = None,
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
        planes += [np.zeros_like(planes[0])] * (3 - len(planes))
        labels = self.model.eval(
            np.stack(planes, axis=-1),
            cellprob_threshold=probability_logit(settings),
            flow_threshold=settings.flow_threshold,
            min_size=-1,
            channel_axis=-1,
        )[0]
        smallest = smallest_area(settings, self.area_setting, pixel_size_um, factor)
        return tidy(np.asarray(labels, np.int32), smallest)
