// The tabs of the page. A room of the page registers here and gets a place beside the others:
//
//   register({ id, title, view(state), open?(thread), heading?(state), tools?(state), main?, isShown?() })
//
// `view` returns a lit-html template for the main part; `open(thread)` is called when the tab is shown, or its address
// changes; `heading` is a title in place of the session's, or null; `tools` stand in the bar; `main` is the id of the
// element that a person skips to; `isShown` says whether this server has what the tab is for.

const tabs = [];

export function register(tab) {
  tabs.push(tab);
}

export const all = () => tabs.filter((each) => each.isShown?.() ?? true);

export const tabOf = (id) => tabs.find((each) => each.id === id) ?? tabs[0];
