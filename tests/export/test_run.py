"""Exports: read back with the libraries that they are for, they hold what the results hold."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import fakes
import numpy as np
import pandas as pd
import plates
import pytest
import zarr_files

from napari_tam.batches.conclude import conclude
from napari_tam.batches.run import analyse_files
from napari_tam.cli.main import main
from napari_tam.errors import InputError
from napari_tam.export.run import FORMATS, export, tidy
from napari_tam.export.shapes import write_geojson
from napari_tam.io.images import read_fields
from napari_tam.io.layout import read_layout, well_of
from napari_tam.results.folder import mask_path, read_results, write_mask
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the results of two images: three cells and four puncta each, one punctum outside."""
    paths = [fakes.write_image(tmp_path / f"{name}.ome.tif") for name in ("a", "b")]
    out = tmp_path / "out"
    assert all(o.error is None for o in analyse_files(paths, Settings(), fakes.models(), out))
    conclude(out, Settings())
    return out


def test_every_export_is_written_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for library in ("anndata", "roifile", "zarr"):
        pytest.importorskip(library)
    assert main(["export", str(folder), "--to", *FORMATS]) == 0
    said = capsys.readouterr().out
    assert f"exported {folder / 'exports' / 'cells.h5ad'}\n" in said
    assert f"exported {folder / 'exports' / 'geojson'}: 2 images\n" in said
    names = {p.relative_to(folder / "exports").as_posix() for p in (folder / "exports").glob("*/*")}
    assert names == {
        f"{kind}/{image}{end}"
        for kind, end in (("geojson", ".geojson"), ("roi", ".zip"), ("ome-zarr", ".ome.zarr"))
        for image in "ab"
    }
    assert not list(folder.rglob("*.part*"))


def test_an_h5ad_file_holds_the_whole_table(folder: Path) -> None:
    anndata = pytest.importorskip("anndata")
    [path] = export(folder, ["h5ad"])
    cells = read_results(folder).cells
    found = anndata.read_h5ad(path)
    assert found.shape[0] == 6
    assert {*found.obs.columns, *found.var_names} == {*cells.columns}
    assert not {*found.obs.columns} & {*found.var_names}
    assert {"image", "label", "phenotype", "touches_border"} & {*cells} <= {*found.obs.columns}
    assert found.obs_names.tolist() == ["a:1", "a:2", "a:3", "b:1", "b:2", "b:3"]
    np.testing.assert_array_equal(found.X, cells[found.var_names.tolist()].astype(float))
    assert found.obs["touches_border"].tolist() == cells["touches_border"].tolist()
    assert found.var.loc["area_um2", "unit"] == "µm²"
    expected = cells[["centroid_x_px", "centroid_y_px"]].to_numpy() * fakes.PIXEL_UM
    np.testing.assert_allclose(found.obsm["spatial"], expected)
    assert Settings(puncta_threshold=1).to_yaml() == found.uns["napari_tam"]["settings"]


def test_a_plate_with_missing_values_and_odd_names_survives_as_h5ad(tmp_path: Path) -> None:
    anndata = pytest.importorskip("anndata")
    out = plates.write_plate(tmp_path / "out")
    cells = read_results(out).cells
    [path] = export(out, ["h5ad"])
    found = anndata.read_h5ad(path)
    assert found.obs["image"].astype(str).tolist() == cells["image"].tolist()
    assert found.obs["condition"].astype(str).tolist() == cells["condition"].tolist()
    place = found.var_names.get_loc("puncta_count")
    np.testing.assert_array_equal(np.asarray(found.X)[:, place], cells["puncta_count"])
    np.testing.assert_array_equal(np.asarray(found.obs["dose"], float), cells["dose"])


def features_of(path: Path) -> list[dict[str, Any]]:
    features: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["features"]
    return features


def test_geojson_has_every_cell_with_its_pixels_nucleus_and_numbers(folder: Path) -> None:
    shapely = pytest.importorskip("shapely")
    path, _ = export(folder, ["geojson"])
    results = read_results(folder)
    masks, nuclei = results.masks("a"), results.masks("a", "nuclei")
    assert masks is not None
    assert nuclei is not None
    features = features_of(path)
    cells = [f for f in features if f["properties"]["objectType"] == "cell"]
    assert [int(f["properties"]["name"]) for f in cells] == [1, 2, 3]
    table = results.cells[results.cells["image"] == "a"].set_index("label")
    for feature in cells:
        number = int(feature["properties"]["name"])
        shape = shapely.geometry.shape(feature["geometry"])
        assert shape.is_valid
        assert shape.area == (masks == number).sum()
        rows, columns = np.nonzero(masks == number)
        assert shape.bounds == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        measured = feature["properties"]["measurements"]
        assert measured["area_um2"] == pytest.approx(table.loc[number, "area_um2"])
        assert measured["puncta_count"] == table.loc[number, "puncta_count"]
        assert all(np.isfinite(value) for value in measured.values())
        nucleus = shapely.geometry.shape(feature["nucleusGeometry"])
        assert shape.contains(nucleus)
        assert nucleus.area == (nuclei == nuclei[round(nucleus.centroid.y), round(nucleus.centroid.x)]).sum()
    points = [f for f in features if f["properties"]["objectType"] == "detection"]
    assert len(points) == 4
    for feature in points:
        where = shapely.geometry.shape(feature["geometry"])
        inside = [
            int(f["properties"]["name"])
            for f in cells
            if shapely.geometry.shape(f["geometry"]).contains(where)
        ]
        assert inside == [n for n in [feature["properties"]["measurements"]["cell"]] if n]
    assert len({f["id"] for f in features}) == len(features)


def test_geojson_reads_with_the_library_of_its_name(folder: Path) -> None:
    geojson = pytest.importorskip("geojson")
    path, _ = export(folder, ["geojson"])
    found = geojson.loads(path.read_text(encoding="utf-8"))
    assert found.is_valid
    assert len(found.features) == 7


def test_classes_in_geojson_are_phenotype_and_decision(tmp_path: Path) -> None:
    out = plates.write_plate(tmp_path / "out")
    table = read_results(out).cells
    image = table["image"].iloc[-1]
    own = table[table["image"] == image]
    labels = np.zeros((10, 4 * len(own) + 4), np.uint16)
    for k, label in enumerate(own["label"]):
        labels[3:7, 4 * k + 1 : 4 * k + 4] = label
    (out / "masks").mkdir(exist_ok=True)
    write_mask(mask_path(out, image, "cells"), labels, 0.5)
    path = tmp_path / "a.geojson"
    results = read_results(out)
    write_geojson(path, replace(results, puncta=results.puncta.iloc[:0]), image)
    found = {
        int(f["properties"]["name"]): f["properties"].get("classification", {}).get("name")
        for f in features_of(path)
        if f["properties"]["objectType"] == "cell"
    }
    for row in own.to_dict("records"):
        parts = [row["phenotype"]] if "phenotype" in row else []
        if "positive" in row and not pd.isna(row["positive"]):
            parts.append("Positive" if row["positive"] else "Negative")
        assert found[row["label"]] == (": ".join(parts) or None)


def test_a_roi_set_reads_back_as_the_mask(folder: Path) -> None:
    roifile = pytest.importorskip("roifile")
    skimage_draw = pytest.importorskip("skimage.draw")
    path, _ = export(folder, ["roi"])
    rois = {roi.name: roi for roi in roifile.roiread(path)}
    masks = read_results(folder).masks("a")
    assert masks is not None
    assert [name for name in rois if name.startswith("cell")] == ["cell_0001", "cell_0002", "cell_0003"]
    assert sum(name.startswith("nucleus") for name in rois) == 3
    for number in (1, 2, 3):
        corners = rois[f"cell_{number:04d}"].coordinates()
        # pixel centres lie at .5 of ImageJ's coordinates
        drawn = skimage_draw.polygon2mask(masks.shape, corners[:, ::-1] - 0.5)
        np.testing.assert_array_equal(drawn, masks == number)
    points = np.concatenate([roi.coordinates() for name, roi in rois.items() if name.startswith("puncta")])
    expected = [(x + 0.5, y + 0.5) for y, x in fakes.SPOTS]
    np.testing.assert_allclose(sorted(points.tolist()), sorted(expected), atol=1e-3)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_reads_back_with_ngff_zarr(folder: Path, version: str) -> None:
    pytest.importorskip("zarr")
    path, _ = export(folder, ["ome-zarr"], ome_zarr_version=version)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ngff = pytest.importorskip("ngff_zarr")
        found = ngff.from_ngff_zarr(path, validate=True, version=version)
        labels = ngff.from_ngff_zarr(path / "labels" / "cells", version=version)
        image = found.images[0]
        assert tuple(image.dims) == ("c", "y", "x")
        np.testing.assert_array_equal(np.asarray(image.data), fakes.image())
        np.testing.assert_array_equal(np.asarray(labels.images[0].data), read_results(folder).masks("a"))
    assert image.scale["y"] == labels.images[0].scale["x"] == fakes.PIXEL_UM
    assert image.axes_units["y"] == "micrometer"
    assert found.metadata.omero is not None
    assert [c.label for c in found.metadata.omero.channels] == ["cell", "nucleus", "exosome"]


def test_ome_zarr_is_valid_by_the_specification(folder: Path) -> None:
    pytest.importorskip("zarr")
    yaozarrs = pytest.importorskip("yaozarrs")
    path, _ = export(folder, ["ome-zarr"])
    yaozarrs.validate_zarr_store(path)
    export(folder, ["ome-zarr"], ome_zarr_version="0.4")
    old, _ = export(folder, ["ome-zarr"], ome_zarr_version="0.4")
    assert yaozarrs.validate_ome_json((old / ".zattrs").read_text(), yaozarrs.v04.Image)
    assert (old / "0" / "0" / "0" / "0").is_file()  # nested chunks, as 0.4 asks for


@pytest.mark.parametrize("kind", ["tif", "zarr", "plate"])
def test_the_source_may_be_of_any_kind(tmp_path: Path, kind: str) -> None:
    """An OME-Zarr is a folder, and the fields of a plate are named by their wells."""
    zarr = pytest.importorskip("zarr")
    path, names = tmp_path / "a_B01.ome.zarr", ["a_B01"]
    if kind == "tif":
        path = fakes.write_image(tmp_path / "a_B01.ome.tif", np.stack([fakes.image()] * 2), "TCYX")
        names = ["a_B01_t0000", "a_B01_t0001"]
    elif kind == "zarr":
        zarr_files.write_zarr(path, "0.4")
    else:
        zarr_files.write_plate(path, {"C/2": 2, "C/11": 1})
        names = ["a_B01_C02_s00", "a_B01_C02_s01", "a_B01_C11"]
    out = tmp_path / "out"
    outcomes = list(analyse_files([path], Settings(), fakes.models(), out))
    assert [(o.name, o.error) for o in outcomes] == [(name, None) for name in names]
    written = list(export(out, ["ome-zarr"], ome_zarr_version="0.4"))
    assert [each.name for each in written] == [f"{name}.ome.zarr" for name in names]
    for each, name in zip(written, names, strict=True):
        pixels = np.asarray(zarr.open_group(each, mode="r")["0"])
        np.testing.assert_array_equal(pixels, fakes.image() + name.count("_s01"))


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("layout", [False, True])
def test_images_of_wells_are_a_plate_that_reads_back_equal(
    tmp_path: Path, version: str, layout: bool
) -> None:
    zarr, yaozarrs = pytest.importorskip("zarr"), pytest.importorskip("yaozarrs")
    names = {"x_B02_s1": "B02", "x_B02_s2": "B02", "x_B11_s1": "B11", "x_C03_s1": "C03"}
    paths = [
        fakes.write_image(tmp_path / f"{name}.ome.tif", fakes.image() + np.uint16(k))
        for k, name in enumerate(names)
    ]
    out, settings = tmp_path / "out", Settings()
    assert all(o.error is None for o in analyse_files(paths, settings, fakes.models(), out))
    if layout:
        (tmp_path / "layout.csv").write_text("well,plate\nB02,x\nB11,x\nC03,x\n")
        conclude(out, settings, read_layout(tmp_path / "layout.csv"))
    [plate] = export(out, ["ome-zarr"], tmp_path / "exported", ome_zarr_version=version)
    assert plate.name == ("x.ome.zarr" if layout else "out.ome.zarr")
    if version == "0.5":
        yaozarrs.validate_zarr_store(plate)
    else:
        assert yaozarrs.validate_ome_json((plate / ".zattrs").read_text(), yaozarrs.v04.Plate)
        assert yaozarrs.validate_ome_json((plate / "B" / "2" / ".zattrs").read_text(), yaozarrs.v04.Well)
    found = list(read_fields(plate, settings))
    stem = plate.name.removesuffix(".ome.zarr")
    assert [field.name for field in found] == [f"{stem}_{e}" for e in ("B02_s00", "B02_s01", "B11", "C03")]
    for field, path, name in zip(found, paths, names, strict=True):
        [before] = read_fields(path, settings)
        assert field.pixel_size_um == before.pixel_size_um
        for role, plane in before.channels.items():
            np.testing.assert_array_equal(field.channels[role], plane)
        assert well_of(field.name) == names[name]
    masks = np.asarray(zarr.open_group(plate / "B" / "11" / "0" / "labels" / "cells", mode="r")["0"])
    np.testing.assert_array_equal(masks, read_results(out).masks("x_B11_s1"))


def test_the_wells_of_a_plate_are_in_the_tables_and_meet_the_layout(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    names = ("x_B02_s1", "x_B02_s2", "x_C03_s1")
    paths = [fakes.write_image(tmp_path / f"{name}.ome.tif") for name in names]
    first, again, settings = tmp_path / "first", tmp_path / "again", Settings()
    assert all(o.error is None for o in analyse_files(paths, settings, fakes.models(), first))
    conclude(first, settings)
    [plate] = export(first, ["ome-zarr"], tmp_path / "exported")
    assert all(o.error is None for o in analyse_files([plate], settings, fakes.models(), again))
    (tmp_path / "layout.csv").write_text("well,condition\nB02,LPS\nC03,medium\n")
    for layout in (None, read_layout(tmp_path / "layout.csv")):
        tables = []
        for folder in (first, again):
            conclude(folder, settings, layout)
            found = read_results(folder)
            assert found.images["well"].tolist() == ["B02", "B02", "C03"]
            assert set(found.cells["well"]) == {"B02", "C03"}
            # Without a layout only the plate's own name tells what plate it is.
            assert set(found.cells["plate"]) == {"first" if folder == again and layout is None else ""}
            tables.append(found.cells.drop(columns=["image", "plate"]))
        pd.testing.assert_frame_equal(*tables)
        if layout is not None:
            assert tables[0]["condition"].tolist() == ["LPS"] * 6 + ["medium"] * 3


def test_a_plate_lacks_what_cannot_be_written_and_says_so(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    paths = [fakes.write_image(tmp_path / f"x_B0{k}.ome.tif") for k in (2, 3)]
    assert all(o.error is None for o in analyse_files(paths, Settings(), fakes.models(), tmp_path / "out"))
    paths[0].unlink()
    written = []
    with pytest.raises(InputError, match="x_B02"):
        written.extend(export(tmp_path / "out", ["ome-zarr"]))
    [plate] = (tmp_path / "out" / "exports" / "ome-zarr").iterdir()
    [field] = read_fields(plate, Settings())
    assert field.name == "out_B03"


def test_a_slide_is_exported_strip_by_strip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zarr = pytest.importorskip("zarr")
    monkeypatch.setattr("napari_tam.export.ome_zarr.CHUNK_PX", 64)
    monkeypatch.setattr("napari_tam.export.ome_zarr.SMALLEST_PX", 64)
    data = np.tile(fakes.image(), (1, 6, 4))[:, :-1, :-3]  # 575 × 509: no whole number of strips, odd
    image = fakes.write_image(tmp_path / "a.ome.tif", data)
    settings = Settings(tile_px=256)
    [outcome] = analyse_files([image], settings, fakes.models(), tmp_path / "out")
    assert outcome.error is None
    (tmp_path / "out" / "settings.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    [path] = export(tmp_path / "out", ["ome-zarr"])
    group = zarr.open_group(path, mode="r")
    np.testing.assert_array_equal(np.asarray(group["0"]), data)
    masks = read_results(tmp_path / "out").masks("a")
    assert masks is not None
    levels, labels = ([each[str(k)] for k in range(3)] for each in (group, group["labels/cells"]))
    assert [level.shape for level in levels] == [(3, 575, 509), (3, 287, 254), (3, 143, 127)]
    assert [label.shape for label in labels] == [level.shape[1:] for level in levels]
    np.testing.assert_array_equal(np.asarray(labels[2]), masks[::4, ::4][:143, :127])
    means = data[:, :574, :508].reshape(3, 287, 2, 254, 2).mean(axis=(2, 4))
    np.testing.assert_array_equal(np.asarray(levels[1]), np.rint(means))


def test_an_image_that_is_gone_or_changed_does_not_stop_the_others(folder: Path) -> None:
    pytest.importorskip("zarr")
    (folder.parent / "a.ome.tif").unlink()
    exported = export(folder, ["ome-zarr", "geojson"])
    names = [next(exported).name for _ in range(3)]
    assert names == ["b.ome.zarr", "a.geojson", "b.geojson"]
    with pytest.raises(InputError, match="a is not there any more"):
        next(exported)
    fakes.write_image(folder.parent / "a.ome.tif", np.tile(fakes.image(), (1, 2, 1)))
    (folder.parent / "b.ome.tif").unlink()
    with pytest.raises(
        InputError, match=r"2 exports .* the image has 192 × 128 pixels now, and its mask 96 × 128"
    ):
        list(export(folder, ["ome-zarr"]))
    assert not list(folder.rglob("*.part"))


def test_results_without_an_image_that_was_analysed_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.tif").write_bytes(b"x")
    list(analyse_files([tmp_path / "bad.tif"], Settings(), fakes.models(), tmp_path / "out"))
    with pytest.raises(InputError, match="no image was analysed"):
        list(export(tmp_path / "out", ["geojson"]))


def test_an_image_without_cells_is_exported(tmp_path: Path) -> None:
    anndata, _, roifile = (pytest.importorskip(name) for name in ("anndata", "zarr", "roifile"))
    image = fakes.write_image(tmp_path / "a.ome.tif", fakes.image(cells=False))
    [outcome] = analyse_files([image], Settings(), fakes.models(), tmp_path / "out")
    assert outcome.error is None
    paths = {path.parent.name: path for path in export(tmp_path / "out", [*FORMATS][:4])}
    assert anndata.read_h5ad(paths["exports"]).n_obs == 0
    assert {f["properties"]["objectType"] for f in features_of(paths["geojson"])} == {"detection"}
    assert [roi.name for roi in roifile.roiread(paths["roi"])] == ["puncta_outside"]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_volume_is_exported_whole(tmp_path: Path, version: str) -> None:
    pytest.importorskip("zarr")
    data = np.stack([fakes.image() // 2, fakes.image(), fakes.image() // 2], axis=1)
    image = fakes.write_image(tmp_path / "v.ome.tif", data, "CZYX")
    settings = Settings(z_stack="volume", z_step_um=1.5)
    [outcome] = analyse_files([image], settings, fakes.models(), tmp_path / "out")
    assert outcome.error is None
    (tmp_path / "out" / "settings.yaml").write_text(settings.to_yaml(), encoding="utf-8")
    shapes, path = export(tmp_path / "out", ["geojson", "ome-zarr"], ome_zarr_version=version)
    assert len([f for f in features_of(shapes) if f["properties"]["objectType"] == "cell"]) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ngff = pytest.importorskip("ngff_zarr")
        found = ngff.from_ngff_zarr(path, version=version).images[0]
        labels = ngff.from_ngff_zarr(path / "labels" / "nuclei", version=version).images[0]
        np.testing.assert_array_equal(np.asarray(found.data), data)
        masks = read_results(tmp_path / "out").masks("v", "nuclei")
        np.testing.assert_array_equal(np.asarray(labels.data), masks)
    assert found.scale["z"] == labels.scale["z"] == 1.5


def test_the_tidy_table_is_the_replicates_table_in_long_form(folder: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout.csv"
    layout.write_text("image,condition,dose,replicate\na,exosomes,1,r1\nb,vehicle,0,r1\n", encoding="utf-8")
    conclude(folder, Settings(), read_layout(layout))
    [path] = export(folder, ["tidy"])
    found = pd.read_csv(path, keep_default_na=False, na_values=[""])
    wide = pd.read_csv(folder / "replicates.csv")
    assert {"condition", "dose", "replicate", "readout", "value", "unit", "cells"} <= {*found.columns}
    keys = ["condition", "dose", "replicate", "control_role"]
    every = found[(found["readout"] == "puncta_count") & found["phenotype"].isna()]
    assert dict(zip(every["condition"], every["value"], strict=True)) == {"exosomes": 1.0, "vehicle": 1.0}
    assert len(every) == wide["phenotype"].isna().sum() == 2
    assert not found.duplicated([*keys, "donor", "plate", "time", "phenotype", "readout"]).any()


def test_without_a_layout_the_tidy_table_has_a_row_per_image_and_readout(folder: Path) -> None:
    found = tidy(read_results(folder))  # its replicates.csv is there, and has no rows
    rows = found[found["readout"] == "puncta_count"]
    assert rows["image"].tolist() == ["a", "b"]
    assert rows["value"].tolist() == [1.0, 1.0]
    assert rows["cells"].tolist() == [3, 3]


def test_a_missing_library_is_named_with_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anndata", None)
    with pytest.raises(InputError, match=r"install napari-tam\[anndata\]"):
        list(export(folder, ["h5ad"]))


def test_what_cannot_be_exported_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'svg' is no export"):
        list(export(folder, ["svg"]))
    with pytest.raises(InputError, match="not a results folder"):
        list(export(tmp_path, ["tidy"]))
    mask_path(folder, "a", "cells").unlink()
    with pytest.raises(InputError, match="no cell mask"):
        list(export(folder, ["geojson"]))
