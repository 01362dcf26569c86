"""What makers write beside the images: pixel size, channel names, z step, time and wells."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile

from napari_tam.errors import InputError
from napari_tam.io.images import list_images, read_fields, unique_names
from napari_tam.io.makers.records import TEXT, records
from napari_tam.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("CD11b", "DAPI", "PKH26")

HARMONY_IMAGE = """<Image Version="1"><URL>r02c03f01p{z:02}-ch{c}sk{t}fk1fl1.tiff</URL>
<Row>2</Row><Col>3</Col><FieldID>1</FieldID><PlaneID>{z}</PlaneID><TimepointID>{t}</TimepointID>
<ChannelID>{c}</ChannelID>{name}
<PositionZ Unit="m">{height}</PositionZ>
<MeasurementTimeOffset Unit="s">{time}</MeasurementTimeOffset></Image>"""
HARMONY_SIZE = """<ChannelName>{name}</ChannelName><ImageResolutionX Unit="m">2.5E-07</ImageResolutionX>
<ImageResolutionY Unit="m">2.5E-07</ImageResolutionY>"""


def harmony(*, version: int) -> str:
    """Return an Index.xml: the channels in every image, or once, in a map."""
    images = [
        HARMONY_IMAGE.format(
            z=z,
            c=c,
            t=t,
            height=z * 1.5e-6,
            time=600 * (t - 1),
            name=HARMONY_SIZE.format(name=NAMES[c - 1]) if version == 5 else "",
        )
        for t in (1, 2)
        for z in (1, 2)
        for c in (1, 2, 3)
    ]
    entries = "".join(
        f'<Entry ChannelID="{c}">{HARMONY_SIZE.format(name=name)}</Entry>' for c, name in enumerate(NAMES, 1)
    )
    maps = f"<Maps><Map>{entries}</Map></Maps>" if version == 6 else ""
    return (
        f'<?xml version="1.0"?><EvaluationInputData xmlns="http://www.perkinelmer.com/PEHH/HarmonyV{version}">'
        f"{maps}<Images>{''.join(images)}</Images></EvaluationInputData>"
    )


def _harmony(folder: Path, version: int) -> Callable[[int, int, int], str]:
    (folder / "Images").mkdir()
    (folder / "Images" / "Index.xml").write_text(harmony(version=version), encoding="utf-8")
    return lambda t, z, c: f"Images/r02c03f01p{z:02}-ch{c}sk{t}fk1fl1.tiff"


def _yokogawa(folder: Path) -> Callable[[int, int, int], str]:
    bts = 'xmlns:bts="http://www.yokogawa.co.jp/BTS/BTSSchema/1.0"'
    channels = "".join(
        f'<bts:MeasurementChannel bts:Ch="{c}" bts:HorizontalPixelDimension="0.25" '
        f'bts:VerticalPixelDimension="0.25" bts:CameraNumber="1" />'
        for c in (1, 2, 3)
    )
    (folder / "MeasurementDetail.mrf").write_text(
        f"<bts:MeasurementDetail {bts} bts:RowCount='8'>{channels}</bts:MeasurementDetail>"
    )
    targets = "".join(f'<bts:Channel bts:Ch="{c}" bts:Target="{name}"/>' for c, name in enumerate(NAMES, 1))
    (folder / "assay.mes").write_text(f"<bts:MeasurementSetting {bts}>{targets}</bts:MeasurementSetting>")
    rows = "".join(
        '<bts:MeasurementRecord bts:Type="IMG" bts:Column="3" bts:Row="2" bts:FieldIndex="1" '
        f'bts:ZIndex="{z}" bts:Z="{1.5 * z}" bts:Ch="{c}">'
        f"W0015F0001T000{t}Z00{z}C{c}.tif</bts:MeasurementRecord>"
        for t in (1, 2)
        for z in (1, 2)
        for c in (1, 2, 3)
    )
    (folder / "MeasurementData.mlf").write_text(f"<bts:MeasurementData {bts}>{rows}</bts:MeasurementData>")
    return lambda t, z, c: f"W0015F0001T000{t}Z00{z}C{c}.tif"


def _micromanager(folder: Path) -> Callable[[int, int, int], str]:
    position = folder / "B03-Site_1"
    position.mkdir()
    summary = {"PixelSize_um": 0.25, "z-step_um": 1.5, "Interval_ms": 600_000, "ChNames": list(NAMES)}
    frame = {"PixelSizeUm": 0.25, "PositionName": "B03-Site_1"}
    (position / "metadata.txt").write_text(json.dumps({"Summary": summary, "FrameKey-0-0-0": frame}))
    return lambda t, z, c: f"B03-Site_1/img_00000000{t}_{NAMES[c - 1]}_00{z}.tif"


def _leica(folder: Path) -> Callable[[int, int, int], str]:
    (folder / "MetaData").mkdir()
    luts = "".join(f'<ChannelDescription ChannelTag="0" LUTName="{name}"/>' for name in NAMES)
    text = f"""<?xml version="1.0"?><Data><Image><Channels>{luts}</Channels><Dimensions>
    <DimensionDescription DimID="X" NumberOfElements="32" Length="7.75" Unit="µm" Voxel="0.250"/>
    <DimensionDescription DimID="Y" NumberOfElements="24" Length="5.75" Unit="µm" Voxel="0.250"/>
    <DimensionDescription DimID="Z" NumberOfElements="2" Length="1.5" Unit="µm" Voxel="-1.5"/>
    <DimensionDescription DimID="T" NumberOfElements="2" Voxel="600.0 s"/></Dimensions></Image></Data>"""
    (folder / "MetaData" / "Project_B03_1_Properties.xml").write_text(text, encoding="utf-8")
    (folder / "MetaData" / "Other_Properties.xml").write_text("<Data/>")
    return lambda t, z, c: f"Project_B03_1_t{t}_z{z}_ch0{c - 1}.tif"


def _zeiss(folder: Path) -> Callable[[int, int, int], str]:
    distances = "".join(
        f'<Distance Id="{axis}"><Value>{size}</Value></Distance>'
        for axis, size in (("X", 2.5e-7), ("Y", 2.5e-7), ("Z", 1.5e-6))
    )
    channels = "".join(f'<Channel Id="Channel:{c}" Name="{name}"/>' for c, name in enumerate(NAMES))
    (folder / "Exp-B03_metadata.xml").write_text(
        f"<ImageDocument><Metadata><Information><Image><Dimensions><Channels>{channels}</Channels></Dimensions>"
        f"</Image></Information><Scaling><Items>{distances}</Items></Scaling></Metadata></ImageDocument>"
    )
    return lambda t, z, c: f"Exp-B03_s1t{t}z{z}c{c}_ORG.tif"


MAKERS: dict[str, Callable[[Path], Callable[[int, int, int], str]]] = {
    "harmony_5": lambda folder: _harmony(folder, 5),
    "harmony_6": lambda folder: _harmony(folder, 6),
    "yokogawa": _yokogawa,
    "micromanager": _micromanager,
    "leica": _leica,
    "zeiss": _zeiss,
}


def write(folder: Path, name: Callable[[int, int, int], str]) -> None:
    """Write two times × two planes × three channels, each plane telling what it is."""
    for t in (1, 2):
        for z in (1, 2):
            for c in (1, 2, 3):
                pixels = np.full((24, 32), 100 * t + 10 * z + c, np.uint16)
                pixels[0, 0] = 1
                tifffile.imwrite(folder / name(t, z, c), pixels)


@pytest.mark.parametrize("maker", MAKERS)
def test_what_the_maker_says_completes_the_images(tmp_path: Path, maker: str) -> None:
    write(tmp_path, MAKERS[maker](tmp_path))
    [path] = list_images([tmp_path])
    assert "B03" in next(iter(unique_names([path]).values()))
    fields = list(read_fields(path, Settings(z_stack="volume")))
    assert len(fields) == 2
    for t, field in enumerate(fields, 1):
        assert field.pixel_size_um == pytest.approx(0.25)
        assert field.z_step_um == pytest.approx(1.5)
        values = [field.channels[role][1, 5, 5] for role in ("cell", "nucleus", "exosome")]
        assert values == [100 * t + 20 + c for c in (1, 2, 3)]
        assert any(note.startswith("with what") for note in field.notes)
        if maker != "zeiss":
            assert field.frame_interval_min == pytest.approx(10) or maker == "yokogawa"


def test_names_of_metaxpress_and_numbers_of_its_files_both_tell_channels(tmp_path: Path) -> None:
    for plate in ("plate7", "plate8"):
        lines = ['"HTSInfoFile", Version 1.0', '"Description", "a, b"', '"NWavelengths", 3']
        lines += [f'"WaveName{c}", "{name} {plate}"' for c, name in enumerate(NAMES, 1)]
        (tmp_path / f"{plate}.HTD").write_text("\n".join([*lines, '"EndFile"']))
    calibration = (
        '<MetaData><PlaneInfo><prop id="spatial-calibration-state" type="bool" value="on"/>'
        '<prop id="spatial-calibration-x" type="float" value="0.25"/>'
        '<prop id="spatial-calibration-y" type="float" value="0.25"/>'
        '<prop id="spatial-calibration-units" type="string" value="um"/></PlaneInfo></MetaData>'
    )
    for plate in ("plate7", "plate8"):
        for c in (1, 2, 3):
            pixels = np.full((24, 32), c, np.uint16)
            pixels[0, 0] = 9
            path = tmp_path / f"{plate}_B02_s1_w{c}.tif"
            tifffile.imwrite(path, pixels, description=calibration, software="MetaSeries", metadata=None)
    for path, plate in zip(list_images([tmp_path]), ("plate7", "plate8"), strict=True):
        for chosen in ({}, {"exosome": "w3", "cell": "w1"}, {"exosome": f"PKH26 {plate}", "cell": 0}):
            [field] = read_fields(path, Settings.from_values({"channels": chosen}))
            assert [int(field.channels[role][5, 5]) for role in ("cell", "nucleus", "exosome")] == [1, 2, 3]
            assert field.pixel_size_um == pytest.approx(0.25)


def test_an_images_own_size_goes_before_the_makers(tmp_path: Path) -> None:
    name = _zeiss(tmp_path)
    for c in (1, 2, 3):
        pixels = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)
        tifffile.imwrite(
            tmp_path / name(1, 1, c), pixels, imagej=True, resolution=(2, 2), metadata={"unit": "um"}
        )
    [field] = read_fields(list_images([tmp_path])[0], Settings())
    assert field.pixel_size_um == pytest.approx(0.5)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<Data>",
        b"\xff\xfe\x00",
        b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><Data>&b;</Data>",
        b"<!DOCTYPE a [<!ENTITY b 'cc'><!ENTITY d '&b;&b;&b;&b;&b;'>]><Data>&d;</Data>",
        b"<Data><Distance Id='X'><Value>nonsense</Value></Distance></Data>",
    ],
)
def test_a_damaged_or_evil_file_is_not_used_and_said(tmp_path: Path, content: bytes) -> None:
    name = _zeiss(tmp_path)
    write(tmp_path, name)
    (tmp_path / "Exp-B03_metadata.xml").write_bytes(content)
    fields = list(read_fields(list_images([tmp_path])[0], _told()))
    assert len(fields) == 2
    if b"nonsense" not in content:
        assert any("was not used" in note for note in fields[0].notes)
    if b"DOCTYPE" in content:
        with pytest.raises(InputError, match="document type"):
            list(records(tmp_path / "Exp-B03_metadata.xml", ("Data",)))


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"Summary": 3}', '{"Summary": {"PixelSize_um": "x"}}'])
def test_odd_json_is_no_obstacle(tmp_path: Path, content: str) -> None:
    name = _micromanager(tmp_path)
    write(tmp_path, name)
    (tmp_path / "B03-Site_1" / "metadata.txt").write_text(content)
    assert len(list(read_fields(list_images([tmp_path])[0], _told()))) == 2


def _told() -> Settings:
    roles: dict[str, Any] = {"cell": 0, "nucleus": 1, "exosome": 2}
    return Settings.from_values({"pixel_size_um": 0.3, "channels": roles})


def test_records_hold_attributes_texts_and_their_own_text(tmp_path: Path) -> None:
    text = '<a xmlns:n="u"><n:b n:k="1">x<c>2</c><c>3</c></n:b><b k="4"/></a>'
    (tmp_path / "a.xml").write_text(text)
    assert list(records(tmp_path / "a.xml", ("b",))) == [
        {"tag": "b", "k": "1", "c": "2", TEXT: "x"},
        {"tag": "b", "k": "4", TEXT: ""},
    ]
