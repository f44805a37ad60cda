// Files of messages: read from the person's disk, and shown where a message has one.

import { pretty, size } from "../format.js";
import { icons } from "../icons.js";
import { html } from "../lib.js";

const TAGGED = /^<file name="([^"]*)">\n([\s\S]*)\n<\/file>$/;
const LARGEST = 15 * 1024 * 1024;
const TEXT = /^(text\/.*|application\/(json|xml|yaml|x-yaml|toml|javascript|x-sh|sql|x-ndjson)|.*\+(json|xml))$/;

// The file that a text part is; null if it is plain text.
export function fileOf(part) {
  const found = part.type === "text" ? TAGGED.exec(part.text ?? "") : null;
  return found && { name: found[1], text: found[2] };
}

// Reads a file that the person chose.
export async function chosen(file, accepts) {
  if (file.size > LARGEST) throw new Error(`“${file.name}” is ${size(file.size)}; files may have ${size(LARGEST)}.`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const text = TEXT.test(file.type) || file.type === "" || file.type === "application/octet-stream" ? decoded(bytes) : null;
  const type = text === null ? file.type || "application/octet-stream" : TEXT.test(file.type) ? file.type : "text/plain";
  if (!accepts.some((each) => fits(text === null ? type : "text/plain", each))) {
    throw new Error(`“${file.name}” is of type ${type}; this agent takes ${accepts.join(", ")}.`);
  }
  const data = base64(bytes);
  const family = type.split("/")[0];
  const part =
    text === null
      ? { type: family === "image" ? "image" : "file", base64: data, mime_type: type, filename: file.name }
      : { type: "text", text: `<file name="${file.name.replace(/["<>]/g, "_")}">\n${text}\n</file>` };
  return { name: file.name, type, data, part, size: file.size };
}

const fits = (type, kind) => kind === "*/*" || kind === type || (kind.endsWith("/*") && type.startsWith(kind.slice(0, -1)));

function decoded(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return text.includes("\0") ? null : text;
  } catch {
    return null;
  }
}

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 0x8000) text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
  return btoa(text);
}

// A part that is no text of its own: a picture, a file to save, or what else a model has sent.
export function mediaView(part) {
  const file = fileOf(part);
  if (file) return html`<details class="chip text-file"><summary>${icons.file}<span>${file.name}</span></summary><pre tabindex="0">${file.text}</pre></details>`;
  const data = dataOf(part);
  if (data?.type.startsWith("image/")) return html`<a href=${data.url} download=${data.name}><img class="picture" src=${data.url} alt=${data.name} /></a>`;
  if (data) return html`<a class="chip" href=${data.url} download=${data.name}>${icons.download}<span>${data.name}</span></a>`;
  return html`<details class="step"><summary>${icons.chevron}<span>${part.type}</span></summary><pre tabindex="0">${pretty(part)}</pre></details>`;
}

// The data of a part in any of the forms that providers have; null if it only names an address.
function dataOf(part) {
  const address = part.image_url?.url ?? part.image_url ?? part.url;
  if (typeof address === "string" && /^data:[\w.+-]+\/[\w.+-]+;base64,/.test(address)) {
    const type = address.slice(5, address.indexOf(";"));
    return { type, url: address, name: part.filename ?? nameOf(type) };
  }
  const data = part.base64 ?? part.data ?? part.source?.data;
  const type = part.mime_type ?? part.source?.media_type;
  if (typeof data !== "string" || typeof type !== "string" || !/^[\w.+-]+\/[\w.+-]+$/.test(type)) return null;
  return { type, url: `data:${type};base64,${data}`, name: part.filename ?? part.extras?.filename ?? nameOf(type) };
}

const nameOf = (type) => `${type.startsWith("image/") ? "picture" : "file"}.${type.split("/")[1].replace(/\+.*/, "")}`;
