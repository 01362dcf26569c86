from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_tam.markers.rules import read_rule

TERMS = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=3, unique_by=lambda t: t[0]
)


def written(alternatives: list[list[tuple[str, bool]]]) -> str:
    return " | ".join(" ".join(name + "-+"[wanted] for name, wanted in terms) for terms in alternatives)


@given(st.lists(TERMS, min_size=1, max_size=3))
def test_a_rule_fits_what_it_says_and_is_unsure_only_where_an_unknown_marker_decides(
    alternatives: list[list[tuple[str, bool]]],
) -> None:
    rule = read_rule(written(alternatives))
    states = np.array([*product((0.0, 1.0, np.nan), repeat=3)])
    found = rule.fits({name: states[:, k] for k, name in enumerate("abc")})

    def truth(state: dict[str, bool]) -> bool:
        return any(all(state[name] == wanted for name, wanted in terms) for terms in alternatives)

    for state, told in zip(states, found, strict=True):
        possible = {
            truth(dict(zip("abc", whole, strict=True)))
            for whole in product((False, True), repeat=3)
            if all(np.isnan(s) or bool(s) == w for s, w in zip(state, whole, strict=True))
        }
        if not np.isnan(told):
            assert possible == {bool(told)}
        elif len(alternatives) == 1:  # a disjunction may be sure without any of its parts being so
            assert possible == {False, True}


def test_names_are_compared_as_columns_have_them() -> None:
    assert read_rule("HLA-DR+ f4/80-").alternatives == ((("hla_dr", True), ("f4_80", False)),)
    assert read_rule("CD86+, CD206- | iNOS+").markers == ("cd86", "cd206", "inos")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "an empty rule"),
        ("CD86+ |", "an empty rule"),
        ("CD86", "'CD86' is no marker with + or -"),
        ("+", "is no marker"),
        ("CD86+ CD86-", "both positive and negative"),
        ("CD86 +", "is no marker"),
    ],
)
def test_what_is_no_rule_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"write e\.g\.|both positive") as caught:
        read_rule(text)
    assert told in str(caught.value)
