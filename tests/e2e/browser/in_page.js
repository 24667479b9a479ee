// Runs inside every page before its own scripts: the few words that the tests speak there.

globalThis.e2e = {
  /** An open WebSocket to a path of the page's own origin, with `next()` and `closed`. */
  async connect(path, ...protocols) {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}${path}`, protocols);
    const messages = [];
    const waiting = [];
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => (waiting.length ? waiting.shift()(data) : messages.push(data));
    socket.next = () => new Promise((resolve) => (messages.length ? resolve(messages.shift()) : waiting.push(resolve)));
    socket.closed = new Promise((resolve) => {
      socket.onclose = ({ code, reason, wasClean }) => resolve({ code, reason, wasClean });
    });
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error(`no tunnel to ${path}`));
    });
    return socket;
  },

  /** An open EventSource, with `next()` for what its events say. */
  async listen(path) {
    const source = new EventSource(path);
    const texts = [];
    const waiting = [];
    source.onmessage = ({ data }) => (waiting.length ? waiting.shift()(data) : texts.push(data));
    source.next = () => new Promise((resolve) => (texts.length ? resolve(texts.shift()) : waiting.push(resolve)));
    await new Promise((resolve) => (source.onopen = resolve));
    return source;
  },

  /** Bytes that do not compress. */
  noise(length) {
    const bytes = new Uint8Array(length);
    for (let start = 0; start < length; start += 65_536) {
      crypto.getRandomValues(bytes.subarray(start, start + 65_536));
    }
    return bytes;
  },

  async digest(data) {
    const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  },
};
