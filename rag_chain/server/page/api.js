// The server's doors, as the page uses them. Addresses are relative, so that it works below a path, too.

/** What went wrong, in the server's words: `kind` is its name of it, `status` 0 where there was no answer. */
export class Failure extends Error {
  constructor(kind, message, status = 0) {
    super(message);
    this.kind = kind;
    this.status = status;
  }
}

const UNREACHABLE = () => new Failure("Unreachable", "The server does not answer. Is it running, and are you online?");

async function request(path, options) {
  let reply;
  try {
    reply = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    throw error.name === "AbortError" ? error : UNREACHABLE();
  }
  if (!reply.ok) throw readFailure(reply.status, await reply.text().catch(() => ""));
  return reply;
}

/** Turn an error reply into a `Failure`; proxies on the way answer in HTML, which helps nobody. */
export function readFailure(status, body) {
  try {
    const { type, message } = JSON.parse(body).error;
    return new Failure(type, message, status);
  } catch {
    return new Failure("HttpError", `The server answered with status ${status}.`, status);
  }
}

const json = (method, value) => ({
  method,
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify(value),
});

export const readSession = async () => (await request("session")).json();
export const signIn = async (key) => (await request("session", json("POST", { key }))).json();
export const signOut = async () => (await request("session", { method: "DELETE" })).json();

export async function findDocuments(query, signal, limit = 50) {
  const reply = await request(`documents?${new URLSearchParams({ q: query, limit })}`, { signal });
  return reply.json();
}

/** Yield the parts of an answer as they come; aborting the signal stops the model behind the server. */
export async function* ask(question, signal) {
  const reply = await request("rag/stream", { ...json("POST", { input: question }), signal });
  const events = new EventReader();
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let isWhole = false;
  try {
    for (;;) {
      const { done, value } = await read(reader);
      if (done && isWhole) return;
      if (done) throw new Failure("BrokenOff", "The connection broke off before the answer was complete.");
      for (const { name, data } of events.feed(value)) {
        if (name === "end") isWhole = true;
        if (name === "error") throw new Failure(data.type, data.message, data.status_code);
        if (name === "data") yield data;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function read(reader) {
  try {
    return await reader.read();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure("BrokenOff", "The connection broke off before the answer was complete.");
  }
}

/** Takes server-sent events apart, in whatever pieces they come. */
export class EventReader {
  #rest = "";

  feed(text) {
    const events = [];
    const blocks = (this.#rest + text).split(/\r?\n\r?\n/);
    this.#rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split(/\r?\n/);
      const of = (field) => lines.filter((line) => line.startsWith(field)).map((line) => line.slice(field.length).trim());
      const data = of("data:").join("\n");
      events.push({ name: of("event:")[0] ?? "message", data: data ? JSON.parse(data) : null });
    }
    return events;
  }
}

/**
 * Upload a file; `onSent` hears the share that is sent, `onProgress` what is ingested of it.
 *
 * XMLHttpRequest, since fetch does not tell how much of a body has gone.
 */
export function upload(file, { onSent, onProgress }) {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    const events = new EventReader();
    let read = 0;
    let ended = null;
    const take = () => {
      if (sending.status !== 200) return;
      const fresh = sending.responseText.slice(read);
      read += fresh.length;
      for (const { name, data } of events.feed(fresh)) {
        if (name === "progress") onProgress(data);
        else ended = { name, data };
      }
    };
    sending.upload.onprogress = ({ loaded, total }) => onSent(total ? loaded / total : 1);
    sending.upload.onload = () => onSent(1);
    sending.onprogress = take;
    sending.onload = () => {
      take();
      if (sending.status !== 200) reject(readFailure(sending.status, sending.responseText));
      else if (ended?.name === "done") resolve(ended.data);
      else if (ended) reject(new Failure(ended.data.error.type, ended.data.error.message));
      else reject(new Failure("BrokenOff", "The server broke off before the document was in."));
    };
    sending.onerror = () =>
      reject(new Failure("Unreachable", "The connection broke off; the file may be too large, or the server is gone."));
    sending.open("PUT", `documents/${encodeURIComponent(file.name)}`);
    sending.setRequestHeader("Content-Type", "application/octet-stream");
    sending.send(file);
  });
}
