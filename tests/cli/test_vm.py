"""`hpcai vm` and `hpcai diff`: all forms of output, filters, unknown names, prices asked at a stand-in."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from hpcai.catalog.sizes import vm_sizes
from hpcai.cli.complete import complete_vm_size
from hpcai.cli.diff import diff
from hpcai.cli.vm import vm
from hpcai.errors import NotFoundError, SpecError, ToolError, UnreachableError, UsageError
from tests.catalog.retail_stand_in import StandIn, meter, serving

H100, HB = "Standard_ND96isr_H100_v5", "Standard_HB176rs_v4"


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("HPCAI_VM_SIZES", raising=False)
    monkeypatch.delenv("HPCAI_PRICES_URL", raising=False)


def hpcai(*words: str) -> Result:
    command = {"vm": vm, "diff": diff}[words[0]]
    return CliRunner().invoke(command, words[1:], catch_exceptions=False)


def rows_of(*words: str) -> list[dict[str, Any]]:
    content = json.loads(hpcai(*words, "-o", "json").stdout)
    assert content.pop("schema_version") == 1
    [rows] = content.values()
    found: list[dict[str, Any]] = rows
    return found


def names(*words: str) -> list[str]:
    return hpcai("vm", "list", "-q", *words).stdout.split()


def test_all_sizes_are_listed_with_all_figures() -> None:
    rows = rows_of("vm", "list")
    assert [row["size"] for row in rows] == list(vm_sizes())
    [row] = [row for row in rows if row["size"] == H100]
    assert (row["vcpus"], row["gpus"], row["usd_per_h"], row["region"], row["profile"]) == (
        96,
        8,
        98.32,
        "eastus",
        True,
    )
    assert row["spot"] is None


def test_every_form_has_the_same_columns() -> None:
    rows = rows_of("vm", "list", "--series", "HC")
    lines = [
        json.loads(line) for line in hpcai("vm", "list", "--series", "HC", "-o", "jsonl").stdout.splitlines()
    ]
    table = list(csv.DictReader(io.StringIO(hpcai("vm", "list", "--series", "HC", "-o", "csv").stdout)))
    assert [line | {"schema_version": 1} for line in rows] == [dict(line) for line in lines]
    assert list(table[0]) == list(rows[0])


def test_a_person_sees_what_matters_and_since_when_a_size_has_retired() -> None:
    text = hpcai("vm", "list", "--gpu", "v100", "--infiniband").stdout
    assert "ND40rs_v2  40    672  8 x V100 32 GiB  1 x 100" in text
    assert "since 2025-09-30" in hpcai("vm", "list", "--series", "ncv3").stdout
    assert "1/6" in hpcai("vm", "list", "--gpu", "a10").stdout


@pytest.mark.parametrize(
    ("filters", "some", "others"),
    [
        (("--gpus",), {H100, "Standard_NC6s_v3"}, {HB}),
        (("--gpu", "H200"), {"Standard_ND96isr_H200_v5"}, {H100, HB}),
        (("--infiniband",), {H100, HB, "Standard_HB60rs"}, {"Standard_NC6s_v3", "Standard_D2s_v5"}),
        (("--series", "nd-h100_V5"), {H100}, {HB, "Standard_ND96isr_H200_v5"}),
        (("--profile",), {H100, HB}, {"Standard_NC6s_v3"}),
        (("--gpus", "--max-price", "1"), {"Standard_NC4as_T4_v3"}, {H100, "Standard_D2s_v5"}),
    ],
)
def test_filters(filters: tuple[str, ...], some: set[str], others: set[str]) -> None:
    found = set(names(*filters))
    assert some <= found
    assert not others & found


def test_a_size_without_a_price_is_left_out_of_a_limit_and_that_is_said() -> None:
    done = hpcai("vm", "list", "--series", "ND-GB300", "--max-price", "500")
    assert done.stdout == ""
    assert done.stderr == (
        "Left out, since no price is known: Standard_ND128isr_GB300_v6, Standard_ND128isrG5_GB300_v6.\n"
        "No VM size in the catalog fits.\n"
    )


def test_nothing_that_fits_is_no_error() -> None:
    done = hpcai("vm", "list", "--gpu", "nothing-like-it", "-o", "json")
    assert (done.exit_code, json.loads(done.stdout)["vm_sizes"]) == (0, [])
    assert done.stderr == "No VM size in the catalog fits.\n"


def test_an_unknown_series_is_not_found_with_the_nearest() -> None:
    with pytest.raises(
        NotFoundError, match=r"no series 'HBv9' in the catalog\.\nSeries: .*\nDid you mean 'HBv"
    ):
        hpcai("vm", "list", "--series", "HBv9")


@pytest.mark.parametrize("price", ["-1", "nan", "cheap"])
def test_a_price_that_is_none(price: str) -> None:
    assert hpcai("vm", "list", "--max-price", price).exit_code == 2


def test_one_size_in_full_with_numbered_sources() -> None:
    done = hpcai("vm", "show", "nd96isr_h100_v5")
    lines = done.stdout.splitlines()
    assert lines[0] == H100
    [spot] = [line for line in lines if line.startswith("spot ")]
    assert spot.split() == ["spot", "-", "unknown"]
    [price] = [line for line in lines if line.startswith("price.eastus.spot")]
    assert price.endswith("unknown, at most 98.32")
    [figure] = [line for line in lines if line.startswith("profile.env.NCCL_TOPO_FILE")]
    number = figure.split()[1]
    [source] = [line for line in lines if line.split()[:1] == [number] and "hopper.conf" in line]
    assert source.endswith("2026-04-22)")


def test_one_size_in_full_as_json_and_csv() -> None:
    content = json.loads(hpcai("vm", "show", H100, "-o", "json").stdout)
    assert content["figures"]["vcpus"]["value"] == 96
    assert "ndh100v5-series" in content["figures"]["vcpus"]["source"]
    assert content["figures"]["spot"] == {"value": None, "source": None}
    assert content["profile"]["ntasks_per_node"]["value"] == 8
    assert content["health"]["allreduce_gb_per_s"]["value"] == 460
    assert content["images"][0]["urn"] == "microsoft-dsvm:ubuntu-hpc:2404:latest"
    assert content["prices"][0]["region"] == "eastus"
    rows = list(csv.DictReader(io.StringIO(hpcai("vm", "show", H100, "-o", "csv").stdout)))
    assert rows[0] == {"figure": "size", "value": H100, "source": ""}
    assert {row["value"] for row in rows if row["figure"] == "spot"} == {"unknown"}
    assert hpcai("vm", "show", H100, "-q").stdout == f"{H100}\n"


@pytest.mark.parametrize("name", vm_sizes())
def test_every_size_can_be_shown(name: str) -> None:
    assert hpcai("vm", "show", name).stdout.startswith(f"{name}\n")


def test_what_is_not_known_of_a_size_is_said() -> None:
    done = hpcai("vm", "show", "nd24rs")
    told = dict(
        line.split(maxsplit=2)[::2]
        for line in done.stdout.splitlines()
        if line.startswith(("prof", "heal", "price", "imag"))
    )
    assert (told["profile"], told["health"], told["images"]) == ("none", "unknown", "unknown")
    assert told["price.any.on_demand_usd_per_h"] == "unknown"
    assert done.stderr == "Standard_ND24rs has retired on 2023-09-06: Azure starts no new ones.\n"
    assert json.loads(hpcai("vm", "show", "nd24rs", "-o", "json").stdout)["profile"] is None


@pytest.mark.parametrize(
    "words", [("vm", "show", "HB176rs"), ("vm", "prices", "HB176rs"), ("diff", HB, "HB176rs")]
)
def test_an_unknown_size_is_not_found_with_the_nearest(words: tuple[str, ...]) -> None:
    with pytest.raises(
        NotFoundError, match=r"no VM size 'HB176rs' in the catalog\.\nDid you mean 'Standard_H"
    ):
        hpcai(*words)


def test_a_wrong_file_of_sizes_ends_every_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.csv").write_text("vm_size,vcpus\nx,many\n")
    monkeypatch.setenv("HPCAI_VM_SIZES", str(tmp_path / "own.csv"))
    for words in (("vm", "list"), ("vm", "show", HB), ("vm", "prices"), ("diff", HB, H100)):
        with pytest.raises(SpecError, match=r"own\.csv:2: x: vcpus: got 'many'; a whole number from 1"):
            hpcai(*words)


def test_the_tables_price_has_its_region_and_date() -> None:
    done = hpcai("vm", "prices", "hb176rs_v4", "nd24rs")
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["SIZE", "REGION", "ON_DEMAND", "SPOT", "RESERVED_1_YEAR", "RESERVED_3_YEARS", "DATE"],
        [HB, "eastus", "7.20", "unknown,", "at", "most", "7.20", "-", "-", "2026-06-18"],
        ["Standard_ND24rs", *"------"],
    ]
    assert done.stderr == (
        "US dollars per hour, Linux, prices of 2026-06-18. --refresh asks Azure for today's.\n"
    )
    assert hpcai("vm", "prices", HB, "nd24rs", "-q").stdout == f"{HB}\n"


def test_no_price_in_a_region_says_how_to_ask_for_it() -> None:
    done = hpcai("vm", "prices", HB, "--region", "westeurope")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == (
        "No price is known in 'westeurope'.\n"
        "  hpcai vm prices Standard_HB176rs_v4 --region westeurope --refresh\n"
    )
    assert rows_of("vm", "prices", HB, "--region", "westeurope") == []


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    items = [
        meter(HB, "westeurope", 9.5),
        meter(HB, "westeurope", 3.25, skuName="HB176rs v4 Spot", meterName="HB176rs v4 Spot"),
        meter(HB, "eastus", 6.5),
        meter(H100, "westeurope", 120.0),
    ]
    with serving(StandIn(items)) as stand_in:
        monkeypatch.setenv("HPCAI_PRICES_URL", stand_in.address)
        yield stand_in


def test_refreshed_prices_are_kept_for_later_calls_and_other_commands(azure: StandIn, tmp_path: Path) -> None:
    [row] = rows_of("vm", "prices", HB, "--region", "WestEurope", "--refresh")
    assert (row["on_demand_usd_per_h"], row["spot_usd_per_h"], row["spot_at_most_usd_per_h"]) == (
        9.5,
        3.25,
        3.25,
    )
    assert azure.address in row["source"]
    assert len(azure.questions) == 1
    both = rows_of("vm", "prices", HB)
    assert [(each["region"], each["on_demand_usd_per_h"]) for each in both] == [
        ("eastus", 7.2),
        ("westeurope", 9.5),
    ]
    hpcai("vm", "prices", "--region", "eastus", "--refresh")
    assert [each["on_demand_usd_per_h"] for each in rows_of("vm", "prices", HB)] == [6.5, 9.5]
    [listed] = [each for each in rows_of("vm", "list") if each["size"] == HB]
    assert (listed["usd_per_h"], listed["region"]) == (6.5, "eastus")
    assert len(azure.questions) == 2
    assert json.loads((tmp_path / "cache/hpcai/prices.json").read_text())["schema_version"] == 1


def test_a_size_in_all_regions_is_one_question(azure: StandIn) -> None:
    found = rows_of("vm", "prices", HB, "--refresh")
    assert [each["region"] for each in found] == ["eastus", "westeurope"]
    assert azure.questions == [f"serviceName eq 'Virtual Machines' and armSkuName eq '{HB}'"]


def test_a_region_that_azure_does_not_know(azure: StandIn) -> None:
    with pytest.raises(
        NotFoundError, match=r"nothing for any size .* in the region 'eastu'\.\nDid you mean 'eastus'"
    ):
        hpcai("vm", "prices", "--region", "eastu", "--refresh")


@pytest.mark.parametrize(("answer", "error"), [((404, {}, b""), ToolError), ((200, {}, b"oops"), ToolError)])
def test_a_price_list_that_fails_leaves_what_was_known(
    azure: StandIn, answer: tuple[int, dict[str, str], bytes], error: type[Exception]
) -> None:
    hpcai("vm", "prices", HB, "--refresh")
    before = rows_of("vm", "prices", HB)
    azure.failures = [answer]
    with pytest.raises(error):
        hpcai("vm", "prices", HB, "--refresh")
    assert rows_of("vm", "prices", HB) == before


def test_a_price_list_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpcai.catalog.retail._ATTEMPTS_WITHOUT_ANSWER", 1)
    monkeypatch.setenv("HPCAI_PRICES_URL", "http://127.0.0.1:9/")
    with pytest.raises(UnreachableError, match="Without --refresh the prices known so far are told"):
        hpcai("vm", "prices", HB, "--refresh")


def test_a_price_list_without_encryption_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCAI_PRICES_URL", "http://prices.example/")
    with pytest.raises(UsageError, match="It is an https address, or http on this machine"):
        hpcai("vm", "prices", HB, "--refresh")


def test_a_refresh_of_everything_is_refused() -> None:
    done = hpcai("vm", "prices", "--refresh")
    assert (done.exit_code, "Give SIZEs or --region" in done.stderr) == (2, True)


def test_damaged_prices_are_told_and_the_tables_are_used(tmp_path: Path) -> None:
    (tmp_path / "cache/hpcai").mkdir(parents=True)
    (tmp_path / "cache/hpcai/prices.json").write_text("{")
    done = hpcai("vm", "list", "--series", "HBv4")
    assert "7.20" in done.stdout
    assert "are damaged" in done.stderr
    assert "hpcai vm prices --refresh --region eastus" in done.stderr


def test_only_what_differs_is_told_with_status_10() -> None:
    done = hpcai("diff", "hb176rs_v4", "hx176rs")
    assert done.exit_code == 10
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["FIGURE", HB.upper(), "STANDARD_HX176RS"]
    assert ["memory_gib", "768", "1408"] in lines
    assert ["price_usd_per_h", "7.2", "8.64"] in lines
    assert not [line for line in lines if line[0] in ("vcpus", "infiniband_rails")]
    assert rows_of("diff", "hb176rs_v4", "hx176rs")[1] == {"figure": "memory_gib", "a": 768, "b": 1408}
    assert hpcai("diff", "hb176rs_v4", "hx176rs", "-q").stdout.split()[:2] == ["series", "memory_gib"]


def test_what_is_unknown_and_what_a_profile_lacks_are_two_things() -> None:
    text = hpcai("diff", "nd96isr_h100_v5", "nd96is_h100_v5").stdout
    lines = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert lines["memory_gib"] == ["1900", "unknown"]
    assert lines["profile.env.UCX_TLS"] == ["rc", "-"]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ("HB176RS_V4", "Both are Standard_HB176rs_v4.\n"),
        ("twin", "Nothing that is known differs between Standard_HB176rs_v4 and twin.\n"),
    ],
)
def test_nothing_that_differs_is_status_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str, words: str
) -> None:
    if other == "twin":
        monkeypatch.setattr("hpcai.cli.vm_facts.differing", lambda *_: [])
        (tmp_path / "own.csv").write_text("vm_size\ntwin\n")
        monkeypatch.setenv("HPCAI_VM_SIZES", str(tmp_path / "own.csv"))
    done = hpcai("diff", HB, other)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", words)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("Standard_HX176-14", ["Standard_HX176-144rs"]),
        ("standard_hx176-14", ["Standard_HX176-144rs"]),
        ("hx176-14", ["hx176-144rs"]),
        ("nothing", []),
    ],
)
def test_names_are_completed(typed: str, expected: list[str]) -> None:
    found = complete_vm_size(click.Context(diff), diff.params[0], typed)
    assert [item.value for item in found] == expected
    for item in found:
        assert hpcai("vm", "show", item.value, "-q").exit_code == 0


def test_a_wrong_file_completes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPCAI_VM_SIZES", str(tmp_path / "missing.csv"))
    assert complete_vm_size(click.Context(diff), diff.params[0], "HB") == []


@pytest.mark.programs
@pytest.mark.parametrize(
    "words", ["vm show hb176rs_v4", "vm list", "vm prices hb176rs_v4", "diff hb176rs_v4 hc44rs"]
)
def test_the_catalog_is_told_without_heavy_libraries(words: str) -> None:
    code = (
        f"import sys; sys.argv = ['hpcai', *{words.split()}]\n"
        "from hpcai.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sorted({m.split('.')[0] for m in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.splitlines()[-1].split())
    assert not loaded & {"pydantic", "yaml", "jinja2", "numpy", "ssl", "http", "rich", "subprocess"}
