// Where a message is written: text that grows, files, send and stop.

import { icons } from "../icons.js";
import { html, live, nothing } from "../lib.js";
import { changed, fail, state } from "../state.js";
import { chosen } from "./files.js";

const touch = matchMedia("(pointer: coarse)");

export function composer({ info, session }, toEnd) {
  const isWaiting = session.waiting.length > 0;
  const hint = isWaiting ? "Decide above, or write on" : `Message ${info.name}`;
  const send = () => submit(session, toEnd);
  return html`<form
    class="composer"
    aria-label="Message"
    @submit=${(event) => {
      event.preventDefault();
      send();
    }}
    @dragover=${(event) => event.preventDefault()}
    @drop=${(event) => {
      event.preventDefault();
      attach(session, info, event.dataTransfer.files);
    }}
  >
    ${session.attached.length
      ? html`<div class="media">
          ${session.attached.map(
            (file) =>
              html`<span class="chip"
                >${icons.file}<span>${file.name}</span
                ><button
                  type="button"
                  class="quiet square small"
                  aria-label="Remove ${file.name}"
                  @click=${() => {
                    session.attached = session.attached.filter((each) => each !== file);
                    changed();
                  }}
                >
                  ${icons.cross}
                </button></span
              >`,
          )}
        </div>`
      : nothing}
    <div class="box">
      <textarea
        id="message"
        rows="1"
        placeholder=${hint}
        aria-label=${hint}
        enterkeyhint="send"
        .value=${live(session.draft)}
        @input=${(event) => {
          session.draft = event.target.value;
          if (!session.draft) session.queued = null;
          changed();
        }}
        @keydown=${(event) => {
          if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !touch.matches) {
            event.preventDefault();
            send();
          }
          if (event.key === "Escape" && session.running) session.stop();
        }}
        @paste=${(event) => {
          if (event.clipboardData.files.length) {
            event.preventDefault();
            attach(session, info, event.clipboardData.files);
          }
        }}
      ></textarea>
      <div class="row">
        ${info.accepts.length
          ? html`<label class="button quiet square" title="Attach files"
              >${icons.attach}<span class="unseen">Attach files</span
              ><input
                type="file"
                class="unseen"
                multiple
                @change=${(event) => {
                  attach(session, info, event.target.files);
                  event.target.value = "";
                }}
            /></label>`
          : nothing}
        <span class="grow"></span>
        ${session.running
          ? html`<button type="button" class="solid round" aria-label="Stop" title="Stop (Esc)" ?disabled=${session.busy} @click=${() => session.stop()}>${icons.stop}</button>`
          : html`<button type="submit" class="solid round" aria-label="Send" title="Send (Enter)" ?disabled=${!sendable(session)}>${icons.send}</button>`}
      </div>
    </div>
    <p class="faint hint" role=${session.queued ? "status" : nothing}>
      ${session.queued
        ? "This message is sent when the answer is complete."
        : "Enter sends, Shift+Enter begins a line. Agents make mistakes: check what matters."}
    </p>
  </form>`;
}

const sendable = (session) => !session.busy && !session.loading && (session.draft.trim() !== "" || session.attached.length > 0);

async function submit(session, toEnd) {
  if (!sendable(session)) return;
  if (session.running) {
    session.queued = () => submit(session, toEnd);
    changed();
    return;
  }
  const { draft, attached } = session;
  session.draft = "";
  session.attached = [];
  toEnd();
  try {
    await session.send(draft.trim(), attached);
  } catch (error) {
    session.draft ||= draft;
    session.attached = [...attached, ...session.attached];
    fail(error);
  }
  if (!touch.matches) document.getElementById("message")?.focus();
}

async function attach(session, info, files) {
  for (const file of files) {
    try {
      session.attached.push(await chosen(file, info.accepts));
      state.problem = null;
    } catch (error) {
      fail(error);
    }
  }
  changed();
}
