"""That the benchmarks work: not how fast anything is, which a test can't say.

Each client that is installed makes each experiment, at the smallest point that makes sense. (The
extra ``benchmarks`` has them all, the extra ``tests`` only some.)
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import require_program

pytest.importorskip("matplotlib", reason='the benchmarks need pip install -e ".[benchmarks]"')

from benchmarks import (
    __main__,
    crowd,
    granian_server,
    latency,
    nginx_server,
    plots,
    rounds,
    scale,
    worker,
)
from benchmarks.answers import body, check_upload
from benchmarks.clients import CLIENTS, UNIT
from benchmarks.experiment import Experiment
from benchmarks.experiments import EXPERIMENTS
from benchmarks.programs import ask
from benchmarks.report import circumstances, write
from benchmarks.results import Record, Results, Series, spread
from benchmarks.rounds import Plan, Stage, Worker
from benchmarks.server import Server, serve
from benchmarks.targets import TARGETS, judge

SIZE = 100_000


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    require_program("nginx")
    with serve([SIZE]) as running:
        yield running


def record(client: str, cpu: float, round_: int = 0, at_once: int = 20) -> Record:
    return Record(round_, "cost", client, {"at_once": at_once}, {"n": 1, "cpu": cpu, "wall": cpu})


def cost(client: str, at_once: int = 20) -> Series:
    return Series("cost", client, {"at_once": at_once}, "cpu")


# ── The server ─────────────────────────────────────────────────────────────────────────────────


def port(url: str) -> int:
    return int(url.rpartition(":")[2])


def test_nginx_serves_and_reads_what_the_benchmarks_need(server: Server) -> None:
    assert server.name.startswith("nginx ")
    assert ask(port(server.http), "GET", "/2000") == body(2000)
    assert ask(port(server.http), "GET", f"/bytes/{SIZE}") == body(SIZE)
    check_upload(ask(port(server.http), "POST", "/upload", body(3_000_000)), 3_000_000)


def test_granian_does_so_where_there_is_no_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("granian", reason="needs granian, of the extra benchmarks")
    monkeypatch.setattr(nginx_server, "is_installed", lambda: False)
    with serve([SIZE]) as server:
        assert server.name.startswith("granian ")
        assert ask(port(server.http), "GET", f"/bytes/{SIZE}") == body(SIZE)
        check_upload(ask(port(server.http), "POST", "/upload", body(3_000_000)), 3_000_000)
        task = {"experiment": "transfer", "seconds": 0.01}
        point = {"way": "download", "over": "TLS", "size": SIZE}
        assert "values" in worker.perform("triopool", server, {**task, "point": point})


def test_a_proxy_leads_to_the_server_and_nowhere_else(server: Server) -> None:
    proxy = port(server.proxy)
    elsewhere = server.proxy.replace("127.0.0.1", "example.org")
    assert ask(proxy, "GET", f"{server.http}/2000") == body(2000)
    assert ask(proxy, "GET", f"{elsewhere}/2000") == b""
    assert ask(port(server.relay_http), "GET", "/2000") == body(2000)


def test_without_either_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (nginx_server, granian_server):
        monkeypatch.setattr(kind, "is_installed", lambda: False)
    with pytest.raises(RuntimeError, match="need nginx, or: pip install granian"), serve():
        pass


def test_an_upload_that_was_not_read_is_noticed() -> None:
    check_upload(b"10 110", 10)
    for answer in (b"10 9", b"9 110"):
        with pytest.raises(ValueError, match="the server read"):
            check_upload(answer, 10)


# ── The clients ────────────────────────────────────────────────────────────────────────────────

SMALLEST: dict[str, list[dict[str, Any]]] = {
    "latency": [{"requests": 200}],
    "cost": [{"at_once": 3}],
    "secure": [{"over": "TLS", "at_once": 3}],
    "crowd": [{"requests": 100}],
    "idle": [{"idle": 5}],
    "origins": [{"origins": 5}],
    "waiting": [{"waiting": 30}],
    "transfer": [
        {"way": way, "over": over, "size": SIZE}
        for way in ("download", "upload")
        for over in ("TCP", "TLS")
    ],
    "proxies": [{"over": over, "at_once": 2} for over in ("TCP", "TLS")],
}


@pytest.mark.parametrize("client", CLIENTS)
def test_each_client_makes_each_experiment(
    client: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not CLIENTS[client].is_installed():
        pytest.skip(f"needs {' and '.join(CLIENTS[client].packages)}")
    monkeypatch.setattr(scale, "_WAITING_LEAST", 60)
    monkeypatch.setattr(scale, "_BATCH", 10)  # several of them
    # Some clients cost fifty times as much with a hundred connections.
    monkeypatch.setattr(latency, "CONNECTIONS", 20)
    monkeypatch.setattr(crowd, "CONNECTIONS", 10)
    assert SMALLEST.keys() == EXPERIMENTS.keys()
    for stage in rounds.stages(list(EXPERIMENTS.values()), [client]):
        name = stage.experiment.name
        for point in SMALLEST[name]:
            task = {"experiment": name, "point": point, "seconds": 0.01}
            answer = worker.perform(client, server, task)
            assert "values" in answer, (name, point, answer)
            assert all(value for value in answer["values"].values())


def test_a_wrong_answer_is_an_error(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.loads.BODY", b"something else")
    task = {"experiment": "cost", "point": {"at_once": 2}, "seconds": 0.01}
    error = worker.perform("triopool", server, task)["error"]
    assert error.startswith("ValueError: the answer of http://127.0.0.1:")


# ── Turns ──────────────────────────────────────────────────────────────────────────────────────


def test_clients_take_turns_and_one_that_fails_stops_nobody(server: Server) -> None:
    def stage(name: str, *points: dict[str, Any]) -> Stage:
        return Stage(EXPERIMENTS[name], points, [UNIT, "triopool"])

    missing = {"way": "download", "over": "TCP", "size": 12345}
    stages = [stage("cost", {"at_once": 1}, {"at_once": 2}), stage("transfer", missing)]
    told: list[str] = []
    found = rounds.run(Plan(stages, rounds=2, seconds=0.01, limit=30), server, told.append)
    turns = [(r.round, r.client) for r in found if r.point == {"at_once": 1}]
    assert turns == [(0, UNIT), (0, "triopool"), (1, "triopool"), (1, UNIT)]
    assert all((r.values is None) == (r.experiment == "transfer") for r in found)
    assert {r.error for r in found if r.error} == {"ValueError: 153 bytes came instead of 12345"}
    assert "  triopool way download, over TCP, size 12345: ValueError" in " ".join(told)


def test_a_client_that_takes_too_long_is_not_asked_for_more(server: Server) -> None:
    points = [{"at_once": n} for n in (1, 2, 3)]
    stage = Stage(EXPERIMENTS["cost"], points, [UNIT])
    plan = Plan([stage], rounds=2, seconds=60, limit=0.2)
    (found,) = rounds.run(plan, server, lambda line: None)
    assert found == Record(0, "cost", UNIT, points[0], None, "more than 0.2 s")


def test_a_process_that_dies_says_why_and_there_is_a_new_one(server: Server) -> None:
    task = {"experiment": "cost", "point": {"at_once": 1}, "seconds": 0.01}
    with Worker(UNIT, server) as client:
        unknown = client.ask({**task, "experiment": "nonsense"}, limit=30)
        assert unknown == {"error": "its process died: KeyError: 'nonsense'"}
        assert client.ask(task, limit=30)["values"]["n"] >= 1


# ── Numbers ────────────────────────────────────────────────────────────────────────────────────


def test_what_is_compared_is_of_one_round() -> None:
    """The second round was twice as slow for all, and in the third one of the two failed."""
    failed = Record(2, "cost", UNIT, {"at_once": 20}, None, "more than 1 s")
    results = Results(
        [
            *(record("triopool", 3.0, 0), record(UNIT, 2.0, 0)),
            *(record("triopool", 7.0, 1), record(UNIT, 4.0, 1)),
            *(record("triopool", 9.0, 2), failed),
        ]
    )
    assert results.ratios(cost("triopool"), cost(UNIT)) == [1.5, 1.75]
    ratio = results.ratio(cost("triopool"), cost(UNIT))
    assert ratio == (1.5625, 1.625, 1.6875)
    assert results.median(cost("triopool")) == 7.0
    assert results.ratio(cost("httpx"), cost(UNIT)) is None
    assert results.error("cost", UNIT, {"at_once": 20}) == "more than 1 s"


def test_of_several_goes_in_a_round_the_median_counts() -> None:
    values: dict[str, float | list[float]] = {"cpu": [1.0, 9.0, 2.0], "waves_cpu": [4.0]}
    results = Results([Record(0, "crowd", "triopool", {"requests": 3000}, values)])
    goes = Series("crowd", "triopool", {"requests": 3000}, "cpu")
    assert results.numbers(goes) == [2.0]
    assert results.ratios(goes, goes._replace(quantity="waves_cpu")) == [0.5]


def test_a_spread_is_the_median_between_the_quartiles() -> None:
    assert spread([5.0]) == (5.0, 5.0, 5.0)
    assert spread([1.0, 5.0, 2.0, 4.0, 3.0]) == (2.0, 3.0, 4.0)


def test_targets_are_met_or_not_or_not_measured() -> None:
    cpus = [(1, 0.65), (20, 0.51)]
    both = [(record("triopool", c, 0, n), record(UNIT, 1.0, 0, n)) for n, c in cpus]
    verdicts = judge(Results(r for pair in both for r in pair))
    assert [verdict.is_met for verdict in verdicts[:3]] == [True, False, None]


def test_of_several_ratios_of_a_target_the_largest_counts() -> None:
    numbers = {0: 1.0, 10: 1.1, 1000: 1.5, 10_000: 1.05}
    found = [Record(0, "idle", "triopool", {"idle": n}, {"cpu": cpu}) for n, cpu in numbers.items()]
    (verdict,) = [v for v in judge(Results(found)) if v.measured]
    assert verdict.measured == (1.5, 1.5, 1.5)
    # Without the far end nobody knows.
    assert not [v for v in judge(Results(found[:-1])) if v.measured]


def test_every_client_has_a_colour() -> None:
    assert set(plots.COLOURS) == set(CLIENTS)


def test_every_target_is_about_what_is_measured() -> None:
    for target in TARGETS:
        for series in [series for pair in target.pairs for series in pair]:
            experiment = EXPERIMENTS[series.experiment]
            assert series.client in CLIENTS
            assert series.point in experiment.points
        # And in a quick run the far end of it.
        assert target.pairs[-1][0].point in experiment.quick


# ── The programme ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--only", "speed"], "there is no experiment 'speed': known are latency, cost, "),
        (["--clients", "curl"], "there is no client 'curl': known are bare-bytes, bare-h11, "),
        (["--rounds", "0"], "must be a whole number of at least 1, not '0'"),
    ],
)
def test_wrong_arguments_are_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        __main__.main(arguments)
    assert complaint in capsys.readouterr().err


def test_clients_that_are_not_installed_are_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = CLIENTS["aiohttp"]._replace(packages=("no_such_package",))
    monkeypatch.setitem(CLIENTS, "aiohttp", nobody)
    with pytest.raises(SystemExit):
        __main__.main(["--clients", "aiohttp"])
    assert "not installed: aiohttp; pip install" in capsys.readouterr().err
    assert circumstances("nginx", [UNIT], {"rounds": 1}).missing == ["aiohttp"]


def test_a_failure_stands_in_the_report(tmp_path: Path) -> None:
    point = {"at_once": 20}
    slow = Record(0, "cost", "httpx", point, None, "more than 30 s")
    broken = Record(0, "cost", "httpcore", point, None, "OSError: no luck today")
    results = Results([record(UNIT, 1e-4), record("triopool", 4e-5), slow, broken])
    write(results, circumstances("nginx 1", [UNIT], {"rounds": 1}), tmp_path)
    text = (tmp_path / "results.md").read_text()
    assert re.search(r"20 at a time: CPU +\| +0\.50 \| +0\.40 \| +met \|", text)
    assert "more than 30 s" in text
    assert "- httpcore, at once 20: OSError: no luck today" in text


def test_the_programme_measures_and_writes_a_report_and_plots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    require_program("nginx")
    for name, points in SMALLEST.items():
        smaller: Experiment = EXPERIMENTS[name]._replace(quick=points)
        monkeypatch.setitem(EXPERIMENTS, name, smaller)
    chosen = ["latency", "cost", "crowd", "idle"]
    output = ["--output", str(tmp_path)]
    __main__.main(["--quick", "--rounds", "1", "--clients", "triopool", "--only", *chosen, *output])
    assert "round 1 of 1: cost\n" in capsys.readouterr().err
    found = json.loads((tmp_path / "results.json").read_text())
    # crowd has both; idle is about pools.
    assert [(r["experiment"], r["client"]) for r in found["records"]] == [
        *(("latency", UNIT), ("latency", "triopool")),
        *(("cost", UNIT), ("cost", "triopool")),
        *(("crowd", UNIT), ("crowd", "triopool")),
        ("idle", "triopool"),
    ]
    assert not [r for r in found["records"] if r["error"]]
    plots = {"latency", "distribution", "throughput", "cost", "crowd", "scale"}
    assert {path.stem for path in tmp_path.glob("*.png")} == plots
    assert (tmp_path / "results.md").read_text().startswith("# What was measured\n")
