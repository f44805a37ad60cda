// Tasks of a host, in memory: the newest ones, and those that are not over. All clients are one owner.

const MOST_TASKS = 1000;
const PAGE = 50;
const OVER = new Set([3, 4, 5, 7]); // completed, failed, canceled, rejected

export class KeptTasks {
  #tasks = new Map();
  #over = new Map();
  #most;

  constructor(most = MOST_TASKS) {
    this.#most = most;
  }

  async load(taskId) {
    const task = this.#tasks.get(taskId);
    return task && structuredClone(task);
  }

  async save(task) {
    this.#tasks.set(task.id, structuredClone(task));
    if (OVER.has(task.status?.state)) {
      this.#over.delete(task.id);
      this.#over.set(task.id, true);
    }
    while (this.#over.size > this.#most) {
      const [oldest] = this.#over.keys();
      this.#over.delete(oldest);
      this.#tasks.delete(oldest);
    }
  }

  // A page token names the last task of the page before, by the time of its status and its id.
  async list({ contextId, status, pageSize = PAGE, pageToken, statusTimestampAfter, includeArtifacts = false }) {
    const after = statusTimestampAfter ? new Date(statusTimestampAfter).getTime() : -Infinity;
    const found = [...this.#tasks.values()]
      .filter((task) => !contextId || task.contextId === contextId)
      .filter((task) => !status || task.status?.state === status)
      .filter((task) => after === -Infinity || new Date(task.status?.timestamp ?? 0).getTime() > after)
      .sort((one, other) => (keyOf(one) < keyOf(other) ? 1 : -1));
    const rest = pageToken ? found.filter((task) => keyOf(task) < pageToken) : found;
    const page = rest.slice(0, pageSize);
    return {
      tasks: page.map((task) => ({ ...structuredClone(task), ...(includeArtifacts ? {} : { artifacts: [] }) })),
      nextPageToken: rest.length > page.length ? keyOf(page.at(-1)) : "",
      pageSize,
      totalSize: found.length,
    };
  }
}

function keyOf(task) {
  return `${task.status?.timestamp ?? ""} ${task.id}`;
}
