"""How people name the files of channels, and all ways of naming in the order in which they are tried."""

from __future__ import annotations

from napari_tam.io.channels import channel_words
from napari_tam.io.names.makers import MAKERS
from napari_tam.io.names.pattern import naming

BY_HAND = (
    naming(
        "a number for the channel",
        r"^(?P<stem>.+?)([_ -](t|time)(?P<time>\d+))?([_ -]z(?P<z>\d+))?"
        r"[_ -](ch?|channel|[ck]anal|wv?)[_ ]?(?P<channel>\d{1,2})",
        "the commonest hand-made names",
    ),
    naming(
        "a number for the channel in front",
        r"^(?:ch|channel|[ck]anal)[_ ]?(?P<channel>\d{1,2})[ _-]+(?P<stem>[^/]+)",
        "e.g. ch1_B02_1.tif; no c1, which is a well",
    ),
    naming(
        "a wavelength for the channel",
        r"^(?P<stem>.+?)_w(?P<channel>\d{3})",
        "e.g. B02_25_w460.tif",
    ),
    naming(
        "a folder a channel, and its name in the files'",
        r"^(?P<channel>[^/]+)/(?P<stem>.+?)[ _-]+(?P=channel)",
        "e.g. DAPI/B02_1_DAPI.tif",
        words=True,
    ),
    naming(
        "a folder a channel, and its name in the files'",
        r"^(?P<channel>[^/]+)/(?P=channel)[ _-]+(?P<stem>[^/]+)",
        "e.g. DAPI/DAPI_B02_1.tif",
        words=True,
    ),
    naming(
        "a folder a channel, with folders in it",
        r"^(?P<channel>[^/]+)/(?P<folder>[^/]+)/(?P<file>[^/]+)",
        "e.g. DAPI/B02/1.tif",
        words=True,
    ),
    naming(
        "a folder a channel",
        r"^(?:ch|channel|w)[_ ]?(?P<channel>\d{1,2})/(?P<stem>[^/]+)",
        "e.g. ch1/B02_1.tif; no c1, which is a well",
    ),
    naming("a folder a channel", r"^(?P<channel>[^/]+)/(?P<stem>[^/]+)", "e.g. DAPI/B02_1.tif", words=True),
    naming(
        "a folder a field",
        rf"^(?P<stem>[^/]+)/(?P<channel>((ch?|w)\d[ _-]?)?({channel_words()}))",
        "e.g. B02_1/DAPI.tif",
        words=True,
    ),
    naming(
        "a folder a field",
        r"^(?P<stem>[^/]+)/(?:ch?|channel|w)[_ ]?(?P<channel>\d{1,2})",
        "e.g. B02_1/ch1.tif",
    ),
    naming(
        "number and name of the channel",
        r"^(?P<stem>.+?)[_ -](?:c(?!\d\d)|ch|channel|wv?)[_ ]?\d{1,2}[_ -](?P<channel>[^/]+?)",
        "e.g. B02_1_ch1_DAPI.tif; no C03, which is a well",
        words=True,
    ),
    naming(
        "name and number of the channel",
        r"^(?P<stem>.+?)[_ -]+(?P<channel>[^_ /-]+)[_ -](?:ch?|channel|wv?)[_ ]?\d{1,2}",
        "e.g. B02_1_DAPI_ch1.tif",
        words=True,
    ),
    *(
        naming(
            "the channel's name with numbers of z or time",
            rf"^{first}(?P<channel>{channel_words()}){then}",
            "e.g. B02_1_z03_DAPI.tif, B02_1_DAPI_t01_z03.tif; no t1, which may be a treatment",
            words=True,
        )
        for first, then in (
            (r"(?P<stem>.+?)(?=[ _-]+[tz]\d)([ _-]+t(?P<time>\d{2,}))?([ _-]+z(?P<z>\d+))?[ _-]+", ""),
            (r"(?P<stem>.+?)[ _-]+", r"(?=[ _-]+[tz]\d)([ _-]+t(?P<time>\d{2,}))?([ _-]+z(?P<z>\d+))?"),
            (r"(?P<stem>.+?)[ _-]+", r"[ _-]+z(?P<z>\d+)[ _-]+t(?P<time>\d{2,})"),
        )
    ),
    naming(
        "the channel's name at the end",
        r"^(?P<stem>.+)[ _-]+(?P<channel>[^ _/-]+)",
        "e.g. B02_1 DAPI.tif",
        words=True,
    ),
    naming(
        "the channel's name at the end",
        rf"^(?P<stem>.*\d)(?P<channel>{channel_words()})",
        "Nikon NIS-Elements, split channels: exp001DAPI.tif",
        words=True,
    ),
    naming(
        "the channel's name in front",
        r"^(?P<channel>[^ _/-]+)[ _-]+(?P<stem>[^/]+)",
        "e.g. DAPI_B02_1.tif",
        words=True,
    ),
    naming(
        "the channel's name in the middle",
        rf"^(?P<stem>.+?)[ _-]+(?P<channel>{channel_words()})[ _-]+(?P<number>[^/]+)",
        "e.g. control_DAPI_001.tif",
        words=True,
    ),
    # last: what a hyphen joins may be a number or a condition as well as the name of a stain
    naming(
        "the channel's name at the end, of several words",
        r"^(?P<stem>.+)[ _]+(?P<channel>[A-Za-z][^ _/]+)",
        "e.g. B02_1_CD63-PKH26.tif",
        words=True,
    ),
    naming(
        "the channel's name in the middle, of several words",
        rf"^(?P<stem>.+?)[ _]+(?P<channel>[^ _/]*?(?:{channel_words()})[^ _/]*)[ _]+(?P<number>[^/]+)",
        "e.g. 230101_CD63-PKH26_B02_1.tif",
        words=True,
    ),
)

#: The first one that all names of a folder fit is taken.
NAMINGS = (*MAKERS, *BY_HAND)
