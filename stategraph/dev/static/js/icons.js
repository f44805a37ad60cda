// Icons, drawn with lines in the colour of the text. They are decoration: names stand beside them or in labels.

import { svg } from "./lib.js";

const icon = (paths) =>
  svg`<svg class="icon" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true" focusable="false">${paths}</svg>`;

export const icons = {
  menu: icon(svg`<path d="M4 7h16M4 12h16M4 17h16" />`),
  plus: icon(svg`<path d="M12 5v14M5 12h14" />`),
  compose: icon(svg`<path d="M12 20h8" /><path d="M16.5 4.5a2.1 2.1 0 0 1 3 3L8 19l-4 1 1-4z" />`),
  send: icon(svg`<path d="M12 19V5M6 11l6-6 6 6" />`),
  stop: svg`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" /></svg>`,
  attach: icon(svg`<path d="m20 11-8.5 8.5a5 5 0 0 1-7-7L13 4a3.3 3.3 0 0 1 4.7 4.7l-8.5 8.4a1.7 1.7 0 0 1-2.4-2.4L14 7.5" />`),
  more: icon(svg`<path d="M5 12h.01M12 12h.01M19 12h.01" stroke-width="2.6" />`),
  sun: icon(svg`<circle cx="12" cy="12" r="4" /><path d="M12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4" />`),
  moon: icon(svg`<path d="M20 14.5A8 8 0 1 1 9.5 4a6.5 6.5 0 0 0 10.5 10.5z" />`),
  check: icon(svg`<path d="m5 12.5 4.5 4.5L19 7.5" />`),
  cross: icon(svg`<path d="M6 6l12 12M18 6 6 18" />`),
  chevron: icon(svg`<path d="m9 6 6 6-6 6" />`),
  spark: icon(svg`<path d="M12 3v4M12 17v4M3 12h4M17 12h4M6 6l2.5 2.5M15.5 15.5 18 18M18 6l-2.5 2.5M8.5 15.5 6 18" />`),
  tool: icon(svg`<path d="M14.5 6.5a4 4 0 0 0-5 5L4 17v3h3l5.5-5.5a4 4 0 0 0 5-5L15 12l-3-3z" />`),
  shield: icon(svg`<path d="M12 3 5 6v5c0 4.5 3 8 7 10 4-2 7-5.5 7-10V6z" /><path d="M12 8.5v4M12 15.5h.01" />`),
  question: icon(svg`<circle cx="12" cy="12" r="9" /><path d="M9.5 9.5a2.5 2.5 0 1 1 3.5 2.3c-.7.3-1 .8-1 1.7M12 16.5h.01" />`),
  warning: icon(svg`<path d="M12 4 2.8 19.5h18.4z" /><path d="M12 10v4M12 17h.01" />`),
  copy: icon(svg`<rect x="9" y="9" width="11" height="11" rx="2" /><path d="M5 15H4.5A1.5 1.5 0 0 1 3 13.5v-9A1.5 1.5 0 0 1 4.5 3h9A1.5 1.5 0 0 1 15 4.5V5" />`),
  file: icon(svg`<path d="M13 3H7a2 2 0 0 0-2 2v14a2 2 0 0 0 2 2h10a2 2 0 0 0 2-2V9z" /><path d="M13 3v6h6" />`),
  download: icon(svg`<path d="M12 4v11M7 10.5l5 5 5-5M5 20h14" />`),
  down: icon(svg`<path d="M12 5v14M6 13l6 6 6-6" />`),
  search: icon(svg`<circle cx="11" cy="11" r="6.5" /><path d="m16 16 4.5 4.5" />`),
};
