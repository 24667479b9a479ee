// The demo page: one WebSocket that talks, and up to a hundred that only show how longhaul balances.
//
// The backend sends {"backend": name} first and from then on echoes every message in order, so the oldest message
// without an answer is the one that an arriving message answers.

const LOG_ROWS_MAX = 200;
const ROUND_TRIPS_MAX = 60;
const EXTRA_TUNNELS_MAX = 100;
const FLIGHT_MS = 320;

const byId = (id) => document.getElementById(id);
const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`;

/** A WebSocket to an echo backend that first says its name. */
class Tunnel {
  /** `on` has the functions open(backend), echo(pending, data, milliseconds) and closed(event). */
  constructor(on) {
    this.backend = null;
    this.pending = [];
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.socket.onmessage = ({ data }) => this.#arrived(data, on);
    this.socket.onclose = (event) => on.closed(event);
  }

  #arrived(data, on) {
    if (this.backend === null) {
      this.backend = JSON.parse(data).backend;
      on.open(this.backend);
      return;
    }
    const pending = this.pending.shift();
    if (pending) on.echo(pending, data, performance.now() - pending.sentAt);
  }

  get open() {
    return this.backend !== null && this.socket.readyState === WebSocket.OPEN;
  }

  send(data) {
    this.pending.push({ data, sentAt: performance.now() });
    this.socket.send(data);
  }

  /** Closes without telling anyone: the page has moved on to another tunnel. */
  abandon() {
    this.socket.onmessage = null;
    this.socket.onclose = null;
    this.socket.close(1000, "done");
  }
}

let tunnel = null;
let extra = new Set();
let sent = 0;
let received = 0;
let roundTrips = [];

// The one tunnel that talks

function connect() {
  tunnel?.abandon();
  showState("connecting", "Connecting", address);
  const mine = new Tunnel({
    open(backend) {
      const through = mine.socket.extensions ? `, ${mine.socket.extensions.split(";")[0]}` : "";
      showState("open", "Open", `answered by ${backend}${through}`, backend);
      addRow({ backend, text: "tunnel open", kind: "note" });
      countTunnels();
      fly(backend, "back");
    },
    echo(pending, data, milliseconds) {
      received += 1;
      roundTrips = [...roundTrips, milliseconds].slice(-ROUND_TRIPS_MAX);
      addRow(describe(mine.backend, pending.data, data, milliseconds));
      showFigures();
      fly(mine.backend, "back");
    },
    closed(event) {
      const reason = event.reason ? ` “${event.reason}”` : "";
      const ending = `${event.code}${reason}, ${event.wasClean ? "clean" : "not clean"}`;
      showState(event.wasClean ? "closed" : "failed", event.wasClean ? "Closed" : "Lost", ending);
      addRow({ backend: mine.backend, text: `closed with ${ending}`, kind: "note" });
      countTunnels();
    },
  });
  tunnel = mine;
}

function send(data) {
  if (!tunnel.open) return;
  tunnel.send(data);
  sent += 1;
  showFigures();
  fly(tunnel.backend, "out");
}

function randomBytes(count) {
  const bytes = new Uint8Array(count);
  for (let start = 0; start < count; start += 65536) {
    crypto.getRandomValues(bytes.subarray(start, Math.min(start + 65536, count)));
  }
  return bytes.buffer;
}

// Many tunnels, to see the balance

function openMore() {
  const wanted = Math.min(10, EXTRA_TUNNELS_MAX - extra.size);
  for (let count = 0; count < wanted; count += 1) {
    const one = new Tunnel({
      open: countTunnels,
      echo() {},
      closed() {
        extra.delete(one);
        countTunnels();
      },
    });
    extra.add(one);
  }
  countTunnels();
}

function closeExtra() {
  for (const one of extra) one.abandon();
  extra = new Set();
  countTunnels();
}

function countTunnels() {
  const all = [tunnel, ...extra].filter((one) => one?.open);
  for (const backend of ["east", "west"]) {
    const count = all.filter((one) => one.backend === backend).length;
    byId(`count-${backend}`).textContent = count;
    document.querySelector(`[data-leg="${backend}"]`).classList.toggle("used", count > 0);
    byId(`dots-${backend}`).replaceChildren(...Array.from({ length: count }, () => document.createElement("i")));
  }
  byId("more").disabled = extra.size >= EXTRA_TUNNELS_MAX;
  byId("fewer").disabled = extra.size === 0;
}

// What the reader sees

function showState(state, word, detail, backend) {
  const map = byId("map");
  map.dataset.state = state;
  if (backend) map.dataset.backend = backend;
  else delete map.dataset.backend;
  byId("map-title").textContent = backend
    ? `Your browser, connected through longhaul to ${backend}`
    : `Your browser and longhaul: ${word.toLowerCase()}`;
  byId("lamp").dataset.state = state;
  byId("state").textContent = word;
  byId("detail").textContent = detail;
  for (const button of document.querySelectorAll("[data-needs-open]")) button.disabled = state !== "open";
  byId("reconnect").classList.toggle("wanted", state === "closed" || state === "failed");
}

function showFigures() {
  byId("sent").textContent = sent;
  byId("received").textContent = received;
  if (roundTrips.length === 0) return;
  const sorted = [...roundTrips].sort((a, b) => a - b);
  byId("last").textContent = inMilliseconds(roundTrips.at(-1));
  byId("median").textContent = inMilliseconds(sorted[Math.floor(sorted.length / 2)]);
  const top = sorted.at(-1) || 1;
  const points = roundTrips.map((value, index) => {
    const x = (300 * index) / Math.max(1, roundTrips.length - 1);
    return `${x.toFixed(1)},${(46 - (42 * value) / top).toFixed(1)}`;
  });
  byId("trend").firstElementChild.setAttribute("points", points.join(" "));
}

function describe(backend, before, after, milliseconds) {
  const time = inMilliseconds(milliseconds);
  if (!same(before, after)) return { backend, text: "came back changed", kind: "wrong", time };
  if (typeof after === "string") return { backend, text: after, kind: "text", time };
  return { backend, text: `${inBytes(after.byteLength)} of binary`, kind: "note", time };
}

function same(before, after) {
  if (typeof before === "string" || typeof after === "string") return before === after;
  if (before.byteLength !== after.byteLength) return false;
  const one = new Uint8Array(before);
  const other = new Uint8Array(after);
  return one.every((byte, index) => byte === other[index]);
}

function addRow({ backend, text, kind, time = "" }) {
  const row = document.createElement("li");
  if (backend) row.dataset.backend = backend;
  row.append(cell("who", backend ?? "–"), cell(`what ${kind}`, text || "(empty)"), cell("time", time));
  const log = byId("log");
  log.prepend(row);
  while (log.childElementCount > LOG_ROWS_MAX) log.lastElementChild.remove();
  byId("empty").hidden = true;
}

function cell(className, text) {
  const span = document.createElement("span");
  span.className = className;
  span.textContent = text;
  return span;
}

function inMilliseconds(value) {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

function inBytes(count) {
  if (count >= 1048576) return `${count / 1048576} MiB`;
  return count >= 1024 ? `${count / 1024} KiB` : `${count} bytes`;
}

/** Lets a dot travel along the tunnel: "out" to the backend, "back" from it. Slower than the message was. */
function fly(backend, direction) {
  const pulses = byId("pulses");
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const far = document.querySelector(`[data-leg="${backend}"]`);
  if (still || !far || document.hidden || pulses.childElementCount >= 24) return;
  const near = document.querySelector('[data-leg="client"]');
  const [nearLength, farLength] = [near.getTotalLength(), far.getTotalLength()];
  const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  dot.setAttribute("class", "pulse");
  dot.setAttribute("r", "8");
  dot.dataset.backend = backend;
  pulses.append(dot);
  const start = performance.now() + (direction === "back" ? FLIGHT_MS : 0);
  const step = (now) => {
    const part = Math.min(1, Math.max(0, (now - start) / FLIGHT_MS));
    const along = (direction === "out" ? part : 1 - part) * (nearLength + farLength);
    const at = along < nearLength ? near.getPointAtLength(along) : far.getPointAtLength(along - nearLength);
    dot.setAttribute("cx", at.x);
    dot.setAttribute("cy", at.y);
    if (part < 1) requestAnimationFrame(step);
    else dot.remove();
  };
  requestAnimationFrame(step);
}

// What the reader does

byId("send").addEventListener("submit", (event) => {
  event.preventDefault();
  send(byId("text").value);
  byId("text").value = "";
  byId("text").focus();
});
byId("binary").addEventListener("click", () => send(randomBytes(Number(byId("size").value))));
byId("close").addEventListener("submit", (event) => {
  event.preventDefault();
  const code = Number(byId("code").value);
  const allowed = code === 1000 || (code >= 3000 && code <= 4999);
  byId("code").setCustomValidity(allowed ? "" : "1000, or 3000 to 4999");
  if (!byId("code").reportValidity()) return;
  try {
    tunnel.socket.close(code, byId("reason").value);
  } catch (error) {
    addRow({ text: error.message, kind: "wrong" });
  }
});
byId("code").addEventListener("input", () => byId("code").setCustomValidity(""));
byId("reconnect").addEventListener("click", connect);
byId("more").addEventListener("click", openMore);
byId("fewer").addEventListener("click", closeExtra);

byId("address").textContent = address;
connect();
