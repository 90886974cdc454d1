// Calls a service that speaks the convention, and comes back when it says so. Copy this file; it needs fetch only:
// Node.js from 20.3 on, Deno, Bun, and browsers from 2024 on.
//
//     node examples/clients/retry.mjs PATCH http://127.0.0.1:8000/entities/42 '{"name": "Ada"}'
//
// * 423 and 429 are tried again, for nothing was done. After a 503, or if the network fails, nobody knows: then only
//   what does no harm twice is tried again, which is a GET, a PUT, a DELETE, or what has an Idempotency-Key.
// * Retry-After is obeyed, as seconds or as a date, with a little more so that not all come back together.
// * After withinMs it gives up, with what the service has said; also if it would have to wait longer.
//
// In a browser, on another origin, the service has to allow the field to be read: expose_headers=["Retry-After"].

// Doing it twice is doing it once (RFC 9110, 9.2.2).
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"]);

// The longest wait where nothing was said; and the least, whatever was said.
const LONGEST_GUESS_MS = 30_000;
const LEAST_MS = 1_000;

/** The service has said no. */
export class CallFailedError extends Error {
  constructor(response, body) {
    let message = isOurs(body) ? body.message : response.statusText;
    let errorCode = null;
    if (message !== null && typeof message === "object" && !Array.isArray(message)) {
      errorCode = message.error_code ?? null;
      message = message.message;
    }
    const problems = (Array.isArray(message) ? message : [message]).map(String);
    super(`${response.status}: ${problems.join("; ")}`);
    this.name = "CallFailedError";
    this.code = response.status; // the status
    this.errorCode = errorCode; // what went wrong, as a word; null if the service has none for it
    this.problems = problems; // the texts; one, unless the service has listed several
    this.response = response;
  }
}

/**
 * Sends a request until there is an answer that stays, and gives its content.
 *
 * Takes fetch's arguments, and withinMs: when to give up. A body is a text or bytes, not a stream, which could be
 * sent once only. Throws CallFailedError if the service refuses or is still busy at the end, a TypeError if the answer
 * is not the convention's, and what fetch throws if the network fails: then, unless the method is idempotent, nobody
 * knows what was done.
 */
export async function call(url, { withinMs = 30_000, ...options } = {}) {
  const deadline = performance.now() + withinMs;
  const method = (options.method ?? "GET").toUpperCase();
  const isHarmless = IDEMPOTENT.has(method) || new Headers(options.headers).has("idempotency-key");
  for (let attempt = 1; ; attempt += 1) {
    const outcome = await send(url, { ...options, method }, deadline);
    const waitMs = mayRepeat(isHarmless, outcome) && !options.signal?.aborted ? chooseWaitMs(outcome, attempt) : null;
    if (waitMs === null || performance.now() + waitMs >= deadline) return contentOf(outcome);
    await pause(waitMs, options.signal);
  }
}

/** Sends once; gives the response with its body, or the error. */
async function send(url, options, deadline) {
  const signals = [AbortSignal.timeout(Math.max(Math.ceil(deadline - performance.now()), 1))];
  if (options.signal) signals.push(options.signal);
  const request = new Request(url, { ...options, signal: AbortSignal.any(signals) }); // throws if it is none
  try {
    const response = await fetch(request);
    return { response, body: read(await response.text()) };
  } catch (error) {
    return { error };
  }
}

/** Tells whether sending it once more can do nothing twice, and may help. */
function mayRepeat(isHarmless, { response }) {
  if (response?.status === 423 || response?.status === 429) return true;
  return isHarmless && (!response || response.status === 503);
}

function chooseWaitMs({ response }, attempt) {
  const toldMs = response ? retryAfterMs(response.headers) : null;
  if (toldMs === null) return (0.5 + Math.random() / 2) * Math.min(1000 * 2 ** attempt, LONGEST_GUESS_MS);
  return (1 + Math.random() / 4) * Math.max(toldMs, LEAST_MS);
}

/** Reads Retry-After (RFC 9110, 10.2.3); null if it says nothing that can be read. */
export function retryAfterMs(headers) {
  const told = (headers.get("retry-after") ?? "").trim();
  if (/^[0-9]+$/.test(told)) return Number(told) * 1000;
  // By the server's own clock, if it tells the time: ours may be wrong.
  const at = Date.parse(told);
  const now = headers.has("date") ? Date.parse(headers.get("date")) : Date.now();
  return Number.isNaN(at) || Number.isNaN(now) ? null : at - now;
}

/** Takes a success out of its envelope, and throws what is none. */
function contentOf({ response, body, error }) {
  if (error) throw error;
  if (!response.ok) throw new CallFailedError(response, body);
  if (body === "") return null;
  if (body?.status !== "success" || !("content" in body)) {
    throw new TypeError(`${response.url} answers something else than the convention's success`);
  }
  return body.content;
}

/** Tells whether the service itself says so, and not something between it and us. */
function isOurs(body) {
  return body?.status === "failure";
}

function read(text) {
  try {
    return text === "" ? "" : JSON.parse(text);
  } catch {
    return null;
  }
}

/** Waits, until somebody aborts. */
function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, ms);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

// As a command: prints the content, or what the service has said instead.
if (globalThis.process?.argv[1] && import.meta.url === new URL(`file://${process.argv[1]}`).href) {
  const [method, url, json] = process.argv.slice(2);
  const headers = new Headers(json && { "content-type": "application/json" });
  if (process.env.IDEMPOTENCY_KEY) headers.set("idempotency-key", process.env.IDEMPOTENCY_KEY);
  try {
    const withinMs = 1000 * (process.env.WITHIN_S ?? 30);
    console.log(JSON.stringify(await call(url, { method, withinMs, headers, body: json })));
  } catch (error) {
    console.error(`${error.name}: ${error.message}`);
    process.exitCode = 1;
  }
}
