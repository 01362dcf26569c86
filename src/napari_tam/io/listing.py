"""The image files that a user's inputs stand for, and a name for each."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from napari_tam.errors import InputError, printable
from napari_tam.io.names.beside import MADE_FOLDER
from napari_tam.io.pictures import PICTURES, SPLIT, is_picture

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from napari_tam.io.channel_files import ChannelFiles

#: File name endings of vendor formats, and the extra that reads them.
VENDOR = {
    ".nd2": "nd2",
    ".czi": "czi",
    **dict.fromkeys((".lif", ".lof"), "lif"),
    **dict.fromkeys((".dv", ".oir", ".oib", ".vsi", ".ims", ".scn", ".sld"), "formats"),
}

_SUFFIX = re.compile(
    r"(\.ome)?\.(tiff?|zarr)$|(" + "|".join(map(re.escape, (*VENDOR, *PICTURES))) + r")$", re.IGNORECASE
)
#: Label images of the truth, of earlier results or of Cellpose, named after their image.
MASK = re.compile(r"(_cp)?_(masks|cells|nuclei)$", re.IGNORECASE)


def stem_of(path: Path) -> str:
    """Return the file name without ``.ome.tif``, ``.tiff``, ``.ome.zarr``, ``.nd2`` and the like."""
    return _SUFFIX.sub("", path.name) or path.name


def name_of(path: Path, files: str = "auto") -> str:
    """Return what an image is called: its field's name where channels are files, else its stem."""
    from napari_tam.io.channel_search import find

    return _named(path, find(path, files))


def _named(path: Path, found: ChannelFiles | str | None) -> str:
    return stem_of(path) if found is None or isinstance(found, str) else found.name


def _folder_of(path: Path, found: ChannelFiles | str | None) -> Path:
    """Return the folder that an image lies in, which is no part of its name."""
    return path.resolve().parent if found is None or isinstance(found, str) else found.folder


def is_zarr(path: Path) -> bool:
    """Return whether a path is a Zarr folder."""
    try:
        return path.is_dir() and any((path / name).is_file() for name in ("zarr.json", ".zattrs", ".zgroup"))
    except OSError:  # a folder without permission
        return False


def extra_of(path: Path) -> str | None:
    """Return the extra that reads a vendor file; None for other files."""
    return VENDOR.get(path.suffix.lower())


def list_images(
    inputs: Sequence[str | Path],
    files: str = "auto",
    *,
    rgb: str = "refuse",
    subfolders: bool = True,
    recursive: bool = False,
) -> list[Path]:
    """Return the image files that files, folders and patterns stand for.

    A folder stands for the images in it: TIFF files, OME-Zarr folders and files of microscope makers; for
    those in its subfolders if it holds none itself, or with `recursive` in any case. PNG, JPEG and BMP files
    are images with `rgb` split, or where there is nothing else and their names say that each is one channel.
    A pattern (``*``, ``?``,
    ``[…]``, ``**`` for any depth) stands for those it matches. Both are sorted by name, without hidden files
    and without the masks that lie beside an image (``a_masks.tif``, ``a_cells.tif`` or ``a_nuclei.tif`` with
    ``a.ome.tif``). A file that is named is taken whatever it is called. Duplicates are dropped. An image
    whose channels are files of their own (`files`, see `napari_tam.io.channel_files`) is there once, as its
    first file.

    Raises
    ------
    InputError
        If an input matches no image.
    """
    from napari_tam.io.channel_search import find_all, known_by, resolved

    expanded = [
        path
        for given in inputs
        for path in _expand(given, files, pictures=rgb == SPLIT, subfolders=subfolders, recursive=recursive)
    ]
    images = dict.fromkeys(known_by(*each) for each in find_all(expanded, files).items())
    folders: dict[str, tuple[str, set[str]]] = {}
    found: dict[str, Path] = {}
    for image in images:
        if image is None:
            continue
        folder, _, name = str(image).rpartition(os.sep)
        if folder not in folders:
            folders[folder] = str(resolved(image.parent)), _links(image.parent)
        whole, links = folders[folder]
        found.setdefault(str(image.resolve()) if name in links else os.path.join(whole, name), image)
    return _without_masks_of_fields(list(found.values()), inputs, files)


def _without_masks_of_fields(images: list[Path], inputs: Sequence[str | Path], files: str) -> list[Path]:
    """Drop masks that are called after an image whose channels are files; those that are named stay."""
    from napari_tam.io.channel_search import find_all

    named = set(map(str, inputs))
    masks = [path for path in images if MASK.search(stem_of(path)) and str(path) not in named]
    if not masks:
        return images
    known = find_all(set(images).difference(masks), files).items()
    fields = {(path.parent, _named(path, found).casefold()) for path, found in known}
    return [
        path
        for path in images
        if path not in masks or (path.parent, MASK.sub("", stem_of(path)).casefold()) not in fields
    ]


def _links(folder: Path) -> set[str]:
    """Return the names of the links in a folder: only those need a look at where they lead to."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_symlink()}
    except OSError:
        return set()


def _expand(
    given: str | Path, naming: str, *, pictures: bool, subfolders: bool, recursive: bool
) -> list[Path]:
    def counts(path: Path) -> bool:
        return is_image(path) and (pictures or not is_picture(path))

    path = Path(given).expanduser()
    try:
        if path.is_file() or is_zarr(path):
            return [path]
        folder = path.is_dir()
    except OSError as error:
        raise InputError(
            f"it cannot be read ({error.strerror})", where=given, fix="check the name"
        ) from error
    if folder:
        try:
            candidates = _entries(path)
            some = any(map(counts, candidates))
            if recursive or (subfolders and not some):
                below = list(filter(_is_file, _below(path)))
                candidates = below if not some and any(map(counts, below)) else [*candidates, *below]
        except OSError as error:
            raise InputError(
                f"the folder cannot be read ({error.strerror})", where=path, fix="check its permissions"
            ) from error
    elif glob.has_magic(str(given)):
        candidates = [each for each in map(Path, glob.glob(str(path), recursive=True)) if _is_file(each)]
    else:
        raise InputError("there is no such file or folder", where=given, fix="check the name")
    files = sorted(candidates, key=lambda path: path.parts)  # as paths are sorted, but made once
    images = [p for p in files if counts(p)] or _channels_as_pictures(files, naming)
    unmasked = _without_masks(images)
    if not unmasked:
        others = sorted({p.suffix.lower() for p in files} - {""})
        here = f", only {', '.join(others)} files" if others else ""
        raise InputError(
            f"no image found{' except masks' if images else here}",
            where=given,
            fix="name images (.tif, .ome.zarr, .nd2, .czi, .lif, …), a folder with some, or a pattern"
            + ("; pictures are read with --rgb split" if set(others) & set(PICTURES) else ""),
        )
    return unmasked


def _channels_as_pictures(files: list[Path], naming: str) -> list[Path]:
    """Return the pictures that are channels of images by their names; none if any is not."""
    from napari_tam.io.channel_search import find_all

    found = find_all([path for path in files if is_picture(path)], naming)
    return list(found) if all(found.values()) else []


def _entries(folder: Path) -> list[Path]:
    """Return the files and Zarr folders in a folder, without hidden ones; no file is looked at."""
    from napari_tam.io.channel_search import is_plain_file

    with os.scandir(folder) as entries:
        return [
            folder / entry.name
            for entry in entries
            if not entry.name.startswith(".") and (is_plain_file(entry) or is_zarr(folder / entry.name))
        ]


def _is_file(path: Path) -> bool:
    return not path.name.startswith(".") and (path.is_file() or is_zarr(path))


def is_image(path: Path) -> bool:
    """Tell whether a name is an image's, and not a hidden one."""
    return bool(_SUFFIX.search(path.name)) and not path.name.startswith(".")


def _below(folder: Path) -> list[Path]:
    """Return what lies in the folders of a folder, without hidden ones and results of an analysis.

    Folders of what was made of the images in those beside them (projections, previews) are left out too.
    """
    images: list[Path] = []
    made: list[Path] = []
    for path in sorted(folder.iterdir()):
        try:
            if path.is_dir() and not path.name.startswith(".") and not is_results(path):
                here = list(path.iterdir())
                if not is_zarr(path):
                    here += _below(path)
                (made if MADE_FOLDER.fullmatch(path.name) else images).extend(here)
        except OSError:
            continue  # see `napari_tam.io.left_out`
    return images if any(map(is_image, images)) else images + made


def is_results(folder: Path) -> bool:
    """Tell whether a folder holds the results of an analysis."""
    try:
        return (folder / "images.csv").is_file() and (folder / "run.json").is_file()
    except OSError:
        return False


def _without_masks(images: list[Path]) -> list[Path]:
    """Drop masks whose image is among `images` or beside them."""
    stems = [stem_of(path) for path in images]
    folded = set(map(str.casefold, stems))

    def is_mask(path: Path, stem: str) -> bool:
        image = MASK.sub("", stem)
        beside = (path.with_name(image + end) for end in (".ome.tif", ".ome.tiff", ".tif", ".tiff"))
        return image != stem and (image.casefold() in folded or any(p.is_file() for p in beside))

    return [path for path, stem in zip(images, stems, strict=True) if not is_mask(path, stem)]


def unique_names(paths: Iterable[Path], files: str = "auto") -> dict[Path, str]:
    """Return a name for every path: the file name without ``.ome.tif`` and the like.

    Where channels are files of their own (`files`), it is the name of the field.

    Where files share it, the folder is put in front (``day1_a``, ``day2_a``), or else a number is
    appended (``a``, ``a_2``). Names differ in more than case, as they become file names. They depend on
    the paths and their order only.
    """
    from napari_tam.io.channel_search import find_all

    fields = find_all(paths, files)
    paths = list(fields)
    stems = [printable(_named(path, field)) for path, field in fields.items()]
    shared = _repeated(stems)
    longer = [
        f"{printable(_folder_of(path, field).name)}_{stem}" if stem.casefold() in shared else stem
        for (path, field), stem in zip(fields.items(), stems, strict=True)
    ]
    # Where the folder does not tell them apart either, it would only make the name longer.
    still = _repeated(longer)
    wanted = [stem if long.casefold() in still else long for stem, long in zip(stems, longer, strict=True)]
    repeated = _repeated(wanted)
    taken = {name.casefold() for name in wanted if name.casefold() not in repeated}
    names = {}
    numbers = dict.fromkeys(repeated, 1)
    for path, name in zip(paths, wanted, strict=True):
        unique, folded = name, name.casefold()
        while folded in repeated and unique.casefold() in taken:
            numbers[folded] += 1
            unique = f"{name}_{numbers[folded]}"
        taken.add(unique.casefold())
        names[path] = unique
    return names


def _repeated(names: Collection[str]) -> set[str]:
    return {name for name, times in Counter(map(str.casefold, names)).items() if times > 1}
