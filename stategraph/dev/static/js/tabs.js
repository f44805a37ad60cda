// The tabs of the page. A room of the page registers here and gets a place beside the others:
//
//   register({ id, title, view(state), needsThread })
//
// `view` returns a lit-html template for the main part; `open(thread)` is called when the tab is shown for a thread.

const tabs = [];

export function register(tab) {
  tabs.push(tab);
}

export const all = () => tabs;

export const tabOf = (id) => tabs.find((each) => each.id === id) ?? tabs[0];
