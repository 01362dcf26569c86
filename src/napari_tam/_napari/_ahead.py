"""What the first run needs, loaded and made ready in the background once the widget is open."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_tam._napari._layers import SAMPLES
from napari_tam._napari._preload import load_drawing, loading
from napari_tam.stopping import Interrupted, checkpoint, set_cancel_check

if TYPE_CHECKING:
    from napari_tam._napari._session import Session
    from napari_tam.settings import Settings

#: Side (px) of the part of a sample image that is analysed, so that networks are compiled and modules loaded.
PART_PX = 256


class Ahead:
    """Loads in a thread. A run that begins meanwhile stops it, and waits: both load inside of `loading`.

    Parameters
    ----------
    session, settings
        Whose networks are loaded, and which.
    """

    def __init__(self, session: Session, settings: Settings) -> None:
        self._session, self._settings = session, settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._load, name="load ahead")
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether all is loaded."""
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Stop soon: at the next tile of a network at the latest."""
        self._stop.set()

    def _load(self) -> None:
        set_cancel_check(self._stop.is_set)
        # What is wrong with the settings or a model, the run itself will say.
        with suppress(Exception, Interrupted), loading():
            from napari_tam.io.images import read_fields
            from napari_tam.pipeline.runner import run

            load_drawing()
            checkpoint()
            models = self._session.models(self._settings)
            checkpoint()
            settings = self._settings.updated(pixel_size_um=None, channels={})
            field = next(read_fields(SAMPLES / "field_01.ome.tif", settings))
            part = {role: plane[:PART_PX, :PART_PX] for role, plane in field.channels.items()}
            # what is known of the camera is of another size
            run(replace(field, channels=part), settings, replace(models, corrections=None, defects=None))
