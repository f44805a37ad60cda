// The panels of a step in the inspector. A room of the page registers here, as for a tab:
//
//   register({ id, title, view(context), count?(context), applies?(context) })
//
// `view` returns a lit-html template; `count` a number that stands beside the title; a panel for which `applies` says
// false is left out. The context: `step` in detail, `inspection` of the thread, `state` of the page.

const panels = [];

export function register(panel) {
  panels.push(panel);
}

export const panelsOf = (context) => panels.filter((panel) => panel.applies?.(context) ?? true);
