"""Names of space groups in the spellings of files."""

import re

import gemmi
import pytest

from skgnn_mtl.featurizers._spacegroup_names import (
    has_code,
    settings_of_name,
    settings_of_number,
)

TABLE = list(gemmi.spacegroup_table())


def first(name):
    found = settings_of_name(name)
    return found[0].group.xhm() if found else None


def same(setting, entry):
    return {*setting.operations} == {op.triplet() for op in entry.operations()}


def spellings(name):
    return (
        name,
        name.replace(" ", ""),
        name.replace(" ", "_"),
        name.lower(),
        name.upper(),
        f"'{name}'",
        re.sub(r"(?<=[2346])([1-5])", r"_\1", name),
        re.sub(r"(?<=[2346])([1-5])", r"(\1)", name),
        name.replace("-", "\u2212"),
    )


def test_every_name_of_the_table_is_known_in_many_spellings():
    for entry in TABLE:
        for name in spellings(entry.xhm()):
            assert same(settings_of_name(name)[0], entry), name
        for name in (entry.hm, entry.short_name()):
            found = settings_of_name(name)
            assert any(same(setting, entry) for setting in found), name


def test_numbers_mean_the_standard_setting():
    for number in range(1, 231):
        settings = settings_of_number(number)
        expected = gemmi.find_spacegroup_by_number(number).xhm()
        assert settings[0].group.xhm() == expected
        assert {setting.group.number for setting in settings} == {number}
        assert settings[0].is_standard
        assert settings_of_name(str(number))[0] is settings[0]
    assert not settings_of_number(0)
    assert not settings_of_number(231)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("P2_1/n", "P 1 21/n 1"),
        ("P2(1)/n", "P 1 21/n 1"),
        ("P 2\u2081/c", "P 1 21/c 1"),
        ("P 2~1~/c", "P 1 21/c 1"),
        ("P 2<sub>1</sub>/c", "P 1 21/c 1"),
        ("C 2", "C 1 2 1"),
        ("P1\u0305", "P -1"),
        ("F d -3 m", "F d -3 m:1"),
        ("F d -3 m S", "F d -3 m:1"),
        ("F d -3 m Z", "F d -3 m:2"),
        ("F d -3 m :2", "F d -3 m:2"),
        ("Fd-3m O2", "F d -3 m:2"),
        ("Fd-3m (origin choice 2)", "F d -3 m:2"),
        ("I 4_1/a m d:2", "I 41/a m d:2"),
        ("R -3 m", "R -3 m:H"),
        ("R -3 m H", "R -3 m:H"),
        ("R-3mR", "R -3 m:R"),
        ("R -3 m :r", "R -3 m:R"),
        ("H 3 2", "R 3 2:H"),
        ("F m 3 m", "F m -3 m"),
        ("Ia3d", "I a -3 d"),
        ("F 4/m -3 2/m", "F m -3 m"),
        ("F 41/d -3 2/m", "F d -3 m:1"),
        ("P 2/m -3", "P m -3"),
        ("P 21/n 21/m 21/a", "P n m a"),
        ("C 2/m 2/c 21/e", "C m c a"),
        ("I 4/m 2/m 2/m", "I 4/m m m"),
        ("P 42/m 21/n 2/m", "P 42/m n m"),
        ("P 63/m 2/m 2/c", "P 63/m m c"),
        ("R -3 2/m", "R -3 m:H"),
        ("P -3 1 2/m", "P -3 1 m"),
        ("A e m 2", "A b m 2"),
        ("C c m e", "C c m b"),
        ("P 21/c (No. 14)", "P 1 21/c 1"),
        ("P 21/c (14)", "P 1 21/c 1"),
        ("P 21/c :b2", None),
        ("P 21/c (15)", None),
        ("P -1 :2", None),
        ("P n m a Z", None),
        ("F m -3 m h", None),
        ("Q 7", None),
        ("unknown", None),
        ("231", None),
        ("", None),
    ],
)
def test_spellings_of_files(name, expected):
    assert first(name) == expected


def test_full_symbols_of_mmm_and_m3m_are_those_of_the_short_ones():
    # The numerators are screw or proper axes, which the planes imply.
    for entry in TABLE:
        parts = entry.hm.split()
        if entry.point_group_hm() == "mmm":
            full = f"{parts[0]} 2/{parts[1]} 21/{parts[2]} 2/{parts[3]}"
            names = {s.group.hm for s in settings_of_name(full)}
            assert entry.hm in names, full


def test_one_name_with_two_numbers_prefers_the_usual_one():
    assert [s.group.number for s in settings_of_name("C 2")] == [5, 5, 3]


def test_h_stands_for_hexagonal_axes_alone():
    assert [s.group.xhm() for s in settings_of_name("R 3 2")] == ["R 3 2:H", "R 3 2:R"]
    assert [s.group.xhm() for s in settings_of_name("H 3 2")] == ["R 3 2:H"]


@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [
        (14, "b1", "P 1 21/c 1"),
        (14, "b2", "P 1 21/n 1"),
        (14, "c3", "P 1 1 21/b"),
        (62, "cab", "P b n m"),
        (62, "abc", "P n m a"),
        (227, "1", "F d -3 m:1"),
        (227, "2", "F d -3 m:2"),
        (50, "2cab", "P n c b:2"),
        (166, "h", "R -3 m:H"),
        (166, "R", "R -3 m:R"),
    ],
)
def test_codes_of_coordinate_systems(number, code, expected):
    names = [s.group.xhm() for s in settings_of_number(number) if has_code(s, code)]
    assert names[0] == expected


def test_codes_of_other_groups_fit_nothing():
    for code in ("h", "r", "1", "2", "cab", "b1"):
        assert not any(has_code(s, code) for s in settings_of_number(225))
