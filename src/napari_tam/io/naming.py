"""How microscopes name their files when every channel is a file of its own: a table of patterns.

A pattern is a regular expression over a file's name, or over its last folder and name (``DAPI/B02_1.tif``).
Its groups are ``channel`` and any of ``well``, ``row`` and ``column`` (numbers), ``site``, ``z``, ``time``
and ``plate``; all others belong to the field's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from napari_tam.errors import InputError
from napari_tam.io.channels import channel_words

if TYPE_CHECKING:
    from pathlib import Path

#: What lies beside the images: previews, pictures with all channels in one, projections, masks.
BESIDE = re.compile(
    # what ends a name; a mosaic is called "…_Merged_ch00" as well, and is data
    r"([_ -](overlay|merged?|composite|rgb)|_MIP|_maxproj)(?=\.)"
    r"|[_ -]?thumb(nail)?s?(?=[_ .-])"
    # what was segmented: label images and outlines of Cellpose and others
    r"|_(masks?|outlines|flows)(?=\.)",
    re.IGNORECASE,
)

#: How Keyence calls the picture with all channels in one, and others their first channel: the pixels tell.
FIRST_OR_OVERLAY = re.compile(r"_CH0(?=\.)", re.IGNORECASE)

_END = r"(\.ome)?\.(tiff?|png|jpe?g|bmp)$"
GUID = r"[0-9A-F]{8}(-[0-9A-F]{4}){2,3}(-[0-9A-F]{12})?"
_WELL = r"(?P<well>[A-P]\d{1,2})"


@dataclass(frozen=True)
class Naming:
    """One way of naming.

    Attributes
    ----------
    name
        Whose it is.
    pattern
        The expression, over a path (where it holds a ``/``) or a file's name.
    source
        Where it is described.
    words
        Whether any word may stand for the channel, so that the names must be those of stains to be believed.
    certain
        Whether somebody told that files are named so.
    """

    name: str
    pattern: re.Pattern[str]
    source: str
    words: bool = False
    certain: bool = False

    @cached_property
    def folders(self) -> int:
        """How many folders above a file its pattern looks at."""
        return re.sub(r"\[[^\]]*\]", "", self.pattern.pattern).count("/")

    def match(self, path: Path) -> re.Match[str] | None:
        """Return what the pattern finds in a file's name."""
        return self.pattern.search("/".join(path.parts[-1 - self.folders :]) if self.folders else path.name)


def _naming(name: str, pattern: str, source: str, *, words: bool = False) -> Naming:
    return Naming(name, re.compile(pattern + _END, re.IGNORECASE), source, words)


#: The first one that all names of a folder fit is taken: the more a pattern demands, the earlier it stands.
NAMINGS = (
    _naming(
        "Harmony (Operetta, Opera Phenix)",
        r"^r(?P<row>\d\d)c(?P<column>\d\d)f(?P<site>\d+)p(?P<z>\d+)-ch(?P<channel>\d+)"
        r"(sk|t)(?P<time>\d+)(fk\d+fl\d+)?",
        "PerkinElmer/Revvity Harmony: Index.xml, element URL; since version 6 …-ch1t01.tiff",
    ),
    _naming(
        "Harmony, older (Operetta)",
        r"^(?P<row>\d{3})(?P<column>\d{3})-(?P<site>\d+)-(?P<time>\d{3})(?P<z>\d{3})(?P<channel>\d{3})",
        "PerkinElmer Harmony 3: 002003-1-001001001.tif",
    ),
    _naming(
        "Yokogawa CQ1",
        r"^W(?P<well_number>\d+)F(?P<site>\d+)T(?P<time>\d+)Z(?P<z>\d+)C(?P<channel>\d+)",
        "Yokogawa CQ1: W0015F0001T0001Z001C1.tif",
    ),
    _naming(
        "Yokogawa (CV7000, CV8000)",
        rf"^(?P<plate>.+)_{_WELL}_T(?P<time>\d+)F(?P<site>\d+)L\d+A\d+Z(?P<z>\d+)C(?P<channel>\d+)",
        "Yokogawa CellVoyager: MeasurementData.mlf",
    ),
    *(
        _naming(
            "MetaXpress (ImageXpress)",
            rf"^{folders}((?P<plate>[^/]+)_)?{_WELL}(_s(?P<site>\d+))?_w(?P<channel>\d)({GUID})?",
            "Molecular Devices MetaXpress: a folder for every time, and one for every plane",
        )
        for folders in (
            r"TimePoint_(?P<time>\d+)/ZStep_(?P<z>\d+)/",
            r"(TimePoint_(?P<time>\d+)|ZStep_(?P<z>\d+))/",
        )
    ),
    _naming(
        "MetaXpress (ImageXpress)",
        rf"^((?P<plate>.+)_)?{_WELL}(_s(?P<site>\d+))?(_t(?P<time>\d+))?_w(?P<channel>\d)({GUID})?",
        "Molecular Devices MetaXpress; BBBC006, BBBC021",
    ),
    _naming(
        "IN Cell Analyzer",
        r"^(?P<row_letter>[A-P]) - (?P<column>\d+)\((fld (?P<site>\d+) )?wv (?P<channel>[^)]+?)"
        r"( z (?P<z>\d+))?( time (?P<time>\d+)[^)]*)?\)",
        "GE/Cytiva IN Cell Analyzer: B - 02(fld 1 wv DAPI - DAPI).tif",
    ),
    _naming(
        "ScanR",
        r"^((?P<well_name>[^-]+)--|--)?W(?P<well_number>\d+)--P(?P<site>\d+)--Z(?P<z>\d+)--T(?P<time>\d+)--(?P<channel>[^/]+?)",
        "Olympus ScanR: A1--W00001--P00001--Z00000--T00000--DAPI.tif",
    ),
    _naming(
        "Cellomics (CellInsight, ArrayScan, EVOS)",
        rf"^(?P<plate>.+)_{_WELL}f(?P<site>\d+)d(?P<channel>\d+)",
        "Thermo Fisher HCS Studio, EVOS: MFGTMP_…_B02f00d0.TIF",
    ),
    _naming(
        "Gen5 (Cytation)",
        rf"^{_WELL}_-?\d+_\d+_(?P<site>\d+)(Z(?P<z>\d+))?_(?P<channel>[^_/]+)_(?P<time>\d{{3}})",
        "Agilent BioTek Gen5: B2_02_1_1_DAPI_001.tif",
    ),
    _naming(
        "Incucyte",
        rf"^((?P<stem>[^/]+)_)?(?P<channel>[A-Za-z][^_/]*)_{_WELL}_(?P<site>\d+)_"
        r"(?P<time>(\d+y\d+m)?\d+d_?\d+h\d+m)",
        "Sartorius Incucyte: Green_B2_1_00d04h00m.tif",
    ),
    _naming(
        "Micro-Manager",
        r"^(?P<position>[^/]+)/img_(?P<time>\d{9})_(?P<channel>[^/]+)_(?P<z>\d{3})",
        "Micro-Manager 1.4, one file a plane",
    ),
    _naming(
        "Micro-Manager",
        r"^img_channel(?P<channel>\d+)_position(?P<site>\d+)_time(?P<time>\d+)_z(?P<z>\d+)",
        "Micro-Manager 2, one file a plane",
    ),
    _naming(
        "Nikon NIS-Elements (JOBS)",
        rf"^Well{_WELL}(_Point[^_]+_(?P<site>\d+))?_Channel(?P<channel>[^_/]+)_(?P<sequence>Seq\d+)",
        "Nikon NIS-Elements JOBS: WellB02_PointB02_0001_ChannelDAPI_Seq0001.tif",
    ),
    _naming(
        "BBBC013",
        r"^Channel(?P<channel>\d+)-(?P<number>\d+)-(?P<row_letter>[A-P])-(?P<column>\d\d)",
        "Broad Bioimage Benchmark Collection: Channel1-01-A-01.BMP",
    ),
    _naming(
        "Leica LAS AF (Matrix Screener)",
        r"^image--L\d+--S\d+--U(?P<column_0>\d+)--V(?P<row_0>\d+)--J\d+--E\d+--O\d+--X(?P<x>\d+)--Y(?P<y>\d+)"
        r"--T(?P<time>\d+)--Z(?P<z>\d+)--C(?P<channel>\d+)",
        "Leica Matrix Screener: image--L0000--S00--U01--V02--…--C00.ome.tif; U and V count from 0",
    ),
    _naming(
        "Leica LAS X (Navigator)",
        r"^(?P<stem>.+?)_(?P<row_letter>[A-P])_(?P<column>\d{1,2})_"
        r"(?P<position>(R|Pos|Position|Region)[ _]?\d+[^/]*?)"
        r"(_t(?P<time>\d+))?(_z(?P<z>\d+))?(_RAW)?_ch(?P<channel>\d\d)(_SV|_RAW)?",
        "Leica LAS X: series named TileScan 1/B/2/R1, exported as TIFF",
    ),
    _naming(
        "Leica LAS X",
        r"^(?P<stem>.+?)(_t(?P<time>\d+))?(_z(?P<z>\d+))?(_RAW)?_ch(?P<channel>\d\d)(_SV|_RAW)?",
        "Leica LAS X: export as TIFF",
    ),
    _naming(
        "Leica LAS AF",
        r"^(?P<stem>.+?)(--RAW)?(--t(?P<time>\d+))?(--z(?P<z>\d+))?--(ch?)(?P<channel>\d\d)",
        "Leica LAS AF: Series001--RAW--z00--ch00.tif, Series001--Z00--C00.tif",
    ),
    _naming(
        "Zeiss ZEN",
        r"^(?P<stem>.+?)_(?=[bsthz]\d|c\d.*_ORG)(b\d+)?(s(?P<site>\d+))?(_?h\d+)?(t(?P<time>\d+))?(z(?P<z>\d+))?"
        r"c(?P<channel>\d+)(?P<tile>m\d+)?(x\d+-\d+y\d+-\d+)?(_ORG)?",
        "Zeiss ZEN: image export",
    ),
    _naming(
        "Olympus (FluoView, cellSens)",
        r"^(?P<stem>.+?)_C(?P<channel>\d{3})(Z(?P<z>\d{3}))?(T(?P<time>\d{3}))?",
        "Olympus FluoView: export as TIFF",
    ),
    _naming(
        "Nikon NIS-Elements",
        r"^(?P<stem>.+?)(t(?P<time>\d+))?(xy(?P<site>\d+))(z(?P<z>\d+))?c(?P<channel>\d+)",
        "Nikon NIS-Elements: export ND document",
    ),
    _naming(
        "Nikon NIS-Elements",
        r"^(?P<stem>.+?\d)(?=[tzc]\d)(t(?P<time>\d+))?(z(?P<z>\d+))?c(?P<channel>\d)",
        "Nikon NIS-Elements: export ND document without points: exp001z01c1.tif",
    ),
    _naming(
        "Andor iQ",
        r"^(?P<stem>.+?)(?=(_[tzwmf]\d{4})+\.)(?:(?=.*_z(?P<z>\d{4}))|)(?:(?=.*_t(?P<time>\d{4}))|)"
        r"(?:(?=.*_[mf](?P<site>\d{4}))|)(?=.*_w(?P<channel>\d{4})).*",
        "Andor iQ: exp_t0000_z0000_w0000_m0000.tif",
    ),
    _naming(
        "Keyence",
        r"^(?P<stem>.+?)(_T(?P<time>\d+))?(_Z(?P<z>\d+))?_CH(?P<channel>[0-9])",
        "Keyence BZ-X: Image_00001_CH1.tif",
    ),
    _naming(
        "MetaMorph",
        r"^(?P<stem>.+?)_w(?P<channel>\d[^_/]*)_s(?P<site>\d+)(_t(?P<time>\d+))?",
        "MetaMorph, VisiView, multi-dimensional acquisition: exp_w1DAPI_s1_t1.TIF",
    ),
    _naming(
        "MetaMorph",
        r"^(?P<stem>.+?)_w(?P<channel>\d[^_/]*)_t(?P<time>\d+)",
        "MetaMorph, one stage position: exp_w1DAPI_t1.TIF",
    ),
    _naming(
        "Bio-Formats (bfconvert), SlideBook",
        r"^(?P<stem>.+?)(?=([_ -][czt]=?\d+)+\.)(?:(?=.*[_ -]z=?(?P<z>\d+))|)(?:(?=.*[_ -]t=?(?P<time>\d+))|)"
        r"(?=.*[_ -]c=?(?P<channel>\d+)).*",
        "bfconvert with %c, %z, %t: name_Z0_C1_T0.tif",
    ),
    _naming(
        "ImageJ (Split Channels)",
        r"^C(?P<channel>\d)-(?P<stem>[^/]+)",
        "ImageJ: Image > Color > Split Channels",
    ),
    _naming(
        "a number for the channel",
        r"^(?P<stem>.+?)([_ -](t|time)(?P<time>\d+))?([_ -]z(?P<z>\d+))?"
        r"[_ -](ch?|channel|wv?)[_ ]?(?P<channel>\d{1,2})",
        "the commonest hand-made names",
    ),
    _naming(
        "a folder a channel",
        r"^(?:ch|channel|w)[_ ]?(?P<channel>\d{1,2})/(?P<stem>[^/]+)",
        "e.g. ch1/B02_1.tif; no c1, which is a well",
    ),
    _naming("a folder a channel", r"^(?P<channel>[^/]+)/(?P<stem>[^/]+)", "e.g. DAPI/B02_1.tif", words=True),
    _naming(
        "a folder a field",
        rf"^(?P<stem>[^/]+)/(?P<channel>((ch?|w)\d[ _-]?)?({channel_words()}))",
        "e.g. B02_1/DAPI.tif",
        words=True,
    ),
    _naming(
        "a folder a field",
        r"^(?P<stem>[^/]+)/(?:ch?|channel|w)[_ ]?(?P<channel>\d{1,2})",
        "e.g. B02_1/ch1.tif",
    ),
    _naming(
        "number and name of the channel",
        r"^(?P<stem>.+?)[_ -](?:c(?!\d\d)|ch|channel|wv?)[_ ]?\d{1,2}[_ -](?P<channel>[^/]+?)",
        "e.g. B02_1_ch1_DAPI.tif; no C03, which is a well",
        words=True,
    ),
    _naming(
        "name and number of the channel",
        r"^(?P<stem>.+?)[_ -]+(?P<channel>[^_ /-]+)[_ -](?:ch?|channel|wv?)[_ ]?\d{1,2}",
        "e.g. B02_1_DAPI_ch1.tif",
        words=True,
    ),
    _naming(
        "the channel's name at the end",
        r"^(?P<stem>.+)[ _-]+(?P<channel>[^ _/-]+)",
        "e.g. B02_1 DAPI.tif",
        words=True,
    ),
    _naming(
        "the channel's name at the end",
        rf"^(?P<stem>.*\d)(?P<channel>{channel_words()})",
        "Nikon NIS-Elements, split channels: exp001DAPI.tif",
        words=True,
    ),
    _naming(
        "the channel's name in front",
        r"^(?P<channel>[^ _/-]+)[ _-]+(?P<stem>[^/]+)",
        "e.g. DAPI_B02_1.tif",
        words=True,
    ),
    _naming(
        "the channel's name in the middle",
        rf"^(?P<stem>.+?)[ _-]+(?P<channel>{channel_words()})[ _-]+(?P<number>[^/]+)",
        "e.g. control_DAPI_001.tif",
        words=True,
    ),
)


def told(text: str) -> Naming:
    """Make a naming of what a user wrote: names in braces, or a regular expression with named groups.

    ``{well}_s{site}_w{channel}.tif``: every ``{name}`` stands for some letters, ``*`` for anything. Names
    that are not among the groups above are parts of the field's name. With ``(?P<`` in it, the text is a
    regular expression.

    Raises
    ------
    InputError
        If it is no regular expression, or does not say where the channel is.
    """
    fix = "write e.g. '{well}_s{site}_w{channel}.tif'"
    if "(?P<" in text:
        expression = text
    else:
        pieces = re.split(r"(\{\w+\}|\*)", text)
        expression = "^" + "".join(map(_piece, pieces)) + "$"
    try:
        pattern = re.compile(expression, re.IGNORECASE)
    except re.error as error:
        raise InputError(f"'{text}' is no pattern of file names ({error})", where="files", fix=fix) from error
    if "channel" not in pattern.groupindex:
        raise InputError(f"'{text}' does not say where the channel is", where="files", fix=fix)
    return Naming(text, pattern, "as told", certain=True)


def _piece(piece: str) -> str:
    if piece == "*":
        return "[^/]*"
    if not (piece.startswith("{") and piece.endswith("}")):
        return re.escape(piece)
    kinds = {
        "site": r"\d+",
        "z": r"\d+",
        "time": r"\w+",
        "row": r"\d+",
        "column": r"\d+",
        "well": r"[A-Pa-p]\d{1,2}",
    }
    name = piece[1:-1]
    # as little as possible, so that the next piece finds its place
    return rf"(?P<{name}>{kinds.get(name, '[^/]+?')})"
