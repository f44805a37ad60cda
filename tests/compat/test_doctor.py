"""`stategraph doctor`, on facts made up for the purpose and in environments that hold the real wheel."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

import stategraph
from stategraph import cli, doctor, dropin

OURS = "/site/stategraph_compat/langgraph/graph/__init__.py"
THEIRS = "/site/langgraph/graph/__init__.py"

HEALTHY = doctor.Facts(
    variables={"STATEGRAPH_RUNTIME": "true"},
    compat="/site/stategraph_compat",
    origin=OURS,
    packages=(),
    foreign={},
    hook="/site/stategraph.pth",
    versions=dict.fromkeys(("langgraph", *doctor.REQUIRED, *doctor.OPTIONAL), "1.2.22"),
    unserved=(),
    unmet=(),
    broken={},
)


def findings(**changes):
    """The code and level of everything that is found when `changes` are made to a healthy installation."""
    return {finding.code: finding.level for finding in doctor.judge(dataclasses.replace(HEALTHY, **changes))}


def test_a_healthy_installation_has_no_findings():
    assert findings() == {}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"variables": {}, "origin": THEIRS}, {"inactive": "note"}),
        ({"variables": {"STATEGRAPH_RUNTIME": "maybe"}, "origin": THEIRS}, {"flag-value": "error", "inactive": "note"}),
        ({"variables": {"STATEGRAPH_RUNTIME": "1", "MOSS_AGENT_RUNTIME": "0"}}, {"flag-conflict": "warning"}),
        ({"variables": {"STATEGRAPH_RUNTIME": "1", "MOSS_AGENT_RUNTIME": "on"}}, {}),
        ({"origin": THEIRS}, {"shadowed": "error"}),
        ({"origin": None}, {"no-engine": "error"}),
        ({"origin": THEIRS, "foreign": {"langgraph.graph": THEIRS}}, {"imported-early": "error"}),
        ({"packages": ("/x/langgraph/__init__.py",)}, {"not-a-namespace": "error"}),
        ({"hook": None}, {"hook-missing": "warning"}),
        ({"strict_stores": False}, {"open-stores": "note"}),
        ({"variables": {}}, {"before-installed": "warning"}),
        ({"unserved": ("langgraph.new",)}, {"mixed": "warning"}),
        ({"unmet": ("stategraph needs pydantic>=3; 2 is installed.",)}, {"package-version": "error"}),
        ({"broken": {"langgraph.graph": "ImportError: no"}}, {"import-fails": "error"}),
        ({"versions": {**HEALTHY.versions, "langgraph": "1.1.9"}}, {"other-langgraph": "warning"}),
        ({"versions": {**HEALTHY.versions, "langgraph": None}}, {"no-metadata": "note"}),
        ({"versions": {**HEALTHY.versions, "langgraph": None}, "origin": None}, {"no-engine": "error"}),
        ({"versions": {**HEALTHY.versions, "langgraph": dropin.METADATA_VERSION}, "variables": {}}, {}),
        ({"versions": {**HEALTHY.versions, "langgraph": "1.1.1+stategraph"}}, {"other-metadata": "warning"}),
        ({"versions": {**HEALTHY.versions, "pydantic": None}}, {"package-missing": "error"}),
        ({"versions": {**HEALTHY.versions, "langgraph-prebuilt": None}}, {}),
        ({"prebuilt": OURS.replace("graph/__init__", "prebuilt/__init__")}, {}),
        ({"prebuilt": "/site/langgraph/prebuilt/__init__.py"}, {"other-prebuilt": "note"}),
    ],
)
def test_each_fault_is_found_and_graded(changes, expected):
    assert findings(**changes) == expected


def test_every_fault_comes_with_a_way_out():
    faults = dataclasses.replace(
        HEALTHY,
        variables={"STATEGRAPH_RUNTIME": "maybe", "MOSS_AGENT_RUNTIME": "1"},
        origin=None,
        packages=("/x/langgraph/__init__.py",),
        foreign={"langgraph.graph": THEIRS},
        hook=None,
        unmet=("no",),
        broken={"langgraph.graph": "no"},
        versions=dict.fromkeys(HEALTHY.versions),
    )
    found = list(doctor.judge(faults))
    assert len(found) > 10
    assert [finding.code for finding in found if not finding.way_out] == []


@pytest.mark.parametrize(
    ("levels", "code"), [((), 0), (("note",), 0), (("note", "warning"), 1), (("warning", "error", "note"), 2)]
)
def test_the_exit_code_is_that_of_the_worst_finding(levels, code):
    assert doctor.Report(HEALTHY, tuple(doctor.Finding(level, "x", "y") for level in levels)).exit_code == code


def test_the_text_names_engine_flag_place_versions_and_findings():
    text = doctor.as_text(doctor.Report(HEALTHY, (doctor.Finding("warning", "odd", "It is odd.", "Make it even."),)))
    for part in (
        "stategraph",
        "STATEGRAPH_RUNTIME=true",
        OURS,
        sys.executable,
        "1.2.22",
        "It is odd.",
        "Make it even.",
    ):
        assert part in text
    assert "No problems found" not in text
    assert "No problems found" in doctor.as_text(doctor.Report(HEALTHY, ()))


def test_it_reports_the_engine_of_the_environment_it_runs_in(make):
    environment = make(langgraph="1.2.22")
    environment.add_dependencies()
    report, _ = environment.doctor()
    assert report["engine"] == "langgraph"
    report, code = environment.doctor(STATEGRAPH_RUNTIME="true", LANGGRAPH_STRICT_MSGPACK="true")
    assert report["engine"] == "stategraph"
    assert report["flag"] == {"variable": "STATEGRAPH_RUNTIME", "value": "true", "wanted": True}
    assert report["versions"]["langgraph"] == "1.2.22"
    assert report["hook"].endswith("site-packages/stategraph.pth")
    assert (report["findings"], code) == ([], 0)


def test_it_finds_a_langgraph_folder_that_shadows_ours(make):
    environment = make(langgraph="1.2.22")
    environment.add_dependencies()
    shadow = environment.home / "langgraph" / "graph"
    shadow.mkdir(parents=True)
    shadow.joinpath("__init__.py").write_text("")
    report, code = environment.doctor(STATEGRAPH_RUNTIME="true")
    assert "shadowed" in [finding["code"] for finding in report["findings"]]
    assert code == 2
    environment.home.joinpath("langgraph", "__init__.py").write_text("")
    report, code = environment.doctor(STATEGRAPH_RUNTIME="true")
    assert "not-a-namespace" in [finding["code"] for finding in report["findings"]]


def test_it_runs_where_every_dependency_is_missing(make):
    report, code = make().doctor()
    codes = [finding["code"] for finding in report["findings"]]
    assert codes.count("package-missing") == len(doctor.REQUIRED)
    assert "import-fails" in codes
    assert code == 2


def test_it_names_the_modules_that_only_the_installed_langgraph_has(make):
    environment = make()
    environment.add_langgraph("1.3.0", novelty="")
    report, _ = environment.doctor(STATEGRAPH_RUNTIME="true")
    by_code = {finding["code"]: finding["text"] for finding in report["findings"]}
    assert "langgraph.novelty" in by_code["mixed"]
    assert "LangGraph 1.3.0" in by_code["other-langgraph"]


def test_the_command_line_answers_for_itself(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"stategraph {stategraph.__version__}\n"
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    assert "doctor" in capsys.readouterr().out
    for arguments in ([], ["cure"], ["doctor", "--xml"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(arguments)
        assert "error:" in capsys.readouterr().err


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "stategraph", "--version"], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (f"stategraph {stategraph.__version__}\n", 0)


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m stategraph doctor --json | head -c 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60)
    assert done.stdout == "{"
    assert done.stderr == ""


def test_the_flag_reader_takes_no_other_spelling():
    for value in ("2", "enabled", "y", "t", "-"):
        flag = dropin.read_flag({"STATEGRAPH_RUNTIME": value})
        assert flag.wanted is None
        assert flag.error is not None


def test_the_page_on_the_drop_in_lists_every_finding():
    page = Path(doctor.__file__).parents[1].joinpath("docs", "drop-in.md").read_text(encoding="utf-8")
    source = Path(doctor.__file__).read_text(encoding="utf-8")
    codes = set(re.findall(r'^            "([a-z]+(?:-[a-z]+)*)",$', source, re.MULTILINE))
    codes |= set(re.findall(r'Finding\("\w+", "([a-z-]+)"', source)) - {"error", "warning", "note"}
    codes -= {"error", "warning", "note"}
    assert len(codes) > 12
    assert {code for code in codes if f"`{code}`" not in page} == set()
