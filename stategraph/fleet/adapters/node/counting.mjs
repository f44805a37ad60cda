// Counts of a host, as `stategraph/fleet/adapters/statistics.py` has them, and errors as clients may read them.

const RECENT = 1000;
const MOST = 2000;
const SECRET_NAME = /(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$/i;
const SECRET_TEXT = /\b(?:sk|pk|xox[bap]|gh[pousr])[-_][\w*-]{8,}|(?<=Bearer )\S+/g;

export class Counter {
  #began = performance.now();
  #requests = 0;
  #ends = { completed: 0, failed: 0, canceled: 0, input_required: 0 };
  #tokens = [0, 0];
  #first = [];
  #whole = [];

  get active() {
    return this.#requests - Object.values(this.#ends).reduce((sum, each) => sum + each, 0);
  }

  begin() {
    this.#requests += 1;
    return performance.now();
  }

  first(began) {
    keep(this.#first, performance.now() - began);
  }

  end(began, end) {
    this.#ends[end] += 1;
    keep(this.#whole, performance.now() - began);
  }

  takeTokens(sent, received) {
    this.#tokens[0] += sent;
    this.#tokens[1] += received;
  }

  statistics() {
    return {
      requests: this.#requests,
      active: this.active,
      ...this.#ends,
      input_tokens: this.#tokens[0],
      output_tokens: this.#tokens[1],
      first_byte: times(this.#first),
      latency: times(this.#whole),
      uptime_s: (performance.now() - this.#began) / 1000,
    };
  }
}

function keep(values, milliseconds) {
  values.push(milliseconds / 1000);
  if (values.length > RECENT) values.shift();
}

function times(values) {
  if (!values.length) return { count: 0, p50_s: 0, p95_s: 0, max_s: 0 };
  const ordered = [...values].sort((one, other) => one - other);
  const last = ordered.length - 1;
  return { count: ordered.length, p50_s: ordered[Math.floor(last / 2)], p95_s: ordered[Math.round(last * 0.95)], max_s: ordered[last] };
}

export function masked(text) {
  const values = Object.entries(process.env)
    .filter(([name, value]) => SECRET_NAME.test(name) && value.length >= 6)
    .map(([, value]) => value)
    .sort((one, other) => other.length - one.length);
  let shown = text;
  for (const value of values) shown = shown.replaceAll(value, "***");
  shown = shown.replace(SECRET_TEXT, "***");
  return shown.length <= MOST ? shown : `${shown.slice(0, MOST)} ...`;
}
