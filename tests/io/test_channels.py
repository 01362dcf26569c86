from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_tam.errors import InputError
from napari_tam.io.channels import assign_roles, guess_roles, list_channels
from napari_tam.markers.labels import exosomes_in, label_of
from napari_tam.markers.names import is_marker_role, marker_of, marker_role, same_marker, slug

if TYPE_CHECKING:
    from collections.abc import Mapping

ONE_ROLE = {
    "nucleus": [
        "DAPI", "dapi", "DAPI 405", "DAPI405", "w1DAPI", "Hoechst", "Hoechst 33342", "nuc", "Nuclei",
        "nuclear", "DNA", "DRAQ5", "SiR-DNA", "NucBlue", "cell nuclei", "H2B-mCherry", "c:1 - DAPI",
        "Nuclear membrane",
    ],
    "exosome": [
        "exosome", "Exosomes (PKH26)", "sEV", "EV", "EVs-647", "vesicles", "PKH26", "PKH 67", "pkh-67", "DiD",
        "DiI", "DiO", "CFSE", "CellTrace CFSE", "CD63-GFP", "CD63 GFP", "GFP-CD9", "CD81", "puncta", "GFP",
        "EV_membrane_dye", "exosomesPKH26",
    ],
    "cell": [
        "actin", "F-actin", "Phalloidin 647", "Alexa 488 phalloidin", "membrane", "CD11b", "F4/80", "F4-80",
        "CD68", "cytoplasm", "cyto", "Cell", "cells", "cell mask", "CellMask Deep Red", "WGA", "Macrophages",
        "CellTracker Green", "DiD cells",
    ],
    "lysosome": [
        "lysosome", "LysoTracker", "lysotracker deep red", "LAMP1", "LAMP-1", "Lamp2-GFP",
        "lysosomes in cells",
    ],
}  # fmt: skip

NO_ROLE = [
    "", "Alexa 488", "488", "Channel 1", "FITC", "Cy5", "TRITC", "mitochondria", "brightfield", "BF",
    "DIC cells", "CD98", "EVOS", "membrane DiD", "event", "accelerated", "discovery", "nucleotide",
    "annuclear",     "CD63 LAMP1 exosome lysosome",
]  # fmt: skip


@pytest.mark.parametrize(
    ("role", "name"), [(role, name) for role, names in ONE_ROLE.items() for name in names]
)
def test_a_name_tells_its_role(role: str, name: str) -> None:
    assert guess_roles([name]) == {role: 0}


@pytest.mark.parametrize("name", NO_ROLE)
def test_a_name_that_does_not_tell_gets_no_role(name: str) -> None:
    assert guess_roles([name]) == {}


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        (["CD11b", "DAPI", "exosome"], {"cell": 0, "nucleus": 1, "exosome": 2}),
        (["Cell", "Nucleus", "Exosome", "Lysosome"], {"cell": 0, "nucleus": 1, "exosome": 2, "lysosome": 3}),
        (
            ["LysoTracker Deep Red", "CD63-GFP", "Hoechst", "cell mask"],
            {"cell": 3, "nucleus": 2, "exosome": 1, "lysosome": 0},
        ),
        # The better one of two.
        (["PKH26", "GFP", "actin"], {"cell": 2, "exosome": 0}),
        (["exosome DiD", "DiI", "CD68", "actin"], {"cell": 3, "exosome": 0}),
        # Equally good: not told.
        (["actin", "phalloidin", "PKH26"], {"exosome": 2}),
        (["CD63", "CD81", "actin"], {"cell": 2}),
        (["DAPI", "Hoechst"], {}),
    ],
)
def test_several_names(names: list[str], roles: dict[str, int]) -> None:
    assert guess_roles(names) == roles


ANY_NAME = st.sampled_from([*(n for names in ONE_ROLE.values() for n in names), *NO_ROLE]) | st.text(
    max_size=20
)


@given(st.lists(ANY_NAME, max_size=6), st.randoms(use_true_random=False))
def test_permuting_the_channels_permutes_the_roles(names: list[str], random: object) -> None:
    order = list(range(len(names)))
    random.shuffle(order)  # type: ignore[attr-defined]
    roles = guess_roles(names)
    permuted = guess_roles([names[i] for i in order])
    assert {role: order[i] for role, i in permuted.items()} == roles


@given(st.lists(ANY_NAME, max_size=6))
def test_no_channel_is_guessed_twice(names: list[str]) -> None:
    roles = guess_roles(names)
    assert len(set(roles.values())) == len(roles)
    assert set(roles.values()) <= set(range(len(names)))


@given(st.lists(ANY_NAME, max_size=5), st.integers(0, 5), st.sampled_from(["", "Alexa 488", "mitochondria"]))
def test_a_channel_that_says_nothing_changes_nothing(names: list[str], place: int, silent: str) -> None:
    place = min(place, len(names))
    more = guess_roles([*names[:place], silent, *names[place:]])
    assert {role: i - (i > place) for role, i in more.items()} == guess_roles(names)


NAMES = ["CD11b", "DAPI", "Alexa 488", "LysoTracker"]


@pytest.mark.parametrize(
    ("wanted", "roles"),
    [
        ({"exosome": 2}, {"cell": 0, "nucleus": 1, "exosome": 2, "lysosome": 3}),
        ({"exosome": "alexa 488 "}, {"cell": 0, "nucleus": 1, "exosome": 2, "lysosome": 3}),
        ({"exosome": "2"}, {"cell": 0, "nucleus": 1, "exosome": 2, "lysosome": 3}),
        # What is said is the truth, and what is used is not guessed again.
        ({"cell": 2, "exosome": "CD11b"}, {"cell": 2, "nucleus": 1, "exosome": 0, "lysosome": 3}),
        ({"exosome": "LysoTracker"}, {"cell": 0, "nucleus": 1, "exosome": 3}),
        ({"exosome": 2, "extra": 3}, {"cell": 0, "nucleus": 1, "exosome": 2, "extra": 3}),
    ],
)
def test_what_is_said_wins_and_the_rest_is_guessed(
    wanted: Mapping[str, int | str], roles: dict[str, int]
) -> None:
    assert assign_roles(wanted, NAMES, 4, "a.tif") == roles


def test_a_number_is_a_name_where_a_channel_is_called_so() -> None:
    assert assign_roles({"cell": "488", "exosome": "0"}, ["561", "488"], 2, "a.tif") == {
        "cell": 1,
        "exosome": 0,
    }


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({}, "cannot tell which channel is the exosome"),
        ({"exosome": 4}, "there is no channel 4"),
        ({"exosome": "7"}, "there is no channel 7"),
        ({"exosome": "-1"}, "there is no channel -1"),
        ({"exosome": "DAPPI"}, "did you mean 'DAPI'"),
        ({"exosome": "xyzzy"}, "no channel is called 'xyzzy'"),
        ({"exosome": ""}, "no channel is called ''"),
        ({"cell": 0, "exosome": "CD11b"}, "channel 0: CD11b is given two roles, cell and exosome"),
        ({"cell": 1, "nucleus": 1, "exosome": 2}, "two roles, cell and nucleus"),
        ({"exosome": 2, "extra": 2}, "two roles, exosome and extra"),
    ],
)
def test_a_wrong_assignment_lists_the_channels(wanted: Mapping[str, int | str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        assign_roles(wanted, NAMES, 4, "folder/a.tif")
    message = str(caught.value)
    assert message.startswith("folder/a.tif: ")
    assert told in message
    assert "0: CD11b, 1: DAPI, 2: Alexa 488, 3: LysoTracker" in message


def test_without_names_the_channels_are_counted() -> None:
    with pytest.raises(InputError, match=r"the cell and which the exosome.* 0 \(no name\), 1 \(no name\)"):
        assign_roles({}, [], 2, "a.tif")


def test_two_channels_of_one_name_need_an_index() -> None:
    with pytest.raises(InputError, match=r"2 channels are called 'GFP'.*give the index"):
        assign_roles({"exosome": "GFP"}, ["GFP", "gfp", "actin"], 3, "a.tif")


def test_a_single_channel_is_not_enough() -> None:
    with pytest.raises(InputError, match="single channel"):
        assign_roles({"cell": 0}, [], 1, "a.tif")


def test_listing() -> None:
    assert list_channels(["a, b", " "], 3) == "0: a, b, 1 (no name), 2 (no name)"


STAINS = ["CD11b", "DAPI", "PKH26", "CD86", "HLA-DR", "a+b"]


@pytest.mark.parametrize(
    ("markers", "found"),
    [
        ("CD86", {"marker_CD86": 3}),
        ("CD86+hla-dr", {"marker_CD86": 3, "marker_HLA_DR": 4}),
        ("3 + 4", {"marker_CD86": 3, "marker_HLA_DR": 4}),
        (3, {"marker_CD86": 3}),
        ("M1:3+M2:4", {"marker_M1": 3, "marker_M2": 4}),
        ("a+b", {"marker_a_b": 5}),
        ("CD11b+CD86", {"marker_CD11b": 0, "marker_CD86": 3}),
    ],
)
def test_markers_are_listed_by_name_or_position(markers: int | str, found: dict[str, int]) -> None:
    roles = assign_roles({"marker": markers}, STAINS, 6, "a.tif")
    # the other roles are guessed all the same, also where the stain of the cells is measured as a marker
    assert roles == {"cell": 0, "nucleus": 1, "exosome": 2} | found
    assert list(roles)[3:] == list(found)


def test_a_marker_without_a_name_is_called_by_its_position() -> None:
    assert assign_roles({"cell": 0, "exosome": 1, "marker": "2+3"}, [], 4, "a.tif") == {
        "cell": 0, "exosome": 1, "marker_2": 2, "marker_3": 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("markers", "told"),
    [
        ("CD99", "no channel is called 'CD99'"),
        ("9", "there is no channel 9"),
        ("CD86+CD86", "one channel or have one name"),
        ("x:3+X:4", "one channel or have one name"),
        ("CD86+PKH26", "is given two roles, exosome and marker"),
        ("?:3", "has no letter or number"),
    ],
)
def test_markers_that_cannot_be_are_told(markers: str, told: str) -> None:
    with pytest.raises(InputError) as caught:
        assign_roles({"marker": markers}, STAINS, 6, "folder/a.tif")
    assert str(caught.value).startswith("folder/a.tif: ") and told in str(caught.value)


@pytest.mark.parametrize(
    ("exosomes", "found"),
    [
        ("PKH26+CD86", {"exosome_PKH26": 2, "exosome_CD86": 3}),
        ("cd86+pkh26", {"exosome_CD86": 3, "exosome_PKH26": 2}),
        ("2+4", {"exosome_PKH26": 2, "exosome_HLA_DR": 4}),
        ("tumour:2+own:3", {"exosome_tumour": 2, "exosome_own": 3}),
        ("PKH26", {"exosome": 2}),
        ("2", {"exosome": 2}),
        ("a+b", {"exosome": 5}),
    ],
)
def test_exosome_channels_are_listed_in_their_order(exosomes: str, found: dict[str, int]) -> None:
    roles = assign_roles({"exosome": exosomes}, STAINS, 6, "a.tif")
    assert roles == {"cell": 0, "nucleus": 1} | found
    assert list(roles)[2:] == list(found)
    assert list(exosomes_in(roles)) == ([""] if len(found) == 1 else [label_of(role) for role in found])


@pytest.mark.parametrize(
    ("channels", "told"),
    [
        ({"exosome": "PKH26+CD99"}, "no channel is called 'CD99'"),
        ({"exosome": "PKH26+PKH26"}, "the exosome labels 'PKH26' and 'PKH26' are one channel"),
        ({"exosome": "a:2+A:3"}, "one channel or have one name"),
        ({"exosome": "PKH26+CD86", "marker": "3"}, "is given two roles, exosome and marker"),
        ({"exosome": "PKH26+DAPI", "nucleus": 1}, "is given two roles, exosome_DAPI and nucleus"),
        ({"exosome": "PKH26+Mean:3"}, "the exosome label 'Mean' would make columns that mean something else"),
        ({"lysosome": "PKH26+CD86"}, "only exosomes and markers can be several channels"),
    ],
)
def test_exosome_channels_that_cannot_be_are_told(channels: dict[str, int | str], told: str) -> None:
    with pytest.raises(InputError) as caught:
        assign_roles(channels, STAINS, 6, "a.tif")
    assert told in str(caught.value)


@given(st.text(max_size=20))
def test_a_role_of_a_marker_tells_its_name(name: str) -> None:
    role = marker_role(name)
    assert is_marker_role(role) == bool(slug(name))
    assert marker_of(role) == slug(name) == slug(slug(name))
    assert same_marker(name, slug(name))
