// The list of steps, with the lines of branches beside it.

import { html, nothing, repeat, svg } from "../lib.js";
import { lanesOf, widthOf } from "./lanes.js";
import { stacked, toStep } from "./places.js";
import { duration, plural, timeOf, titleOf, tokensOf } from "./words.js";

const ROW = 56; // as in inspector.css
const LANE = 14;

export function stepsView(inspection) {
  const rows = lanesOf(inspection.steps);
  const width = Math.max(2, widthOf(rows)) * LANE;
  return html`<ol class="steps" aria-label="Steps, the newest first" @keydown=${move}>
      ${repeat(
        inspection.steps,
        (step) => step.id,
        (step, at) => row(inspection, step, rows[at], width),
      )}
    </ol>
    ${inspection.next ? html`<button type="button" class="quiet wide" @click=${() => inspection.more()}>Show earlier steps</button>` : nothing}`;
}

function row(inspection, step, lane, width) {
  const isShown = step.id === inspection.shown;
  return html`<li>
    <a
      class="step-row ${step.source} ${isShown ? "current" : ""}"
      href=${toStep(inspection.threadId, step.id, inspection.namespace)}
      aria-current=${isShown ? "step" : "false"}
      tabindex=${isShown ? "0" : "-1"}
      data-step=${step.id}
    >
      ${linesOf(lane, width)}
      <span class="step-text">
        <span class="step-title"
          ><span class="name">${titleOf(step)}</span>
          ${step.failed ? html`<span class="badge failed">failed</span>` : nothing}
          ${step.interrupts ? html`<span class="badge waits">${step.id === inspection.steps[0]?.id ? "waits" : "asked"}</span>` : nothing}
        </span>
        <span class="faint step-facts">${facts(step)}</span>
      </span>
    </a>
  </li>`;
}

function facts(step) {
  const told = [
    step.step === null || step.step === undefined ? "" : `step ${step.step}`,
    timeOf(step),
    duration(step.duration_s),
    step.messages ? plural(step.messages, "message") : "",
    tokensOf(step),
  ];
  return told.filter(Boolean).join(" · ");
}

function linesOf(lane, width) {
  const x = (at) => at * LANE + LANE / 2;
  const middle = ROW / 2;
  const through = lane.above.filter((at) => lane.below.includes(at) && at !== lane.at && !lane.joins.includes(at));
  const paths = through.map((at) => `M${x(at)} 0V${ROW}`);
  if (lane.above.includes(lane.at)) paths.push(`M${x(lane.at)} 0V${middle}`);
  for (const at of lane.joins) paths.push(`M${x(at)} 0C${x(at)} ${middle} ${x(at)} ${middle} ${x(lane.at)} ${middle}`);
  if (lane.below.includes(lane.at)) paths.push(`M${x(lane.at)} ${middle}V${ROW}`);
  return svg`<svg class="lanes" width=${width} height=${ROW} viewBox="0 0 ${width} ${ROW}" aria-hidden="true" focusable="false">
    <path d=${paths.join("") || "M0 0"} /><circle cx=${x(lane.at)} cy=${middle} r="4.5" />
  </svg>`;
}

// Arrows go from step to step, and show each.
function move(event) {
  const links = [...event.currentTarget.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
  if (at < 0 || to === undefined || !links[to]) return;
  event.preventDefault();
  links[to].focus();
  links[to].scrollIntoView({ block: "nearest" });
  if (stacked.matches) return;
  history.replaceState(null, "", links[to].hash);
  dispatchEvent(new HashChangeEvent("hashchange"));
}
