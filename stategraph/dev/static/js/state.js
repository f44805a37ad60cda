// What the page knows, and when it is drawn: at most once a frame.

export const state = {
  info: null, // what the server says of itself
  threads: [], // the list of sessions
  next: null, // where its next page begins
  query: "", // what the list is searched for
  route: { tab: "chat", thread: null },
  session: null, // the open session, see chat/session.js
  drawer: false, // whether the list is open on a narrow screen
  menu: null, // the session whose menu is open
  renaming: null, // the session that is being renamed
  problem: null, // a sentence for the person; null: none
};

let draw = () => {};
let waiting = false;

export function onChange(callback) {
  draw = callback;
}

// Draws the page soon; several changes are drawn together.
export function changed() {
  if (waiting) return;
  waiting = true;
  const soon = document.hidden ? (work) => setTimeout(work, 50) : requestAnimationFrame;
  soon(() => {
    waiting = false;
    draw();
  });
}

export function fail(error) {
  state.problem = error?.message ?? String(error);
  changed();
}

// Tells people who hear the page what has happened.
export function say(text) {
  document.getElementById("said").textContent = text;
}
