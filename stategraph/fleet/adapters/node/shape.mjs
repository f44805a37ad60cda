// A message of A2A as a message of Mastra (`UIMessage`), as `stategraph/fleet/messages/mastra.py` writes it: both are
// held to the cases in `tests/fleet/adapters/shapes.json`.

// Returns the message, and how often each thing could not be said, by its name in the format's table of losses.
export function written(message) {
  const losses = {};
  const lose = (what) => (losses[what] = (losses[what] ?? 0) + 1);
  const parts = (message.parts ?? []).map((part) => partOf(part, lose));
  return { message: { id: message.messageId, role: "user", parts }, losses };
}

function partOf(part, lose) {
  const content = part.content;
  if (content?.$case === "text") return { type: "text", text: content.value };
  if (content?.$case === "url") return fileOf(content.value, part, lose);
  if (content?.$case === "raw") {
    const data = Buffer.from(content.value).toString("base64");
    return fileOf(`data:${part.mediaType || "application/octet-stream"};base64,${data}`, part, lose);
  }
  lose("data of a user");
  return { type: "data-value", data: content?.value };
}

function fileOf(url, part, lose) {
  if (!part.mediaType) lose("media type");
  const file = { type: "file", url, mediaType: part.mediaType || "application/octet-stream" };
  return part.filename ? { ...file, filename: part.filename } : file;
}
