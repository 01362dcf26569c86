"""Images whose channels are files of their own: named as microscopes name them, or as somebody tells."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import cv2
import fakes
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_tam.batches.run import analyse_files
from napari_tam.errors import InputError
from napari_tam.io import single
from napari_tam.io.channel_files import group
from napari_tam.io.channel_search import described, find
from napari_tam.io.images import list_images, read_fields, unique_names
from napari_tam.io.layout import well_of
from napari_tam.io.left_out import left_out
from napari_tam.io.names.hand import NAMINGS
from napari_tam.io.names.pattern import told
from napari_tam.io.single import open_single
from napari_tam.results.folder import read_results
from napari_tam.settings import Settings
from napari_tam.train.known_cells import source_field

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: How makers name the channel of a field (both from 1), and what the first field is called.
MAKERS: dict[str, tuple[Callable[[int, int], str], str]] = {
    "harmony": (lambda f, c: f"Images/r02c03f{f:02}p01-ch{c}sk1fk1fl1.tiff", "B03_s01"),
    "harmony_3": (lambda f, c: f"002003-{f}-00100100{c}.tif", "B03_s1"),
    "cq1": (lambda f, c: f"W0015F000{f}T0001Z001C{c}.tif", "0015_s0001"),
    "yokogawa": (lambda f, c: f"Plate_X_B03_T0001F{f:03}L01A0{c}Z01C0{c}.tif", "Plate_X_B03_s001"),
    "metaxpress": (lambda f, c: f"TimePoint_1/plate7_B03_s{f}_w{c}.TIF", "plate7_B03_s1"),
    "no_plate": (lambda f, c: f"B03_s{f}_w{c}.tif", "B03_s1"),
    "mosaic": (lambda f, c: f"TileScan_B03_{f}_Merged_ch0{c}.tif", "TileScan_B03_1_Merged"),
    "keyence_z": (lambda f, c: f"Image_B03_XY0{f}_Z001_CH{c}.tif", "Image_B03_XY01"),
    "metaxpress_guid": (
        lambda f, c: f"plate7_B03_s{f}_w{c}0017450D-1A2B-4C3D-8E9F-00112233445{f}.tif",
        "plate7_B03_s1",
    ),
    "in_cell": (lambda f, c: f"B - 03(fld {f} wv {WORDS[c - 1]} - {WORDS[c - 1]}).tif", "B03_s1"),
    "scanr": (lambda f, c: f"B3--W00015--P0000{f}--Z00000--T00000--{WORDS[c - 1]}.tif", "B3_s00001"),
    "cellomics": (lambda f, c: f"MFGTMP_220101_B03f{f:02}d{c}.TIF", "MFGTMP_220101_B03_s01"),
    "gen5": (lambda f, c: f"B3_02_{c}_{f}_{WORDS[c - 1]}_001.tif", "B3_s1"),
    "incucyte": (lambda f, c: f"{WORDS[c - 1][:3]}_B3_{f}_00d04h00m.tif", "B3_s1"),
    "micromanager": (lambda f, c: f"B03-Site_{f}/img_000000000_{WORDS[c - 1]}_000.tif", "B03-Site_1"),
    "micromanager2": (
        lambda f, c: f"img_channel00{c}_position00{f}_time000000000_z000.tif",
        "s001",
    ),
    "leica": (lambda f, c: f"Project_B03_Series00{f}_z00_ch0{c}.tif", "Project_B03_Series001"),
    "zen": (lambda f, c: f"Experiment-B03_s{f}c{c}_ORG.tif", "Experiment-B03_s1"),
    "olympus": (lambda f, c: f"B03_000{f}_C00{c}Z001.tif", "B03_0001"),
    "nikon": (lambda f, c: f"B03xy{f}c{c}.tif", "B03_s1"),
    "keyence": (lambda f, c: f"Image_B03_0000{f}_CH{c}.tif", "Image_B03_00001"),
    "number": (lambda f, c: f"B03-{f}_channel{c}.tif", "B03-1"),
    "short_number": (lambda f, c: f"B03-{f}_c{c}.tif", "B03-1"),
    "imagej": (lambda f, c: f"C{c}-B03_{f}.tif", "B03_1"),
    "at_the_end": (lambda f, c: f"B03_{f} {WORDS[c - 1]}.tif", "B03_1"),
    "in_front": (lambda f, c: f"{WORDS[c - 1]}_B03_{f}.tif", "B03_1"),
    "folders": (lambda f, c: f"{WORDS[c - 1]}/B03_{f}.tif", "B03_1"),
    "harmony_6": (lambda f, c: f"Images/r02c03f{f:02}p01-ch{c}t01.tiff", "B03_s01"),
    "metaxpress_z": (lambda f, c: f"TimePoint_1/ZStep_1/plate_B03_s{f}_w{c}.tif", "plate_B03_s1"),
    "metamorph": (lambda f, c: f"exp_B03_w{c}{DYES[c - 1]}_s{f}_t1.TIF", "exp_B03_s1"),
    "scanr_bare": (lambda f, c: f"data/W00015--P0000{f}--Z00000--T00000--{DYES[c - 1]}.tif", "00015_s00001"),
    "gen5_z": (lambda f, c: f"B3_-1_{c}_{f}Z0_Tsf[{DYES[c - 1]}]_001.tif", "B3_s1"),
    "incucyte_date": (
        lambda f, c: f"VID12_{('Green', 'Phase', 'Red')[c - 1]}_B3_{f}_2023y01m05d_12h30m.tif",
        "VID12_B3_s1",
    ),
    "nis_jobs": (
        lambda f, c: f"WellB03_PointB03_000{f}_Channel{DYES[c - 1]}_Seq0001.tif",
        "B03_Seq0001_s0001",
    ),
    "bbbc013": (lambda f, c: f"Channel{c}-0{f}-B-03.tif", "B03_01"),
    "matrix": (
        lambda f, c: f"image--L0000--S00--U02--V01--J20--E00--O00--X0{f}--Y00--T0000--Z00--C0{c}.ome.tif",
        "B03_01_00",
    ),
    "navigator": (lambda f, c: f"TileScan 1_B_3_R{f}_Merged_RAW_ch0{c}.tif", "TileScan 1_R1_Merged_B03"),
    "zen_h": (lambda f, c: f"Image_B03_s{f}_h0t0z0c{c}x0-512y0-512.tif", "Image_B03_s1"),
    "bfconvert": (lambda f, c: f"B03_{f}_Z0_C{c}_T0.ome.tif", "B03_1"),
    "slidebook": (lambda f, c: f"B03 - {f}_C{c}_Z0_T0.tiff", "B03 - 1"),
    "from_zero": (lambda f, c: f"Scan1_B03_f0{f}_ch{c - 1}.tif", "Scan1_B03_f01"),
    "field_folder": (lambda f, c: f"B03/field{f}/{WORDS[c - 1]}.tif", "B03_field1"),
    "field_folder_number": (lambda f, c: f"B03/field{f}/ch{c}.tif", "B03_field1"),
    "well_folder": (lambda f, c: f"B03/{WORDS[c - 1]}/field{f}.tif", "B03_field1"),
    "leica_raw": (lambda f, c: f"B03_Series00{f}--RAW--z00--ch0{c}.tif", "B03_Series001"),
    "leica_af": (lambda f, c: f"B03_Series00{f}--Z00--C0{c}.tif", "B03_Series001"),
    "zen_c": (lambda f, c: f"B03-0{f}_c{c}_ORG.tif", "B03-01"),
    "nis_no_points": (lambda f, c: f"B03_exp00{f}z01c{c}.tif", "B03_exp001"),
    "nis_names": (lambda f, c: f"B03_exp00{f}{DYES[c - 1]}.tif", "B03_exp001"),
    "andor": (lambda f, c: f"B03_t0000_z0000_w000{c}_m000{f}.tif", "B03_s0001"),
    "equals": (lambda f, c: f"B03_{f}.lif - Series C={c}.tif", "B03_1.lif - Series"),
    "evos": (lambda f, c: f"2024_Plate_R_p00_z00_0_B03f0{f}d{c}.TIF", "2024_Plate_B03_s01"),
    "fluoview": (lambda f, c: f"B03_G001_000{f}_C00{c}.tif", "B03_G001_0001"),
    "folder_number": (lambda f, c: f"ch0{c}/B03_{f}.tif", "B03_1"),
    "row_c": (lambda f, c: f"plate_C03_{f}_{DYES[c - 1]}.tif", "plate_C03_1"),
    "number_and_name": (lambda f, c: f"B03_{f}_ch{c}_{DYES[c - 1]}.tif", "B03_1"),
    "name_and_number": (lambda f, c: f"B03_{f}_{DYES[c - 1]}_ch{c}.tif", "B03_1"),
    "in_the_middle": (lambda f, c: f"B03_{DYES[c - 1]}_00{f}.tif", "B03_001"),
    "laser_lines": (lambda f, c: f"B03_{f}_{(405, 488, 640)[c - 1]}nm.tif", "B03_1"),
    "colours": (lambda f, c: f"B03_{f}_{('blue', 'green', 'red')[c - 1]}.tif", "B03_1"),
    "dyes": (lambda f, c: f"B03_{f}_{DYES[c - 1]}.tif", "B03_1"),
    "harmony_record": (lambda f, c: f"r02c03f{f:02}p01rc1-ch{c}sk1fk1fl1.tiff", "B03_s01"),
    "metaxpress_z_name": (lambda f, c: f"TimePoint_1/B03_s{f}_w{c}_z1.tif", "B03_s1"),
    "hcs_ai": (lambda f, c: f"timepoint0/Proto_t0_B03_s{f}_w{c - 1}_z0.tif", "Proto_B03_s1"),
    "in_cell_72": (
        lambda f, c: (
            f"B_03_f{f}_c{c}_x{('Blue', 'Green', 'UV')[c - 1]}_m{('FITC', 'Cy3', 'DAPI')[c - 1]}_z0_t0.tif"
        ),
        "B03_s1",
    ),
    "cellomics_kinetic": (lambda f, c: f"020506i3t001B03f0{f}d{c}.TIF", "020506_B03_s01"),
    "cellomics_bare": (lambda f, c: f"B03f0{f}d{c}.TIF", "B03_s01"),
    "evos_grid": (lambda f, c: f"scan_Plate_R_p00_1_B03f0{f}d{c}.TIF", "scan_Plate_B03_1_s01"),
    "gen5_roi": (lambda f, c: f"B3ROI1_02_{c}_{f}_{DYES[c - 1]}_001.tif", "B3_ROI1_s1"),
    "gen5_made": (lambda f, c: f"B3_-2_{c}_{f}_Tsf[Stitched[{DYES[c - 1]} 377,447]]_001.tif", "B3_s1"),
    "gen5_two_words": (
        lambda f, c: f"B3_02_{c}_{f}_{('Bright Field_High Contrast', *DYES[:2])[c - 1]}_001.tif",
        "B3_s1",
    ),
    "incucyte_raw": (lambda f, c: f"2505/16/1124/1248/B3-{f}-{('C1', 'C2', 'Ph')[c - 1]}.tif", "B3-1_1248"),
    "incucyte_raw_flat": (lambda f, c: f"19/B3_{f}_{('Ch1', 'Ch2', 'Ph')[c - 1]}.tif", "B3_1"),
    "acquifer": (
        lambda f, c: f"-B003--PO0{f}--LO001--CO{c}--SL001--PX32500--PW00{c}--X01{c}--T{f}{c}--WE00015.tif",
        "B03_s01",
    ),
    "acquifer_im03": (lambda f, c: f"WE00015---B003--PO0{f}--LO001--CO{c}--SL001--Z21{c}.tif", "B03_s01"),
    "bd_pathway": (lambda f, c: f"Well B003/{DYES[c - 1]} - n00000{f}.tif", "B03_s000001"),
    "squid": (lambda f, c: f"0/B3_{f}_0_Fluorescence_{(405, 488, 638)[c - 1]}_nm_Ex.tiff", "B3_s1"),
    "squid_flat": (
        lambda f, c: f"scan/manual_{f}_0_Fluorescence_{(405, 488, 638)[c - 1]}_nm_Ex.bmp",
        "manual_s1",
    ),
    "micromanager2_one_point": (lambda f, c: f"B03-Site_{f}/img_channel00{c}.tif", "B03-Site_1"),
    "nis_jobs_long": (
        lambda f, c: f"P1_2000_WellB03_Point1_2000_B03_000{f}_Channel{DYES[c - 1]}_Seq2427.tiff",
        "P1_2000_B03_Seq2427_s0001",
    ),
    "bbbc014": (lambda f, c: f"Channel {c}-0{f}-B-03.tif", "B03_01"),
    "zen_mosaic_tile": (lambda f, c: f"Exp-B03_s{f}m01c{c}_ORG.tif", "Exp-B03_m01_s1"),
    "zen_tiles": (lambda f, c: f"B03/x_S00001_T0000{f}_C0000{c}.tiff", "B03_x_S00001_T00001"),
    "axiovision": (lambda f, c: f"B03_p00000{f}t00000001z001c0{c}.tif", "B03_s000001"),
    "ttt": (lambda f, c: f"B03_p000{f}_t00001_z001_w0{c}.tif", "B03_s0001"),
    "keyence_time": (lambda f, c: f"B03_T0001_XY01_0000{f}_CH{c}.tif", "B03_XY01_00001"),
    "keyence_well": (lambda f, c: f"B03/XY01/Image_XY01_0000{f}_CH{c}.tif", "B03_Image_XY01_00001"),
    "visiview": (lambda f, c: f"B03_{f}_w{c}Conf{(405, 488, 640)[c - 1]}.TIF", "B03_1"),
    "c_z_t": (lambda f, c: f"B03_{f}_t001_z001_c00{c}.tif", "B03_1"),
    "kanal": (lambda f, c: f"B03_{f}_Kanal{c}.tif", "B03_1"),
    "number_in_front": (lambda f, c: f"ch{c}_B03_{f}.tif", "B03_1"),
    "wavelength": (lambda f, c: f"B03_{f}_w{(460, 530, 620)[c - 1]}.tif", "B03_1"),
    "folder_and_name": (lambda f, c: f"{DYES[c - 1]}/B03_{f}_{DYES[c - 1]}.tif", "B03_1"),
    "folder_and_name_first": (lambda f, c: f"{DYES[c - 1]}/{DYES[c - 1]}_B03_{f}.tif", "B03_1"),
    "folders_in_folders": (lambda f, c: f"{DYES[c - 1]}/B03/{f}.tif", "B03_1"),
    "name_z": (lambda f, c: f"B03_{f}_{DYES[c - 1]}_z1.tif", "B03_1"),
    "z_name": (lambda f, c: f"B03_{f}_t01_z1_{DYES[c - 1]}.tif", "B03_1"),
    "name_z_t": (lambda f, c: f"B03_{f}_{DYES[c - 1]}_z1_t01.tif", "B03_1"),
    "several_words": (lambda f, c: f"B03_{f}_{('CD11b-AF488', 'CD63-PKH26', 'DAPI')[c - 1]}.tif", "B03_1"),
    "several_words_between": (
        lambda f, c: f"1_{('CD11b-AF488', 'Hoechst33342', 'PKH26')[c - 1]}_B03_{f}.tif",
        "1_B03_1",
    ),
    "any_case": (
        lambda f, c: f"B03_{f}_{DYES[c - 1].upper() if f % 2 else DYES[c - 1].lower()}.tif",
        "B03_1",
    ),
    "m1_well": (lambda f, c: f"M1_02_{c}_{f}_{DYES[c - 1]}_001.tif", "M01_s1"),
}
DYES = ("Cy5", "DAPI", "TRITC")
WORDS = ("CD11b", "DAPI", "PKH26")
ROLES = {"cell": 0, "nucleus": 1, "exosome": 2}


def write(folder: Path, name: Callable[[int, int], str], fields: int = 2) -> list[list[Path]]:
    """Write the channels of fields, each pixel telling field and channel; return the files of each field."""
    written = []
    for field in range(1, fields + 1):
        files = []
        for channel in range(1, 4):
            path = folder / name(field, channel)
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.full((24, 32), 100 * field + channel, np.uint16)
            pixels[0, 0] = 1
            if path.suffix == ".bmp":
                cv2.imwrite(str(path), pixels.astype(np.uint8))
            else:
                tifffile.imwrite(path, pixels)
            files.append(path)
        written.append(files)
    return written


def settings(**others: object) -> Settings:
    return Settings.from_values({"channels": ROLES, "pixel_size_um": 0.3, **others})


@pytest.mark.parametrize("name", ["plate_{well}_{word}.tif", "{word}_{well}.tif", "{well}_{word}.tif"])
@pytest.mark.parametrize("wells", [("B03", "C03", "C04"), ("B3", "C3", "C4"), ("A1", "C1", "H2")])
def test_wells_of_row_c_are_no_channels(tmp_path: Path, name: str, wells: tuple[str, ...]) -> None:
    for well in wells:
        for word in DYES:
            pixels = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
            tifffile.imwrite(tmp_path / name.format(well=well, word=word), pixels)
    found = [find(path) for path in list_images([tmp_path])]
    assert len(found) == len(wells)
    assert all(each is not None and set(each.channels) == set(DYES) for each in found)
    assert {well for well in wells for each in found if each is not None and well in each.name} == set(wells)


@pytest.mark.parametrize("maker", ["metaxpress", "yokogawa", "harmony", "zen", "folders", "at_the_end"])
def test_fields_are_put_together_by_names_and_no_file_is_opened_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, maker: str
) -> None:
    opened: list[Path] = []

    def noted(path: Path) -> Any:
        opened.append(path)
        return open_single(path)

    monkeypatch.setattr(single, "open_single", noted)
    write(tmp_path, MAKERS[maker][0], fields=9)
    paths = list_images([tmp_path])
    described(paths)
    assert len(unique_names(paths)) == 9
    assert len(opened) == len(set(opened)) <= 2  # one for a way of naming that fits, of 27


@pytest.mark.parametrize("maker", ["leica_raw", "leica_af", "nis_no_points", "andor"])
def test_planes_in_the_names_are_planes_of_the_field(tmp_path: Path, maker: str) -> None:
    name, _ = MAKERS[maker]
    other = {"z00": "z01", "Z00": "Z01", "z01": "z02", "z0000": "z0001"}
    first = next(iter(z for z in other if z in name(1, 1)))
    write(tmp_path, name)
    write(tmp_path, lambda f, c: name(f, c).replace(first, other[first]))
    assert [found and len(found.zs) for found in map(find, list_images([tmp_path]))] == [2, 2]


@pytest.mark.parametrize("maker", MAKERS)
def test_the_files_of_a_field_are_one_image(tmp_path: Path, maker: str) -> None:
    name, called = MAKERS[maker]
    files = write(tmp_path, name)
    paths = list_images([tmp_path])
    assert len(paths) == len(files)
    assert [{path.resolve() for path in each} for each in files] == [
        set(found.files.values()) if (found := find(path)) else set() for path in paths
    ]
    assert next(iter(unique_names(paths).values())) == called
    for number, path in enumerate(paths, 1):
        [field] = read_fields(path, settings())
        pixels = [int(field.channels[role][5, 5]) for role in ROLES]
        assert pixels == [100 * number + channel for channel in (1, 2, 3)]
        assert "named like" in " ".join(field.notes)


def test_what_is_measured_is_what_one_file_gives(tmp_path: Path) -> None:
    planes = fakes.image()
    (tmp_path / "one").mkdir()
    fakes.write_image(tmp_path / "one" / "B02_s1.ome.tif")
    for channel, plane in enumerate(planes, 1):
        (tmp_path / "many").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / "many" / f"p_B02_s1_w{channel}.tif", plane)
        tifffile.imwrite(tmp_path / "many" / f"p_B02_s1_w{channel}_thumb.tif", plane[::4, ::4])
    tables = []
    for kind in ("one", "many"):
        paths = list_images([tmp_path / kind])
        chosen = Settings(pixel_size_um=fakes.PIXEL_UM, channels=ROLES)
        [outcome] = analyse_files(paths, chosen, fakes.models(), tmp_path / f"out_{kind}")
        assert outcome.error is None
        tables.append(pd.read_csv(tmp_path / f"out_{kind}" / "cells.csv").drop(columns="image"))
    pd.testing.assert_frame_equal(*tables)


def test_results_find_their_images_again(tmp_path: Path) -> None:
    """Exports, training, the report and the plugin read the pixels once more."""
    chosen = Settings(pixel_size_um=fakes.PIXEL_UM, channels=ROLES)
    for site in ("1", "2"):
        for channel, plane in enumerate(fakes.image(), 1):
            tifffile.imwrite(tmp_path / f"p_B02_s{site}_w{channel}.tif", plane + np.uint16(site))
        tifffile.imwrite(tmp_path / f"p_B02_s{site}_cells.tif", fakes.discs(9))
    given = chosen.updated(cells_masks=str(tmp_path))
    paths = list_images([tmp_path])
    outcomes = list(analyse_files(paths, given, fakes.models(), tmp_path / "out"))
    assert [outcome.error for outcome in outcomes] == [None, None]
    results = read_results(tmp_path / "out")
    for site in (1, 2):
        field = source_field(results, f"p_B02_s{site}", given)
        assert field.name == f"p_B02_s{site}"
        np.testing.assert_array_equal(field.channels["exosome"], fakes.image()[2] + site)


def test_what_was_put_together_and_left_out_is_told(tmp_path: Path) -> None:
    write(tmp_path, MAKERS["metaxpress_guid"][0], 3)
    tifffile.imwrite(tmp_path / "plate7_B03_s1_w1_thumb.tif", np.ones((20, 20), np.uint16))
    assert described(list_images([tmp_path])) == [
        "3 images of 3 channels, a file each, named like MetaXpress (ImageXpress)",
        "left out: 1 previews, overlays or projections beside them",
    ]


def test_a_field_without_a_channel_fails_and_the_others_go_on(tmp_path: Path) -> None:
    files = write(tmp_path, MAKERS["metaxpress_guid"][0], 3)
    files[1][2].unlink()
    tifffile.imwrite(files[2][1], np.zeros((24, 30), np.uint16))
    outcomes = list(analyse_files(list_images([tmp_path]), settings(), fakes.models(), tmp_path / "out"))
    assert [outcome.error is None for outcome in outcomes] == [True, False, False]
    assert "lacks 1 of its files: channel w3" in str(outcomes[1].error)
    assert "30 pixels" in str(outcomes[2].error)


def test_a_channel_that_is_there_twice_is_told(tmp_path: Path) -> None:
    write(tmp_path, MAKERS["metaxpress_guid"][0])
    twice = tmp_path / "plate7_B03_s1_w20017450D-1A2B-4C3D-8E9F-AAAAAAAAAAAA.tif"
    tifffile.imwrite(twice, np.ones((24, 32), np.uint16))
    with pytest.raises(InputError, match="the same channel is there twice"):
        list(read_fields(list_images([tmp_path])[0], settings()))


def test_two_kinds_in_a_folder_are_both_found(tmp_path: Path) -> None:
    write(tmp_path, MAKERS["metaxpress_guid"][0])
    write(tmp_path, MAKERS["yokogawa"][0])
    names = list(unique_names(list_images([tmp_path])).values())
    assert names == ["Plate_X_B03_s001", "Plate_X_B03_s002", "plate7_B03_s1", "plate7_B03_s2"]


def test_files_of_several_channels_and_of_conditions_stay_images(tmp_path: Path) -> None:
    for name in ("exp_c1", "exp_c2", "other_c1", "other_c2"):
        fakes.write_image(tmp_path / f"{name}.ome.tif")
    assert len(list_images([tmp_path])) == 4
    conditions = tmp_path / "conditions"
    conditions.mkdir()
    for name in ("ctrl A", "ctrl B", "LPS A", "LPS B"):
        tifffile.imwrite(conditions / f"{name}.tif", np.ones((24, 32), np.uint16))
    assert len(list_images([conditions])) == 4


def test_a_pattern_tells_where_nothing_is_known(tmp_path: Path) -> None:
    files = write(tmp_path, lambda f, c: f"scan@{c}@B03@{f}.tif")
    assert len(list_images([tmp_path])) == 6
    pattern = "scan@{channel}@{well}@{site}.tif"
    paths = list_images([tmp_path], pattern)
    assert list(unique_names(paths, pattern).values()) == ["B03_s1", "B03_s2"]
    [field] = read_fields(paths[0], settings(files=pattern))
    assert set(field.channels) == set(ROLES)
    assert len(list_images([tmp_path], "each")) == sum(map(len, files))
    with pytest.raises(InputError, match="does not say where the channel is"):
        told("{well}_{site}.tif")
    with pytest.raises(InputError, match="no pattern of file names"):
        told("(?P<channel>[")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("B - 03(fld {f} wv {w} - x).tif", "{row} - {column}(fld {site} wv {channel} - *).tif"),
        ("B - 3(fld {f} wv {w} - x).tif", "{well}(fld {site} wv {channel} - *).tif"),
        ("Well B003/{w} - n{f}.tif", "Well {well}/{channel} - n{site}.tif"),
        ("r2c3_{f}_ab{c}.tif", "r{row}c{column}_{site}_??{channel}.tif"),
        ("b3_{f}_{c}.tif", "{well}_{site}_{channel}.tif"),
    ],
)
def test_a_pattern_knows_wells_as_they_are_written(tmp_path: Path, name: str, pattern: str) -> None:
    write(tmp_path, lambda f, c: name.format(f=f, c=c, w=DYES[c - 1]))
    names = list(unique_names(list_images([tmp_path], pattern), pattern).values())
    assert len(names) == 2
    assert {well_of(each) for each in names} == {"B03"}


def test_z_planes_and_times_are_axes_of_the_field(tmp_path: Path) -> None:
    for time in (1, 2):
        for z in (1, 2, 3):
            for channel in (1, 2, 3):
                pixels = np.full((24, 32), 100 * time + 10 * z + channel, np.uint16)
                pixels[0, 0] = 1
                tifffile.imwrite(tmp_path / f"P_B02_T000{time}F001L01A01Z0{z}C0{channel}.tif", pixels)
    [path] = list_images([tmp_path])
    fields = list(read_fields(path, settings()))
    assert [field.frame for field in fields] == [0, 1]
    assert int(fields[1].channels["exosome"][5, 5]) == 233  # the maximum of three planes
    stack = settings(z_stack="volume", z_step_um=1)
    assert next(read_fields(path, stack)).channels["cell"].shape == (3, 24, 32)


def test_planes_and_times_may_be_folders(tmp_path: Path) -> None:
    for time in (1, 2):
        for z in (1, 2, 3):
            for channel in (1, 2, 3):
                path = tmp_path / f"TimePoint_{time}" / f"ZStep_{z}" / f"plate_B03_s1_w{channel}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.full((24, 32), 100 * time + 10 * z + channel, np.uint16)
                pixels[0, 0] = 1
                tifffile.imwrite(path, pixels)
    [path] = list_images([tmp_path])
    fields = list(read_fields(path, settings()))
    assert [field.name for field in fields] == ["plate_B03_s1_t0000", "plate_B03_s1_t0001"]
    assert [int(field.channels["cell"][5, 5]) for field in fields] == [131, 231]  # the brightest plane


def test_a_channel_0_is_a_channel_and_a_picture_of_all_channels_is_none(tmp_path: Path) -> None:
    write(tmp_path, MAKERS["keyence"][0])
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[2:9], picture[..., 1] = 7, 20
    for field in (1, 2):
        tifffile.imwrite(tmp_path / f"Image_B03_0000{field}_CH0.tif", picture, photometric="rgb")
    [first, _] = list_images([tmp_path])
    found = find(first)
    assert found is not None
    assert found.channels == ("CH1", "CH2", "CH3")
    assert "left out: 2" in described([first])[1]


def test_names_in_folders_tell_the_wells_apart(tmp_path: Path) -> None:
    for plate in ("plate1", "plate2"):
        for well in ("B02", "B03"):
            write(tmp_path / plate / well, lambda f, c: f"{WORDS[c - 1]}/field{f}.tif", 1)
    names = list(unique_names(list_images([tmp_path])).values())
    assert names == ["plate1_B02_field1", "plate1_B03_field1", "plate2_B02_field1", "plate2_B03_field1"]


def test_conditions_are_no_channels(tmp_path: Path) -> None:
    for name in ("control", "LPS", "IL4"):
        for number in (1, 2):
            tifffile.imwrite(tmp_path / f"{number}_{name}.tif", np.ones((24, 32), np.uint16))
    assert len(list_images([tmp_path])) == 6


def test_a_picture_of_one_colour_is_its_channel(tmp_path: Path) -> None:
    for channel, band in ((1, 0), (2, 2), (3, 1)):
        picture = np.zeros((24, 32, 3), np.uint8)
        picture[..., band] = 10 * channel
        picture[0, 0, band] = 1
        tifffile.imwrite(tmp_path / f"B02_c{channel}.tif", picture, photometric="rgb")
    [field] = read_fields(list_images([tmp_path])[0], settings())
    assert [int(field.channels[role][5, 5]) for role in ROLES] == [10, 20, 30]


def test_a_batch_keeps_a_field_until_one_of_its_files_changes(tmp_path: Path) -> None:
    for channel, plane in enumerate(fakes.image(), 1):
        tifffile.imwrite(tmp_path / f"p_B02_s1_w{channel}.tif", plane)
    out = tmp_path / "out"

    def kept() -> bool:
        paths = list_images([tmp_path])
        [outcome] = analyse_files(paths, settings(), fakes.models(), out, resume=True)
        return outcome.kept

    assert not kept()
    assert kept()
    tifffile.imwrite(tmp_path / "p_B02_s1_w3.tif", fakes.image()[2] + 1)
    assert not kept()


def test_folders_are_searched_where_the_first_level_has_no_image(tmp_path: Path) -> None:
    for day in ("day1", "day2"):
        (tmp_path / day / "raw").mkdir(parents=True)
        fakes.write_image(tmp_path / day / "raw" / "a.ome.tif")
    names = list(unique_names(list_images([tmp_path])).values())
    assert names == ["raw_a", "raw_a_2"] or names == ["a", "a_2"]
    fakes.write_image(tmp_path / "b.ome.tif")
    assert [path.name for path in list_images([tmp_path])] == ["b.ome.tif"]


def test_every_way_of_naming_has_its_source_and_is_tried_here(tmp_path: Path) -> None:
    tried = set()
    for maker, (name, _) in MAKERS.items():
        folder = tmp_path / maker
        write(folder, name)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        tried |= {field.naming.name for field in group(files).fields}
    assert tried == {naming.name for naming in NAMINGS}
    assert all(naming.source for naming in NAMINGS)


def overlay(path: Path) -> None:
    picture = np.zeros((24, 32, 3), np.uint8)
    picture[2:9], picture[..., 1] = 7, 20
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, picture, photometric="rgb")


@pytest.mark.parametrize(
    ("maker", "beside"),
    [
        ("zen", "Experiment-B03_s{f}c1-3_ORG.tif"),
        ("zen_c", "B03-0{f}_c1+2+3_ORG.tif"),
        ("short_number", "B03-{f}_(c1+c5).tif"),
        ("colours", "B03_{f} (RGB).tif"),
        ("dyes", "B03_{f}_zusammen.tif"),
        ("dyes", "B03_{f}_AF488-DAPI.tif"),
        ("at_the_end", "B03_{f} zusammen.tif"),
        ("leica", "B03_{f}.tif"),
        ("evos_grid", "scan_Plate_D_p00_1_B03f0{f}d1.TIF"),
    ],
)
def test_a_picture_of_all_channels_is_left_out_whatever_it_is_called(
    tmp_path: Path, maker: str, beside: str
) -> None:
    files = write(tmp_path, MAKERS[maker][0])
    for field in (1, 2):
        overlay(tmp_path / beside.format(f=field))
    paths = list_images([tmp_path])
    assert len(paths) == len(files)
    assert all(found is not None and len(found.files) == 3 for found in map(find, paths))
    assert "left out: 2 previews, overlays or projections beside them" in described(paths)


@pytest.mark.parametrize("beside", ["B03_{f}_zusammen.tif", "B03 {f} all.tif"])
def test_a_picture_of_all_channels_is_left_out_where_a_pattern_is_told(tmp_path: Path, beside: str) -> None:
    files = write(tmp_path, lambda f, c: f"B03_{f}_{('Zellen', 'Kerne', 'Exosomen')[c - 1]}.tif")
    for field in (1, 2):
        overlay(tmp_path / beside.format(f=field))
    pattern = "{well}_{site}_{channel}.tif"
    paths = list_images([tmp_path], pattern)
    assert len(paths) == len(files)
    assert all(found is not None and len(found.files) == 3 for found in (find(p, pattern) for p in paths))


def test_a_colour_picture_is_left_out_beside_channels_only(tmp_path: Path) -> None:
    for name in ("a", "b"):
        overlay(tmp_path / f"{name}.tif")
    assert len(list_images([tmp_path])) == 2


@pytest.mark.parametrize(
    ("maker", "beside"),
    [
        ("metaxpress_guid", "plate7_B03_s1_w1_thumb0017450D-1A2B-4C3D-8E9F-001122334459.tif"),
        ("cellomics", "MFGTMP_220101_B03f01o1.TIF"),
        ("yokogawa", "DC_sCMOS #1_CAM1.tif"),
        ("yokogawa", "SC_BP445-45_40x_M10_CH01.tif"),
        ("in_front", "Merge_B03_1.tif"),
        ("gen5", "B3_03_1_1_Stitched[DAPI 377,447]_001.tif"),
    ],
)
def test_what_makers_write_beside_channels_is_left_out(tmp_path: Path, maker: str, beside: str) -> None:
    files = write(tmp_path, MAKERS[maker][0])
    tifffile.imwrite(tmp_path / beside, np.arange(80, dtype=np.uint16).reshape(8, 10))
    paths = list_images([tmp_path])
    assert len(paths) == len(files)
    assert all(found is not None and len(found.files) == 3 for found in map(find, paths))


@pytest.mark.parametrize("made", ["Projection", "autofocus", "Thumbnails"])
def test_a_folder_of_projections_beside_images_is_left_out_and_told(tmp_path: Path, made: str) -> None:
    write(tmp_path / "Image", MAKERS["cq1"][0])
    write(tmp_path / made, MAKERS["cq1"][0])
    paths = list_images([tmp_path])
    assert {path.parent.name for path in paths} == {"Image"}
    assert left_out([tmp_path], paths) == [
        f"left out: 1 folders of what was made of the images beside them ({made})"
    ]
    assert len(list_images([tmp_path / made])) == 2
    shutil.rmtree(tmp_path / "Image")
    assert len(list_images([tmp_path])) == 2


def test_steps_of_a_protocol_are_one_field_unless_each_has_all_channels(tmp_path: Path) -> None:
    steps = tmp_path / "a", tmp_path / "b"
    write(steps[0], lambda f, c: f"B3_0{c}_1_{f}_{WORDS[c - 1]}_001.tif")
    write(steps[1], lambda f, c: f"B3_0{f}_{c}_1_{WORDS[c - 1]}_001.tif")
    assert list(unique_names(list_images([steps[0]])).values()) == ["B3_s1", "B3_s2"]
    assert list(unique_names(list_images([steps[1]])).values()) == ["B3_01_s1", "B3_02_s1"]


def test_times_are_in_folders_of_months_days_and_hours(tmp_path: Path) -> None:
    for time in ("01/2300", "02/0300"):
        write(tmp_path / "2505" / time / "1248", lambda f, c: f"B3-{f}-{('C1', 'C2', 'Ph')[c - 1]}.tif")
    paths = list_images([tmp_path])
    found = [find(path) for path in paths]
    assert [each and each.times for each in found] == [("2505/01/2300", "2505/02/0300")] * 2


@pytest.mark.parametrize("maker", ["name_z", "z_name", "name_z_t", "c_z_t", "squid", "acquifer", "hcs_ai"])
def test_planes_in_names_are_never_images_by_themselves(tmp_path: Path, maker: str) -> None:
    name, _ = MAKERS[maker]
    other = {"_z1": "_z2", "_z001": "_z002", "_0_Fl": "_1_Fl", "SL001": "SL002", "_z0": "_z1"}
    first = next(z for z in other if z in name(1, 1))
    write(tmp_path, name)
    write(tmp_path, lambda f, c: name(f, c).replace(first, other[first]))
    assert [found and len(found.zs) for found in map(find, list_images([tmp_path]))] == [2, 2]


@pytest.mark.parametrize("copy", [" - Copy", " - Kopie", " (1)", " copy", " - Copy (2)"])
@pytest.mark.parametrize("maker", ["leica", "dyes", "metaxpress_guid"])
def test_a_copy_of_a_channel_is_told_and_the_other_fields_go_on(
    tmp_path: Path, maker: str, copy: str
) -> None:
    files = write(tmp_path, MAKERS[maker][0], 3)
    twice = files[1][2].with_stem(files[1][2].stem + copy)
    shutil.copyfile(files[1][2], twice)
    outcomes = list(analyse_files(list_images([tmp_path]), settings(), fakes.models(), tmp_path / "out"))
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert f"the same channel is there twice ({twice.name})" in str(outcomes[1].error)


def test_a_number_in_brackets_is_a_field_where_it_is_no_copy(tmp_path: Path) -> None:
    files = write(tmp_path, lambda f, c: f"B03 {DYES[c - 1]} ({f}).tif")
    assert len(list_images([tmp_path])) == len(files)
    write(tmp_path, lambda f, c: f"B03 {DYES[c - 1]}.tif", 1)
    assert len(list_images([tmp_path])) > len(files)


def test_a_file_of_another_name_does_not_keep_channels_apart(tmp_path: Path) -> None:
    files = write(tmp_path, MAKERS["dyes"][0], 3)
    tifffile.imwrite(tmp_path / "B03_1_shading.tif", np.arange(80, dtype=np.uint16).reshape(8, 10))
    found = [find(path) for path in list_images([tmp_path])]
    assert sum(each is not None and len(each.files) == 3 for each in found) == len(files)


def test_a_damaged_first_file_does_not_keep_channels_apart(tmp_path: Path) -> None:
    files = write(tmp_path, MAKERS["yokogawa"][0], 3)
    files[0][0].write_bytes(b"")
    outcomes = list(analyse_files(list_images([tmp_path]), settings(), fakes.models(), tmp_path / "out"))
    assert [outcome.error is None for outcome in outcomes] == [False, True, True]
    assert "the file is empty" in str(outcomes[0].error)


def test_images_that_a_pattern_does_not_fit_are_told(tmp_path: Path) -> None:
    write(tmp_path, MAKERS["dyes"][0])
    pattern = "{well}_s{site}_w{channel}.tif"
    assert described(list_images([tmp_path], pattern), pattern) == [
        f"6 images are not named like {pattern}: B03_1_Cy5.tif, B03_1_DAPI.tif, B03_1_TRITC.tif and 3 more"
    ]
    with pytest.raises(InputError, match="--files"):
        list(read_fields(list_images([tmp_path], pattern)[0], settings(files=pattern)))


def test_folders_beside_images_that_are_not_looked_at_are_told(tmp_path: Path) -> None:
    files = write(tmp_path, MAKERS["dyes"][0])
    write(tmp_path, MAKERS["harmony"][0])
    (tmp_path / "masks").mkdir()
    shutil.copyfile(files[0][0], tmp_path / "masks" / "B03_1_masks.tif")
    paths = list_images([tmp_path])
    assert len(paths) == 2
    assert left_out([tmp_path], paths) == [
        "left out: 1 folders with images, as images lie beside them; --recursive takes them (Images)"
    ]
