"""Turns of a conversation, for the protocols whose clients send the whole of it, or an answer to a question.

    conversation.py   which of a client's messages are new, and where a turn begins that replaces others
    questions.py      what a thread waits for, and the command that answers it
    sse.py            server-sent events
    graphs.py         names of the values that a graph takes
    forms.py          names for JSON objects

The package calls the service and knows no protocol: these hand it messages and answers in LangChain's forms.
"""
