"""The command line as a whole: help, wrong words, completion, terminals that can do little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stategraph.cli import _COMMANDS, main
from tests.cli.programs import DESK, stategraph, write


def test_help_names_every_command_and_imports_little(tmp_path: Path) -> None:
    program = (
        "import sys; from stategraph.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: print(sorted({each.partition('.')[0] for each in sys.modules} & "
        "{'asyncio', 'anyio', 'langchain_core', 'langgraph', 'pydantic', 'rich', 'sqlite3', 'ssl'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
    assert all(name in done.stdout for name, _, _ in _COMMANDS)


@pytest.mark.parametrize("command", [name for name, _, _ in _COMMANDS])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: stategraph {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["threed"], "invalid choice: 'threed', did you mean 'thread'?"),
        (["zzzzzz"], "invalid choice: 'zzzzzz' (choose from 'new'"),
        (["thread", "lst"], "invalid choice: 'lst', did you mean 'list'?"),
        (["thread", "list", "--limt=3"], "unrecognized arguments: --limt=3, did you mean '--limit'?"),
        (["graph", "show", "a:b", "--format", "txt"], "invalid choice: 'txt', did you mean 'text'?"),
        (["thread", "list", "more"], "stategraph thread list: error: unrecognized arguments: more"),
    ],
)
def test_wrong_words_are_answered_with_right_ones(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["th"], ["thread"]),
        (["thread", "f"], ["fork"]),
        (["thread", "list", "--st"], ["--store", "--status"]),
        (["thread", "list", "--status", "i"], ["idle", "interrupted"]),
        (["thread", "--none", "x", "y", ""], []),
        (["store", "convert", "c"], ["compact"]),
        (["runs", "dead", "re"], ["requeue"]),
        (["run", "desk:"], []),
        (["zzz", ""], []),
    ],
)
def test_completion_offers_what_may_stand_there(
    words: list[str], offered: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "words", "--", *words]) == 0
    assert [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()] == offered


def test_bash_completes_by_the_script(tmp_path: Path) -> None:
    command = tmp_path / "stategraph"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m stategraph "$@"\n')
    command.chmod(0o755)
    program = (
        f'PATH="{tmp_path}:$PATH"; source <(stategraph completion bash); '
        'COMP_WORDS=(stategraph thread sh); COMP_CWORD=2; _stategraph; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout == "show\n", done.stderr


@pytest.mark.parametrize(("shell", "sign"), [("zsh", "#compdef stategraph"), ("fish", "complete -c stategraph")])
def test_other_shells_have_scripts_too(shell: str, sign: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert sign in capsys.readouterr().out


def test_a_graph_is_drawn_also_on_a_terminal_without_utf_8(tmp_path: Path) -> None:
    write(tmp_path, desk=DESK)
    drawn = stategraph(tmp_path, "graph", "show", "desk:graph")
    assert drawn.returncode == 0, drawn.stderr
    assert "│ classify │" in drawn.stdout
    poor = stategraph(tmp_path, "graph", "show", "desk:graph", PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert poor.returncode == 0, poor.stderr
    assert "| classify |" in poor.stdout
    assert poor.stdout.isascii()


def test_a_graph_is_drawn_in_other_forms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write(tmp_path, drawn_desk=DESK))
    monkeypatch.setattr(sys, "path", [*sys.path])
    show = ["graph", "show", "drawn_desk:graph"]
    assert main([*show, "--format", "mermaid"]) == 0
    assert "classify -. &nbsp;refund&nbsp; .-> approve;" in capsys.readouterr().out
    assert main([*show, "-o", "desk.mmd"]) == 0
    assert (tmp_path / "desk.mmd").read_text().startswith("---\nconfig:")
    assert main([*show, "-o", "desk.json"]) == 0
    assert (tmp_path / "desk.json").read_text().startswith('{"nodes":')
    assert main([*show, "--format", "text", "-o", "drawn.svg"]) == 0
    assert "│ classify │" in (tmp_path / "drawn.svg").read_text()
    assert main([*show, "-o", "desk.png"]) == 2
    capsys.readouterr()
    assert main([*show, "--json"]) == 0
    assert '{"id": "classify", "kind": "node"}' in capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", "10")
    assert main(show) == 0
    narrow = capsys.readouterr().out
    assert "classify ⇢ approve  (refund)" in narrow
    assert "this terminal has 10: see it with --output FILE." in narrow
    assert main([*show, "-o", "none/desk.txt"]) == 2
    assert "'none/desk.txt' cannot be written: No such file or directory" in capsys.readouterr().err


def test_the_format_of_a_drawing_follows_from_the_name_of_its_file(tmp_path: Path) -> None:
    done = stategraph(write(tmp_path, desk=DESK), "graph", "show", "desk:graph", "-o", "desk.svg")
    assert (done.returncode, done.stdout) == (0, "Written to desk.svg.\n"), done.stderr
    assert (tmp_path / "desk.svg").read_text().startswith("<svg xmlns=")


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, desk=DESK)
    program = f'{sys.executable} -m stategraph graph show desk:graph | head -0; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a person with bash, who keeps start-up files elsewhere."""
    home = tmp_path / "home"
    (home / "dotfiles").mkdir(parents=True)
    (home / "dotfiles" / "bashrc").write_text("mine=1\n")
    (home / "dotfiles" / "bashrc").chmod(0o600)
    (home / ".bashrc").symlink_to(home / "dotfiles" / "bashrc")
    for name, value in {"HOME": str(home), "SHELL": "/bin/bash"}.items():
        monkeypatch.setenv(name, value)
    for name in ("XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    return home


def test_completion_is_installed_once_and_completes(home: Path, tmp_path: Path) -> None:
    command = tmp_path / "stategraph"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m stategraph "$@"\n')
    command.chmod(0o755)
    rc = home / ".bashrc"
    done = stategraph(tmp_path, "completion", "install")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Written to {rc}. New shells complete 'stategraph'")
    text = rc.read_text()
    assert text.startswith("mine=1\n\n# >>> stategraph completion >>>\n_stategraph() {")
    assert (rc.is_symlink(), rc.stat().st_mode & 0o777) == (True, 0o600)
    assert sorted(each.name for each in (home / "dotfiles").iterdir()) == ["bashrc"]
    assert main(["completion", "install"]) == 0
    assert rc.read_text() == text
    program = f'PATH="{tmp_path}:$PATH"; source ~/.bashrc; COMP_WORDS=(stategraph completion in); COMP_CWORD=2; '
    program += '_stategraph; echo "$mine ${COMPREPLY[@]}"'
    shown = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60)
    assert shown.stdout == "1 install\n", shown.stderr


def test_an_older_completion_is_replaced_and_half_of_one_is_not(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rc = home / ".zshrc"
    rc.write_text("one\n# >>> stategraph completion >>>\nold\n# <<< stategraph completion <<<\ntwo")
    assert main(["completion", "install", "--shell", "zsh"]) == 0
    text = rc.read_text()
    assert text.startswith("one\n# >>> stategraph completion >>>\n(( $+functions[compdef] ))")
    assert text.endswith("# <<< stategraph completion <<<\ntwo")
    assert "old" not in text
    rc.write_text("# >>> stategraph completion >>>\nmine\n")
    assert main(["completion", "install", "--shell", "zsh"]) == 2
    assert "take the first one out" in capsys.readouterr().err
    assert rc.read_text() == "# >>> stategraph completion >>>\nmine\n"


def test_other_shells_and_printing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fish = home / ".config" / "fish" / "completions" / "stategraph.fish"
    assert main(["completion", "install", "--shell", "fish", "--print"]) == 0
    assert f"This would be in {fish}." in capsys.readouterr().out
    assert not fish.exists()
    assert main(["completion", "install", "--shell", "fish"]) == 0
    assert "complete -c stategraph" in fish.read_text()
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert main(["completion", "install"]) == 2
    assert "The shell 'tcsh' of the variable SHELL is not known: give --shell bash" in capsys.readouterr().err
