"""The table of VM sizes: sourced and dated figure by figure, found by name, overridden by the user's file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hpcai.catalog.figures import FIGURES
from hpcai.catalog.sizes import VmSize, find_name, vm_size, vm_sizes
from hpcai.catalog.sources import sources
from hpcai.errors import NotFoundError, SpecError
from tests.closed import as_ordinary_user

SHIPPED = {"HOME": "/nonexistent", "XDG_CONFIG_HOME": "/nonexistent"}
SIZES = vm_sizes(SHIPPED)


@pytest.fixture(params=SIZES.values(), ids=lambda size: str(size.name))
def size(request: pytest.FixtureRequest) -> VmSize:
    found: VmSize = request.param
    return found


def test_every_figure_has_a_dated_source_and_nothing_else_has(size: VmSize) -> None:
    assert set(size.sources) == {figure for figure in FIGURES if getattr(size, figure) is not None}
    for source in size.sources.values():
        assert all(re.search(r"[( ]20\d\d-\d\d-\d\d\)$", one) for one in source.split("; "))


def test_figures_fit_together(size: VmSize) -> None:
    assert size.name.startswith("Standard_")
    assert (size.price_usd_per_h is None) == (size.price_date is None) == (size.price_region is None)
    if size.gpus == 0:
        assert (size.gpu_model, size.gpu_memory_gib, size.gpu_interconnect) == (None, None, None)
    if size.infiniband_rails == 0:
        assert size.infiniband_gbit_per_s is None


def test_all_sizes_of_the_table_are_there() -> None:
    assert len(SIZES) == 99


def test_every_source_is_used() -> None:
    folder = Path(__file__).parents[2] / "hpcai" / "catalog"
    text = "".join(
        (folder / name).read_text()
        for name in ("vm_sizes.csv", "profiles.json", "health.json", "images.json")
    )
    words = set(re.findall(r"[\w.-]+", text))
    assert set(sources()) <= words


def test_contradictions_are_settled_for_scheduling_with_the_other_figure_in_the_notes() -> None:
    for name, memory_gib, other in (
        ("ND96amsr_A100_v4", 1800, "1900"),
        ("ND128isr_NDR_GB200_v6", 864, "900"),
    ):
        found = vm_size(name, SHIPPED)
        assert found.memory_gib == memory_gib
        assert other in found.notes


def test_what_no_source_states_is_unknown() -> None:
    assert vm_size("ND96is_H200_v5", SHIPPED).memory_gib is None
    assert vm_size("ND128isr_GB300_v6", SHIPPED).price_usd_per_h is None
    assert vm_size("NC6s_v3", SHIPPED).infiniband_rails == 0


def test_a_part_of_a_gpu() -> None:
    assert vm_size("NV6ads_A10_v5", SHIPPED).gpus == pytest.approx(1 / 6)


@pytest.mark.parametrize("name", ["Standard_HB176rs_v4", "HB176RS_V4", "standard_hb176rs_v4", " hb176rs_v4 "])
def test_a_size_is_found_in_any_case_and_without_its_prefix(name: str) -> None:
    assert vm_size(name, SHIPPED).name == "Standard_HB176rs_v4"


@pytest.mark.parametrize(
    ("name", "next_step"),
    [
        ("hb176rs_4", "Did you mean 'Standard_HB176rs_v4'?"),
        ("gb300", "Did you mean 'Standard_ND128isr_GB300_v6'?"),
        ("xyz", "hpcai vm list"),
        ("", "hpcai vm list"),
    ],
)
def test_an_unknown_size_is_not_found_with_the_nearest(name: str, next_step: str) -> None:
    with pytest.raises(NotFoundError) as raised:
        vm_size(name, SHIPPED)
    assert str(raised.value) == f"There is no VM size {name!r} in the catalog.\n{next_step}"


def test_a_size_retires_on_its_day() -> None:
    retired = vm_size("NC24rs_v3", SHIPPED)
    assert (retired.has_retired("2025-09-29"), retired.has_retired("2025-09-30")) == (False, True)
    assert not vm_size("HB176rs_v4", SHIPPED).has_retired("2099-01-01")


def with_file(folder: Path, text: str, name: str = "own.csv") -> dict[str, str]:
    (folder / name).write_text(text, encoding="utf-8")
    return {**SHIPPED, "HPCAI_VM_SIZES": str(folder / name)}


OVERRIDES = {
    "own.csv": "vm_size,memory_gib,gpus,generations,spot,sources\n"
    "hb176rs_v4,760,,,,our scontrol\n\nStandard_Own,1,1/2,1 2,no,\n",
    "own.json": json.dumps(
        {
            "hb176rs_v4": {"memory_gib": 760, "sources": "our scontrol", "gpus": None},
            "Standard_Own": {"memory_gib": 1, "gpus": "1/2", "generations": [1, 2], "spot": False},
        },
        indent=0,
    ),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_a_users_file_overrides_single_figures_and_adds_sizes(tmp_path: Path, name: str) -> None:
    environ = with_file(tmp_path, OVERRIDES[name], name)
    ours, shipped = vm_size("HB176rs_v4", environ), vm_size("HB176rs_v4", SHIPPED)
    assert (ours.memory_gib, ours.vcpus, ours.gpus) == (760, 176, 0)
    assert ours.sources["vcpus"] == shipped.sources["vcpus"]
    told = rf"{re.escape(str(tmp_path / name))}:2: our scontrol \(20\d\d-\d\d-\d\d\)"
    assert re.fullmatch(told, ours.sources["memory_gib"])
    own = vm_size("Standard_Own", environ)
    assert (own.gpus, own.generations, own.spot, own.vcpus) == (0.5, (1, 2), False, None)
    assert len(vm_sizes(environ)) == 100


def test_a_price_of_the_users_own_has_neither_region_nor_date_of_the_tables(tmp_path: Path) -> None:
    found = vm_size("HB176rs_v4", with_file(tmp_path, "vm_size,price_usd_per_h\nhb176rs_v4,1.5\n"))
    assert (found.price_usd_per_h, found.price_region, found.price_date) == (1.5, None, None)
    assert set(found.sources) == {figure for figure in FIGURES if getattr(found, figure) is not None}


@pytest.mark.parametrize("name", ["vm_sizes.csv", "vm_sizes.json"])
def test_the_file_beside_the_users_settings_is_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "hpcai"
    folder.mkdir()
    text = "vm_size,vcpus\nmine,4\n" if name.endswith("csv") else '{"mine": {"vcpus": 4}}'
    (folder / name).write_text(text)
    assert vm_size("mine", {"XDG_CONFIG_HOME": str(tmp_path)}).vcpus == 4


def test_two_files_beside_the_users_settings_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "hpcai").mkdir()
    for name in ("vm_sizes.csv", "vm_sizes.json"):
        (tmp_path / "hpcai" / name).write_text("")
    with pytest.raises(SpecError, match="both hold VM sizes"):
        vm_sizes({"XDG_CONFIG_HOME": str(tmp_path)})


def test_a_file_that_is_named_and_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"HPCAI_VM_SIZES is 'no\.csv', and there is no such file"):
        vm_sizes({"HPCAI_VM_SIZES": "no.csv"})
    with pytest.raises(NotFoundError, match="and that is no file"):
        vm_sizes({"HPCAI_VM_SIZES": str(tmp_path)})


def mistakes(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SpecError) as raised:
        vm_sizes(environ)
    folder = str(Path(environ["HPCAI_VM_SIZES"]).parent)
    return str(raised.value).replace(folder + "/", "").splitlines()


def test_all_mistakes_of_a_csv_come_at_once_with_their_lines(tmp_path: Path) -> None:
    text = (
        "vm_size,vcpu,gpus,spot,arch,retires,memory_gib,generations\n"
        "Standard_A,4,-1,maybe,sparc,2027-13-01,nan,3\n"
        ",1,,,,,,\n"
        "Standard_B,1,2,yes,arm64,2027-12-01,1e3,2,9\n"
        "standard_b,1,2,yes,arm64,2027-12-01,1e3,2\n"
        "Standard_C\n"
        "standard_c\n"
        "two words,1\n"
    )
    assert mistakes(with_file(tmp_path, text)) == [
        "own.csv:1: vcpu: is no figure. Did you mean 'vcpus'?",
        "own.csv:2: Standard_A: arch: got 'sparc'; x86_64 or arm64",
        "own.csv:2: Standard_A: generations: got '3'; 1, 2 or '1 2'",
        "own.csv:2: Standard_A: gpus: got '-1'; a whole number from 0, or a part of one such as 1/6",
        "own.csv:2: Standard_A: memory_gib: got 'nan'; a number from 0",
        "own.csv:2: Standard_A: retires: got '2027-13-01'; a date such as 2027-05-31",
        "own.csv:2: Standard_A: spot: got 'maybe'; yes or no",
        "own.csv:3: vm_size: is empty; the name of a size such as Standard_HB176rs_v4",
        "own.csv:4: got 9 values for 8 columns",
        "own.csv:7: vm_size: got 'standard_c', which line 6 has already as 'Standard_C'",
        "own.csv:8: vm_size: got 'two words'; letters, digits, '_' and '-'",
    ]


def test_all_mistakes_of_a_json_come_at_once_with_their_lines(tmp_path: Path) -> None:
    text = (
        '{\n"Standard_A": {\n"vcpus": 4.5,\n"gpu": 1,\n"spot": "true"\n},\n'
        '"Standard_B": {"vcpus": 1,\n"vcpus": 2},\n"Standard_C": 7\n}\n'
    )
    assert mistakes(with_file(tmp_path, text, "own.json")) == [
        "own.json:3: Standard_A: vcpus: got '4.5'; a whole number from 1",
        "own.json:4: gpu: is no figure. Did you mean 'gpus'?",
        "own.json:5: Standard_A: spot: got 'true'; yes or no",
        "own.json:8: vcpus: stands here twice",
        "own.json:9: Standard_C: got 7; a map of figures",
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("own.csv", "", "own.csv:1: got '' as the first column; it is vm_size"),
        ("own.csv", "name,vcpus\na,1\n", "own.csv:1: got 'name' as the first column; it is vm_size"),
        ("own.csv", "vm_size,gpus,gpus\na,1,1\n", "own.csv:1: gpus: is a column twice"),
        ("own.csv", 'vm_size,notes\na,"b\n', "own.csv:2: is no CSV: unexpected end of data"),
        (
            "own.csv",
            "vm_size;vcpus\n",
            "own.csv:1: got 'vm_size;vcpus' as the first column; it is vm_size, and "
            "columns are parted by commas",
        ),
        (
            "own.csv",
            "vm_size,retires\na,2027-02-30\n",
            "own.csv:2: a: retires: got '2027-02-30'; a date such as 2027-05-31",
        ),
        (
            "own.csv",
            "vm_size,gpus\nA,1\nstandard_a,2\n",
            "own.csv:3: vm_size: got 'standard_a', which line 2 has already as 'A'",
        ),
        (
            "own.json",
            '{"A": {"gpus": 1}, "a": {"gpus": 2}}',
            "own.json:1: vm_size: got 'a', which line 1 has already as 'A'",
        ),
        (
            "own.json",
            "[" * 100_000,
            "own.json:1: is no JSON that anybody wrote: its lists and maps are too deep",
        ),
        ("own.json", "{", "own.json:1: is no JSON: Expecting property name enclosed in double quotes"),
        ("own.json", "[]", 'own.json:1: got no map; write {"Standard_HB176rs_v4": {"memory_gib": 760}}'),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, text: str, expected: str) -> None:
    assert mistakes(with_file(tmp_path, text, name)) == [expected]


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    environ = with_file(tmp_path, "")
    Path(environ["HPCAI_VM_SIZES"]).write_bytes(b"vm_size\n\xff\n")
    with pytest.raises(SpecError, match="is not UTF-8 text"):
        vm_sizes(environ)


def test_a_name_is_only_found_whole() -> None:
    assert find_name("HB176rs", SIZES) is None


def test_a_table_that_is_closed_is_no_defect(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with as_ordinary_user(), pytest.raises(SpecError, match="cannot be read: Permission denied"):
        vm_sizes({"HPCAI_VM_SIZES": f"{tmp_path}/closed/own.csv"})
    with as_ordinary_user():
        assert vm_sizes({"HPCAI_CONFIG_HOME": f"{tmp_path}/closed"})
