"""The symmetry operations of a crystal, from whatever a CIF says about them.

Listed operations outrank a Hall symbol, which outranks names and numbers. Whatever else
the file says must agree. A block that is silent lists all its atoms (P 1).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ._cell import Tags, is_known, read_cell, shown, spelled, tags_of, text
from ._crystal import UnreadableCrystal, gemmi
from ._operations import (
    FAMILIES,
    METRIC,
    MINUS,
    Group,
    best_fit,
    group_of,
    parse_operation,
)
from ._spacegroup_names import Setting, has_code, settings_of_name, settings_of_number

_OPERATIONS = ("_symmetry_equiv_pos_as_xyz", "_space_group_symop_operation_xyz")
_MAGNETIC = "_space_group_symop_magn_operation_xyz"
_MAGNETIC_CENTERING = "_space_group_symop_magn_centering_xyz"
_HALL = ("_symmetry_space_group_name_hall", "_space_group_name_hall")
_NAMES = (
    "_symmetry_space_group_name_hm",
    "_space_group_name_hm",
    "_space_group_name_hm_alt",
    "_space_group_name_hm_full",
    "_symmetry_space_group_name_hm_alt",
    "_symmetry_space_group_name_hm_full",
)
# It names the type of the group, in its reference setting, which need not be the one
# that the file uses.
_TYPE = "_space_group_name_hm_ref"
_NUMBERS = (
    "_symmetry_int_tables_number",
    "_space_group_it_number",
    "_symmetry_it_number",
    "_symmetry_space_group_it_number",
)
_CODE = "_space_group_it_coordinate_system_code"
_TRANSFORMS = ("_space_group_transform_pp_abc", "_space_group_transform_qq_xyz")
_SYSTEMS = ("_symmetry_cell_setting", "_space_group_crystal_system")
_LAUE, _POINT_GROUP = "_space_group_laue_class", "_space_group_point_group_hm"
_CENTERING = "_space_group_centring_type"
# They say nothing about the group.
_SILENT = ("_symmetry_entry_id", "_space_group_entry_id", "_space_group_id")
# They do not say enough without a name, but leave no doubt beside one.
_DESCRIPTIONS = (
    *("_space_group_bravais_type", "_space_group_name_schoenflies"),
    *("_space_group_patterson_name", "_space_group_reference_setting"),
    *("_space_group_wyckoff", "_space_group_name_hm_alt_description"),
    *("_space_group_symop_id", "_space_group_symop_sg_id", "_symmetry_equiv_id"),
    *("_symmetry_equiv_pos_id", "_symmetry_equiv_pos_site_id"),
)
_CELL = ("_cell_length", "_cell_angle", "_cell_volume")
_GROUP = ("_symmetry", "_space_group", "_parent_space_group")
_MODULATED = re.compile(
    r"_space_group_(symop_)?(magn_)?ssg_.*|_cell_(modulation|wave|subsystem).*"
    r"|_atom_sites?_(fourier|displace|modul|occ_(fourier|special|legendre)"
    r"|rot_fourier|moment_(fourier|special)).*"
)
_MULTIPLICITIES = (
    "_atom_site_symmetry_multiplicity",
    "_atom_site_site_symmetry_multiplicity",
    "_atom_site.symmetry_multiplicity",
    "_atom_site.site_symmetry_multiplicity",
)
# What files call the crystal families, by their place in FAMILIES.
_FAMILIES = {
    **{"triclinic": 0, "anorthic": 0, "monoclinic": 1, "orthorhombic": 2},
    **{"tetragonal": 3, "trigonal": 4, "rhombohedral": 4, "hexagonal": 4},
    **{"cubic": 5, "isometric": 5},
}
_N_CENTERINGS = {"p": 1, "a": 2, "b": 2, "c": 2, "i": 2, "f": 4}


def operations(block: Any, cell: Any = None) -> list[Any]:
    """List the operations of the space group of a CIF block.

    Parameters
    ----------
    block : gemmi.cif.Block
        The data block.
    cell : gemmi.UnitCell, default=None
        Its cell; None reads it.

    Returns
    -------
    operations : list of gemmi.Op
        All of them modulo translations of the lattice, the identity first.

    Raises
    ------
    UnreadableCrystal
        If the symmetry is unknown, contradictory, or does not fit the cell.
    """
    tags = tags_of(block)
    return list(find_group(tags, read_cell(tags) if cell is None else cell).operations)


def find_group(tags: Tags, cell: Any) -> Group:
    """Find the space group of a CIF block.

    Parameters
    ----------
    tags : dict of str -> tuple of str
        Items that concern the symmetry, from ``tags_of``.
    cell : gemmi.UnitCell
        Its unit cell, which picks among the settings that a name may mean.

    Returns
    -------
    group : Group
        The group whose operations make the crystal from the listed sites.

    Raises
    ------
    UnreadableCrystal
        If the symmetry is unknown, contradictory, or does not fit the cell; if the
        structure is modulated.
    """
    stated = [item for item in tags.items() if not item[0].startswith(_CELL)]
    groups = _possible_groups(tuple(stated))
    group, change, operation = best_fit(groups, cell)
    if change > METRIC:
        parameters = ", ".join(f"{p:g}" for p in cell.parameters)
        raise UnreadableCrystal(
            f"the unit cell ({parameters}) does not have the symmetry of its space "
            f"group{_named(group)}: the operation {operation.triplet()} would change "
            "its lengths or angles"
        )
    return group


def _named(group: Group) -> str:
    return "" if group.setting is None else f" ({group.setting.xhm()})"


# -- what the file says --------------------------------------------------------------


@lru_cache(maxsize=4096)
def _possible_groups(stated: tuple[tuple[str, tuple[str, ...]], ...]) -> list[Group]:
    """List the groups that a file may mean, the likeliest first."""
    for tag, values in stated:
        _check_modulation(tag, values)
    tags = dict(stated)
    said = {
        tag: values
        for tag, values in stated
        if tag.startswith(_GROUP) and tag not in _SILENT
    }
    if not said:
        return [replace(group_of(("x,y,z",)), is_doubtful=True)]
    listed = _listed_group(tags)
    if listed is not None:
        # The names of magnetic files are those of other groups.
        if not _is_any_known(tags, _MAGNETIC):
            _compare_with_names(listed, tags)
        groups = [listed]
    else:
        _check_nothing_else_is_said(said)
        groups = _named_groups(tags)
        if not groups:
            _refuse_vague(said)
    groups = [_checked_system(group, tags) for group in groups]
    if len(groups[0].operations) > 1 or _is_named_p1(tags):
        return groups
    return [replace(group, is_doubtful=True) for group in groups]


def _is_named_p1(tags: Tags) -> bool:
    named = _known(tags, *_NAMES, *_NUMBERS)
    found = [_settings_of(tag, value) for tag, value in named]
    return bool(found) and all(s and s[0].group.number == 1 for s in found)


def _known(tags: Tags, *names: str) -> list[tuple[str, str]]:
    """List pairs of a tag and one of its values, without '?' and '.'."""
    return [
        (tag, text(value))
        for tag in names
        for value in tags.get(tag, ())
        if is_known(value)
    ]


def _check_modulation(tag: str, values: tuple[str, ...]) -> None:
    known = [value for value in values if is_known(value)]
    if tag.startswith("_exptl_crystal_type"):
        modulated = bool(known) and text(known[0]).lower() in ("mod", "comp")
    elif tag.startswith("_cell_modulation_dimension"):
        modulated = bool(known) and text(known[0]) != "0"
    else:
        modulated = bool(known) and _MODULATED.fullmatch(tag) is not None
    if modulated:
        raise UnreadableCrystal(
            "the structure is modulated or composite, and its average cell is not the "
            f"crystal ({spelled(tag)} is {shown(tuple(known))}); a commensurate "
            "supercell, with operations in three dimensions, would be read"
        )


def _check_nothing_else_is_said(said: Tags) -> None:
    """Refuse what would change the group, and is not read."""
    for tag, value in _known(said, *_TRANSFORMS):
        if re.sub(r"[\s;,0]", "", value.lower()) not in ("abc", "xyz"):
            raise UnreadableCrystal(
                f"{spelled(tag)} is {value!r}, a transformation of the setting, which "
                "is not read; list the operations of the space group"
            )
    read = {*_OPERATIONS, *_HALL, *_NAMES, _TYPE, *_NUMBERS, _CODE, *_TRANSFORMS}
    read |= {*_SYSTEMS, _LAUE, _POINT_GROUP, _CENTERING}
    for tag, value in _known(said, *(tag for tag in said if tag not in read)):
        if not tag.startswith(_DESCRIPTIONS):
            raise UnreadableCrystal(
                f"{spelled(tag)} is {value[:60]!r}, which is not read, and no "
                "operations are listed; list the operations of the space group"
            )


def _refuse_vague(said: Tags) -> None:
    known = _known(said, *said)
    first = next(iter(said))
    tag, value = known[0] if known else (first, text(said[first][0]))
    raise UnreadableCrystal(
        f"the space group is unknown: {spelled(tag)} is {value!r}, and there are no "
        "operations, name or number of the group; list the operations, or write 'P 1' "
        "if all atoms of the unit cell are listed"
    )


def _listed_group(tags: Tags) -> Group | None:
    magnetic = _known(tags, _MAGNETIC)
    lists = [
        _check_complete(tags, tag) for tag in _OPERATIONS if _is_any_known(tags, tag)
    ]
    if magnetic:
        _check_complete(tags, _MAGNETIC)
        lists.append(_magnetic_operations(tags))
    groups = [group_of(listed) for listed in lists]
    for other in groups[1:]:
        if other.triplets != groups[0].triplets:
            raise UnreadableCrystal(
                f"two lists of operations differ: {len(groups[0].operations)} and "
                f"{len(other.operations)} operations"
            )
    return groups[0] if groups else None


def _is_any_known(tags: Tags, tag: str) -> bool:
    return any(map(is_known, tags.get(tag, ())))


def _check_complete(tags: Tags, tag: str) -> tuple[str, ...]:
    if not all(map(is_known, tags[tag])):
        raise UnreadableCrystal(f"an operation of {spelled(tag)} is unknown ('?')")
    return tuple(map(text, tags[tag]))


def _magnetic_operations(tags: Tags) -> tuple[str, ...]:
    """Multiply operations and centrings; reversed time leaves the atoms in place."""
    centerings: list[Any] = []
    if _is_any_known(tags, _MAGNETIC_CENTERING):
        _check_complete(tags, _MAGNETIC_CENTERING)
        centerings = [_without_time(v) for _, v in _known(tags, _MAGNETIC_CENTERING)]
    listed = [_without_time(v) for _, v in _known(tags, _MAGNETIC)]
    both = [c.combine(op).wrap() for c in centerings for op in listed]
    return tuple(op.triplet() for op in both or listed)


def _without_time(operation: str) -> Any:
    parts = operation.replace(" ", "").translate(MINUS).split(",")
    if len(parts) != 4 or parts[3].lstrip("+") not in ("1", "-1"):
        raise UnreadableCrystal(
            f"the magnetic operation {operation!r} is unreadable; one such as "
            "'-x,y+1/2,z,-1' was wanted"
        )
    return parse_operation(",".join(parts[:3]))


def _compare_with_names(group: Group, tags: Tags) -> None:
    """Refuse lists of operations that cannot be those of the group that is named.

    A list of the identity alone says that all atoms are listed, whatever the name. A
    name that is not in the table may be that of an unusual setting.
    """
    if len(group.operations) == 1:
        return
    for tag, value in _known(tags, *_NAMES, _TYPE, *_NUMBERS, *_HALL):
        hall = _group_of_hall(value) if tag in _HALL else None
        settings = () if hall else _settings_of(tag, value) or ()
        others = [hall] if hall else [_group_of_setting(s) for s in settings]
        # The axes of the list are those of the entries with the same rotations.
        others = [o for o in others if _rotations(o) == _rotations(group)] or others
        if others and not any(_may_be(group, other) for other in others):
            raise UnreadableCrystal(
                f"the {len(group.operations)} listed operations{_named(group)} are not "
                f"those of the space group {value!r} ({spelled(tag)})"
            )


def _may_be(group: Group, other: Group) -> bool:
    """Tell whether two groups may be of one type, in whatever setting."""
    if group.setting is not None and other.setting is not None:
        return bool(group.setting.number == other.setting.number)
    if _rotations(group) == _rotations(other):
        return group.n_centerings >= other.n_centerings
    return group.crystal_class == other.crystal_class


def _rotations(group: Group) -> set[bytes]:
    return {rotation.tobytes() for rotation in group.rotations}


def _named_groups(tags: Tags) -> list[Group]:
    """Find the groups of a Hall symbol, of names and numbers, which must agree."""
    settings = _named_settings(tags)
    for tag, symbol in _known(tags, *_HALL):
        group = _group_of_hall(symbol)
        if group is None:
            # Names stand in this place, too.
            others = settings_of_name(symbol)
            if not others:
                raise UnreadableCrystal(f"the Hall symbol {symbol!r} is unreadable")
            numbers = {other.group.number for other in others}
            if settings is None:
                settings = list(others)
            elif not any(s.group.number in numbers for s in settings):
                _refuse_contradiction(tag, symbol, settings)
            continue
        if settings is not None:
            _check_hall(group, tag, symbol, settings)
        return [group]
    return [_group_of_setting(setting) for setting in settings or ()]


def _check_hall(group: Group, tag: str, symbol: str, settings: list[Setting]) -> None:
    if group.setting is None:
        others = [_group_of_setting(setting) for setting in settings]
        if any(group.crystal_class == other.crystal_class for other in others):
            return
    elif any(s.group.hall == group.setting.hall for s in settings):
        return
    _refuse_contradiction(tag, symbol, settings)


def _refuse_contradiction(tag: str, value: str, settings: list[Setting]) -> None:
    raise UnreadableCrystal(
        f"the space group is contradictory: {spelled(tag)} is {value!r}, but elsewhere "
        f"it is {settings[0].group.xhm()!r} (number {settings[0].group.number})"
    )


def _named_settings(tags: Tags) -> list[Setting] | None:
    """Intersect the settings of all names and numbers; None if there are none."""
    settings: list[Setting] | None = None
    named = _known(tags, *_NAMES)
    codes = _known(tags, _CODE)
    for tag, value in [*named, *_known(tags, _TYPE, *_NUMBERS)]:
        found = _settings_of(tag, value)
        if found is None:
            continue
        if not found:
            number = "number " if tag in _NUMBERS else ""
            raise UnreadableCrystal(
                f"the space group '{number}{value}' is unknown, and no operations are "
                "listed"
            )
        if tag in _NUMBERS or tag == _TYPE:
            numbers = {setting.group.number for setting in found}
            if settings is None:
                # Other axes have names of their own, or codes.
                settings = [s for s in found if codes or s.is_standard] or [*found]
                continue
            kept = [s for s in settings if s.group.number in numbers]
        elif settings is None:
            settings = list(found)
            continue
        else:
            kept = [s for s in settings if s in found]
        if not kept:
            _refuse_contradiction(tag, value, settings)
        settings = kept
    for tag, code in codes:
        if settings is not None:
            kept = [s for s in settings if has_code(s, code)]
            if not kept:
                _refuse_contradiction(tag, code, settings)
            settings = kept
    return settings


def _settings_of(tag: str, value: str) -> tuple[Setting, ...] | None:
    """Look a name or number up; None for the number zero, which stands for "?"."""
    if tag not in _NUMBERS:
        return settings_of_name(value)
    if value.strip("0") == "":
        return None
    return settings_of_number(int(value)) if value.isdecimal() else ()


@lru_cache(maxsize=4096)
def _group_of_hall(symbol: str) -> Group | None:
    symbol = " ".join(symbol.translate(MINUS).replace("_", " ").split())
    for spelling in (symbol, symbol.lower()):
        try:
            listed = tuple(op.triplet() for op in gemmi().symops_from_hall(spelling))
        except (RuntimeError, ValueError):
            continue
        return group_of(listed)
    return None


def _group_of_setting(setting: Setting) -> Group:
    return group_of(setting.operations)


# -- does it agree with the rest of the file? ----------------------------------------


def _checked_system(group: Group, tags: Tags) -> Group:
    for tag, value in _known(tags, *_SYSTEMS):
        family = _FAMILIES.get(value.lower())
        if family is not None and family != group.family:
            raise UnreadableCrystal(
                f"{spelled(tag)} is {value!r}, but the space group{_named(group)} is "
                f"{FAMILIES[group.family]}"
            )
    if group.setting is not None:
        _check_class(group, group.setting.laue_str(), _known(tags, _LAUE))
        _check_class(group, group.setting.point_group_hm(), _known(tags, _POINT_GROUP))
    for tag, value in _known(tags, _CENTERING):
        wanted = _N_CENTERINGS.get(value.lower())
        if wanted is not None and wanted != group.n_centerings:
            raise UnreadableCrystal(
                f"{spelled(tag)} is {value!r}, but the operations have "
                f"{group.n_centerings} centring translations, not {wanted}"
            )
    return group


def _check_class(group: Group, own: str, stated: list[tuple[str, str]]) -> None:
    for tag, value in stated:
        plain = value.replace(" ", "").translate(MINUS)
        if _classes().get(plain, own) != _classes()[own]:
            raise UnreadableCrystal(
                f"{spelled(tag)} is {value!r}, but that of the space "
                f"group{_named(group)} is {own!r}"
            )


@lru_cache(maxsize=1)
def _classes() -> dict[str, str]:
    """List names of crystal classes and Laue classes: what they stand for."""
    table = list(gemmi().spacegroup_table())
    names = {n: n for s in table for n in (s.point_group_hm(), s.laue_str())}
    # They are the same class in another orientation, or in older writing.
    other = {"-4m2": "-42m", "-62m": "-6m2", "m2m": "mm2", "2mm": "mm2"}
    other |= {"m3": "m-3", "m3m": "m-3m"}
    for name in ("32", "3m", "-3m"):
        other |= {f"{name}1": name, f"{name[:-1]}1{name[-1]}": name}
    return names | other


def check_all_atoms_are_listed(block: Any) -> None:
    """Refuse sites that stand for several atoms if symmetry does not make them.

    Parameters
    ----------
    block : gemmi.cif.Block
        A data block of which only the identity is an operation.

    Raises
    ------
    UnreadableCrystal
        If multiplicities are stated and count more atoms than are listed.
    """
    for tag in _MULTIPLICITIES:
        values = list(block.find_loop(tag))
        if values.count("1") == len(values):
            continue
        for value, count in Counter(values).items():
            if value.isdecimal() and int(value) > 1 and count % int(value):
                raise UnreadableCrystal(
                    f"{tag} says that sites stand for {value} atoms, but there are no "
                    "symmetry operations that make them"
                )
