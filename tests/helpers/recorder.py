"""Networks that remember what they were asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes

from napari_tam.io.field import Field

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from napari_tam.pipeline.models import Models
    from napari_tam.segment.segmenter import Segmentation

ROLES = ("cell", "nucleus", "exosome")


def field(data: np.ndarray | None = None, roles: tuple[str, ...] = ROLES) -> Field:
    planes = dict(zip(ROLES, fakes.image() if data is None else data, strict=True))
    return Field("a field", {role: planes[role] for role in roles}, fakes.PIXEL_UM)


class Recorder:
    """Passes calls on, and remembers their order and arguments."""

    def __init__(self, name: str, inner: Any, calls: list[tuple[str, tuple[Any, ...]]]) -> None:
        self.name, self.inner, self.calls = name, inner, calls

    def segment(self, *given: Any) -> Segmentation:
        self.calls.append((self.name, given))
        result: Segmentation = self.inner.segment(*given)
        return result

    def candidates(self, *given: Any) -> pd.DataFrame:
        self.calls.append((self.name, given))
        result: pd.DataFrame = self.inner.candidates(*given)
        return result


def recording() -> tuple[Models, list[tuple[str, tuple[Any, ...]]]]:
    calls: list[tuple[str, tuple[Any, ...]]] = []
    plain = fakes.models()
    inner = {name: Recorder(name, getattr(plain, name), calls) for name in ("cells", "nuclei", "puncta")}
    return replace(plain, **inner), calls
