"""A conversation, turn by turn.

Rules
-----
* Ctrl-C while an answer is written stops that turn and leaves the thread such that the next one can start from it; at a
  prompt it ends nothing. Ctrl-D, or the end of the input, ends the chat.
* What the thread waits for is asked at once, also if it began to wait in another process.
* An error of a model or a tool ends the turn and is shown; the chat goes on. From a script it ends the chat.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.chat import questions
from stategraph.cli.chat.person import GoneError, Person
from stategraph.cli.chat.screen import Screen
from stategraph.cli.output import FAILED, NOTHING_DONE, Output
from stategraph.cli.parser import suggestion
from stategraph.cli.programs.errors import of_program

if TYPE_CHECKING:
    from stategraph.dev.target import Target
    from stategraph.run.run import Run
    from stategraph.run.runtime import AgentRuntime
    from stategraph.types import Command

_HELP: Final = """\
/new     begin another thread
/thread  show the id of this one
/quit    end the chat; so does Ctrl-D
//text   send a message that begins with '/'
Ctrl-C   stop an answer"""

#: What may be typed in place of a message; two of them do the same as others.
_COMMANDS: Final = ("/new", "/thread", "/help", "/quit", "/exit")


class Talk:
    """A conversation of a person with a target.

    Args:
        runtime: Runs the turns; open.
        target: Answers.
        person: Speaks.
        screen: Shows.
        output: Takes the events instead, if it is JSON.
    """

    def __init__(self, runtime: AgentRuntime, target: Target, person: Person, screen: Screen, output: Output) -> None:
        self._runtime = runtime
        self._target = target
        self._person = person
        self._screen = screen
        self._output = output
        self._thread_id = ""
        self._failed = False

    def hold(self, thread_id: str | None) -> int:
        """Talk until the person ends it.

        Args:
            thread_id: The thread to go on with; None: a new one.

        Returns:
            The exit code: 1 if the thread waits for an answer that nobody gives, 2 if a script's turn failed.
        """
        self._thread_id = thread_id or uuid.uuid4().hex[:12]
        try:
            self._take_up(is_new=thread_id is None)
            while not self._failed:
                self._next()
        except GoneError:
            self._screen.close()
        except _WaitsError:
            self._output.complain(
                f"stategraph: thread '{self._thread_id}' waits for an answer, and the input has ended"
            )
            return NOTHING_DONE
        return FAILED if self._failed else 0

    def _next(self) -> None:
        try:
            said = self._person.line(self._prompt()).strip()
        except KeyboardInterrupt:
            self._screen.line("\n(Ctrl-D ends the chat)", dim=True)
            return
        match said:
            case "":
                return
            case "/quit" | "/exit":
                raise GoneError
            case "/help":
                self._screen.line(_HELP)
            case "/thread":
                self._screen.line(self._thread_id)
            case "/new":
                self._thread_id = uuid.uuid4().hex[:12]
                self._screen.line("(a new thread)", dim=True)
            case _ if said.startswith("/") and not said.startswith("//"):
                self._refuse(said.split()[0])
            case _:
                self._turn(said.removeprefix("/") if said.startswith("//") else said)

    def _refuse(self, command: str) -> None:
        """Say that there is no such command; a script that has one ends there."""
        self._screen.close()
        self._failed = not self._person.is_there
        hint = suggestion(command, _COMMANDS) or "."
        self._output.complain(
            f"stategraph: there is no command '{command}'{hint} There are {', '.join(_COMMANDS)}; a message that "
            f"begins with '/' is written with two of them, as in /{command}"
        )

    def _prompt(self) -> str:
        return f"{self._screen.style.bold('you>')} "

    def _take_up(self, *, is_new: bool) -> None:
        """Ask what an older thread waits for."""
        if is_new:
            return
        try:
            view = self._runtime.threads_sync.get(self._thread_id)
        except LookupError:  # a new thread with an id of the person's choice
            return
        self._screen.line(f"({len(view.messages)} messages before)", dim=True)
        if view.interrupts:
            run = self._made(_last_run(view.messages))
            if self._answer(run, {each.interrupt_id: each.payload for each in view.interrupts}):
                self._ask(run)

    def _turn(self, text: str) -> None:
        from langchain_core.messages import HumanMessage

        from stategraph.dev.history import input_id

        run = self._made(run_id := uuid.uuid4().hex)
        message = HumanMessage(text, id=input_id(run_id))  # so that the chat page finds the turn in the thread
        if self._execute(run, {"messages": [message]}):
            self._ask(run)

    def _ask(self, run: Run) -> None:
        while waiting := run.get_interrupts():
            if not self._answer(run, {each.interrupt_id: each.payload for each in waiting}):
                return

    def _answer(self, run: Run, waiting: Mapping[str, object]) -> bool:
        """Ask, go on with the answers, and return whether that went on to an end or to another question."""
        from stategraph.types import Command

        try:
            answers = self._asked(waiting)
        except GoneError:
            raise _WaitsError from None
        except KeyboardInterrupt:
            self._screen.line("\n(not answered: say something else, or come back with --thread)", dim=True)
            return False
        return self._execute(run, Command(resume=answers))

    def _asked(self, waiting: Mapping[str, object]) -> Mapping[str, Any]:
        """Ask until the answers are ones that the run expects, and return them."""
        from stategraph.errors import InvalidAnswerError

        while True:
            answers = {id_: questions.ask(payload, self._person, self._screen) for id_, payload in waiting.items()}
            try:
                return self._checked(waiting, answers)
            except InvalidAnswerError as error:
                self._screen.line(f"    {error}")

    def _checked(self, waiting: Mapping[str, object], answers: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return answers as the run expects them.

        Raises:
            InvalidAnswerError: One does not fit.
        """
        from stategraph.run.graphs import reviews
        from stategraph.run.questions import check_answer

        if self._target.graph is not None:
            tools = set(reviews.tools_in(self._target.graph))
            return {id_: reviews.answer_to(waiting[id_], answer, tools) for id_, answer in answers.items()}
        for id_, answer in answers.items():
            check_answer(waiting[id_], answer)
        return answers

    def _made(self, run_id: str) -> Run:
        return self._runtime.create_run_sync(run_id=run_id, **self._target.settings)

    def _execute(self, run: Run, inputs: Mapping[str, Any] | Command[Any]) -> bool:
        """Execute a turn and show it, and return whether it ended well or waits."""
        from stategraph.errors import AbortError
        from stategraph.run.events.event_types import FRONT_END_EVENTS

        given = dict(self._target.config)
        config = {**given, "configurable": {**given.get("configurable", {}), "thread_id": self._thread_id}}
        began = time.monotonic()
        try:
            for event in run.stream_sync(inputs, config):
                if self._output.as_json:
                    if event.event in FRONT_END_EVENTS:
                        self._output.show_json(event.to_json())
                else:
                    self._screen.take(event)
        except (KeyboardInterrupt, AbortError):
            self._screen.line("(stopped)", dim=True)
            return False
        except Exception as error:
            self._tell(error)
            return False
        if not run.get_interrupts():
            self._used(run, time.monotonic() - began)
        return True

    def _tell(self, error: Exception) -> None:
        self._screen.close()
        self._failed = not self._person.is_there
        told = of_program(error) or f"{type(error).__name__}: {error}"
        self._output.complain(self._output.clean(told))

    def _used(self, run: Run, seconds: float) -> None:
        """Tell what the turn took, to a person."""
        if not self._person.is_there:
            return
        tokens = run.usage.total.total_tokens
        self._screen.line(f"  ({f'{tokens:,} tokens, ' if tokens else ''}{seconds:.1f} s)\n", dim=True)


class _WaitsError(Exception):
    """The thread waits, and there is nobody to answer."""


def _last_run(messages: Any) -> str:
    from stategraph.dev.history import last_run_id

    return last_run_id(messages) or uuid.uuid4().hex
