"""How the files of microscope makers and of programs are named: a table of patterns, with their sources."""

from __future__ import annotations

from napari_tam.io.names.pattern import GUID, WELL, naming

#: The first one that all names of a folder fit is taken: the more a pattern demands, the earlier it stands.
MAKERS = (
    naming(
        "Harmony (Operetta, Opera Phenix)",
        r"^r(?P<row>\d\d)c(?P<column>\d\d)f(?P<site>\d+)p(?P<z>\d+)(rc\d+)?-ch(?P<channel>\d+)"
        r"(sk|t)(?P<time>\d+)(fk\d+fl\d+)?",
        "PerkinElmer/Revvity Harmony: Index.xml, element URL; since version 6 …-ch1t01.tiff",
    ),
    naming(
        "Harmony, older (Operetta)",
        r"^(?P<row>\d{3})(?P<column>\d{3})-(?P<site>\d+)-(?P<time>\d{3})(?P<z>\d{3})(?P<channel>\d{3})",
        "PerkinElmer Harmony 3: 002003-1-001001001.tif",
    ),
    naming(
        "Yokogawa CQ1",
        r"^W(?P<well_number>\d+)F(?P<site>\d+)T(?P<time>\d+)Z(?P<z>\d+)C(?P<channel>\d+)",
        "Yokogawa CQ1: W0015F0001T0001Z001C1.tif",
    ),
    naming(
        "Yokogawa (CV7000, CV8000)",
        rf"^(?P<plate>.+)_{WELL}_T(?P<time>\d+)F(?P<site>\d+)L\d+A\d+Z(?P<z>\d+)C(?P<channel>\d+)",
        "Yokogawa CellVoyager: MeasurementData.mlf",
    ),
    *(
        naming(
            "ImageXpress HCS.ai",
            rf"^{folder}(?P<plate>[^/]+)_t(?P<time>\d+)_{WELL}_s(?P<site>\d+)_w(?P<channel>\d+)_z(?P<z>\d+)",
            "Molecular Devices ImageXpress HCS.ai: timepoint0/Protocol_t0_C05_s0_w0_z0.tif",
        )
        for folder in (r"timepoint\d+/", "")
    ),
    *(
        naming(
            "MetaXpress (ImageXpress)",
            rf"^{folders}((?P<plate>[^/]+)_)?{WELL}(_s(?P<site>\d+))?_w(?P<channel>\d){z}({GUID})?",
            "Molecular Devices MetaXpress: a folder for every time, and one for every plane",
        )
        for folders, z in (
            (r"TimePoint_(?P<time>\d+)/ZStep_(?P<z>\d+)/", ""),
            (r"TimePoint_(?P<time>\d+)/", r"(_z(?P<z>\d+))?"),
            (r"ZStep_(?P<z>\d+)/", ""),
        )
    ),
    naming(
        "MetaXpress (ImageXpress)",
        rf"^((?P<plate>.+)_)?{WELL}(_s(?P<site>\d+))?(_t(?P<time>\d+))?_w(?P<channel>\d)"
        rf"(_z(?P<z>\d+))?({GUID})?",
        "Molecular Devices MetaXpress; BBBC006, BBBC021",
    ),
    naming(
        "IN Cell Analyzer",
        r"^(?P<row_letter>[A-P]) - (?P<column>\d+)\((fld (?P<site>\d+) )?wv (?P<channel>[^)]+?)"
        r"( z (?P<z>\d+))?( time (?P<time>\d+)[^)]*)?\)",
        "GE/Cytiva IN Cell Analyzer: B - 02(fld 1 wv DAPI - DAPI).tif",
    ),
    naming(
        "IN Cell Analyzer",
        r"^(?P<row_letter>[A-P])_(?P<column>\d+)_f(?P<site>\d+)_c\d+_x(?P<channel>[^/]+?_m[^/]+?)"
        r"_z(?P<z>\d+)_t(?P<time>\d+)",
        "GE/Cytiva IN Cell Analyzer 7.2, complete names: A_01_f2_c1_xUV_mDAPI_z3_t2.tif",
    ),
    naming(
        "ScanR",
        r"^((?P<well_name>[^-]+)--|--)?W(?P<well_number>\d+)--P(?P<site>\d+)--Z(?P<z>\d+)--T(?P<time>\d+)--(?P<channel>[^/]+?)",
        "Olympus ScanR: A1--W00001--P00001--Z00000--T00000--DAPI.tif",
    ),
    naming(
        "EVOS",
        rf"^(?P<plate>.+)_R_p(?P<time>\d+)(_z(?P<z>\d+))?_(0|(?P<grid>\d+))_{WELL}f(?P<site>\d+)d(?P<channel>\d+)",
        "Thermo Fisher EVOS M7000 User Guide (MAN0018326), file naming: scan_Plate_R_p00_0_A01f00d0.TIF",
    ),
    naming(
        "Cellomics (CellInsight, ArrayScan)",
        rf"^((?P<plate>.*?)(_|i3t(?P<time>\d{{3}})))?{WELL}f(?P<site>\d+)d(?P<channel>\d+)",
        "Thermo Fisher HCS Studio: MFGTMP_…_B02f00d0.TIF; ArrayScan kinetic: …i3t001B02f00d0.TIF",
    ),
    # what several steps of a protocol show is of the same field, unless each of them has all channels
    *(
        naming(
            "Gen5 (Cytation, Lionheart)",
            rf"^{WELL}(?P<roi>ROI\d+)?_{step}_\d+_(?P<site>\d+)(Z(?P<z>\d+))?_(?P<channel>[^/]+?)"
            r"_(?P<time>\d{3})",
            "Agilent BioTek Gen5: B2_02_1_1_DAPI_001.tif, A1_-2_1_1_Tsf[Stitched[DAPI 377,447]]_001.tif",
        )
        for step in (r"(?P<step>-?\d+)", r"-?\d+")
    ),
    naming(
        "Incucyte",
        rf"^((?P<stem>[^/]+)_)?(?P<channel>[A-Za-z][^_/]*)_{WELL}_(?P<site>\d+)_"
        r"(?P<time>(\d+y\d+m)?\d+d_?\d+h\d+m)",
        "Sartorius Incucyte: Green_B2_1_00d04h00m.tif",
    ),
    *(
        naming(
            called,
            rf"^{folders}(?P<stem>[A-P][1-9]\d?(?:-\d+(?=-)|_\d+(?=_)))[-_](?P<channel>Ph|Ch?\d)",
            "Sartorius Incucyte: EssenFiles/ScanData/YYMM/DD/HHMM/VESSEL/A1-1-C1.tif",
        )
        for called, folders in (
            ("Incucyte (raw scans)", r"(?P<time>\d{4}/\d\d/\d{4})/(?P<vessel>\d+)/"),
            ("a number or Ph for the channel (Incucyte, by hand)", ""),
        )
    ),
    naming(
        "Acquifer Imaging Machine",
        r"^(WE\d+--)?-(?P<row_letter>[A-P])(?P<column>\d{3})--PO(?P<site>\d+)--LO(?P<time>\d+)--CO(?P<channel>\d)"
        r"--SL(?P<z>\d+)--.*",
        "Acquifer IM04, image metadata: -A001--PO01--LO001--CO6--SL001--….tif; IM03: WE00020---B005--….tif",
    ),
    naming(
        "BD Pathway",
        r"^Well (?P<row_letter>[A-P])(?P<column>\d{1,3})/(?P<channel>[^/]+) - n(?P<site>\d{6})",
        "BD Pathway (AttoVision): Well A001/DAPI - n000000.tif",
    ),
    *(
        naming(
            "Squid (Cephla)",
            rf"^{folder}(?P<region>[^_/]+)_(?P<site>\d+)_(?P<z>\d+)_(?P<channel>(Fluorescence|BF|Brightfield)_[^/]+)",
            "Squid, folder of a time: 0/B2_0_0_Fluorescence_488_nm_Ex.tiff",
        )
        for folder in (r"(?P<time>\d+)/", "")
    ),
    naming(
        "Micro-Manager",
        r"^(?P<position>[^/]+)/img_(?P<time>\d{9})_(?P<channel>[^/]+)_(?P<z>\d{3})",
        "Micro-Manager 1.4, one file a plane",
    ),
    naming(
        "Micro-Manager",
        r"^img_channel(?P<channel>\d+)_position(?P<site>\d+)(_time(?P<time>\d+))?(_z(?P<z>\d+))?",
        "Micro-Manager 2, one file a plane",
    ),
    naming(
        "Micro-Manager",
        r"^(?P<position>[^/]+)/img_channel(?P<channel>\d+)(_time(?P<time>\d+))?(_z(?P<z>\d+))?",
        "Micro-Manager 2, one file a plane, of a single position",
    ),
    naming(
        "Nikon NIS-Elements (JOBS)",
        rf"^((?P<plate>[^/]+?)_+)?Well{WELL}(_Point[^/]*?_(?P<site>\d+))?_Channel(?P<channel>[^/]+?)"
        r"_(?P<sequence>Seq\d+)(_S(?P<series>\d+))?(_Z(?P<z>\d+))?",
        "Nikon NIS-Elements JOBS: WellB02_PointB02_0001_ChannelDAPI_Seq0001.tif",
    ),
    naming(
        "BBBC013, BBBC014",
        r"^Channel ?(?P<channel>\d+)-(?P<number>\d+)-(?P<row_letter>[A-P])-(?P<column>\d\d)",
        "Broad Bioimage Benchmark Collection: Channel1-01-A-01.BMP",
    ),
    naming(
        "Leica LAS AF (Matrix Screener)",
        r"^image--L\d+--S\d+--U(?P<column_0>\d+)--V(?P<row_0>\d+)--J\d+--E\d+--O\d+--X(?P<x>\d+)--Y(?P<y>\d+)"
        r"--T(?P<time>\d+)--Z(?P<z>\d+)--C(?P<channel>\d+)",
        "Leica Matrix Screener: image--L0000--S00--U01--V02--…--C00.ome.tif; U and V count from 0",
    ),
    naming(
        "Leica LAS X (Navigator)",
        r"^(?P<stem>.+?)_(?P<row_letter>[A-P])_(?P<column>\d{1,2})_"
        r"(?P<position>(R|Pos|Position|Region)[ _]?\d+[^/]*?)"
        r"(_t(?P<time>\d+))?(_z(?P<z>\d+))?(_RAW)?_ch(?P<channel>\d\d)(_SV|_RAW)?",
        "Leica LAS X: series named TileScan 1/B/2/R1, exported as TIFF",
    ),
    naming(
        "Leica LAS X",
        r"^(?P<stem>.+?)(_t(?P<time>\d+))?(_z(?P<z>\d+))?(_RAW)?_ch(?P<channel>\d\d)(_SV|_RAW)?",
        "Leica LAS X: export as TIFF",
    ),
    naming(
        "Leica LAS AF",
        r"^(?P<stem>.+?)(--RAW)?(--t(?P<time>\d+))?(--z(?P<z>\d+))?--(ch?)(?P<channel>\d\d)",
        "Leica LAS AF: Series001--RAW--z00--ch00.tif, Series001--Z00--C00.tif",
    ),
    naming(
        "Zeiss ZEN (tiles as single images)",
        r"^(?P<stem>.+)_(?P<scene>S\d{5})_(?P<tile>T\d{5})_C(?P<channel>\d{5})",
        "Zeiss ZEN, script that saves tiles as single images: name_S00001_T00001_C00001.tiff",
    ),
    naming(
        "Zeiss ZEN",
        r"^(?P<stem>.+?)_(?=[bsthz]\d|c\d.*_ORG)(b\d+)?(s(?P<site>\d+))?(_?h\d+)?(t(?P<time>\d+))?(z(?P<z>\d+))?"
        r"(?P<tile_first>m\d+)?c(?P<channel>\d+)(?P<tile>m\d+)?(x\d+-\d+y\d+-\d+)?(_ORG)?",
        "Zeiss ZEN: image export",
    ),
    naming(
        "Zeiss AxioVision",
        r"^(?P<stem>.+?)_p(?P<site>\d{4,6})_?(t(?P<time>\d{5,8})_?)?(z(?P<z>\d{3})_?)?[cw](?P<channel>\d{1,2})",
        "Zeiss AxioVision: name_p000001t00000001z001c01.tif",
    ),
    naming(
        "Olympus (FluoView, cellSens)",
        r"^(?!.*_[zt]\d+_C\d{3}\.)(?P<stem>.+?)_C(?P<channel>\d{3})(Z(?P<z>\d{3}))?(T(?P<time>\d{3}))?",
        "Olympus FluoView: export as TIFF",
    ),
    naming(
        "Nikon NIS-Elements",
        r"^(?P<stem>.+?)(t(?P<time>\d+))?(xy(?P<site>\d+))(z(?P<z>\d+))?c(?P<channel>\d+)",
        "Nikon NIS-Elements: export ND document",
    ),
    naming(
        "Nikon NIS-Elements",
        r"^(?P<stem>.+?\d)(?=[tzc]\d)(t(?P<time>\d+))?(z(?P<z>\d+))?c(?P<channel>\d)",
        "Nikon NIS-Elements: export ND document without points: exp001z01c1.tif",
    ),
    naming(
        "Andor iQ",
        r"^(?P<stem>.+?)(?=(_[tzwmf]\d{4})+\.)(?:(?=.*_z(?P<z>\d{4}))|)(?:(?=.*_t(?P<time>\d{4}))|)"
        r"(?:(?=.*_[mf](?P<site>\d{4}))|)(?=.*_w(?P<channel>\d{4})).*",
        "Andor iQ: exp_t0000_z0000_w0000_m0000.tif",
    ),
    naming(
        "Keyence",
        r"^(?P<stem>.+?)_T(?P<time>\d{4})_(?P<point>XY\d+)(_(?P<number>\d{5}))?(_Z(?P<z>\d+))?_CH(?P<channel>[0-9])",
        "Keyence BZ-X, time lapse: Image_T0001_XY01_00001_Z001_CH2.tif",
    ),
    naming(
        "Keyence and the like (CH1)",
        r"^(?P<stem>.+?)(_T(?P<time>\d+))?(_Z(?P<z>\d+))?_CH(?P<channel>[0-9])",
        "Keyence BZ-X: Image_00001_CH1.tif",
    ),
    naming(
        "MetaMorph",
        r"^(?P<stem>.+?)_w(?P<channel>\d[^_/]*)_s(?P<site>\d+)(_t(?P<time>\d+))?",
        "MetaMorph, VisiView, multi-dimensional acquisition: exp_w1DAPI_s1_t1.TIF",
    ),
    naming(
        "MetaMorph",
        r"^(?P<stem>.+?)_w(?P<channel>\d[^_/]*)_t(?P<time>\d+)",
        "MetaMorph, one stage position: exp_w1DAPI_t1.TIF",
    ),
    naming(
        "MetaMorph",
        r"^(?P<stem>.+?)_w(?P<channel>\d[A-Za-z][^_/]*)(_s(?P<site>\d+))?",
        "VisiView: exp_w1Conf405.TIF",
    ),
    naming(
        "numbers of channel, z and time (bfconvert, SlideBook, by hand)",
        r"^(?P<stem>.+?)(?=([_ -][czt]=?\d+)+\.)(?:(?=.*[_ -]z=?(?P<z>\d+))|)(?:(?=.*[_ -]t=?(?P<time>\d+))|)"
        r"(?=.*[_ -]c=?(?P<channel>\d+)).*",
        "bfconvert with %c, %z, %t: name_Z0_C1_T0.tif",
    ),
    naming(
        "ImageJ (Split Channels)",
        r"^C(?P<channel>\d)-(?P<stem>[^/]+)",
        "ImageJ: Image > Color > Split Channels",
    ),
)
