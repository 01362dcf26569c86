"""Masks that were made elsewhere: measured as they are, whatever wrote them."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import pytest
import roifile
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.export.run import export
from napari_tam.io.images import list_images, read_fields
from napari_tam.io.masks.find import _forms
from napari_tam.io.masks.outlines import Outline, draw
from napari_tam.io.masks.read import read_labels
from napari_tam.io.masks.seg_npy import read_seg
from napari_tam.results.folder import read_mask
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt


def labels() -> npt.NDArray[np.uint16]:
    """Return cells of a lab's own: other outlines than a network finds, and labels with gaps."""
    found = fakes.discs(9)
    found[found == 3] = 7
    return found


def corners() -> dict[int, list[tuple[int, int]]]:
    """Return three rectangles as corners (x, y), and their labels."""
    boxes = {1: (5, 8, 20, 31), 2: (40, 8, 60, 20), 3: (30, 50, 90, 80)}
    return {number: [(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for number, (x0, y0, x1, y1) in boxes.items()}


def rectangles() -> npt.NDArray[np.uint16]:
    """Return the label image of `corners`."""
    image = np.zeros(fakes.SHAPE, np.uint16)
    for number, ((x0, y0), _, (x1, y1), _) in corners().items():
        image[y0:y1, x0:x1] = number
    return image


def _tiff(folder: Path, image: npt.NDArray[Any]) -> None:
    tifffile.imwrite(folder / "a_masks.tif", image)


def _floats(folder: Path, image: npt.NDArray[Any]) -> None:
    tifffile.imwrite(folder / "a_cell_labels.tiff", image.astype(np.float32))


def _png(folder: Path, image: npt.NDArray[Any]) -> None:
    Image.fromarray(image.astype(np.uint16)).save(folder / "a_cp_masks.png")


def _palette(folder: Path, image: npt.NDArray[Any]) -> None:
    picture = Image.fromarray(image.astype(np.uint8), mode="P")
    picture.putpalette([*range(256)] * 3)
    picture.save(folder / "a_labels.png")


def _npy(folder: Path, image: npt.NDArray[Any]) -> None:
    np.save(folder / "a.npy", image)


def _seg(folder: Path, image: npt.NDArray[Any]) -> None:
    cellpose = {
        "outlines": image > 3,
        "masks": image,
        "diameter": 30.0,
        "flows": [[image, None], image * 2.5],
    }
    np.save(folder / "a_seg.npy", cellpose, allow_pickle=True)  # type: ignore[arg-type]


def _rois(folder: Path, image: npt.NDArray[Any]) -> None:
    with zipfile.ZipFile(folder / "RoiSet_a.zip", "w") as entries:
        for number, points in corners().items():
            roi = roifile.ImagejRoi.frompoints(np.array(points), name=f"000{number}-1234")
            roi.roitype = roifile.ROI_TYPE.POLYGON
            entries.writestr(f"{number}.roi", roi.tobytes())


def _geojson(folder: Path, image: npt.NDArray[Any]) -> None:
    features: list[dict[str, Any]] = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*points, points[0]]]},
            "properties": {"objectType": "annotation"},
        }
        for points in corners().values()
    ]
    point = {"type": "Point", "coordinates": [3.5, 4]}
    features.append({"type": "Feature", "geometry": point, "properties": {"objectType": "detection"}})
    (folder / "a.ome.tif.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


WRITERS = [_tiff, _floats, _png, _palette, _npy, _seg, _rois, _geojson]


class Never:
    """A network that must not be used."""

    def segment(self, *_: Any, **__: Any) -> Any:
        raise AssertionError


def run(tmp_path: Path, **settings: Any) -> pd.DataFrame:
    """Analyse the image `a.ome.tif` with masks from `masks`; return its cells."""
    (tmp_path / "masks").mkdir(exist_ok=True)
    fakes.write_image(tmp_path / "a.ome.tif")
    chosen = Settings.from_values({"cells_masks": str(tmp_path / "masks"), **settings})
    models = fakes.models(cells=Never())  # type: ignore[arg-type]
    [outcome] = analyse_files([tmp_path / "a.ome.tif"], chosen, models, tmp_path / "out", resume=True)
    if outcome.error is not None:
        raise InputError(outcome.error)
    assert "cells as given" in str(outcome.row["notes"])
    return pd.read_csv(tmp_path / "out" / "cells.csv")


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.strip("_"))
def test_cells_are_measured_as_they_are_given(
    tmp_path: Path, write: Callable[[Path, npt.NDArray[Any]], None]
) -> None:
    (tmp_path / "masks").mkdir()
    image = rectangles() if write in (_rois, _geojson) else labels()
    write(tmp_path / "masks", image)
    table = run(tmp_path)
    numbers, areas = np.unique(image[image > 0], return_counts=True)
    assert table["label"].tolist() == numbers.tolist()
    np.testing.assert_allclose(table["area_um2"], areas * fakes.PIXEL_UM**2)
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "masks" / "a_cells.tif"), image)


def test_nuclei_may_be_given_too_in_the_same_folder(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks" / "a_cells.tif", labels())
    tifffile.imwrite(tmp_path / "masks" / "a_nuclei_cp_masks.tif", fakes.discs(3))
    fakes.write_image(tmp_path / "a.ome.tif")
    settings = Settings(cells_masks=str(tmp_path / "masks"), nuclei_masks=str(tmp_path / "masks"))
    models = fakes.models(Never(), Never())  # type: ignore[arg-type]
    [outcome] = analyse_files([tmp_path / "a.ome.tif"], settings, models, tmp_path / "out")
    assert outcome.error is None
    assert outcome.analysis is not None
    np.testing.assert_array_equal(outcome.analysis.nuclei, fakes.discs(3))
    np.testing.assert_array_equal(outcome.analysis.cells, labels())


@pytest.mark.parametrize("form", ["geojson", "roi"])
def test_our_own_exports_come_back_as_the_same_masks(tmp_path: Path, form: str) -> None:
    (tmp_path / "masks").mkdir()
    holes = labels()
    if form == "geojson":
        holes[24, 30] = 0  # ImageJ's polygons have no holes
    holes[80:84, 100:104] = 7  # a second part
    tifffile.imwrite(tmp_path / "masks" / "a_cells.tif", holes)
    table = run(tmp_path)
    [path] = export(tmp_path / "out", [form], tmp_path / "exported")
    read, _ = read_labels(path, "cells", fakes.SHAPE)
    np.testing.assert_array_equal(read, holes)
    again, _ = read_labels(path, "nuclei", fakes.SHAPE)
    nuclei = read_mask(tmp_path / "out" / "masks" / "a_nuclei.tif")
    np.testing.assert_array_equal(again > 0, nuclei > 0)
    assert len(table) == 3


def test_results_of_an_earlier_analysis_are_a_folder_with_masks(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks" / "a.tif", labels())
    first = run(tmp_path)
    settings = Settings(cells_masks=str(tmp_path / "out"))
    [outcome] = analyse_files([tmp_path / "a.ome.tif"], settings, fakes.models(), tmp_path / "again")
    assert outcome.error is None
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "again" / "cells.csv"), first)


def test_a_changed_mask_is_measured_again_and_the_same_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    tifffile.imwrite(tmp_path / "masks" / "a_masks.tif", labels())
    run(tmp_path)
    settings = Settings(cells_masks=str(tmp_path / "masks"))

    def kept() -> bool:
        [outcome] = analyse_files(
            [tmp_path / "a.ome.tif"], settings, fakes.models(), tmp_path / "out", resume=True
        )
        return outcome.kept

    assert kept()
    tifffile.imwrite(tmp_path / "masks" / "a_masks.tif", rectangles())
    assert not kept()
    assert pd.read_csv(tmp_path / "out" / "cells.csv")["label"].tolist() == [1, 2, 3]


def test_masks_are_named_after_the_field_or_the_file_of_its_stain(tmp_path: Path) -> None:
    folder = tmp_path / "plate"
    (folder / "masks").mkdir(parents=True)
    for channel, plane in enumerate(fakes.image(), 1):
        tifffile.imwrite(folder / f"p_B02_s1_w{channel}.tif", plane)
    tifffile.imwrite(folder / "p_B02_s1_w1_cp_masks.tif", labels())
    tifffile.imwrite(folder / "p_B02_s1_w2_cp_masks.tif", fakes.discs(3))
    [path] = list_images([folder])
    settings = Settings(
        pixel_size_um=0.5,
        channels={"cell": "w1", "nucleus": "w2", "exosome": "w3"},
        cells_masks=str(folder),
        nuclei_masks=str(folder),
    )
    [field] = read_fields(path, settings)
    np.testing.assert_array_equal(field.masks["cells"], labels())
    np.testing.assert_array_equal(field.masks["nuclei"], fakes.discs(3))


def test_every_frame_of_a_movie_has_its_masks(tmp_path: Path) -> None:
    fakes.write_image(tmp_path / "m.ome.tif", np.stack([fakes.image(), fakes.image()]), "TCYX")
    (tmp_path / "masks").mkdir()
    both = np.stack([labels(), rectangles()])
    tifffile.imwrite(tmp_path / "masks" / "m_masks.tif", both)
    settings = Settings(cells_masks=str(tmp_path / "masks"))
    read = [field.masks["cells"] for field in read_fields(tmp_path / "m.ome.tif", settings)]
    np.testing.assert_array_equal(read, both)


def test_parts_of_a_mask_of_one_value_are_the_cells(tmp_path: Path) -> None:
    Image.fromarray((labels() > 0).astype(np.uint8) * 255).save(tmp_path / "a.png")
    read, note = read_labels(tmp_path / "a.png", "cells", fakes.SHAPE)
    np.testing.assert_array_equal(read, fakes.discs(9))
    assert "one value" in note


def test_enormous_labels_are_numbered_anew(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", labels().astype(np.uint32) * 500_000_000)
    read, note = read_labels(tmp_path / "a.tif", "cells", fakes.SHAPE)
    np.testing.assert_array_equal(read, fakes.discs(9))
    assert "anew" in note


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (labels()[:50], "50 × 128 pixels, the image 96 × 128"),
        (labels() * 0.5, "no whole numbers"),
        (labels().astype(np.int16) - 1, "negative"),
        (np.stack([labels()] * 3, -1).astype(np.uint8), "96 × 128 × 3"),
    ],
)
def test_what_is_no_mask_of_the_image_is_one_sentence(
    tmp_path: Path, image: npt.NDArray[Any], said: str
) -> None:
    np.save(tmp_path / "a.npy", image)
    with pytest.raises(InputError, match=said):
        read_labels(tmp_path / "a.npy", "cells", fakes.SHAPE)


@pytest.mark.parametrize("ending", ["tif", "png", "npy", "zip", "roi", "geojson", "json"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, ending: str) -> None:
    for content in (b"", b"[1, {}]", b"PK\3\4 nothing", b"\x93NUMPY\x01\x00"):
        (tmp_path / f"a.{ending}").write_bytes(content)
        with pytest.raises(InputError):
            read_labels(tmp_path / f"a.{ending}", "cells", fakes.SHAPE)


def test_a_missing_mask_fails_its_image_and_a_missing_folder_the_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file with the cells of a"):
        run(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        run(tmp_path, cells_masks=str(tmp_path / "nothing"))


def test_two_files_for_one_image_are_named(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    for name in ("a_masks.tif", "a_labels.tif"):
        tifffile.imwrite(tmp_path / "masks" / name, labels())
    with pytest.raises(InputError, match=r"a_labels.tif.*a_masks.tif"):
        run(tmp_path)


def test_no_function_that_a_seg_file_names_is_called(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "evil"),)

    content = {"masks": labels(), "flows": Evil()}
    np.save(tmp_path / "a_seg.npy", content, allow_pickle=True)  # type: ignore[arg-type]
    np.testing.assert_array_equal(read_seg(tmp_path / "a_seg.npy"), labels())
    np.save(tmp_path / "b_seg.npy", {"masks": Evil()}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="save the masks in Cellpose"):
        read_seg(tmp_path / "b_seg.npy")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("kind", ["u1", "<u2", ">i4", "u8", "?"])
def test_masks_of_all_types_and_pickles_are_read(tmp_path: Path, protocol: int, kind: str) -> None:
    for order in ("C", "F"):
        image = np.asarray(labels(), kind, order=order)  # type: ignore[call-overload]
        holder = np.array({"filename": "a", "masks": image, "est": [1.5, True, None, -3]}, object)
        with (tmp_path / "a_seg.npy").open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": ()})
            # as NumPy writes arrays to files: not out of band
            pickle.dump(holder, stream, protocol=min(protocol, 4))
        np.testing.assert_array_equal(read_seg(tmp_path / "a_seg.npy"), image)


def test_where_outlines_overlap_the_first_one_counts(tmp_path: Path) -> None:
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    read, note = draw([Outline([square]), Outline([square + 2])], "cells", (10, 10), tmp_path)
    assert np.bincount(read.ravel()).tolist() == [72, 16, 12]
    assert "4 pixels" in note
    with pytest.raises(InputError, match="outside of the image"):
        draw([Outline([square + 50])], "cells", (10, 10), tmp_path)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 30), st.integers(1, 30), st.integers(-25, 25))
def test_the_area_of_an_outline_is_that_of_its_pixels(x: int, y: int, w: int, h: int, off: int) -> None:
    """Also where it reaches beyond the image; a hole is left out."""
    outer = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]], float) + off
    hole = outer[0] + np.array([[0, 0], [w // 2, 0], [w // 2, h], [0, h]], float)
    expected = np.zeros((200, 200), bool)
    left, top = x + off + 100 + w // 2, y + off + 100
    expected[top : top + h, left : left + w - w // 2] = True
    expected = expected[100:140, 100:140]
    if expected.any():
        read, _ = draw([Outline([outer, hole])], "cells", (40, 40), None)  # type: ignore[arg-type]
        np.testing.assert_array_equal(read > 0, expected)


@pytest.mark.parametrize(
    ("stem", "image", "kind"),
    [
        ("a_cp_masks", "a", ""),
        ("a_seg", "a", ""),
        ("a_nuclei", "a", "nuclei"),
        ("a_cell_labels", "a", "cells"),
        ("RoiSet_a", "a", ""),
        ("a-nuc-mask", "a", "nuclei"),
        ("mask_B02_s1", "B02_s1", ""),
    ],
)
def test_masks_are_found_by_the_names_that_tools_give(stem: str, image: str, kind: str) -> None:
    assert (image, kind) in _forms(stem)
    assert (stem, "") in _forms(stem)
