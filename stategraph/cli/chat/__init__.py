"""`stategraph chat`: a conversation in the terminal.

command.py     its options, and where the conversation comes from
talk.py        turn by turn: what the person says, what comes back, what is asked
screen.py      events of a run, written as they come
markdown.py    Markdown, rendered block by block where `rich` is installed
questions.py   questions of a run, asked and answered
person.py      lines that a person types, or a script sends
"""
