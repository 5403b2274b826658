// The server: its models, one stream of /v1/stream, and recordings that are too long for one.

export const KEY_PROTOCOL = "openai-insecure-api-key.", PROTOCOL = "realtime";

// kind: what the page does about it: key, full, lost, refused
export class ServerError extends Error {
  constructor(kind, message) { super(message); this.kind = kind; }
}

const MESSAGES = {
  key: "This key is not valid here.",
  full: "All places on this server are taken. Try again in a moment.",
  stopping: "The server is about to stop. The text so far is kept.",
  lost: "The connection was lost. The text so far is kept.",
  silent: "The server cannot be reached.",
};

async function failure(response) {
  if (response.status === 401) return new ServerError("key", MESSAGES.key);
  const told = await response.json().then(body => body.error.message, () => `status ${response.status}`);
  return new ServerError([429, 503].includes(response.status) ? "full" : "refused", `The server says: ${told}`);
}

export async function ask(path, key, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: key ? { Authorization: `Bearer ${key}` } : {} });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("lost", MESSAGES.silent);
  }
  if (!response.ok) throw await failure(response);
  return response.json();
}

// Opens a stream; `hear` takes every message from "ready" to "done". `ended` resolves with null after
// "done", or with a ServerError.
export class Stream {
  constructor(model, key, hear) {
    const address = new URL("v1/stream", location.href);
    address.protocol = address.protocol.replace("http", "ws");
    address.search = new URLSearchParams({ model, rate: 16000 });
    this.hear = hear;
    this.key = key;
    this.error = null;
    this.isReady = this.isDone = false;
    this.waiting = []; // samples from before "ready"
    this.ended = new Promise(resolve => { this.resolve = resolve; });
    try {
      this.socket = new WebSocket(address, key ? [PROTOCOL, KEY_PROTOCOL + key] : []);
    } catch {
      this.resolve(new ServerError("key", MESSAGES.key)); // letters that no header may have
      return;
    }
    this.socket.onmessage = event => this.receive(JSON.parse(event.data));
    this.socket.onclose = event => {
      clearTimeout(this.late);
      this.explain(event.code).then(this.resolve);
    };
  }

  receive(message) {
    this.expect();
    if (message.type === "error") this.error = message.error;
    if (message.type === "done") this.isDone = true;
    if (message.type === "ready") {
      this.isReady = true;
      for (const block of this.waiting.splice(0)) this.socket.send(block);
    }
    this.hear(message);
  }

  get behind() { return this.socket ? this.socket.bufferedAmount : 0; } // bytes

  get isOpen() { return this.socket && this.socket.readyState <= WebSocket.OPEN; }

  send(block) { // Int16Array, or text
    if (!this.isOpen) return;
    if (this.isReady) this.socket.send(block);
    else this.waiting.push(block);
  }

  finish(patience) { // in milliseconds, for the next message
    this.send('{"type":"finish"}');
    this.patience = patience;
    this.expect();
  }

  expect() {
    clearTimeout(this.late);
    if (this.patience) this.late = setTimeout(() => this.close(), this.patience);
  }

  close() { // nothing more is heard
    clearTimeout(this.late);
    this.patience = 0;
    this.hear = () => {};
    if (this.socket) this.socket.close();
  }

  async explain(code) {
    if (code === 1013) return new ServerError("full", MESSAGES.full);
    if (this.error) return new ServerError("refused", `The server says: ${this.error.message}`);
    if (code === 1001) return new ServerError("lost", MESSAGES.stopping);
    if (this.isDone) return null;
    if (this.isReady) return new ServerError("lost", MESSAGES.lost);
    // a browser does not tell why a socket was refused; a request that is like it does
    return ask("v1/models", this.key).then(() => new ServerError("full", MESSAGES.full), error => error);
  }
}

export async function transcribe(file, model, key, signal) {
  const body = new FormData();
  body.append("model", model);
  body.append("response_format", "verbose_json");
  body.append("timestamp_granularities[]", "word");
  body.append("timestamp_granularities[]", "segment");
  body.append("file", file, file.name);
  return ask("v1/audio/transcriptions", key, { method: "POST", body, signal });
}
