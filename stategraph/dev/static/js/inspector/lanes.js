// Where the line of each step stands beside the list: steps with one parent are branches, and get lanes of their own.

const MOST = 8;

// Returns for each step, the newest first, its lane and the lanes above and below it: `{ at, above, below, joins }`.
export function lanesOf(steps) {
  const lanes = [];
  return steps.map((step) => {
    const above = [...lanes];
    const waiting = lanes.flatMap((awaited, lane) => (awaited === step.id ? [lane] : []));
    const free = lanes.indexOf(null);
    const at = waiting[0] ?? (free >= 0 ? free : lanes.length);
    for (const lane of waiting) lanes[lane] = null;
    lanes[at] = step.parent;
    while (lanes.length && lanes.at(-1) === null) lanes.pop();
    return { at: Math.min(at, MOST), above: held(above), below: held(lanes), joins: waiting.slice(1).filter((lane) => lane <= MOST) };
  });
}

const held = (lanes) => lanes.flatMap((awaited, lane) => (awaited !== null && lane <= MOST ? [lane] : []));

export const widthOf = (rows) => 1 + Math.max(0, ...rows.flatMap((row) => [row.at, ...row.above, ...row.below]));

// The steps that no other step was made from: the ends of branches.
export function endsOf(steps) {
  const parents = new Set(steps.map((step) => step.parent));
  return steps.filter((step) => !parents.has(step.id));
}
