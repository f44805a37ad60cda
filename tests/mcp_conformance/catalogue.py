"""Resources, prompts and completions that the conformance suite looks at."""

from __future__ import annotations

import json
from typing import Any

import mcp_types as wire

from stategraph.server.service.port import Caller
from tests.mcp_conformance.graphs import PIXEL, form

_TEXTS = {
    "test://static-text": "This is the content of the static text resource.",
    "test://watched-resource": "Watched resource content",
    "test://example-resource": "An example",
}


def said(text: str) -> wire.PromptMessage:
    return wire.PromptMessage(role="user", content=wire.TextContent(text=text))


class Fixtures:
    """What the suite asks for."""

    async def resources(self, caller: Caller) -> list[wire.Resource]:
        texts = [wire.Resource(name=uri.partition("//")[2], uri=uri, mime_type="text/plain") for uri in _TEXTS]
        return [*texts, wire.Resource(name="static-binary", uri="test://static-binary", mime_type="image/png")]

    async def templates(self, caller: Caller) -> list[wire.ResourceTemplate]:
        uri = "test://template/{id}/data"
        return [wire.ResourceTemplate(name="template", uri_template=uri, mime_type="application/json")]

    async def read(self, caller: Caller, uri: str) -> list[wire.TextResourceContents | wire.BlobResourceContents]:
        if uri in _TEXTS:
            return [wire.TextResourceContents(uri=uri, mime_type="text/plain", text=_TEXTS[uri])]
        if uri == "test://static-binary":
            return [wire.BlobResourceContents(uri=uri, mime_type="image/png", blob=PIXEL)]
        parts = uri.split("/")
        if uri.startswith("test://template/") and uri.endswith("/data"):
            text = json.dumps({"id": parts[3], "templateTest": True, "data": f"Data for ID: {parts[3]}"})
            return [wire.TextResourceContents(uri=uri, mime_type="application/json", text=text)]
        raise LookupError(uri)

    async def prompts(self, caller: Caller) -> list[wire.Prompt]:
        def given(*names: str) -> list[wire.PromptArgument]:
            return [wire.PromptArgument(name=name, required=True) for name in names]

        return [
            wire.Prompt(name="test_simple_prompt", description="A simple prompt"),
            wire.Prompt(name="test_prompt_with_arguments", description="Two", arguments=given("arg1", "arg2")),
            wire.Prompt(name="test_prompt_with_embedded_resource", description="R", arguments=given("resourceUri")),
            wire.Prompt(name="test_prompt_with_image", description="An image"),
            wire.Prompt(name="test_input_required_result_prompt", description="Asks first"),
        ]

    async def prompt(
        self, caller: Caller, params: wire.GetPromptRequestParams
    ) -> wire.GetPromptResult | wire.InputRequiredResult:
        given: dict[str, Any] = dict(params.arguments or {})
        match params.name:
            case "test_simple_prompt":
                messages = [said("This is a simple prompt for testing.")]
            case "test_prompt_with_arguments":
                messages = [said(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")]
            case "test_prompt_with_embedded_resource":
                held = wire.TextResourceContents(
                    uri=given["resourceUri"], mime_type="text/plain", text="Embedded resource content for testing."
                )
                messages = [
                    wire.PromptMessage(role="user", content=wire.EmbeddedResource(resource=held)),
                    said("Please process the embedded resource above."),
                ]
            case "test_prompt_with_image":
                picture = wire.ImageContent(data=PIXEL, mime_type="image/png")
                messages = [wire.PromptMessage(role="user", content=picture), said("Please analyze the image above.")]
            case "test_input_required_result_prompt":
                if "user_context" not in (params.input_responses or {}):
                    asked = wire.ElicitRequest(
                        params=wire.ElicitRequestFormParams(
                            message="What context should the prompt use?",
                            requested_schema=form(context={"type": "string"}),
                        )
                    )
                    return wire.InputRequiredResult(input_requests={"user_context": asked})
                messages = [said("Use the context")]
            case _:
                raise LookupError(params.name)
        return wire.GetPromptResult(messages=messages)

    async def complete(self, caller: Caller, params: wire.CompleteRequestParams) -> wire.Completion:
        return wire.Completion(values=[], total=0, has_more=False)
