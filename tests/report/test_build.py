"""The report of every kind of run: complete, self-contained, the same again, clear where data is missing."""

from __future__ import annotations

import html.parser
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

import pytest

from hpcai.errors import StageError, UsageError
from hpcai.report.build import Report, build_report, default_folder, throughput_points
from hpcai.report.collect import collect
from hpcai.report.notes import what_the_figures_are
from hpcai.runs import files, jsonl
from hpcai.runs.find import list_runs
from hpcai.runs.record import Run, create_run
from tests.report import samples

# Elements that have no end tag.
VOID = frozenset({"meta", "link", "br", "hr", "img", "input", "rect"})


class Structure(html.parser.HTMLParser):
    """Collects what a page is made of, and whether every element is closed where it should be."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.mistakes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.mistakes.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        if "style" not in self.open and "svg" not in self.open:
            self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for other, value in self.attributes if other == name]


def structure(report: Report) -> Structure:
    found = Structure()
    found.feed(report.html_path.read_text())
    return found


def page_text(report: Report) -> str:
    return " ".join(" ".join(structure(report).text).replace("\N{NO-BREAK SPACE}", " ").split())


def markdown(report: Report) -> str:
    return report.markdown_path.read_text().replace("\N{NO-BREAK SPACE}", " ")


@pytest.fixture(scope="module")
def pair_of_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    root = tmp_path_factory.mktemp("runs of a person")
    return [
        samples.trained_run(root, "digits-2node-20261118-110640", 2, 262.0),
        samples.trained_run(root, "digits-1node-20261118-111640", 1, 171.0, begin=samples.BEGIN + 600),
    ]


@pytest.fixture(scope="module")
def pair(pair_of_runs: list[Run], tmp_path_factory: pytest.TempPathFactory) -> Report:
    return build_report(pair_of_runs, tmp_path_factory.mktemp("report"))


@pytest.mark.parametrize(
    "sentence",
    [
        "digits-2node on 2 nodes: completed, held-out top-1 97.85 %.",
        "2 nodes gave 1.53 times the images/s of 1 node: 76.6 % of ideal (range ",
        "digits-2node: nodes n1 and n2 are one machine (bench-machine) and share its cores",
        "What is left: 529 on 1 node and 264 on 2 nodes.",
        "Repeats here: 1 run on 1 node and 1 run on 2 nodes. A spread within a run is",
        "the first 10 %, at least one, are left out as warm-up",
        "HPCAI_RUNS_ROOT='",
    ],
)
def test_page_and_markdown_say_the_same(pair: Report, sentence: str) -> None:
    assert sentence in page_text(pair)
    assert sentence in markdown(pair)


def test_one_run_per_side_has_no_95_percent_interval(pair: Report) -> None:
    for text in (page_text(pair), markdown(pair)):
        assert "Spread within the run" in text
        assert "Range of efficiency" in text
        assert "95 % interval" not in text
    assert re.search(r"spread within the run [\d.]+ to [\d.]+", page_text(pair))


def test_repeats_have_a_95_percent_interval(runs_root: Path, tmp_path: Path) -> None:
    runs = [
        samples.trained_run(runs_root, f"digits-{nodes}node-20261118-11064{repeat}", nodes, speed + repeat)
        for nodes, speed in ((1, 171.0), (2, 262.0))
        for repeat in range(2)
    ]
    text = page_text(build_report(runs, tmp_path))
    assert "95 % interval of efficiency" in text
    assert re.search(r"of ideal \(95 % interval [\d.]+ % to [\d.]+ %\)", text)
    assert "geometric mean of their medians" in text
    assert "within the run" not in text


def test_the_pair_has_every_section_and_figure(pair: Report) -> None:
    sections = re.findall(r"^## (.*)$", markdown(pair), flags=re.MULTILINE)
    assert sections == [
        "Learning curves",
        "Throughput",
        "Where the time went",
        "Where the bytes came from",
        "Attempts and how they ended",
        "Environment",
        "Spec and script",
        "Run it again",
        "What these figures are, and are not",
    ]
    names = ["loss", "top1", "images-per-s", "throughput", "waterfall"]
    assert [path.stem for path in pair.figure_paths] == names
    assert re.findall(r"^!\[.*\]\((.*)\)$", markdown(pair), flags=re.MULTILINE) == [
        f"figures/{name}.svg" for name in ("loss", "top1", "throughput", "images-per-s", "waterfall")
    ]
    for path in pair.figure_paths:
        assert ET.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
    assert structure(pair).tags["svg"] == len(names)


def test_the_bytes_are_told_per_node(pair: Report) -> None:
    row = "| digits-2node | 0 | n2 | digits | 9f2c41d07be1 | 2.83 MB | 2.83 MB | 0 B | 0.68 s | 4.16 |"
    assert row in markdown(pair)


def test_the_page_needs_nothing_outside_itself(pair: Report) -> None:
    found = structure(pair)
    assert found.tags["script"] == found.tags["link"] == found.tags["img"] == found.tags["image"] == 0
    assert found.values("src") == []
    identifiers = set(found.values("id"))
    for target in found.values("xlink:href") + found.values("href"):
        assert target.removeprefix("#") in identifiers
    page = pair.html_path.read_text()
    for target in re.findall(r"url\(([^)]*)\)", page):
        assert target.removeprefix("#") in identifiers
    assert "@import" not in page


def test_the_page_is_well_formed(pair: Report) -> None:
    found = structure(pair)
    assert (found.mistakes, found.open) == ([], [])
    assert [name for name, count in Counter(found.values("id")).items() if count > 1] == []


def test_every_colour_of_a_figure_follows_the_theme(pair: Report) -> None:
    for svg in re.findall(r"<svg .*?</svg>", pair.html_path.read_text(), flags=re.DOTALL):
        assert re.findall(r"#[0-9a-f]{6}\b", svg) == []


def test_the_same_records_give_the_same_bytes(pair: Report, pair_of_runs: list[Run], tmp_path: Path) -> None:
    again = build_report(pair_of_runs, tmp_path)
    assert again.html_path.read_bytes() == pair.html_path.read_bytes()
    assert again.markdown_path.read_bytes() == pair.markdown_path.read_bytes()
    for one, other in zip(again.figure_paths, pair.figure_paths, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_tables_of_the_markdown_have_even_rows(pair: Report, resumed: Run, tmp_path: Path) -> None:
    both = [pair, build_report([resumed], tmp_path / "other")]
    for text in map(markdown, both):
        for table in re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_a_resumed_run_tells_what_the_failure_cost(resumed: Run, tmp_path: Path) -> None:
    report = build_report([resumed], tmp_path / "report")
    text = page_text(report)
    assert "completed after 1 attempt that did not finish" in text
    assert "digits-resumed: failed attempts cost 35.5 s." in text
    assert "A resumed attempt repeats steps" in text
    assert "node failure" in markdown(report)
    assert "are one machine" not in text
    assert "Efficiency" not in text


def test_a_plain_job_says_what_there_is_not(plain: Run, tmp_path: Path) -> None:
    report = build_report([plain], tmp_path / "report")
    for text in (page_text(report), markdown(report)):
        assert "solver on 1 node: failed (exit status 3)." in text
        assert "These runs wrote neither loss nor top-1." in text
        assert "These runs wrote no images/s." in text
        assert "No data set was staged by hpcai." in text
        assert "No environment was recorded." in text
        assert "There are no figures to qualify." in text
    assert [path.stem for path in report.figure_paths] == ["waterfall"]


def test_a_failed_run_says_why(runs_root: Path, tmp_path: Path) -> None:
    run = samples.plain_run(runs_root, "solver-20261118-113640", exit_status=137)
    cancelled = "slurmstepd: error: *** STEP 14.0 ON n1 CANCELLED AT 2026-11-18T11:07:44 ***\n"
    reason = "\x1b[31mOSError: <no> room on device\x1b[0m\n"
    lines = "".join(f"line {number}\n" for number in range(40))
    run.paths.log(0, 0).parent.mkdir(parents=True)
    for rank, text in ((0, cancelled), (1, lines + reason), (2, lines + reason)):
        run.paths.log(0, rank, "err").write_text(text)
    run.paths.batch_log.write_text("srun: error: n1: task 1: Killed\n")
    report = build_report([run], tmp_path / "report")
    for text in (page_text(report), markdown(report)):
        assert "failed (exit status 137, SIGKILL)" in text
        assert text.count("OSError: <no> room on device") == 1
        assert "logs/0/1.err" in text
        assert "line 39" in text
        assert "line 20" not in text
        assert "logs/0/0.err" not in text
        assert "srun: error: n1: task 1: Killed" in text
    assert structure(report).mistakes == []


def test_a_run_that_completed_has_no_last_words(one_node: Run, tmp_path: Path) -> None:
    one_node.paths.batch_log.write_text("a warning\n")
    assert "Last lines" not in page_text(build_report([one_node], tmp_path / "report"))


def test_a_run_that_has_not_started(runs_root: Path, tmp_path: Path) -> None:
    run = create_run(runs_root, "demo", "digits", spec_text="a: 1\n", resolved={"nodes": 4}, script="true\n")
    report = build_report([run], tmp_path / "report")
    assert report.figure_paths == ()
    assert "digits on 4 nodes: not started yet." in page_text(report)
    assert "No attempt of these runs has started" in page_text(report)


def test_a_damaged_record_costs_only_what_is_damaged(damaged: Run, tmp_path: Path) -> None:
    report = build_report([damaged], tmp_path / "report")
    text = page_text(report)
    assert "environment.json' is damaged: it is not JSON" in text
    assert "digits-damaged on 2 nodes: completed, held-out top-1 97.85 %." in text
    assert "262." in text
    assert "nan" not in text.split("Spec and script")[0]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("attempts.jsonl", {"attempt": 1, "job_id": 12, "node_list": "n1", "event": "start", "time": 1e18}),
        ("attempts.jsonl", {"attempt": 0, "job_id": 12, "event": "end", "exit_status": 0, "time": -1e18}),
        ("ends.jsonl", {"attempt": 1, "state": "FAILED", "cause": "failed", "end": 1e300}),
        ("events.jsonl", {"event": "submitted", "job_id": 12, "time": 10**400}),
        ("metrics/rank-0.jsonl", {"name": "loss", "value": 1e308, "step": 9, "time": samples.BEGIN + 20}),
        ("metrics/rank-0.jsonl", {"name": "loss", "value": 10**400, "step": 9, "time": samples.BEGIN + 20}),
        ("metrics/rank-0.jsonl", {"name": "top1", "value": -1e308, "step": 9, "time": samples.BEGIN + 20}),
        ("metrics/rank-0.jsonl", {"name": "images_per_s", "value": 1e308, "step": 9, "time": 1e300}),
    ],
)
def test_one_absurd_line_costs_no_report(
    two_nodes: Run, tmp_path: Path, file: str, line: dict[str, object]
) -> None:
    with (two_nodes.path / file).open("a", encoding="utf-8") as record:
        record.write(json.dumps(line) + "\n")
    text = page_text(build_report([two_nodes], tmp_path / "report"))
    assert "held-out top-1 97.85 %" in text
    assert "e+308" not in text


def test_a_base_of_no_images_per_s_has_no_scaling(runs_root: Path, tmp_path: Path) -> None:
    idle = samples.evicted_run(runs_root, "idle-20261118-110640", (600,), window=10)
    files.write_json(idle.paths.resolved, {"nodes": 1})
    for path, old, new in ((idle.paths.metrics(), "200.0", "0.0"), (idle.paths.attempts, "n[1-2]", "n1")):
        path.write_text(path.read_text().replace(old, new))
    busy = samples.evicted_run(runs_root, "busy-20261118-110641", (600,), window=10)
    text = markdown(build_report([idle, busy], tmp_path))
    assert "| 1 | idle | 0 |" in text
    assert "| 2 | busy | 200.0 |" in text
    assert "Efficiency" not in text


def test_what_cannot_be_read_is_told_first(plain: Run, tmp_path: Path) -> None:
    plain.paths.resolved.write_text("{")
    report = build_report([plain], tmp_path / "report")
    assert len(report.problems) == 1
    for text in (page_text(report), markdown(report)):
        assert ").." not in text
        told = text.index("resolved.json' is damaged: it is not JSON")
        assert told < text.index("Learning curves")
        assert text.count("resolved.json' is damaged") == 1


def test_an_attempt_whose_start_is_lost_has_started(plain: Run, tmp_path: Path) -> None:
    plain.paths.attempts.unlink()
    report = build_report([plain], tmp_path / "report")
    for text in (page_text(report), markdown(report)):
        assert "The records do not hold when these attempts started" in text
        assert "No attempt of these runs has started" not in text


def test_files_that_are_missing_are_named(plain: Run, tmp_path: Path) -> None:
    plain.paths.spec.unlink()
    assert "spec.yaml' cannot be read: No such file" in page_text(build_report([plain], tmp_path / "report"))


def test_what_a_person_wrote_cannot_break_out(plain: Run, tmp_path: Path) -> None:
    hostile = 'name: "</pre><script>alert(1)</script>"\n```\n# not a heading\n```\n'
    files.write_text(plain.paths.spec, hostile)
    files.write_json(plain.paths.environment, {"image": "<b>|x|</b>", "note": "a_b*c*"})
    report = build_report([plain], tmp_path / "report")
    found = structure(report)
    assert (found.mistakes, found.tags["script"], found.tags["b"]) == ([], 0, 0)
    assert hostile.strip().splitlines()[0] in "".join(found.text)
    assert "not a heading" not in markdown(report)
    assert r"| image | \<b>\|x\|\</b> |" in markdown(report)
    assert r"| note | a\_b\*c\* |" in markdown(report)


def test_environment_variables_stay_out(plain: Run, tmp_path: Path) -> None:
    variables = {"AZURE_STORAGE_KEY": "planted-secret"}
    value = {"python": "3.11", "env": variables, "host": {"environ": variables, "cores": 2}}
    files.write_json(plain.paths.environment, value)
    report = build_report([plain], tmp_path / "report")
    for path in (report.html_path, report.markdown_path):
        assert "planted-secret" not in path.read_text()
        assert "cores 2" in path.read_text()


def test_a_base_of_one_process_has_no_communicator(two_nodes: Run, one_node: Run, tmp_path: Path) -> None:
    def notes() -> str:
        facts = collect([two_nodes, one_node])
        return " ".join(what_the_figures_are(facts, throughput_points(facts)))

    says = "on 1 node is one process without a communicator"
    assert says not in notes()
    for run, comm in ((one_node, "single"), (two_nodes, "horovod")):
        files.write_json(run.paths.environment, {**run.environment(), "comm": comm})
    assert says in notes()
    files.write_json(two_nodes.paths.environment, {**two_nodes.environment(), "comm": "single"})
    assert says not in notes()


def test_epochs_stand_in_table_and_cards(two_nodes: Run, runs_root: Path, tmp_path: Path) -> None:
    short = windows_and_evaluations(runs_root)
    for name, value, step in (("top1", 0.5, 24), ("epoch", 2.5, 24), ("epochs", 14.0, 0)):
        line = {"name": name, "value": value, "step": step, "time": samples.BEGIN + 30}
        jsonl.append(short.paths.metrics(), line)
    report = build_report([two_nodes, short], tmp_path)
    assert "| digits-2node | 2 | 12 | completed | 14 | 97.85 % |" in markdown(report)
    assert "| mine | 1 | – | completed | 2.5 of 14 | 50.00 % |" in markdown(report)
    assert "97.85 % 2 nodes, 14 epochs" in page_text(report)
    assert "50.00 % 1 node, 2.5 of 14 epochs" in page_text(report)


def test_runs_of_one_name_are_numbered_in_the_order_of_their_times(runs_root: Path, tmp_path: Path) -> None:
    names = ["digits-20261118-113809", "digits-1-node-20261118-113521", "digits-20261118-111521"]
    runs = [samples.plain_run(runs_root, name) for name in names]
    facts = collect(runs)
    assert [run.label for run in facts] == ["digits #2", "digits-1-node", "digits #1"]
    text = markdown(build_report(runs, tmp_path / "report"))
    assert "# digits #2, digits-1-node and digits #1\n" in text
    assert re.findall(r"^\| (digits\S* ?\S*) \|.* demo/(\S+) \|$", text, flags=re.MULTILINE) == [
        (run.label, name) for run, name in zip(facts, names, strict=True)
    ]


def test_the_markdown_links_to_specs_and_scripts(plain: Run) -> None:
    report = build_report([plain], default_folder([plain]))
    links = re.findall(r"\]\(<(.*?)>\)", markdown(report))
    found = [(report.markdown_path.parent / link).resolve() for link in links]
    assert found == [plain.paths.spec.resolve(), plain.paths.script.resolve()]
    assert "srun --mpi=pmix" not in markdown(report)
    assert "srun --mpi=pmix" in page_text(report)


def test_a_narrow_page_stacks_the_cells_under_the_names_of_their_columns(pair: Report) -> None:
    columns = structure(pair).values("data-column")
    assert columns.count("Images/s") == 2
    assert columns.count("Efficiency") == 2


def test_one_number_of_nodes_has_no_bars(two_nodes: Run, tmp_path: Path) -> None:
    names = [path.stem for path in build_report([two_nodes], tmp_path).figure_paths]
    assert names == ["loss", "top1", "images-per-s", "waterfall"]


def test_runs_that_differ_in_more_than_nodes_are_told_apart(two_nodes: Run, one_node: Run) -> None:
    resolved = one_node.resolved()
    files.write_json(one_node.paths.resolved, {**resolved, "command": "another", "cpus_per_task": 2})
    facts = collect([two_nodes, one_node])
    text = what_the_figures_are(facts, throughput_points(facts))
    assert "The compared runs differ in more than nodes: cpus_per_task, command (see their specs)." in text


def test_how_busy_the_gpus_were_is_told_where_nodes_noted_it(two_nodes: Run, one_node: Run) -> None:
    def told() -> list[str]:
        facts = collect([two_nodes, one_node])
        return [line for line in what_the_figures_are(facts, throughput_points(facts)) if "busy" in line]

    assert told() == []
    two_nodes.paths.samples_dir.mkdir()
    for minute in range(31):
        line = {"time": samples.BEGIN + 60 * minute, "attempt": 0, "gpu_busy_percent": [90.0, 94.0]}
        jsonl.append(two_nodes.paths.samples("n1"), line)
    label = collect([two_nodes, one_node])[0].label
    sentence = "its GPUs were 92 % busy, the median of 2 over the last 30 min that their nodes noted."
    assert told() == [f"{label}: {sentence}"]


def test_a_run_that_is_given_twice_is_shown_once(plain: Run, tmp_path: Path) -> None:
    assert page_text(build_report([plain, plain], tmp_path / "report")).count("solver on 1 node") == 1


def test_no_runs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one run"):
        build_report([], tmp_path)


def test_a_folder_that_cannot_be_made_is_an_error(plain: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StageError, match=r"cannot be made: Not a directory\.\nhpcai report ID -d DIR"):
        build_report([plain], tmp_path / "file" / "report")


def test_a_report_beside_the_runs_is_no_run(two_nodes: Run, plain: Run, runs_root: Path) -> None:
    folder = default_folder([two_nodes, plain])
    assert folder == runs_root / "demo" / "reports" / f"{two_nodes.name}+{plain.name}"
    build_report([plain], folder)
    assert {run.name for run in list_runs(runs_root)} == {two_nodes.name, plain.name}


def test_reports_of_many_runs_have_short_names_of_their_own(tmp_path: Path) -> None:
    runs = [Run(tmp_path / "demo" / f"digits-{number}-20261118-110640") for number in range(20)]
    names = {default_folder(runs[:count]).name for count in range(4, 20)}
    assert len(names) == 16
    assert max(map(len, names)) <= 120


def test_runs_of_other_experiments_have_a_report_of_their_own(tmp_path: Path) -> None:
    first = Run(tmp_path / "A" / "x-20261118-110640")
    seconds = [Run(tmp_path / experiment / "y-20261118-110640") for experiment in "ABC"]
    assert len({default_folder([first, second]) for second in seconds}) == 3


def test_a_report_of_fewer_runs_leaves_no_figure_of_the_older_one(
    pair_of_runs: list[Run], tmp_path: Path
) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.svg").touch()
    build_report(pair_of_runs, tmp_path)
    report = build_report(pair_of_runs[:1], tmp_path)
    left = {path for path in (tmp_path / "figures").iterdir() if path.name != "mine.svg"}
    assert left == set(report.figure_paths)
    assert (tmp_path / "figures" / "mine.svg").exists()


def test_the_rest_of_an_epoch_does_not_count_as_much_as_a_window(runs_root: Path, tmp_path: Path) -> None:
    run = create_run(runs_root, "demo", "mine", spec_text="a: 1\n", resolved={"nodes": 1}, script="true\n")
    for epoch in range(6):
        for step in (10, 20, 30, 40, 42):
            value = 100.0 if step % 10 == 0 else 500.0
            now = {"step": epoch * 42 + step, "time": samples.BEGIN + epoch * 42 + step}
            jsonl.append(run.paths.metrics(), {"name": "images_per_s", "value": value, **now})
    facts = collect([run])
    assert set(facts[0].speeds[0]) == {100.0}
    assert facts[0].short_windows == 6
    assert "such as the rest of an epoch, are left out of images/s before that: 6 here." in page_text(
        build_report([run], tmp_path)
    )


@pytest.mark.parametrize("ends", [(600,), (580, 600), (300, 450, 600), (100, 300, 500, 600)])
def test_a_resumed_attempt_leaves_no_window_out(runs_root: Path, ends: tuple[int, ...]) -> None:
    run = samples.evicted_run(runs_root, "digits-20261118-110640", ends, window=10)
    (facts,) = collect([run])
    assert (sum(map(len, facts.speeds)), facts.short_windows) == (60, 0)
    assert facts.images_per_s == 200.0


def test_metrics_are_read_once(resumed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read = jsonl.read
    paths: list[Path] = []

    def counted(path: Path) -> list[jsonl.Record]:
        paths.append(path)
        return read(path)

    monkeypatch.setattr(jsonl, "read", counted)
    collect([resumed])
    assert paths.count(resumed.paths.metrics()) == 1


def windows_and_evaluations(runs_root: Path) -> Run:
    """Two epochs of three windows, each of 4 steps of 32 images in 2 s; after each an evaluation of 3 s."""
    run = create_run(runs_root, "demo", "mine", spec_text="a: 1\n", resolved={"nodes": 1}, script="true\n")
    start, now = samples.BEGIN, samples.BEGIN + 5.0

    def metric(name: str, value: float, step: int) -> None:
        jsonl.append(run.paths.metrics(), {"name": name, "value": value, "step": step, "time": now})

    jsonl.append(run.paths.attempts, {"attempt": 0, "event": "start", "node_list": "n1", "time": start})
    metric("mark/first_step", 0, 1)
    for window in range(1, 7):
        now += 2.0
        metric("images_per_s", 64.0, 4 * window)
        metric("data_wait_s", 0.125, 4 * window)
        if window == 6:
            metric("mark/trained", 0, 24)
        if window % 3 == 0:
            metric("mark/evaluating", 0, 4 * window)
            now += 3.0
            metric("mark/evaluated", 0, 4 * window)
    jsonl.append(run.paths.attempts, {"attempt": 0, "event": "end", "exit_status": 0, "time": start + 32.0})
    return run


def test_images_per_s_end_to_end_count_everything_that_took_time(runs_root: Path, tmp_path: Path) -> None:
    run = windows_and_evaluations(runs_root)
    # 23 steps of 32 images after the first sign, in 32 s on the node.
    assert collect([run])[0].end_to_end_images_per_s == pytest.approx(23 * 32 / 32)
    text = markdown(build_report([run], tmp_path))
    assert "| Images/s | Images/s end to end |" in text
    assert "| 64.00 | 23.00 |" in text
    assert "staging, start-up, evaluating, saving and repeated steps count as time" in text


def test_the_waterfall_says_what_training_waited_for(runs_root: Path, tmp_path: Path) -> None:
    text = markdown(build_report([windows_and_evaluations(runs_root)], tmp_path))
    assert "| training (s) | of which evaluating (s) | of which waiting for data (s) |" in text
    assert "| 15.0 | 3.0 | 0.8 |" in text


def test_metrics_of_any_job_without_attempts_are_drawn(runs_root: Path, tmp_path: Path) -> None:
    run = create_run(runs_root, "demo", "mine", spec_text="a: 1\n", resolved={"nodes": 1}, script="true\n")
    for step in range(30):
        record = {
            "name": "images_per_s",
            "value": 50.0 + step % 3,
            "step": step,
            "time": samples.BEGIN + step,
        }
        jsonl.append(run.paths.metrics(), record)
    report = build_report([run], tmp_path / "report")
    assert [path.stem for path in report.figure_paths] == ["images-per-s"]
