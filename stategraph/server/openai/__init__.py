"""The API of OpenAI: responses, conversations, chat completions, models.

    routes.py         all endpoints
    responses.py      `/v1/responses`
    conversations.py  `/v1/conversations`
    completions.py    `/v1/chat/completions`
    models.py         `/v1/models`: the assistants
    creating.py       a request for a response to a run of the service
    events.py         facts about a run to the events of a response
    chunks.py         facts about a run to chunks of a chat completion
    items.py          items and messages of the API to messages of LangChain, and back
    answers.py        questions of a run as items, and the client's answers
    ids.py            ids of responses and conversations
    errors.py         errors as the API has them

Reference: https://platform.openai.com/docs/api-reference
"""

from stategraph.server.openai.routes import routes

__all__ = ("routes",)
