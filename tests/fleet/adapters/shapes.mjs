// Writes what `shape.mjs` makes of the messages of `shapes.json`, which come as JSON of A2A and are given to it as the
// SDK's objects: `node shapes.mjs shape.mjs shapes.json`.

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [shape, cases] = process.argv.slice(2);
const { written } = await import(pathToFileURL(shape));

const KINDS = { text: (value) => value, url: (value) => value, raw: (value) => Buffer.from(value, "base64"), data: (value) => value };

function partOf(json) {
  const kind = Object.keys(KINDS).find((each) => each in json);
  const content = { $case: kind, value: KINDS[kind](json[kind]) };
  return { content, metadata: undefined, filename: json.filename ?? "", mediaType: json.mediaType ?? "" };
}

const made = JSON.parse(readFileSync(cases)).map(({ a2a }) => written({ ...a2a, parts: a2a.parts.map(partOf) }));
console.log(JSON.stringify(made));
