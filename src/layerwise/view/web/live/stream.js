// Requests to the viewer's server, and its answers: one JSON value a line, as they come.

/** Asks the server after `base`, with the token: `read` for one JSON value, `ask` for a stream of messages. */
export function liveServer({ base, token }) {
  const authorization = { Authorization: `Bearer ${token}` };

  async function read(path) {
    const response = await liveFetched(base + path, { headers: authorization });
    return response.json();
  }

  async function* ask(path, body, signal) {
    const response = await liveFetched(base + path, {
      method: "POST",
      headers: { ...authorization, "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
    yield* liveLines(response.body.getReader());
  }

  return { read, ask };
}

/** What the server refuses or cannot do, in words for the page. */
export class LiveError extends Error {}

async function liveFetched(address, options) {
  let response;
  try {
    response = await fetch(address, { ...options, cache: "no-store", credentials: "omit", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new LiveError("The viewer's server does not answer. Start it again, and open the address that it prints.");
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new LiveError(typeof said.error === "string" ? said.error : `The server answered ${response.status}.`);
}

/** The messages of a stream; an `error` among them is thrown, and so is an end that comes too early. */
async function* liveLines(reader) {
  const decoder = new TextDecoder();
  let rest = "";
  let last = null;
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === "AbortError") throw error;
      break;
    }
    if (part.done) break;
    const lines = (rest + decoder.decode(part.value, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      last = JSON.parse(line);
      if (typeof last.error === "string") throw new LiveError(last.error);
      yield last;
    }
  }
  const whole = last !== null && ["trace", "traces", "loaded", "document"].some((key) => key in last);
  if (!whole) throw new LiveError("The server ended before it was done. It may have been stopped.");
}
