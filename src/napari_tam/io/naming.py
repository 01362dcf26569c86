"""How microscopes name their files when every channel is a file of its own: a table of patterns.

A pattern is a regular expression over a file's name, or over its last folder and name (``DAPI/B02_1.tif``).
Its groups are ``channel`` and any of ``well``, ``row`` and ``column`` (numbers), ``site``, ``z``, ``time``
and ``plate``; all others belong to the field's name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from napari_tam.errors import InputError

#: What lies beside the images: previews, pictures with all channels in one, projections, masks.
BESIDE = re.compile(
    # what ends a name; a mosaic is called "…_Merged_ch00" as well, and is data
    r"([_ -](overlay|merged?|composite|rgb)|_CH0|_MIP|_maxproj)(?=\.)"
    r"|[_ -]?thumb(nail)?s?(?=[_ .-])"
    # what was segmented: label images and outlines of Cellpose and others
    r"|_(masks?|outlines|flows)(?=\.)",
    re.IGNORECASE,
)

_END = r"\.(tiff?|png|jpe?g|bmp)$"
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
    """

    name: str
    pattern: re.Pattern[str]
    source: str
    words: bool = False

    @property
    def folders(self) -> int:
        """How many folders above a file its pattern looks at."""
        return re.sub(r"\[[^\]]*\]", "", self.pattern.pattern).count("/")


def _naming(name: str, pattern: str, source: str, *, words: bool = False) -> Naming:
    return Naming(name, re.compile(pattern + _END, re.IGNORECASE), source, words)


#: The first one that all names of a folder fit is taken: the more a pattern demands, the earlier it stands.
NAMINGS = (
    _naming(
        "Harmony (Operetta, Opera Phenix)",
        r"^r(?P<row>\d\d)c(?P<column>\d\d)f(?P<site>\d+)p(?P<z>\d+)-ch(?P<channel>\d+)sk(?P<time>\d+)fk\d+fl\d+",
        "PerkinElmer/Revvity Harmony: Index.xml, element URL",
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
    _naming(
        "MetaXpress (ImageXpress)",
        rf"^((?P<plate>.+)_)?{_WELL}(_s(?P<site>\d+))?(_t(?P<time>\d+))?_w(?P<channel>\d)"
        r"([0-9A-F]{8}(-[0-9A-F]{4}){2,3}(-[0-9A-F]{12})?)?",
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
        r"^((?P<well_name>[^-]+)--)?W\d+--P(?P<site>\d+)--Z(?P<z>\d+)--T(?P<time>\d+)--(?P<channel>[^/]+?)",
        "Olympus ScanR: A1--W00001--P00001--Z00000--T00000--DAPI.tif",
    ),
    _naming(
        "Cellomics (CellInsight, ArrayScan, EVOS)",
        rf"^(?P<plate>.+)_{_WELL}f(?P<site>\d+)d(?P<channel>\d+)",
        "Thermo Fisher HCS Studio, EVOS: MFGTMP_…_B02f00d0.TIF",
    ),
    _naming(
        "Gen5 (Cytation)",
        rf"^{_WELL}_\d+_\d+_(?P<site>\d+)_(?P<channel>[^_/]+)_(?P<time>\d{{3}})",
        "Agilent BioTek Gen5: B2_02_1_1_DAPI_001.tif",
    ),
    _naming(
        "Incucyte",
        rf"^(?P<channel>[A-Za-z][^_/]*)_{_WELL}_(?P<site>\d+)_(?P<time>\d+d\d+h\d+m)",
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
        "Leica LAS X",
        r"^(?P<stem>.+?)(_t(?P<time>\d+))?(_z(?P<z>\d+))?(_RAW)?_ch(?P<channel>\d\d)(_SV|_RAW)?",
        "Leica LAS X: export as TIFF",
    ),
    _naming(
        "Zeiss ZEN",
        r"^(?P<stem>.+?)_(?=[bstz]\d|c\d.*_ORG)(b\d+)?(s(?P<site>\d+))?(t(?P<time>\d+))?(z(?P<z>\d+))?c(?P<channel>\d+)"
        r"(m\d+)?(x\d+-\d+y\d+-\d+)?(_ORG)?",
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
        "Keyence",
        r"^(?P<stem>.+?)(_T(?P<time>\d+))?(_Z(?P<z>\d+))?_CH(?P<channel>[1-9])",
        "Keyence BZ-X: Image_00001_CH1.tif",
    ),
    _naming(
        "ImageJ (Split Channels)",
        r"^C(?P<channel>\d)-(?P<stem>[^/]+)",
        "ImageJ: Image > Color > Split Channels",
    ),
    _naming(
        "a number for the channel",
        r"^(?P<stem>.+?)([_ -](t|time)(?P<time>\d+))?([_ -]z(?P<z>\d+))?"
        r"[_ -](ch?|channel|w)[_ ]?(?P<channel>\d{1,2})",
        "the commonest hand-made names",
    ),
    _naming("a folder a channel", r"^(?P<channel>[^/]+)/(?P<stem>[^/]+)", "e.g. DAPI/B02_1.tif", words=True),
    _naming(
        "the channel's name at the end",
        r"^(?P<stem>.+)[ _-]+(?P<channel>[^ _/-]+)",
        "e.g. B02_1 DAPI.tif",
        words=True,
    ),
    _naming(
        "the channel's name in front",
        r"^(?P<channel>[^ _/-]+)[ _-]+(?P<stem>[^/]+)",
        "e.g. DAPI_B02_1.tif",
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
    return Naming(text, pattern, "as told")


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
