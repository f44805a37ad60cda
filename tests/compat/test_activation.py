"""Which engine a program gets, in environments that hold the real wheel."""

from pathlib import Path

import pytest

from stategraph import dropin


def test_without_langgraph_ours_serves(make):
    assert make().origin() == "ours"


def test_an_installed_langgraph_wins_while_the_flag_is_unset(make):
    assert make(langgraph="1.2.22").origin() == "theirs"


@pytest.mark.parametrize("variable", dropin.VARIABLES)
@pytest.mark.parametrize("value", ["true", "TRUE", " 1 ", "yes", "On"])
def test_a_true_flag_makes_ours_win_over_an_installed_langgraph(make, variable, value):
    assert make(langgraph="1.2.22").origin(**{variable: value}) == "ours"


@pytest.mark.parametrize("value", ["false", "0", "No", "off", "", "  "])
def test_a_false_or_blank_flag_leaves_the_installed_langgraph(make, value):
    assert make(langgraph="1.2.22").origin(STATEGRAPH_RUNTIME=value) == "theirs"


def test_a_false_flag_still_serves_where_no_langgraph_is_installed(make):
    assert make().origin(STATEGRAPH_RUNTIME="false") == "ours"


def test_the_newer_variable_decides_over_the_older(make):
    environment = make(langgraph="1.2.22")
    assert environment.origin(STATEGRAPH_RUNTIME="false", MOSS_AGENT_RUNTIME="true") == "theirs"
    assert environment.origin(STATEGRAPH_RUNTIME="", MOSS_AGENT_RUNTIME="true") == "ours"


def test_any_other_value_is_named_with_the_accepted_ones_and_changes_nothing(make):
    environment = make(langgraph="1.2.22")
    done = environment.run("-c", "import langgraph.types as t; print(t.__file__)", STATEGRAPH_RUNTIME="ture")
    assert "stategraph_compat" not in done.stdout
    assert "RuntimeWarning: STATEGRAPH_RUNTIME='ture'" in done.stderr
    for spelling in (*dropin.TRUE_VALUES, *dropin.FALSE_VALUES):
        assert spelling in done.stderr


@pytest.mark.parametrize("option", ["-I", "-E", "-s", "-P"])
def test_it_works_under_the_interpreters_own_restrictions(make, option):
    environment = make(langgraph="1.2.22")
    code = "import importlib.util as u; print(u.find_spec('langgraph.types').origin)"
    assert "stategraph_compat" in environment.run(option, "-c", code, STATEGRAPH_RUNTIME="true").stdout


def test_it_works_for_a_module_run_with_dash_m(make):
    environment = make(langgraph="1.2.22")
    Path(environment.home, "program.py").write_text("import langgraph.types as t; print(t.__file__)")
    environment.add_dependencies()
    done = environment.run("-m", "program", STATEGRAPH_RUNTIME="true")
    assert "stategraph_compat" in done.stdout, done.stderr


def test_spawned_children_get_the_engine_of_their_parent(make):
    environment = make(langgraph="1.2.22")
    environment.home.joinpath("program.py").write_text(
        "import importlib.util as u, multiprocessing as m\n"
        "def where(_):\n"
        "    return u.find_spec('langgraph.types').origin\n"
        "if __name__ == '__main__':\n"
        "    with m.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(where, [0])[0], where(0), sep='\\n')\n"
    )
    for variables, owner in (({"STATEGRAPH_RUNTIME": "true"}, True), ({}, False)):
        done = environment.run("program.py", **variables)
        child, parent = done.stdout.split()
        assert child == parent, done.stderr
        assert ("stategraph_compat" in child) is owner


def test_modules_of_other_distributions_keep_coming_from_them(make):
    environment = make(langgraph="1.2.22")
    neighbour = environment.packages / "langgraph" / "checkpoint"
    neighbour.mkdir()
    neighbour.joinpath("base.py").write_text("")
    for variables in ({}, {"STATEGRAPH_RUNTIME": "true"}):
        assert environment.origin("langgraph.checkpoint.base", **variables) == "theirs"


def test_an_older_langgraph_is_not_mixed_with_modules_it_lacks(make):
    environment = make(langgraph="0.6.11")
    assert environment.origin("langgraph.callbacks") == "nobody's"
    assert environment.origin("langgraph.callbacks", STATEGRAPH_RUNTIME="off") == "nobody's"
    assert environment.origin("langgraph.version", STATEGRAPH_RUNTIME="true") == "ours"


def test_a_langgraph_of_the_system_wins_in_an_environment_that_sees_it(make):
    outer, inner = make(langgraph="1.2.22"), make()
    # What `venv --system-site-packages` does, with the outer environment in the system's place.
    inner.packages.joinpath("aa_system.pth").write_text(
        f"import site; site.getsitepackages = lambda *_: ['{inner.packages}', '{outer.packages}']\n"
    )
    inner.packages.joinpath("zz_system.pth").write_text(f"{outer.packages}\n")
    assert inner.origin() == "theirs"
    assert inner.origin(STATEGRAPH_RUNTIME="no") == "theirs"
    assert inner.origin(STATEGRAPH_RUNTIME="yes") == "ours"


def test_with_no_flag_the_hook_imports_nothing_of_ours(make):
    for langgraph in (None, "1.2.22"):
        done = make(langgraph=langgraph).run("-c", "import sys; print([m for m in sys.modules if 'graph' in m])")
        assert done.stdout.strip() == "[]"


def test_the_flag_brings_in_only_what_start_up_needs(make):
    code = "import sys; print([m for m in ('typing', 'dataclasses', 'pathlib', 'langchain_core') if m in sys.modules])"
    done = make(langgraph="1.2.22").run("-c", code, STATEGRAPH_RUNTIME="true")
    assert done.stdout.strip() == "[]", done.stderr


def test_an_editable_install_follows_the_work_tree(make):
    for langgraph, variables, owner in (
        (None, {}, "ours"),
        ("1.2.22", {}, "theirs"),
        ("1.2.22", {"STATEGRAPH_RUNTIME": "true"}, "ours"),
    ):
        environment = make("editable", langgraph=langgraph)
        assert environment.origin(**variables) == owner
        assert not environment.packages.joinpath("stategraph_compat").exists()


def test_nothing_is_installed_into_the_langgraph_folder(make):
    assert not make().packages.joinpath("langgraph").exists()


def test_a_langgraph_imported_before_the_flag_could_act_is_kept_and_reported(make):
    environment = make(langgraph="1.2.22")
    environment.packages.joinpath("aa_early.pth").write_text("import langgraph.graph\n")
    done = environment.run("-c", "import langgraph.types as t; print(t.__file__)", STATEGRAPH_RUNTIME="true")
    assert "stategraph_compat" not in done.stdout
    assert "langgraph.graph was already imported from" in done.stderr


def test_a_flag_set_too_late_still_acts_if_stategraph_comes_first(make):
    environment = make(langgraph="1.2.22")
    code = (
        "import os; os.environ['STATEGRAPH_RUNTIME'] = 'true'; {first}\n"
        "import stategraph, importlib.util as u; print(u.find_spec('langgraph.types').origin)"
    )
    assert "stategraph_compat" in environment.run("-c", code.format(first="")).stdout
    late = environment.run("-c", code.format(first="import langgraph.graph"))
    assert "stategraph_compat" not in late.stdout
    assert "was already imported" in late.stderr


def test_activate_takes_over_without_a_flag_and_only_once(make):
    code = (
        "from stategraph import dropin; import sys, importlib.util as u\n"
        "print(dropin.activate(), dropin.activate(), sum(map(dropin.is_compat, sys.path)))\n"
        "print(u.find_spec('langgraph.types').origin)"
    )
    done = make(langgraph="1.2.22").run("-c", code)
    assert done.stdout.startswith("True True 1\n"), done.stderr
    assert "stategraph_compat" in done.stdout


def test_a_missing_compat_tree_is_an_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(dropin, "__file__", str(tmp_path / "stategraph" / "dropin.py"))
    with pytest.raises(RuntimeError, match="Reinstall stategraph"):
        dropin.compat_path()
